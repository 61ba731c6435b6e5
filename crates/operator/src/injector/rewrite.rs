//! Points the probes of guarded ports at the sidecar.
//!
//! Timing stays where it is; only the handler of a probe is exchanged. Probes
//! of other ports, probes that run a program, and probes of another host are
//! not touched.

use serde_json::{Value, json};
use sidegate_api::names::HEALTH_PORT;
use sidegate_config::probes::{
    Check, HttpHeader, InvalidProbes, RewrittenProbe, RewrittenProbes, Scheme, Target,
};

use super::error::InjectError;
use super::patch::{Patch, Pointer};
use super::pod::{Container, Object, Pod, port_number, text};
use super::ports::GatewayPorts;

const PROBES: [(&str, Check); 3] = [
    ("livenessProbe", Check::Livez),
    ("readinessProbe", Check::Readyz),
    ("startupProbe", Check::Startupz),
];
const HOOKS: [(&str, Check); 2] = [("postStart", Check::Poststart), ("preStop", Check::Prestop)];
const HANDLERS: [&str; 5] = ["httpGet", "tcpSocket", "grpc", "exec", "sleep"];

/// What Kubernetes takes for a probe that does not say.
const DEFAULT_TIMEOUT_SECONDS: u32 = 1;
const DEFAULT_PERIOD_SECONDS: u32 = 10;

/// A probe or hook of a container.
#[derive(Debug, Clone, Copy)]
struct Site<'a> {
    container: &'a Container<'a>,
    field: &'static str,
    check: Check,
    object: &'a Object,
}

/// How a probe is written: the name of its handler and what that says.
#[derive(Debug, Clone, Copy)]
struct Handler<'a> {
    key: &'static str,
    object: &'a Object,
}

/// Adds the operations; returns what the sidecar has to run, with what it
/// knew before.
pub(super) fn probes(
    pod: &Pod<'_>,
    ports: &GatewayPorts,
    mut known: RewrittenProbes,
    patch: &mut Patch,
    warnings: &mut Vec<String>,
) -> Result<RewrittenProbes, InjectError> {
    for container in pod.long_running() {
        let lifecycle = container.object.get("lifecycle").and_then(Value::as_object);
        let probes = sites(container, container.object, &PROBES);
        let hooks = lifecycle.map(|it| sites(container, it, &HOOKS));
        for site in probes.chain(hooks.into_iter().flatten()) {
            let Some(handler) = site.handler() else {
                continue;
            };
            if is_rewritten(&site, handler, &known)? {
                continue;
            }
            let Some(target) = handler.target(container) else {
                continue;
            };
            if ports.guarded.contains(&target.port()) {
                warnings.extend(site.lost_fields(handler));
                site.exchange(handler, patch);
                known.insert(container.name, site.check, site.rewritten(target));
            } else if target.port() != HEALTH_PORT && ports.own.contains(&target.port()) {
                warnings.push(format!(
                    "{} of container `{}` asks port {} of the sidecar, which wants to know who \
                     asks: ask the server's own port",
                    site.field,
                    container.name,
                    target.port()
                ));
            }
        }
    }
    Ok(known)
}

fn sites<'a>(
    container: &'a Container<'a>,
    parent: &'a Object,
    fields: &'static [(&'static str, Check)],
) -> impl Iterator<Item = Site<'a>> {
    fields.iter().filter_map(move |(field, check)| {
        Some(Site {
            container,
            field,
            check: *check,
            object: parent.get(*field)?.as_object()?,
        })
    })
}

/// Whether an earlier injection exchanged the probe. One that only looks so
/// would ask the sidecar for something that it does not know, for ever.
fn is_rewritten(
    site: &Site<'_>,
    handler: Handler<'_>,
    known: &RewrittenProbes,
) -> Result<bool, InvalidProbes> {
    let path = match (handler.key, text(handler.object, "path")) {
        ("httpGet", Some(path)) if RewrittenProbes::is_path(path) => path,
        _ => return Ok(false),
    };
    if site.container.port(handler.object) != Some(HEALTH_PORT) {
        return Ok(false);
    }
    let own = RewrittenProbes::path(site.container.name, site.check);
    if path == own && known.find(path).is_some() {
        return Ok(true);
    }
    Err(InvalidProbes::Unknown {
        container: site.container.name.to_owned(),
        field: site.field,
        path: path.chars().take(128).collect(),
    })
}

// === impl Site ===

