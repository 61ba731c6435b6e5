//! Single changes to good documents, and who can know whether each is right.

mod authorization;
mod limits;
mod models;
mod servers;
mod spec;

use serde_json::{Value, json};

pub(super) use self::models::providers;

/// A changed document.
pub(super) struct Case {
    pub(super) field: String,
    pub(super) value: Value,
    pub(super) object: Value,
    pub(super) verdict: Verdict,
}

/// Who is content with a document.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// The API server and `sidegate check` take it.
    Taken,
    /// Both refuse it.
    Refused,
    /// Only `sidegate check` refuses it. Why the API server cannot know.
    OnlySidegateKnows(&'static str),
}

/// Collects the changes of one base document.
struct Cases {
    base: Value,
    cases: Vec<Case>,
}

/// The values of one field.
struct Field<'a> {
    cases: &'a mut Cases,
    pointer: String,
}

/// Changes to [`gateway`].
pub(super) fn gateways() -> Vec<Case> {
    let mut cases = Cases::new(gateway());
    spec::add(&mut cases);
    servers::add(&mut cases);
    authorization::add(&mut cases);
    limits::add(&mut cases);
    models::add(&mut cases);
    cases.cases
}

/// The smallest gateway that is served.
pub(super) fn gateway() -> Value {
    json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "McpGateway",
        "metadata": {"name": "demo", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "demo"}},
            "servers": [
                {"name": "demo", "port": 8080, "resources": ["https://demo.example.com/mcp"]},
            ],
            "tls": {"mode": "Plaintext"},
            "authentication": {"jwt": [{
                "issuer": "https://idp.example.com/",
                "jwks": {"uri": "https://idp.example.com/jwks"},
            }]},
            "authorization": {"rules": [
                {"name": "all", "tools": ["*"], "requiredScopes": ["demo:use"]},
            ]},
        },
    })
}

// === impl Cases ===

impl Cases {
    fn new(base: Value) -> Self {
        let cases = Vec::new();
        Self { base, cases }
    }

    /// A field, by its JSON pointer below `spec`.
    fn spec(&mut self, pointer: &str) -> Field<'_> {
        let pointer = format!("/spec{pointer}");
        Field {
            cases: self,
            pointer,
        }
    }
}

// === impl Field ===

impl Field<'_> {
    /// A list of values that both take.
    fn taken(self, values: &Value) -> Self {
        self.add(values, &Verdict::Taken)
    }

    /// A list of values that both refuse.
    fn refused(self, values: &Value) -> Self {
        self.add(values, &Verdict::Refused)
    }

    /// A list of values that only `sidegate check` refuses.
    fn only_sidegate_knows(self, why: &'static str, values: &Value) -> Self {
        self.add(values, &Verdict::OnlySidegateKnows(why))
    }

    /// A list with as many of these as are allowed, and one more.
    fn at_most(self, most: usize, item: impl Fn(usize) -> Value) -> Self {
        let list = |count| -> Value { (0..count).map(&item).collect() };
        self.taken(&json!([list(most)]))
            .refused(&json!([list(most + 1)]))
    }

    fn add(self, values: &Value, verdict: &Verdict) -> Self {
        for value in values.as_array().unwrap() {
            let mut object = self.cases.base.clone();
            *place(&mut object, &self.pointer) = value.clone();
            self.cases.cases.push(Case {
                field: self.pointer.clone(),
                value: value.clone(),
                object,
                verdict: verdict.clone(),
            });
        }
        self
    }
}

/// The place of a field, made when it is not there.
fn place<'a>(object: &'a mut Value, pointer: &str) -> &'a mut Value {
    let steps = pointer.split('/').skip(1);
    steps.fold(object, |at, step| match step.parse::<usize>() {
        Ok(index) => &mut at[index],
        Err(_) => &mut at[step],
    })
}

/// A list with one text in it.
fn one(text: impl Into<String>) -> Value {
    json!([text.into()])
}

/// A name with a number.
fn numbered(prefix: &str) -> impl Fn(usize) -> Value {
    let prefix = prefix.to_owned();
    move |index| json!(format!("{prefix}{index}"))
}
