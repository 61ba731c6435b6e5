//! Every field on its own: one change to a good document, and both who read
//! it agree. Every rule of the definitions is provoked by some change.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::Value;
use sidegate_config::{Options, build, documents, validate};

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
    let (cases, seen) = gateways();
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
fn providers_are_taken_and_refused_as_they_should() {
    let (cases, seen) = providers();
    for (index, case) in cases.iter().enumerate() {
        let expected = matches!(case.verdict, Verdict::Taken);
        let taken = seen.taken.contains(&index);
        let said = seen.about(index);
        assert_eq!(taken, expected, "{} = {}: {said}", case.field, case.value);
    }
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
    let documents = documents::parse("case", &object.to_string()).map_err(|it| it.to_string())?;
    let options = Options {
        allow_loopback: true,
        built_in_ca: false,
        trust_domain: "cluster.local".to_owned(),
    };
    validate(&documents, None, &options)
        .map(|gateway| drop(build(gateway)))
        .map_err(|violations| violations.to_string())
}
