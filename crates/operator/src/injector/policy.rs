//! The second line behind the webhook: a `ValidatingAdmissionPolicy`, which the
//! API server runs by itself.
//!
//! It refuses a pod that a gateway of its namespace selects and that has no
//! sidecar, or another one than the injector makes: because a webhook that ran
//! later took it away, or because the labels by which a gateway selects it were
//! added afterwards.
//!
//! A change of a pod is judged only when it touches labels or init containers.
//! Pods that are older than their gateway have no sidecar, and must still be
//! able to lose a finalizer and go.

mod cel;

use serde_json::{Value, json};
use sidegate_api::names::{
    API_VERSION, GATEWAY_KIND, HEALTH_PORT, INJECTION_ENABLED, INJECTION_LABEL,
};

use self::cel::{
    HELD_PORTS, INITS, JUDGED, LABELS, SELECTED, arguments, ephemeral, hardened, injected_by_this,
    named, others, quoted, volumes,
};
use super::names::{HOLD, HOLD_SOCKET, SIDECAR};
use super::settings::USER_ID;
use crate::names::NAMESPACE;

/// Name of the policy and of its binding.
pub const NAME: &str = "sidecars.sidegate.dev";

/// Namespaces of the system itself, which no label opts in.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-node-lease", "kube-public", "kube-system"];

/// What differs between the clusters that have the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionPolicy {
    /// The one image that sidecars have. None: it is not looked at when a pod is
    /// created, and cannot be changed afterwards.
    pub image: Option<String>,
    /// Namespaces that are never guarded, whatever their labels say.
    pub excluded_namespaces: Vec<String>,
    /// The user that sidecars run as.
    pub user_id: u32,
}

/// The system's namespaces and the operator's own, which are never guarded.
#[must_use]
pub fn excluded_namespaces() -> Vec<String> {
    let excluded = SYSTEM_NAMESPACES.into_iter().chain([NAMESPACE]);
    excluded.map(str::to_owned).collect()
}

/// Whether pods of the namespace are never guarded, whatever its labels say.
#[must_use]
pub fn is_excluded(namespace: &str) -> bool {
    namespace == NAMESPACE || SYSTEM_NAMESPACES.contains(&namespace)
}

/// The policy and its binding, for any image: one that were named here and in
/// the operator's arguments would refuse every pod while the two differ.
#[must_use]
pub fn manifests() -> Vec<Value> {
    AdmissionPolicy::default().manifests()
}

// === impl AdmissionPolicy ===

impl Default for AdmissionPolicy {
    fn default() -> Self {
        Self {
            image: None,
            excluded_namespaces: excluded_namespaces(),
            user_id: USER_ID,
        }
    }
}

impl AdmissionPolicy {
    /// The policy and its binding.
    #[must_use]
    pub fn manifests(&self) -> Vec<Value> {
        vec![
            policy(self.image.as_deref(), self.user_id),
            binding(&self.excluded_namespaces),
        ]
    }
}

fn policy(image: Option<&str>, user_id: u32) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": NAME },
        "spec": {
            "failurePolicy": "Fail",
            "paramKind": { "apiVersion": API_VERSION, "kind": GATEWAY_KIND },
            "matchConstraints": { "resourceRules": [
                rule("pods", &["CREATE", "UPDATE"]),
                rule("pods/ephemeralcontainers", &["UPDATE"]),
            ] },
            "variables": [
                variable("labels", LABELS),
                variable("inits", INITS),
                variable("selected", SELECTED),
                variable("judged", JUDGED),
                variable("sidecars", &named(SIDECAR)),
                variable("holds", &named(HOLD)),
                variable("heldPorts", HELD_PORTS),
                variable("injectedByThis", &injected_by_this()),
                variable("others", &others()),
            ],
            "validations": validations(image, user_id),
        },
    })
}

