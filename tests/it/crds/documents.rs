//! Every golden document and every example: `sidegate check` and the API
//! server agree on it, and fill in the same defaults.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sidegate_config::documents::{self, Documents};
use sidegate_config::{Options, build, validate, validate_provider};

use super::{server, workspace};

/// What is wrong with these files, no schema can know: the API server takes
/// them, and `sidegate check` does not.
const ONLY_FOR_SIDEGATE: [(&str, &str); 14] = [
    ("bad-conditions.yaml", "CEL inside a string"),
    ("bad-inline-keys.yaml", "JSON inside a string"),
    ("bad-no-gateway.yaml", "nothing of ours is in it"),
    ("bad-not-served.yaml", "this version does not serve it yet"),
    (
        "bad-provider-consent.yaml",
        "the word of a Secret of another document",
    ),
    (
        "bad-provider-references.yaml",
        "Secrets and ConfigMaps of other documents",
    ),
    (
        "bad-same-object-twice.yaml",
        "two documents, each of them good",
    ),
    ("bad-tls-pem.yaml", "PEM in a Secret"),
    (
        "bad-tls-secret-missing.yaml",
        "a Secret of another document",
    ),
    (
        "bad-tls-secret-of-another-namespace.yaml",
        "a Secret of another document",
    ),
    ("bad-tls-secret-type.yaml", "a Secret of another document"),
    (
        "bad-tls-without-certificate.yaml",
        "a cluster has a built-in authority",
    ),
    (
        "bad-yaml-duplicate-keys.yaml",
        "kubectl takes the last of two equal keys",
    ),
    ("bad-yaml-tags.yaml", "kubectl drops tags"),
];

/// What the API server says of a Secret of its own accord.
const WARNED: [(&str, &str); 1] = [(
    "bad-tls-pem.yaml",
    "Warning: tls: failed to find any PEM data in certificate input",
)];

/// People add their own certificate to an example; in a cluster the built-in
/// authority makes one.
const CERTIFICATE: &str = "spec.tls.certificateRef";

#[test]
fn the_api_server_and_sidegate_check_agree_on_every_document() {
    let files = files();
    for file in &files {
        make_namespaces(&fs::read_to_string(file).unwrap());
    }
    let mut disagreements = Vec::new();
    for file in &files {
        let name = file_name(file);
        let answer = dry_run(file, &[]);
        assert!(
            !answer.stderr.contains("namespaces \""),
            "{}",
            answer.stderr
        );
        // What is taken is taken without a warning.
        let warned = WARNED.iter().find(|(warned, _)| *warned == name);
        let warning = warned.map_or("", |(_, warning)| *warning);
        if answer.success && answer.stderr.trim() != warning {
            disagreements.push(format!("{name}\n  warned: {}", answer.stderr));
        }
        let checked = check(file);
        let listed = ONLY_FOR_SIDEGATE.iter().find(|(listed, _)| *listed == name);
        match (answer.success, &checked, listed) {
            (true, Ok(()), None) | (false, Err(_), None) | (true, Err(_), Some(_)) => {}
            (taken, _, listed) => disagreements.push(format!(
                "{name}\n  listed as: {listed:?}\n  API server, taken: {taken} {}\n  \
                 sidegate check: {checked:?}",
                answer.stderr
            )),
        }
    }
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    for (name, _) in ONLY_FOR_SIDEGATE {
        assert!(
            files.iter().any(|file| file_name(file) == name),
            "no {name}"
        );
    }
}

#[test]
fn defaults_of_the_api_server_are_those_of_the_files() {
    let mut compared = 0;
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        let Ok(documents) = documents::parse(&file_name(&file), &text) else {
            continue;
        };
        make_namespaces(&text);
        let answer = dry_run(&file, &["-o", "json"]);
        if !answer.success {
            continue;
        }
        let filled = specs(&serde_json::from_str(&answer.stdout).unwrap());
        for (object, spec) in as_read(&documents) {
            assert_eq!(
                filled.get(&object),
                Some(&spec),
                "{object} of {}",
                file.display()
            );
            compared += 1;
        }
    }
    assert!(compared >= 15, "only {compared} objects were compared");
}

fn files() -> Vec<PathBuf> {
    let mut files = vec![workspace("manifests/quickstart.yaml")];
    for dir in ["tests/golden/config", "manifests/examples"] {
        let entries = fs::read_dir(workspace(dir)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.extension().is_some_and(|it| it == "yaml"));
    files.sort();
    assert!(files.len() >= 60, "{} files", files.len());
    files
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

fn dry_run(file: &Path, more: &[&str]) -> sidegate_testkit::apiserver::Answer {
    let file = file.display().to_string();
    let apply = ["apply", "--server-side", "--dry-run=server", "-f", &file];
    server().kubectl(&[&apply[..], more].concat(), "")
}

/// Also of files that nobody can read as YAML.
fn make_namespaces(text: &str) {
    for rest in text.split("namespace: ").skip(1) {
        let name: String = rest
            .chars()
            .take_while(|letter| letter.is_ascii_lowercase() || *letter == '-')
            .collect();
        if !name.is_empty() {
            server().namespace(&name);
        }
    }
}

/// As `sidegate check` does it.
fn check(file: &Path) -> Result<(), String> {
    let text = fs::read_to_string(file).unwrap();
    let documents = documents::parse(&file_name(file), &text).map_err(|it| it.to_string())?;
    if documents.gateways.is_empty() && documents.providers.is_empty() {
        return Err("nothing of ours".to_owned());
    }
    let options = Options {
        allow_loopback: true,
        built_in_ca: false,
        trust_domain: "cluster.local".to_owned(),
    };
    let is_example = file
        .components()
        .any(|part| part.as_os_str() == "manifests");
    for gateway in &documents.gateways {
        let name = format!("{}/{}", gateway.namespace, gateway.name);
        if let Err(violations) = validate(&documents, Some(&name), &options).map(build) {
            let of_certificate = violations
                .iter()
                .all(|it| it.field().starts_with(CERTIFICATE));
            if !(is_example && of_certificate) {
                return Err(violations.to_string());
            }
        }
    }
    for provider in &documents.providers {
        let valid = validate_provider(&documents, provider, &options);
        valid.map_err(|violations| violations.to_string())?;
    }
    Ok(())
}

/// The specs of our kinds, by kind, namespace and name.
fn specs(answer: &Value) -> BTreeMap<String, Value> {
    let items = match answer["kind"].as_str() {
        Some("List") => answer["items"].as_array().unwrap().as_slice(),
        _ => std::slice::from_ref(answer),
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let named = |item: &Value| {
        let metadata = &item["metadata"];
        let [kind, namespace, name] =
            [&item["kind"], &metadata["namespace"], &metadata["name"]].map(text);
        (format!("{kind} {namespace}/{name}"), item["spec"].clone())
    };
    items
        .iter()
        .filter(|item| item["apiVersion"] == "sidegate.dev/v1alpha1")
        .map(named)
        .collect()
}

fn as_read(documents: &Documents) -> BTreeMap<String, Value> {
    let gateways = documents.gateways.iter().map(|it| {
        let object = format!("McpGateway {}/{}", it.namespace, it.name);
        (object, serde_json::to_value(&it.spec).unwrap())
    });
    let providers = documents.providers.iter().map(|it| {
        let object = format!("LlmProvider {}/{}", it.namespace, it.name);
        (object, serde_json::to_value(&it.spec).unwrap())
    });
    gateways.chain(providers).collect()
}
