//! The conversation with the API server: an `AdmissionReview` of
//! `admission.k8s.io/v1` in, one out.
//!
//! Bytes in, bytes out. What cannot be read is refused, never let through: the
//! webhook guards what is created, and a pod that it did not understand is a
//! pod that nobody guards. The answer tells nothing but what the request holds.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::error::{InjectError, Unguardable};
use super::pod::is_dns_label;
use super::{
    Gateway, Injection, InjectorSettings, inject, inject_identity, strict_json, wants_identity,
};

/// Longest request. The API server stores no object over 1.5 MiB, and sends the
/// object once. A server reads no more than this, and one byte.
pub const MAX_REVIEW_BYTES: usize = 3 * 1024 * 1024;
/// Most JSON values in a request: a pod of 1.5 MiB has fewer.
const MAX_VALUES: usize = 200_000;
const MAX_UID_BYTES: usize = 128;
/// The API server shows at most 4 KiB of warnings, and asks for short ones.
const MAX_WARNINGS: usize = 8;
const MAX_WARNING_BYTES: usize = 256;
const MAX_MESSAGE_BYTES: usize = 2048;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Which gateway a pod has.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// No gateway selects the pod.
    NoGateway,
    /// This one does; of several, the oldest.
    Gateway(Gateway),
    /// This one has the pod, or might: it cannot be read.
    Unreadable {
        /// Its name.
        gateway: String,
        /// What cannot be read.
        problem: String,
    },
    /// The gateways could not be read; the text says why, to people who may
    /// create pods.
    Unavailable(String),
}

/// How a review ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The pod needs nothing.
    Untouched,
    /// The pod has all that it needs already.
    Present,
    /// The pod gets a sidecar.
    Injected,
    /// The pod is refused for what it is.
    Refused,
    /// The pod is refused because its gateway cannot be known.
    Unavailable,
    /// The request is no review.
    Unreadable,
}

/// The answer to a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status that says the same.
    pub status: u16,
    /// An `AdmissionReview`.
    pub body: Vec<u8>,
}

/// A request that was read.
#[derive(Debug)]
pub struct Review {
    uid: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    /// None when there is nothing to inject: not a creation.
    pod: Option<Value>,
}

/// A request that was not read, and the answer to it.
#[derive(Debug)]
pub struct Unreadable {
    uid: String,
    code: u16,
    message: String,
}

/// Answers one review. `lookup` is asked for the gateway of a pod with these
/// labels in this namespace, unless the answer is clear without it.
pub fn review(
    body: &[u8],
    settings: &InjectorSettings,
    lookup: impl FnOnce(&BTreeMap<String, String>, &str) -> Lookup,
) -> Answer {
    match Review::read(body) {
        Ok(review) if review.needs_gateway() => {
            let gateway = lookup(review.labels(), review.namespace());
            review.answer(&gateway, settings)
        }
        Ok(review) => review.answer(&Lookup::NoGateway, settings),
        Err(unreadable) => unreadable.answer(),
    }
}

// === impl Review ===

impl Review {
    /// Reads a request.
    ///
    /// # Errors
    /// [`Unreadable`] when it is too long, not JSON that has one meaning, or not
    /// a question about a pod.
    pub fn read(body: &[u8]) -> Result<Self, Unreadable> {
        if body.len() > MAX_REVIEW_BYTES {
            let message = format!("the review is longer than {MAX_REVIEW_BYTES} bytes");
            return Err(Unreadable::new("", 413, message));
        }
        let mut body = strict_json::parse(body, MAX_VALUES)
            .map_err(|it| Unreadable::new("", 400, format!("not a review in JSON: {it}")))?;
        let mut request = match body.get_mut("request").map(Value::take) {
            Some(Value::Object(request)) => request,
            _ => return Err(Unreadable::new("", 400, "`request` is not an object")),
        };
        let uid = uid(&request).ok_or_else(|| Unreadable::new("", 400, "`uid` is missing"))?;
        let refuse = |message: &str| Unreadable::new(&uid, 400, message);
        if !is_text(&body, "apiVersion", API_VERSION) || !is_text(&body, "kind", KIND) {
            return Err(refuse(
                "this is not an AdmissionReview of admission.k8s.io/v1",
            ));
        }
        if !is_about_a_pod(&request) {
            return Err(refuse("the question is not about a v1 Pod"));
        }
        let namespace = text(&request, "namespace").ok_or_else(|| refuse("no namespace"))?;
        // It becomes a part of a path at the API server.
        if !is_dns_label(namespace) {
            return Err(refuse("`namespace` is not the name of one"));
        }
        let mut review = Self {
            namespace: namespace.to_owned(),
            labels: BTreeMap::new(),
            pod: None,
            uid: uid.clone(),
        };
        match text(&request, "operation") {
            Some("CREATE") => {}
            // Nothing can be injected later; the admission policy watches.
            Some("UPDATE" | "DELETE" | "CONNECT") => return Ok(review),
            _ => return Err(refuse("`operation` is missing")),
        }
        let pod = request.remove("object").filter(Value::is_object);
        let pod = pod.ok_or_else(|| refuse("`object` is not a pod"))?;
        review.labels = labels(&pod).ok_or_else(|| refuse("the pod's labels are not texts"))?;
        review.pod = Some(pod);
        Ok(review)
    }

    /// Whether the answer depends on a gateway.
    #[must_use]
    pub fn needs_gateway(&self) -> bool {
        self.pod.is_some()
    }

