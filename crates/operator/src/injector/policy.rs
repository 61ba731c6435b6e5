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

use serde_json::{Value, json};
use sidegate_api::names::{
    API_VERSION, GATEWAY_KIND, HEALTH_PORT, INJECTION_ENABLED, INJECTION_LABEL,
};

use crate::manifests::NAMESPACE;
use crate::trust_bundles::CONFIG_MAP;

use super::names::{
    BINARY, CONTAINERS, HOLD, HOLD_DIR, HOLD_SOCKET, HOLD_VOLUME, INJECTED_ANNOTATION,
    PRIVATE_VOLUMES, RUN_DIR, SIDECAR, STATE_DIR, STATE_VOLUME, TOKEN_DIR, TOKEN_VOLUME, TRUST_DIR,
    TRUST_VOLUME,
};
use super::settings::USER_ID;

/// Name of the policy and of its binding.
pub const NAME: &str = "sidecars.sidegate.dev";

/// Namespaces of the system itself, which no label opts in.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-node-lease", "kube-public", "kube-system"];

const LABELS: &str = "has(object.metadata.labels) ? object.metadata.labels : {}";

/// Whether the gateway selects the pod. An operator that is newer than this
/// policy selects: better a pod too few than one unguarded.
const SELECTED: &str = "\
(!has(params.spec.selector.matchLabels) ||
  params.spec.selector.matchLabels.all(k,
    k in variables.labels && variables.labels[k] == params.spec.selector.matchLabels[k])) &&
(!has(params.spec.selector.matchExpressions) ||
  params.spec.selector.matchExpressions.all(e,
    e.operator == 'In' ?
      e.key in variables.labels && has(e.values) && variables.labels[e.key] in e.values :
    e.operator == 'NotIn' ?
      !(e.key in variables.labels) || !has(e.values) || !(variables.labels[e.key] in e.values) :
    e.operator == 'DoesNotExist' ?
      !(e.key in variables.labels) :
    e.operator != 'Exists' || e.key in variables.labels))";

/// Whether this request decides about the sidecar.
const JUDGED: &str = "\
request.operation == 'CREATE' || (!has(object.metadata.deletionTimestamp) && (
  (has(oldObject.metadata.labels) ? oldObject.metadata.labels : {}) != variables.labels ||
  (has(oldObject.spec.initContainers) ? oldObject.spec.initContainers : []) !=
    variables.inits))";

const INITS: &str = "has(object.spec.initContainers) ? object.spec.initContainers : []";

/// What makes an init container a hardened native sidecar that runs its
/// image's own program; beside these its user, in [`hardened`]. Pod Security
/// `restricted` is not everywhere.
const HARDENED: &str = "\
has(c.restartPolicy) && c.restartPolicy == 'Always' &&
!has(c.command) && !has(c.envFrom) && has(c.args) &&
has(c.securityContext) &&
has(c.securityContext.runAsNonRoot) && c.securityContext.runAsNonRoot &&
has(c.securityContext.readOnlyRootFilesystem) && c.securityContext.readOnlyRootFilesystem &&
has(c.securityContext.allowPrivilegeEscalation) && !c.securityContext.allowPrivilegeEscalation &&
(!has(c.securityContext.privileged) || !c.securityContext.privileged) &&
has(c.securityContext.capabilities) &&
has(c.securityContext.capabilities.drop) && 'ALL' in c.securityContext.capabilities.drop &&
!has(c.securityContext.capabilities.add)";

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

/// The ports that the sidecar shares with servers, as the holder's arguments
/// have them.
const HELD_PORTS: &str = "\
(has(params.spec.servers) ? params.spec.servers : [])
  .filter(s, !has(s.exposure) || s.exposure == 'SamePort').map(s, string(s.port))";

fn hardened(user_id: u32) -> String {
    format!(
        "{HARDENED} &&\nhas(c.securityContext.runAsUser) && \
         c.securityContext.runAsUser == {user_id} &&\n{}",
        mounts()
    )
}

