//! Probes that the sidecar runs for the other containers.
//!
//! A server that listens on loopback cannot be reached by the kubelet. Its
//! probes and HTTP hooks therefore ask the sidecar's health port, at
//! `/app-health/<container>/<check>`, and the sidecar does what the pod's
//! author wrote. The originals travel in one variable of the sidecar, as the
//! JSON text of [`RewrittenProbes`].
//!
//! Whoever reaches the health port can ask these paths. A sidecar therefore
//! probes at most once per period, runs a `poststart` once, and a `prestop`
//! once and only while it drains.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The sidecar's variable with the JSON text of [`RewrittenProbes`].
pub const PROBES_VARIABLE: &str = "SIDEGATE_PROBES";
/// Longest JSON text: the kernel takes 128 KiB for one variable.
const MAX_BYTES: usize = 64 * 1024;
const PATH_PREFIX: &str = "/app-health/";

/// What the sidecar runs for each container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RewrittenProbes {
    containers: BTreeMap<String, ContainerProbes>,
}

/// What the sidecar runs for one container.
pub type ContainerProbes = BTreeMap<Check, RewrittenProbe>;

/// When the kubelet asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// `livenessProbe`.
    Livez,
    /// `readinessProbe`.
    Readyz,
    /// `startupProbe`.
    Startupz,
    /// `lifecycle.postStart`.
    Poststart,
    /// `lifecycle.preStop`.
    Prestop,
}

/// A probe or hook as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RewrittenProbe {
    /// What to ask, on loopback.
    pub target: Target,
    /// How long an answer may take; for a hook, as long as the kubelet waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// How often the kubelet asks; for a hook there is no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u32>,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Target {
    /// A GET; good are the statuses from 200 to 399.
    Http {
        /// The port of the server.
        port: u16,
        /// Path and query.
        path: String,
        /// Whether TLS is spoken. The certificate is not verified, as the
        /// kubelet would not.
        #[serde(default, skip_serializing_if = "is_http")]
        scheme: Scheme,
        /// Headers beside the usual ones.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<HttpHeader>,
    },
    /// A connection.
    Tcp {
        /// The port of the server.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The port of the server.
        port: u16,
        /// The service that is asked about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
}

/// What is spoken to the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

/// A header of a probe.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Probes that cannot be handed to a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProbes {
    /// Together they do not fit into a variable.
    #[error(
        "the probes of the pod take {bytes} bytes, {MAX_BYTES} at most: use shorter paths and \
         headers"
    )]
    TooLarge {
        /// What they take.
        bytes: usize,
    },
    /// The text is not one of ours.
    #[error("not a text of rewritten probes: {0}")]
    Unreadable(String),
    /// A probe asks the sidecar for something that it was never told.
    #[error(
        "`{field}` of container `{container}` asks for `{path}` of a sidecar, which knows nothing \
         of it: write the probe of the server itself"
    )]
    Unknown {
        /// The container.
        container: String,
        /// The probe or hook.
        field: &'static str,
        /// What it asks for.
        path: String,
    },
}

// === impl RewrittenProbes ===

impl RewrittenProbes {
    /// Reads the text of a variable.
    ///
    /// # Errors
    /// [`InvalidProbes`] when the text is too long or not of this form.
    pub fn from_json(text: &str) -> Result<Self, InvalidProbes> {
        check_size(text)?;
        let read = &mut serde_json::Deserializer::from_str(text);
        let probes = serde_path_to_error::deserialize(&mut *read);
        let probes = probes.map_err(|it| unreadable(&it.path().to_string(), it.inner()))?;
        read.end().map_err(|it| unreadable(".", &it))?;
        Ok(probes)
    }

    /// The text for the variable.
    ///
    /// # Errors
    /// [`InvalidProbes::TooLarge`] when no variable can hold it.
    pub fn to_json(&self) -> Result<String, InvalidProbes> {
        let text = serde_json::to_string(self).map_err(|it| unreadable(".", &it))?;
        check_size(&text)?;
        Ok(text)
    }

    /// The path at which the kubelet asks.
    #[must_use]
    pub fn path(container: &str, check: Check) -> String {
        format!("{PATH_PREFIX}{container}/{check}")
    }

