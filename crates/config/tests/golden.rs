//! Documents in, a configuration or violations out: every file of
//! `tests/golden/config`, and every example of `manifests`.

#![expect(
    clippy::expect_used,
    reason = "a test fails by a panic, also in its helpers"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sidegate_config::documents::{self, Documents, SecretDocument};
use sidegate_config::sidecar_config::{SecretText, SidecarConfig};
use sidegate_config::{Options, Violations, build, validate, validate_provider};

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn options(text: &str) -> Options {
    // What is accepted on the desk only is refused in a cluster.
    let allow_loopback = !text.starts_with("# in a cluster");
    Options {
        allow_loopback,
        built_in_ca: false,
        trust_domain: "cluster.local".to_owned(),
    }
}

fn load(name: &str, text: &str) -> Result<SidecarConfig, Violations> {
    let documents = documents::parse(name, text)?;
    validate(&documents, None, &options(text)).map(build)
}

/// Everything that a file asks for, as people may see it.
fn check(name: &str, text: &str) -> Result<Value, Violations> {
    let documents = documents::parse(name, text)?;
    let options = options(text);
    let providers = providers(&documents, &options);
    if documents.gateways.is_empty() && !documents.providers.is_empty() {
        return providers.map(|providers| json!({ "providers": providers }));
    }
    let gateway = validate(&documents, None, &options).map(build);
    match (gateway, providers) {
        (Ok(config), Ok(_)) => Ok(config.redacted_json()),
        (gateway, providers) => {
            let found = [gateway.err(), providers.err()];
            Err(found.into_iter().flatten().flatten().collect())
        }
    }
}

/// Where the requests of each provider go.
fn providers(
    documents: &Documents,
    options: &Options,
) -> Result<BTreeMap<String, String>, Violations> {
    let mut hosts = BTreeMap::new();
    let mut found = Vec::new();
    for provider in &documents.providers {
        let name = format!("{}/{}", provider.namespace, provider.name);
        match validate_provider(documents, provider, options) {
            Ok(valid) => {
                hosts.insert(name, valid.host().to_owned());
            }
            Err(violations) => found.extend(violations),
        }
    }
    match found.is_empty() {
        true => Ok(hosts),
        false => Err(found.into_iter().collect()),
    }
}

#[test]
fn golden_files() {
    let dir = workspace("tests/golden/config");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(dir.join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    let mut files: Vec<_> = fs::read_dir(&dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 50, "{} files", files.len());
    for path in files {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let text = fs::read_to_string(&path).expect("a text");
        let stem = name.trim_end_matches(".yaml");
        match check(name, &text) {
            Ok(shown) => {
                assert!(name.starts_with("good-"), "{name} was accepted");
                assert_secret_free(&shown.to_string());
                insta::assert_json_snapshot!(stem, shown);
            }
            Err(violations) => {
                assert!(
                    name.starts_with("bad-"),
                    "{name} was refused:\n{violations}"
                );
                assert!(
                    !violations.is_empty(),
                    "{name} was refused without a reason"
                );
                assert_secret_free(&violations.to_string());
                insta::assert_snapshot!(stem, violations.to_string());
            }
        }
    }
    assert_no_leftover(&dir);
}

/// An answer without its file would be checked by nobody.
fn assert_no_leftover(dir: &Path) {
    for entry in fs::read_dir(dir.join("snapshots")).expect("a directory") {
        let path = entry.expect("an entry").path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name");
        assert!(
            dir.join(format!("{stem}.yaml")).exists(),
            "{stem} has no file any more"
        );
    }
}

/// Secret values in the files contain one of these.
fn assert_secret_free(shown: &str) {
    assert!(
        !shown.contains("PRIVATE KEY") && !shown.contains("canary!"),
        "{shown}"
    );
    assert!(!shown.contains("canary\""), "{shown}");
}

#[test]
fn every_example_is_valid() {
    let mut files = Vec::new();
    yaml_files(&workspace("manifests"), &mut files);
    files.retain(|path| !path.components().any(|part| part.as_os_str() == "crds"));
    assert!(files.len() >= 5, "{files:?}");
    for path in files {
        let mut documents = documents::read_file(&path).unwrap_or_else(|found| panic!("{found}"));
        add_certificates(&mut documents);
        let options = options("");
        for gateway in &documents.gateways {
            let name = format!("{}/{}", gateway.namespace, gateway.name);
            let validated = validate(&documents, Some(&name), &options);
            validated.unwrap_or_else(|found| panic!("{found}"));
        }
        providers(&documents, &options).unwrap_or_else(|found| panic!("{found}"));
    }
}

fn yaml_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            yaml_files(&path, files);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
}