impl<'a> Site<'a> {
    fn is_hook(&self) -> bool {
        matches!(self.check, Check::Poststart | Check::Prestop)
    }

    fn place(&self) -> Pointer {
        if self.is_hook() {
            self.container.place.key("lifecycle").key(self.field)
        } else {
            self.container.place.key(self.field)
        }
    }

    /// The one handler that a sidecar can run. A probe with none or several is
    /// refused by the API server; a hook knows `httpGet` only.
    fn handler(&self) -> Option<Handler<'a>> {
        let mut set = HANDLERS
            .iter()
            .filter(|key| self.object.get(**key).is_some_and(|it| !it.is_null()));
        let (key, None) = (*set.next()?, set.next()) else {
            return None;
        };
        let runs = match key {
            "httpGet" => true,
            "tcpSocket" | "grpc" => !self.is_hook(),
            _ => false,
        };
        let object = self.object.get(key)?.as_object()?;
        runs.then_some(Handler { key, object })
    }

    fn exchange(&self, handler: Handler<'_>, patch: &mut Patch) {
        let place = self.place();
        let asked = json!({
            "path": RewrittenProbes::path(self.container.name, self.check),
            "port": HEALTH_PORT,
        });
        if handler.key == "httpGet" {
            patch.replace(place.key("httpGet"), asked);
        } else {
            patch.remove(place.key(handler.key));
            patch.add(place.key("httpGet"), asked);
        }
    }

    fn rewritten(&self, target: Target) -> RewrittenProbe {
        let seconds = |key, default| {
            let written = self.object.get(key).and_then(Value::as_u64);
            let written = written.and_then(|it| u32::try_from(it).ok());
            let timed = !self.is_hook();
            timed.then(|| written.filter(|it| *it > 0).unwrap_or(default))
        };
        RewrittenProbe {
            target,
            timeout_seconds: seconds("timeoutSeconds", DEFAULT_TIMEOUT_SECONDS),
            period_seconds: seconds("periodSeconds", DEFAULT_PERIOD_SECONDS),
        }
    }

    /// A field that is newer than this program cannot be handed on.
    fn lost_fields(&self, handler: Handler<'_>) -> Option<String> {
        let known: &[&str] = match handler.key {
            "httpGet" => &["path", "port", "host", "scheme", "httpHeaders"],
            "tcpSocket" => &["port", "host"],
            _ => &["port", "service"],
        };
        let lost = handler
            .object
            .keys()
            .find(|it| !known.contains(&it.as_str()));
        lost.map(|lost| {
            let lost: String = lost.chars().take(64).collect();
            format!(
                "`{lost}` in {} of container `{}` is not known to the sidecar, which probes \
                 without it",
                self.field, self.container.name
            )
        })
    }
}

// === impl Handler ===

impl Handler<'_> {
    /// What it asks of the container, unless it asks another host.
    fn target(&self, container: &Container<'_>) -> Option<Target> {
        if text(self.object, "host").is_some() {
            return None;
        }
        let port = container.port(self.object)?;
        Some(match self.key {
            "httpGet" => Target::Http {
                port,
                path: absolute(text(self.object, "path").unwrap_or_default()),
                scheme: match text(self.object, "scheme") {
                    Some("HTTPS") => Scheme::Https,
                    _ => Scheme::Http,
                },
                headers: self.headers(),
            },
            "tcpSocket" => Target::Tcp { port },
            _ => Target::Grpc {
                port,
                service: text(self.object, "service").map(str::to_owned),
            },
        })
    }

    fn headers(&self) -> Vec<HttpHeader> {
        let headers = self.object.get("httpHeaders").and_then(Value::as_array);
        headers
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .filter_map(|it| {
                Some(HttpHeader {
                    name: text(it, "name")?.to_owned(),
                    value: text(it, "value").unwrap_or_default().to_owned(),
                })
            })
            .collect()
    }
}

/// The kubelet puts a slash before a path that has none.
fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

// === impl Container ===

impl Container<'_> {
    /// The port that a handler means: a number, the name of a port of the same
    /// container, or a number in a text, in the kubelet's order.
    fn port(&self, handler: &Object) -> Option<u16> {
        let port = handler.get("port")?;
        let Some(name) = port.as_str() else {
            return port_number(port);
        };
        let named = self.ports().find(|it| it.name == Some(name));
        named
            .map(|it| it.number)
            .or_else(|| name.parse().ok().filter(|it| *it != 0))
    }
}