    /// What a request for `path` is about.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(&str, Check, &RewrittenProbe)> {
        let (container, check) = path.strip_prefix(PATH_PREFIX)?.split_once('/')?;
        let (container, probes) = self.containers.get_key_value(container)?;
        let (check, probe) = probes.iter().find(|(it, _)| it.as_str() == check)?;
        Some((container, *check, probe))
    }

    /// Every probe, by container.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Check, &RewrittenProbe)> {
        self.containers.iter().flat_map(|(container, probes)| {
            let probes = probes.iter();
            probes.map(|(check, probe)| (container.as_str(), *check, probe))
        })
    }

    /// Adds a probe, or replaces what was known of it.
    pub fn insert(&mut self, container: &str, check: Check, probe: RewrittenProbe) {
        let probes = self.containers.entry(container.to_owned()).or_default();
        probes.insert(check, probe);
    }

    /// Whether a path is one of those that [`RewrittenProbes::path`] gives.
    #[must_use]
    pub fn is_path(path: &str) -> bool {
        path.starts_with(PATH_PREFIX)
    }
}

/// Says where, not what: a text that stands in the wrong place may be the value
/// of a header.
fn unreadable(path: &str, error: &serde_json::Error) -> InvalidProbes {
    let what = if error.is_data() {
        "it is unknown or of the wrong type"
    } else {
        "this is not JSON of the expected form"
    };
    let column = error.column();
    InvalidProbes::Unreadable(format!("`{path}`, column {column}: {what}"))
}

fn check_size(text: &str) -> Result<(), InvalidProbes> {
    if text.len() <= MAX_BYTES {
        return Ok(());
    }
    Err(InvalidProbes::TooLarge { bytes: text.len() })
}

// === impl Check ===

impl Check {
    /// Its word in the path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Livez => "livez",
            Self::Readyz => "readyz",
            Self::Startupz => "startupz",
            Self::Poststart => "poststart",
            Self::Prestop => "prestop",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl HttpHeader ===

/// The name only: a server may ask its probes for a password.
impl fmt::Debug for HttpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHeader")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

// === impl Target ===

impl Target {
    /// The port of the server.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Http { port, .. } | Self::Tcp { port } | Self::Grpc { port, .. } => *port,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_http(scheme: &Scheme) -> bool {
    *scheme == Scheme::Http
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target() -> impl Strategy<Value = Target> {
        let header =
            (any::<String>(), any::<String>()).prop_map(|(name, value)| HttpHeader { name, value });
        let http = (
            any::<u16>(),
            any::<String>(),
            any::<bool>(),
            prop::collection::vec(header, 0..3),
        )
            .prop_map(|(port, path, tls, headers)| Target::Http {
                port,
                path,
                scheme: if tls { Scheme::Https } else { Scheme::Http },
                headers,
            });
        let grpc = (any::<u16>(), any::<Option<String>>())
            .prop_map(|(port, service)| Target::Grpc { port, service });
        prop_oneof![
            http,
            any::<u16>().prop_map(|port| Target::Tcp { port }),
            grpc
        ]
    }

    fn checks() -> impl Strategy<Value = Check> {
        use Check::{Livez, Poststart, Prestop, Readyz, Startupz};
        prop::sample::select(vec![Livez, Readyz, Startupz, Poststart, Prestop])
    }

    fn probes() -> impl Strategy<Value = RewrittenProbes> {
        let times = any::<(Option<u32>, Option<u32>)>();
        let probe = (target(), times).prop_map(|(target, times)| RewrittenProbe {
            target,
            timeout_seconds: times.0,
            period_seconds: times.1,
        });
        prop::collection::vec(("[a-z]{1,8}", checks(), probe), 0..6).prop_map(|all| {
            let mut probes = RewrittenProbes::default();
            for (container, check, probe) in all {
                probes.insert(&container, check, probe);
            }
            probes
        })
    }

