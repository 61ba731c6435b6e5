//! The containers and volumes that a pod gets.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use sidegate_api::names::{HEALTH_PORT, TOKEN_AUDIENCE};
use sidegate_config::probes::{InvalidProbes, PROBES_VARIABLE, RewrittenProbes};

use super::names::{
    BINARY, HOLD, HOLD_DIR, HOLD_SOCKET, HOLD_VOLUME, IDENTITY, IDENTITY_DIR, IDENTITY_VOLUME,
    POD_VARIABLES, SIDECAR, STATE_DIR, STATE_VOLUME, TOKEN_DIR, TOKEN_VOLUME, TRUST_DIR,
    TRUST_VOLUME,
};
use super::overrides::Overrides;
use super::patch::{Patch, Pointer};
use super::pod::Pod;
use super::ports::GatewayPorts;
use super::{InjectorSettings, LogLevel, SidecarResources};

/// Bytes of the hash in the annotation.
const HASH_BYTES: usize = 8;
/// Key, certificate, bundle and the last good snapshot.
const STATE_SIZE: &str = "16Mi";
const HOLD_SIZE: &str = "1Mi";
/// Two generations of three small files.
const IDENTITY_SIZE: &str = "1Mi";

#[derive(Debug)]
pub(super) struct Rendered {
    /// In the order in which they start: the port holder first, so that the
    /// sidecar finds its sockets, and both before everything else.
    pub(super) containers: Vec<Value>,
    pub(super) volumes: Vec<Value>,
}

// === impl Rendered ===

impl Rendered {
    pub(super) fn new(
        settings: &InjectorSettings,
        overrides: &Overrides,
        ports: &GatewayPorts,
        probes: &RewrittenProbes,
        drain_seconds: u64,
    ) -> Result<Self, InvalidProbes> {
        let holds = !ports.held.is_empty();
        let mut volumes = vec![token_volume(settings), trust_volume(settings)];
        volumes.push(memory_volume(STATE_VOLUME, STATE_SIZE));
        if holds {
            volumes.push(memory_volume(HOLD_VOLUME, HOLD_SIZE));
        }
        let log_level = overrides.log_level(settings);
        let sidecar = json!({
            "name": SIDECAR,
            "image": settings.image,
            "imagePullPolicy": settings.image_pull_policy.as_str(),
            "restartPolicy": "Always",
            "args": arguments(settings, log_level, holds),
            "env": variables(probes)?,
            "ports": [health_port()],
            "startupProbe": ready_probe(1, 600),
            "readinessProbe": ready_probe(5, 2),
            "lifecycle": { "preStop": { "exec": { "command": drain_command(drain_seconds) } } },
            "resources": resources(overrides.resources(settings)),
            "securityContext": security_context(settings.user_id),
            "volumeMounts": mounts(holds),
        });
        let hold = holds.then(|| hold(settings, ports));
        Ok(Self {
            containers: hold.into_iter().chain([sidecar]).collect(),
            volumes,
        })
    }