/// Our volumes are where they belong. Others may be mounted, as webhooks add
/// them to every container, but not where they hide ours or the program.
fn mounts() -> String {
    let places = [
        (TOKEN_VOLUME, TOKEN_DIR),
        (TRUST_VOLUME, TRUST_DIR),
        (STATE_VOLUME, STATE_DIR),
        (HOLD_VOLUME, HOLD_DIR),
    ];
    let places = places.map(|(volume, path)| format!("'{volume}': '{path}'"));
    let (run, own) = (
        RUN_DIR.trim_start_matches('/'),
        BINARY.trim_start_matches('/'),
    );
    let parent = run.split('/').next().unwrap_or_default();
    let run = run.replace('/', "/+");
    format!(
        "has(c.volumeMounts) && c.volumeMounts.all(m, m.name in {{{places}}} ?\n  \
         {{{places}}}[m.name] == m.mountPath && !has(m.subPath) && !has(m.subPathExpr) :\n  \
         !m.mountPath.matches('^/*(({parent}|{run}(/.*)?|{own}(/.*)?)/*)?$') &&\n  \
         !m.mountPath.matches('(^|/)[.][.]?(/|$)'))",
        places = places.join(", ")
    )
}

/// Our volumes are of the kinds that the injector makes: another kind could be
/// read or written from elsewhere, or bring a token of another pod.
fn volumes() -> String {
    format!(
        "(has(object.spec.volumes) ? object.spec.volumes : []).all(v,\n  \
         v.name == '{TOKEN_VOLUME}' ? has(v.projected) && has(v.projected.sources) &&\n    \
         v.projected.sources.all(s, has(s.serviceAccountToken)) :\n  \
         v.name == '{TRUST_VOLUME}' ? has(v.configMap) && v.configMap.name == '{CONFIG_MAP}' :\n  \
         !(v.name in ['{STATE_VOLUME}', '{HOLD_VOLUME}']) ||\n    \
         (has(v.emptyDir) && has(v.emptyDir.medium) && v.emptyDir.medium == 'Memory'))"
    )
}

/// The sidecar is started with what the injector gives it and nothing else:
/// other flags say where its trust, its token and its configuration are.
fn arguments() -> String {
    format!(
        "c.args.size() > 2 && c.args[0] == 'run' && c.args[1] == '--control-plane' &&\n\
         c.args[2].startsWith('https://') &&\n\
         c.args.filter(a, a == '--control-plane').size() == 1 &&\n\
         c.args.all(a, !a.startsWith('-') || a in \
         ['--control-plane', '--trust-domain', '--log-level', '--hold']) &&\n\
         (!('--hold' in c.args) || '{HOLD_SOCKET}' in c.args)"
    )
}

/// A container that joins later must not be the sidecar's user, by which
/// foreign listeners are told, nor see its processes: with the same user it
/// could read its key. An image that names the user by itself cannot be told
/// from here; without the processes it gets no key.
///
/// Under `shareProcessNamespace`, of which the injector warns, other users see
/// the processes and cannot look into them, but root can. Where Pod Security
/// is `restricted` nobody is root; elsewhere whoever owns the pod is trusted.
fn ephemeral(user_id: u32) -> String {
    let ours = CONTAINERS.map(|it| format!("'{it}'")).join(", ");
    format!(
        "request.subResource != 'ephemeralcontainers' || !has(object.spec.ephemeralContainers) ||\n\
         object.spec.ephemeralContainers.all(c,\n  \
         (!has(c.targetContainerName) || !(c.targetContainerName in [{ours}])) &&\n  \
         (!has(c.securityContext) || !has(c.securityContext.runAsUser) || \
         c.securityContext.runAsUser != {user_id}))"
    )
}

fn injected_by_this() -> String {
    format!(
        "has(object.metadata.annotations) && '{INJECTED_ANNOTATION}' in object.metadata.annotations \
         &&\nobject.metadata.annotations['{INJECTED_ANNOTATION}']\
         .startsWith(params.metadata.uid + '/')"
    )
}

fn named(name: &str) -> String {
    format!("variables.inits.filter(c, c.name == '{name}')")
}

/// The volume mounts of every container that is not ours.
fn others() -> String {
    let foreign = format!("c.name != '{SIDECAR}' && c.name != '{HOLD}'");
    let private = PRIVATE_VOLUMES.map(|it| format!("'{it}'")).join(", ");
    let clean = format!(
        "all(c, !({foreign}) || !has(c.volumeMounts) ||\n  \
         c.volumeMounts.all(m, !(m.name in [{private}])))"
    );
    format!(
        "object.spec.containers.{clean} &&\nvariables.inits.{clean} &&\n\
         (!has(object.spec.ephemeralContainers) ||\n object.spec.ephemeralContainers.{clean})"
    )
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

/// A CEL string of any text.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
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