/// Examples do not contain private keys: people make their own, and in a
/// cluster the built-in authority makes them.
fn add_certificates(documents: &mut Documents) {
    let pair = rcgen::generate_simple_self_signed(vec!["example".to_owned()]).expect("a pair");
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    for gateway in &mut documents.gateways {
        let tls = &mut gateway.spec.tls;
        if tls.mode == sidegate_api::gateway::TlsMode::Plaintext {
            continue;
        }
        let name = "made-for-this-test".to_owned();
        let reference = tls
            .certificate_ref
            .get_or_insert(sidegate_api::reference::CertificateRef { name })
            .name
            .clone();
        if documents
            .secrets
            .iter()
            .any(|secret| secret.name == reference)
        {
            continue;
        }
        let data = [
            ("tls.crt", &certificate),
            ("tls.key", &key),
            ("ca.crt", &certificate),
        ];
        let data: BTreeMap<_, _> = data
            .into_iter()
            .map(|(key, value)| (key.to_owned(), SecretText::from(value.clone())))
            .collect();
        let kind = "kubernetes.io/tls";
        documents.secrets.push(SecretDocument::new(
            &gateway.namespace,
            &reference,
            kind,
            data,
        ));
    }
}

#[test]
fn the_version_changes_with_everything_that_is_enforced() {
    let text = fs::read_to_string(workspace("tests/golden/config/good-scopes.yaml")).expect("text");
    let version = |text: &str| {
        load("a.yaml", text)
            .unwrap_or_else(|found| panic!("{found}"))
            .version
    };
    let first = version(&text);
    assert_eq!(first.len(), 16);
    assert_eq!(
        version(&format!("# a comment\n{text}")),
        first,
        "comments do not count"
    );
    for (from, to) in [
        ("customer:read", "customer:write"),
        ("port: 8080", "port: 8081"),
    ] {
        assert_ne!(version(&text.replace(from, to)), first, "{from}");
    }
    let mut documents = documents::parse("a.yaml", &text).expect("documents");
    let key = documents.secrets[0].data.get_mut("tls.key").expect("a key");
    *key = SecretText::from([key.expose(), b"\n"].concat());
    let changed = validate(&documents, None, &options(""))
        .map(build)
        .expect("valid");
    assert_ne!(changed.version, first, "a new key is a new version");
}

#[test]
fn one_gateway_of_several_is_chosen_by_name() {
    let text =
        fs::read_to_string(workspace("tests/golden/config/good-minimal.yaml")).expect("text");
    let two = format!("{text}\n---\n{}", text.replace("name: demo", "name: other"));
    let documents = documents::parse("a.yaml", &two).expect("documents");
    let chosen = |name| validate(&documents, name, &options("")).map(build);
    let message = chosen(None).expect_err("ambiguous").to_string();
    assert!(message.contains("default/demo, default/other"), "{message}");
    assert_eq!(
        chosen(Some("default/other")).expect("valid").gateway,
        "default/other"
    );
    let message = chosen(Some("default/none"))
        .expect_err("unknown")
        .to_string();
    assert!(
        message.contains("there is no McpGateway default/none"),
        "{message}"
    );
    let message = validate(&Documents::default(), None, &options("")).expect_err("none");
    assert!(message.to_string().contains("add one"), "{message}");
}