    /// For a pod without a gateway that wants an identity.
    pub(super) fn identity(settings: &InjectorSettings, overrides: &Overrides) -> Self {
        let arguments = [
            "identity",
            "--control-plane",
            &settings.control_plane,
            "--files",
            IDENTITY_DIR,
            "--log-level",
            overrides.log_level(settings).as_str(),
        ];
        let keeper = json!({
            "name": IDENTITY,
            "image": settings.image,
            "imagePullPolicy": settings.image_pull_policy.as_str(),
            "restartPolicy": "Always",
            "args": arguments,
            "ports": [health_port()],
            // Nothing of the pod starts before there are files.
            "startupProbe": ready_probe(1, 600),
            "resources": resources(overrides.resources(settings)),
            "securityContext": security_context(settings.user_id),
            "volumeMounts": [
                { "name": TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": true },
                { "name": TRUST_VOLUME, "mountPath": TRUST_DIR, "readOnly": true },
                { "name": IDENTITY_VOLUME, "mountPath": IDENTITY_DIR },
            ],
        });
        Self {
            containers: vec![keeper],
            volumes: vec![
                token_volume(settings),
                trust_volume(settings),
                memory_volume(IDENTITY_VOLUME, IDENTITY_SIZE),
            ],
        }
    }

    pub(super) fn add_to(&self, pod: &Pod<'_>, patch: &mut Patch) {
        let at = Pointer::default().key("spec");
        patch.append(&at, pod.spec, "volumes", self.volumes.clone());
        // Last: it moves the init containers that other operations name.
        patch.prepend(&at, pod.spec, "initContainers", self.containers.clone());
    }

    /// Tells this form from others. The same for the same form, whatever the
    /// order of keys in memory.
    pub(super) fn hash(&self) -> String {
        let mut whole = json!([self.containers, self.volumes]);
        whole.sort_all_objects();
        let sum = digest(&SHA256, whole.to_string().as_bytes());
        let bytes = sum.as_ref().iter().take(HASH_BYTES);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The one place that knows how a sidecar is started in a pod. Paths below
/// `/run/sidegate` are the sidecar's own defaults.
fn arguments(settings: &InjectorSettings, log_level: LogLevel, holds: bool) -> Vec<String> {
    let mut arguments = vec![
        "run",
        "--control-plane",
        &settings.control_plane,
        "--trust-domain",
        &settings.trust_domain,
        "--log-level",
        log_level.as_str(),
    ];
    if holds {
        arguments.extend(["--hold", HOLD_SOCKET]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

pub(super) fn hold_arguments(ports: &GatewayPorts) -> Vec<String> {
    let fixed = ["hold", "--socket", HOLD_SOCKET].map(str::to_owned);
    let ports = ports.held.iter().map(u16::to_string);
    fixed.into_iter().chain(ports).collect()
}

fn hold(settings: &InjectorSettings, ports: &GatewayPorts) -> Value {
    json!({
        "name": HOLD,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy.as_str(),
        "restartPolicy": "Always",
        "args": hold_arguments(ports),
        "resources": {
            "requests": { "cpu": "1m", "memory": "8Mi" },
            "limits": { "memory": "16Mi" },
        },
        "securityContext": security_context(settings.user_id),
        "volumeMounts": [{ "name": HOLD_VOLUME, "mountPath": HOLD_DIR }],
    })
}

fn health_port() -> Value {
    json!({ "name": "sidegate-health", "containerPort": HEALTH_PORT, "protocol": "TCP" })
}

fn variables(probes: &RewrittenProbes) -> Result<Vec<Value>, InvalidProbes> {
    let mut variables: Vec<_> = POD_VARIABLES
        .iter()
        .map(|(name, path)| {
            let source = json!({ "fieldRef": { "apiVersion": "v1", "fieldPath": path } });
            json!({ "name": name, "valueFrom": source })
        })
        .collect();
    variables.push(json!({ "name": PROBES_VARIABLE, "value": escaped(&probes.to_json()?) }));
    Ok(variables)
}

/// Kubernetes replaces `$(NAME)` in values and reads `$$` as `$`.
pub(super) fn escaped(value: &str) -> String {
    value.replace('$', "$$")
}

/// The inverse of [`escaped`].
pub(super) fn unescaped(value: &str) -> String {
    value.replace("$$", "$")
}

/// `/readyz` says that some accepted configuration is enforced, so nothing of
/// the pod starts before there is one.
fn ready_probe(period_seconds: u32, failure_threshold: u32) -> Value {
    json!({
        "httpGet": { "path": "/readyz", "port": HEALTH_PORT, "scheme": "HTTP" },
        "periodSeconds": period_seconds,
        "timeoutSeconds": 1,
        "failureThreshold": failure_threshold,
    })
}

/// A native sidecar gets SIGTERM only after the app has exited; its `preStop`
/// runs when the pod is deleted.
fn drain_command(seconds: u64) -> Vec<String> {
    let seconds = seconds.max(1).to_string();
    [BINARY, "drain", "--timeout", &seconds]
        .map(str::to_owned)
        .to_vec()
}

fn resources(resources: SidecarResources) -> Value {
    let SidecarResources {
        cpu_request,
        cpu_limit,
        memory_request,
        memory_limit,
    } = resources;
    let mut limits = json!({ "memory": memory_limit.to_string() });
    if let (Some(cpu), Some(limits)) = (cpu_limit, limits.as_object_mut()) {
        limits.insert("cpu".to_owned(), cpu.to_string().into());
    }
    let requests = json!({
        "cpu": cpu_request.to_string(),
        "memory": memory_request.to_string(),
    });
    json!({ "requests": requests, "limits": limits })
}

/// What Pod Security `restricted` asks for, and a read-only image.
fn security_context(user: u32) -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "runAsUser": user,
        "runAsGroup": user,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

fn mounts(holds: bool) -> Vec<Value> {
    let mut mounts = vec![
        json!({ "name": TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": true }),
        json!({ "name": TRUST_VOLUME, "mountPath": TRUST_DIR, "readOnly": true }),
        json!({ "name": STATE_VOLUME, "mountPath": STATE_DIR }),
    ];
    if holds {
        mounts.push(json!({ "name": HOLD_VOLUME, "mountPath": HOLD_DIR }));
    }
    mounts
}

fn token_volume(settings: &InjectorSettings) -> Value {
    let lifetime = settings
        .token_lifetime
        .max(InjectorSettings::MIN_TOKEN_LIFETIME);
    let token = json!({
        "audience": TOKEN_AUDIENCE,
        "expirationSeconds": lifetime.as_secs(),
        "path": "token",
    });
    json!({
        "name": TOKEN_VOLUME,
        "projected": { "sources": [{ "serviceAccountToken": token }] },
    })
}

fn trust_volume(settings: &InjectorSettings) -> Value {
    json!({ "name": TRUST_VOLUME, "configMap": { "name": settings.trust_bundle } })
}

fn memory_volume(name: &str, size: &str) -> Value {
    json!({ "name": name, "emptyDir": { "medium": "Memory", "sizeLimit": size } })
}