    proptest! {
        #[test]
        fn probes_survive_the_variable(probes in probes()) {
            prop_assert_eq!(RewrittenProbes::from_json(&probes.to_json().unwrap()), Ok(probes));
        }

        #[test]
        fn every_probe_is_found_by_its_path_and_no_other(probes in probes(), other in any::<String>()) {
            for (container, check, probe) in probes.iter() {
                let path = RewrittenProbes::path(container, check);
                prop_assert_eq!(probes.find(&path), Some((container, check, probe)));
                prop_assert_eq!(probes.find(&format!("{path}/")), None);
                prop_assert_eq!(probes.find(&format!("/{path}")), None);
            }
            prop_assert_eq!(probes.find(&other), None);
        }

        #[test]
        fn any_text_is_answered(text in any::<String>()) {
            let _ = RewrittenProbes::from_json(&text);
        }
    }

    #[test]
    fn the_text_has_a_fixed_form() {
        let mut probes = RewrittenProbes::default();
        probes.insert(
            "app",
            Check::Readyz,
            RewrittenProbe {
                target: Target::Http {
                    port: 8080,
                    path: "/ready?full=1".to_owned(),
                    scheme: Scheme::Https,
                    headers: vec![HttpHeader {
                        name: "X-Probe".to_owned(),
                        value: "1".to_owned(),
                    }],
                },
                timeout_seconds: Some(2),
                period_seconds: Some(10),
            },
        );
        assert_eq!(
            probes.to_json().unwrap(),
            r#"{"app":{"readyz":{"target":{"http":{"port":8080,"path":"/ready?full=1","scheme":"HTTPS","headers":[{"name":"X-Probe","value":"1"}]}},"timeoutSeconds":2,"periodSeconds":10}}}"#
        );
        assert_eq!(RewrittenProbes::default().to_json().unwrap(), "{}");
    }

    #[test]
    fn the_value_of_a_header_is_not_shown() {
        let header = HttpHeader {
            name: "X-Probe".to_owned(),
            value: "canary".to_owned(),
        };
        let shown = format!("{header:?}");
        assert!(
            shown.contains("X-Probe") && !shown.contains("canary"),
            "{shown}"
        );
    }

    #[test]
    fn what_a_newer_injector_wrote_is_refused_and_not_half_read() {
        for text in [
            r#"{"app":{"livez":{"target":{"tcp":{"port":1}},"retries":3}}}"#,
            r#"{"app":{"livez":{"target":{"tcp":{"port":1,"host":"x"}}}}}"#,
            r#"{"app":{"livez":{"target":{"exec":{"command":["x"]}}}}}"#,
            r#"{"app":{"deadz":{"target":{"tcp":{"port":1}}}}}"#,
        ] {
            let error = RewrittenProbes::from_json(text).unwrap_err();
            assert!(matches!(error, InvalidProbes::Unreadable(_)), "{text}");
        }
    }

    #[test]
    fn an_error_says_where_and_not_what() {
        let http = |members: &str| {
            format!(r#"{{"app":{{"livez":{{"target":{{"http":{{{members}}}}}}}}}}}"#)
        };
        for (text, place) in [
            (http(r#""port":"canary","path":"/""#), "target.http.port"),
            (http(r#""port":1,"path":"/","headers":"canary""#), "headers"),
            (http(r#""port":1,"path":"/"},"canary":{"#), "target`"),
            (http(r#""port":1,"path":"/""#) + "canary", "`.`"),
        ] {
            let error = RewrittenProbes::from_json(&text).unwrap_err().to_string();
            assert!(
                error.contains(place) && !error.contains("canary"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_no_variable_holds_is_refused_on_both_sides() {
        let with_path = |length: usize| {
            let mut probes = RewrittenProbes::default();
            let target = Target::Http {
                port: 1,
                path: "x".repeat(length),
                scheme: Scheme::Http,
                headers: Vec::new(),
            };
            probes.insert(
                "a",
                Check::Livez,
                RewrittenProbe {
                    target,
                    timeout_seconds: None,
                    period_seconds: None,
                },
            );
            probes
        };
        let frame = with_path(0).to_json().unwrap().len();
        let text = with_path(MAX_BYTES - frame).to_json().unwrap();
        assert!(RewrittenProbes::from_json(&text).is_ok());
        let bytes = MAX_BYTES + 1;
        let error = with_path(MAX_BYTES - frame + 1).to_json().unwrap_err();
        assert_eq!(error, InvalidProbes::TooLarge { bytes });
        let error = RewrittenProbes::from_json(&format!("{text} ")).unwrap_err();
        assert_eq!(error, InvalidProbes::TooLarge { bytes });
    }
}