fn validations(image: Option<&str>, user_id: u32) -> Value {
    let unless = |condition: &str| format!("!variables.selected || {condition}");
    let judged = |condition: &str| unless(&format!("!variables.judged || ({condition})"));
    let image_is = image.map_or_else(
        || "c.image != ''".to_owned(),
        |image| format!("c.image == {}", quoted(image)),
    );
    let hardened = hardened(user_id);
    let sidecar = format!(
        "variables.sidecars.size() == 1 && variables.sidecars.all(c,\n{hardened} &&\n{arguments} &&\n\
         has(c.startupProbe) && has(c.startupProbe.httpGet) && \
         c.startupProbe.httpGet.path == '/readyz' &&\n\
         c.startupProbe.httpGet.port == {HEALTH_PORT} &&\n\
         (request.operation == 'UPDATE' || {image_is}))",
        arguments = arguments()
    );
    let hold = format!(
        "variables.holds.all(c,\n{hardened} &&\n\
         c.args.size() > 2 && c.args[0] == 'hold' && c.args[1] == '--socket' && \
         c.args[2] == '{HOLD_SOCKET}' &&\n\
         c.args.all(a, a == '--socket' || !a.startsWith('-')) &&\n\
         (request.operation == 'UPDATE' || {image_is}))"
    );
    let held = format!(
        "request.operation == 'UPDATE' || !variables.injectedByThis ||\n\
         variables.heldPorts.size() == 0 ||\n\
         variables.holds.exists(c, has(c.args) && '{HOLD_SOCKET}' in c.args && \
         variables.heldPorts.all(p, p in c.args))"
    );
    let same_image = format!(
        "request.operation == 'CREATE' || !has(oldObject.spec.initContainers) ||\n\
         oldObject.spec.initContainers.filter(o, o.name == '{SIDECAR}' || o.name == '{HOLD}').all(o,\n  \
         variables.inits.exists(c, c.name == o.name && c.image == o.image))"
    );
    json!([
        validation(
            &judged("!has(object.spec.hostNetwork) || !object.spec.hostNetwork"),
            "a pod with hostNetwork cannot be guarded: its ports are those of the node",
        ),
        validation(
            &judged("variables.sidecars.size() == 1"),
            "the pod has no sidecar: create it again while the sidegate webhook runs, and give \
             it its labels when it is created",
        ),
        validation(
            &judged(&format!("variables.sidecars.size() != 1 || ({sidecar})")),
            "the sidecar is not as the injector makes it: do not change it, and look for a \
             webhook that does",
        ),
        validation(
            &judged(&format!("{hold} &&\n({held})")),
            "the container that holds the sidecar's ports is missing or not as the injector \
             makes it: do not change it",
        ),
        validation(
            &judged(&same_image),
            "the image of the sidecar cannot be changed in a pod that runs: create the pod again",
        ),
        validation(
            &unless("variables.others"),
            "only the sidecar may mount its token, its key and its sockets",
        ),
        validation(
            &judged(&volumes()),
            "a volume of the sidecar is not as the injector makes it: do not change it, and look \
             for a webhook that does",
        ),
        validation(
            &unless(&format!("({})", ephemeral(user_id))),
            &format!(
                "an ephemeral container must not be user {user_id}, which is the sidecar's, nor \
                 target a container of ours: name another user, or another target"
            ),
        ),
    ])
}

/// The reason decides the HTTP status: Forbidden is 403.
fn validation(expression: &str, problem: &str) -> Value {
    json!({
        "expression": expression,
        "messageExpression": format!(
            "{} + params.metadata.name + {}",
            quoted("McpGateway "),
            quoted(&format!(" selects this pod, but {problem}"))
        ),
        "message": problem,
        "reason": "Forbidden",
    })
}

fn variable(name: &str, expression: &str) -> Value {
    json!({ "name": name, "expression": expression })
}

fn rule(resource: &str, operations: &[&str]) -> Value {
    json!({
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": operations,
        "resources": [resource],
        "scope": "Namespaced",
    })
}

/// Every gateway of the pod's namespace is a parameter; the pod has to please
/// each. A namespace without any guards nothing.
fn binding(excluded_namespaces: &[String]) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": NAME },
        "spec": {
            "policyName": NAME,
            "validationActions": ["Deny"],
            "paramRef": { "selector": {}, "parameterNotFoundAction": "Allow" },
            "matchResources": { "namespaceSelector": {
                "matchLabels": { INJECTION_LABEL: INJECTION_ENABLED },
                "matchExpressions": [{
                    "key": "kubernetes.io/metadata.name",
                    "operator": "NotIn",
                    "values": excluded_namespaces,
                }],
            } },
        },
    })
}

#[cfg(test)]
mod tests;