    /// The namespace of the pod.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The labels of the pod.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Answers it.
    #[must_use]
    pub fn answer(&self, lookup: &Lookup, settings: &InjectorSettings) -> Answer {
        let uid = &self.uid;
        let Some(pod) = &self.pod else {
            return answer(Outcome::Untouched, &allowed(uid));
        };
        match lookup {
            Lookup::NoGateway if wants_identity(pod) => match inject_identity(pod, settings) {
                Ok(injection) => injected(uid, &injection),
                Err(error) => {
                    let denied = denied(uid, code(&error), &error.to_string());
                    answer(Outcome::Refused, &denied)
                }
            },
            Lookup::NoGateway => answer(Outcome::Untouched, &allowed(uid)),
            Lookup::Gateway(gateway) => match inject(pod, gateway, settings) {
                Ok(injection) => injected(uid, &injection),
                Err(error) => {
                    let message = format!("McpGateway {} selects this pod: {error}", gateway.name);
                    answer(Outcome::Refused, &denied(uid, code(&error), &message))
                }
            },
            Lookup::Unreadable { gateway, problem } => {
                let message = format!(
                    "McpGateway {gateway} may select this pod and cannot be read, so the pod would \
                     have no guard: mend or delete the gateway ({problem})"
                );
                answer(Outcome::Unavailable, &denied(uid, 403, &message))
            }
            Lookup::Unavailable(reason) => {
                let message = format!("the McpGateways could not be read, try again: {reason}");
                answer(Outcome::Unavailable, &denied(uid, 503, &message))
            }
        }
    }
}

// === impl Unreadable ===

impl Unreadable {
    fn new(uid: &str, code: u16, message: impl Into<String>) -> Self {
        Self {
            uid: uid.to_owned(),
            code,
            message: message.into(),
        }
    }

    /// The answer: a refusal.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let refusal = denied(&self.uid, self.code, &self.message);
        Answer {
            status: self.code,
            ..answer(Outcome::Unreadable, &refusal)
        }
    }
}

// === reading ===

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let text = object.get(key).and_then(Value::as_str);
    text.filter(|it| !it.is_empty())
}

fn is_text(object: &Value, key: &str, wanted: &str) -> bool {
    object.get(key).and_then(Value::as_str) == Some(wanted)
}

fn uid(request: &Map<String, Value>) -> Option<String> {
    let uid = text(request, "uid").filter(|it| it.len() <= MAX_UID_BYTES);
    uid.map(str::to_owned)
}

fn is_about_a_pod(request: &Map<String, Value>) -> bool {
    let is = |field: &str, name: &str, wanted: &str| {
        request.get(field).is_some_and(|it| {
            let core = it.get("group").is_none_or(|it| it.as_str() == Some(""));
            core && is_text(it, "version", "v1") && is_text(it, name, wanted)
        })
    };
    is("kind", "kind", "Pod")
        && is("resource", "resource", "pods")
        && text(request, "subResource").is_none()
}

fn labels(pod: &Value) -> Option<BTreeMap<String, String>> {
    match pod.get("metadata").and_then(|it| it.get("labels")) {
        None | Some(Value::Null) => Some(BTreeMap::new()),
        Some(Value::Object(labels)) => labels
            .iter()
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        Some(_) => None,
    }
}

// === answering ===

/// What the API server's own refusals of such pods have.
fn code(error: &InjectError) -> u16 {
    match error {
        InjectError::Unguardable(
            Unguardable::HostNetwork
            | Unguardable::Windows
            | Unguardable::StaticPod
            | Unguardable::SameUser(_),
        )
        | InjectError::NoIdentity(_)
        | InjectError::NameTaken { .. }
        | InjectError::Altered { .. }
        | InjectError::PortTaken { .. }
        | InjectError::ForeignMount { .. } => 403,
        InjectError::Malformed { .. } => 400,
        InjectError::TooMany { .. } | InjectError::Override(_) | InjectError::Probes(_) => 422,
    }
}

fn allowed(uid: &str) -> Value {
    json!({ "uid": uid, "allowed": true })
}

fn denied(uid: &str, code: u16, message: &str) -> Value {
    let message = shortened(message, MAX_MESSAGE_BYTES);
    json!({ "uid": uid, "allowed": false, "status": { "code": code, "message": message } })
}

fn injected(uid: &str, injection: &Injection) -> Answer {
    let outcome = match injection.patch.is_empty() {
        true => Outcome::Present,
        false => Outcome::Injected,
    };
    answer(outcome, &with_patch(uid, injection))
}

fn with_patch(uid: &str, injection: &Injection) -> Value {
    let mut response = Map::new();
    response.insert("uid".to_owned(), uid.into());
    response.insert("allowed".to_owned(), true.into());
    if !injection.patch.is_empty() {
        let Ok(patch) = serde_json::to_vec(&injection.patch) else {
            return denied(uid, 500, "the patch cannot be written");
        };
        response.insert("patchType".to_owned(), "JSONPatch".into());
        response.insert("patch".to_owned(), BASE64_STANDARD.encode(patch).into());
    }
    if !injection.warnings.is_empty() {
        let warnings = injection.warnings.iter().take(MAX_WARNINGS);
        let warnings: Vec<_> = warnings
            .map(|it| shortened(it, MAX_WARNING_BYTES))
            .collect();
        response.insert("warnings".to_owned(), warnings.into());
    }
    response.into()
}

fn shortened(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

fn answer(outcome: Outcome, response: &Value) -> Answer {
    let review = json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response });
    Answer {
        outcome,
        status: 200,
        body: review.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests;
