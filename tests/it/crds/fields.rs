//! Every field on its own: one change to a good document, and both who read
//! it agree. Every rule of the definitions is provoked by some change.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::Value;
use sidegate_config::documents::{ConfigMapDocument, Documents, SecretDocument};
use sidegate_config::{Options, build, documents, validate, validate_provider};
use sidegate_testkit::certificates::TestAuthority;

use super::cases::{self, Case, Verdict};
use super::{DEFINITIONS, server};

/// What is sent at once.
const BATCH: usize = 200;
/// The one rule that compares with what was there before.
const NEEDS_AN_OLD_OBJECT: &str = "the selector cannot be changed: create another gateway and \
                                   delete this one";

/// Changed gateways, and what the API server said to them.
fn gateways() -> &'static (Vec<Case>, Seen) {
    static SEEN: OnceLock<(Vec<Case>, Seen)> = OnceLock::new();
    SEEN.get_or_init(|| dry_run(cases::gateways()))
}

/// The same for providers.
fn providers() -> &'static (Vec<Case>, Seen) {
    static SEEN: OnceLock<(Vec<Case>, Seen)> = OnceLock::new();
    SEEN.get_or_init(|| dry_run(cases::providers()))
}

#[test]
fn the_api_server_and_sidegate_check_agree_on_every_field() {
    disagree_on_nothing(gateways());
}

#[test]
fn the_api_server_and_sidegate_check_agree_on_every_field_of_a_provider() {
    disagree_on_nothing(providers());
}

fn disagree_on_nothing((cases, seen): &(Vec<Case>, Seen)) {
    let mut disagreements = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let taken = seen.taken.contains(&index);
        let checked = check(&case.object);
        let expected = match &case.verdict {
            Verdict::Taken => taken && checked.is_ok(),
            Verdict::Refused => !taken && checked.is_err(),
            Verdict::OnlySidegateKnows(why) => !why.is_empty() && taken && checked.is_err(),
        };
        if !expected {
            disagreements.push(format!(
                "{} = {:.120}\n  expected: {:?}\n  API server: {}\n  sidegate check: {:.300}",
                case.field,
                case.value.to_string(),
                case.verdict,
                seen.about(index),
                format!("{checked:?}"),
            ));
        }
    }
    assert!(
        disagreements.is_empty(),
        "{} of {}:\n{}",
        disagreements.len(),
        cases.len(),
        disagreements.join("\n")
    );
}

#[test]
fn every_rule_of_the_definitions_refuses_something_and_says_what_to_do() {
    let refusals = [gateways(), providers()].map(|(_, seen)| seen.refusals.as_str());
    let refusals = refusals.concat();
    let mut messages = BTreeSet::new();
    for name in DEFINITIONS {
        let get = ["get", "crd", name, "-o", "json"];
        let definition = server().kubectl(&get, "").succeeded();
        collect_messages(&serde_json::from_str(&definition).unwrap(), &mut messages);
    }
    assert!(messages.len() >= 50, "{} rules", messages.len());
    assert!(messages.remove(NEEDS_AN_OLD_OBJECT));
    let silent: Vec<_> = messages
        .iter()
        .filter(|message| !refusals.contains(message.as_str()))
        .collect();
    assert!(silent.is_empty(), "no case breaks these rules: {silent:#?}");
}

fn collect_messages(schema: &Value, messages: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            let rules = fields.get("x-kubernetes-validations");
            for rule in rules.and_then(Value::as_array).into_iter().flatten() {
                messages.insert(rule["message"].as_str().unwrap().to_owned());
            }
            for value in fields.values() {
                collect_messages(value, messages);
            }
        }
        Value::Array(items) => items.iter().for_each(|it| collect_messages(it, messages)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the API server said to cases, which are called by their index.
struct Seen {
    taken: BTreeSet<usize>,
    refusals: String,
}

// === impl Seen ===

impl Seen {
    /// What was said about one case.
    fn about(&self, index: usize) -> &str {
        if self.taken.contains(&index) {
            return "taken";
        }
        let names = [format!("\"case-{index}\""), format!("/case-{index};")];
        let is_about = |line: &&str| names.iter().any(|name| line.contains(name));
        self.refusals.lines().find(is_about).unwrap_or("refused")
    }
}

fn dry_run(cases: Vec<Case>) -> (Vec<Case>, Seen) {
    let mut seen = Seen {
        taken: BTreeSet::new(),
        refusals: String::new(),
    };
    for (batch, part) in cases.chunks(BATCH).enumerate() {
        let named = |(index, case): (usize, &Case)| {
            let mut object = case.object.clone();
            object["metadata"]["name"] = format!("case-{}", batch * BATCH + index).into();
            object.to_string()
        };
        let objects: Vec<_> = part.iter().enumerate().map(named).collect();
        let apply = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
        let answer = server().kubectl(&apply, &objects.join("\n---\n"));
        // NAME serverside-applied (server dry run)
        let taken = answer.stdout.lines().filter_map(|line| {
            let (_, rest) = line.split_once("/case-")?;
            rest.split(' ').next()?.parse::<usize>().ok()
        });
        seen.taken.extend(taken);
        assert!(
            answer.stdout.lines().count() + answer.stderr.lines().count() >= part.len(),
            "not every case was looked at:\n{}",
            answer.stderr
        );
        seen.refusals.push_str(&answer.stderr);
    }
    (cases, seen)
}

fn check(object: &Value) -> Result<(), String> {
    let parsed = documents::parse("case", &object.to_string());
    let mut documents = parsed.map_err(|violations| violations.to_string())?;
    if !documents.providers.is_empty() {
        add_references(&mut documents);
    }
    let options = Options {
        allow_loopback: true,
        built_in_ca: false,
        trust_domain: "cluster.local".to_owned(),
    };
    let valid = match documents.providers.first() {
        Some(provider) => validate_provider(&documents, provider, &options).map(drop),
        None => validate(&documents, None, &options).map(|gateway| drop(build(gateway))),
    };
    valid.map_err(|violations| violations.to_string())
}

/// What good providers refer to.
fn add_references(documents: &mut Documents) {
    static AUTHORITY: OnceLock<String> = OnceLock::new();
    let authority = AUTHORITY.get_or_init(|| TestAuthority::new().pem().to_owned());
    let values = ["id", "key", "token"].map(|key| (key.to_owned(), "value".to_owned().into()));
    let hosts = "gw.example.com,idp.example.com,127.0.0.1:8000";
    let secret = SecretDocument::new("default", "secret", "Opaque", values.into());
    documents
        .secrets
        .push(secret.allowing(Some(hosts.to_owned())));
    documents.config_maps.push(ConfigMapDocument {
        namespace: "default".to_owned(),
        name: "ca".to_owned(),
        data: [("ca.crt".to_owned(), authority.as_bytes().to_vec())].into(),
        origin: Default::default(),
    });
}
