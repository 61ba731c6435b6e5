//! What the admission policy asks of a pod, in CEL.

use super::super::names::{
    BINARY, CONTAINERS, HOLD, HOLD_DIR, HOLD_SOCKET, HOLD_VOLUME, INJECTED_ANNOTATION,
    PRIVATE_VOLUMES, RUN_DIR, SIDECAR, STATE_DIR, STATE_VOLUME, TOKEN_DIR, TOKEN_VOLUME, TRUST_DIR,
    TRUST_VOLUME,
};
use crate::names::TRUST_CONFIG_MAP;

pub(super) const LABELS: &str = "has(object.metadata.labels) ? object.metadata.labels : {}";

/// Whether the gateway selects the pod. An operator that is newer than this
/// policy selects: better a pod too few than one unguarded.
pub(super) const SELECTED: &str = "\
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
pub(super) const JUDGED: &str = "\
request.operation == 'CREATE' || (!has(object.metadata.deletionTimestamp) && (
  (has(oldObject.metadata.labels) ? oldObject.metadata.labels : {}) != variables.labels ||
  (has(oldObject.spec.initContainers) ? oldObject.spec.initContainers : []) !=
    variables.inits))";

pub(super) const INITS: &str = "has(object.spec.initContainers) ? object.spec.initContainers : []";

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

/// The ports that the sidecar shares with servers, as the holder's arguments
/// have them.
pub(super) const HELD_PORTS: &str = "\
(has(params.spec.servers) ? params.spec.servers : [])
  .filter(s, !has(s.exposure) || s.exposure == 'SamePort').map(s, string(s.port))";

pub(super) fn hardened(user_id: u32) -> String {
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
pub(super) fn volumes() -> String {
    format!(
        "(has(object.spec.volumes) ? object.spec.volumes : []).all(v,\n  \
         v.name == '{TOKEN_VOLUME}' ? has(v.projected) && has(v.projected.sources) &&\n    \
         v.projected.sources.all(s, has(s.serviceAccountToken)) :\n  \
         v.name == '{TRUST_VOLUME}' ? has(v.configMap) && v.configMap.name == '{TRUST_CONFIG_MAP}' :\n  \
         !(v.name in ['{STATE_VOLUME}', '{HOLD_VOLUME}']) ||\n    \
         (has(v.emptyDir) && has(v.emptyDir.medium) && v.emptyDir.medium == 'Memory'))"
    )
}

/// The sidecar is started with what the injector gives it and nothing else:
/// other flags say where its trust, its token and its configuration are.
pub(super) fn arguments() -> String {
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
pub(super) fn ephemeral(user_id: u32) -> String {
    let ours = CONTAINERS.map(|it| format!("'{it}'")).join(", ");
    format!(
        "request.subResource != 'ephemeralcontainers' || !has(object.spec.ephemeralContainers) ||\n\
         object.spec.ephemeralContainers.all(c,\n  \
         (!has(c.targetContainerName) || !(c.targetContainerName in [{ours}])) &&\n  \
         (!has(c.securityContext) || !has(c.securityContext.runAsUser) || \
         c.securityContext.runAsUser != {user_id}))"
    )
}

pub(super) fn injected_by_this() -> String {
    format!(
        "has(object.metadata.annotations) && '{INJECTED_ANNOTATION}' in object.metadata.annotations \
         &&\nobject.metadata.annotations['{INJECTED_ANNOTATION}']\
         .startsWith(params.metadata.uid + '/')"
    )
}

pub(super) fn named(name: &str) -> String {
    format!("variables.inits.filter(c, c.name == '{name}')")
}

/// The volume mounts of every container that is not ours.
pub(super) fn others() -> String {
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

/// A CEL string of any text.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
