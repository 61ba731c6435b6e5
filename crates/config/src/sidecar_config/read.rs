//! Reading a configuration that came over the wire: whole, or not at all.

use serde::Deserialize;
use serde_json::error::Category;
use thiserror::Error;

use super::{SCHEMA_VERSION, SidecarConfig};

/// Why a text is no configuration that this program can enforce. No value of
/// the text is part of it, because some of them are secrets.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnreadableConfig {
    /// It is written in a format of another version.
    #[error("format version {0} is not known here, only {SCHEMA_VERSION}: update the sidecar")]
    SchemaVersion(u32),
    /// It is not JSON, or states no version of its format.
    #[error("it is no configuration: expected a JSON object with `schemaVersion`")]
    NoConfig,
    /// A field is unknown, missing or doubled. What a newer program means by an
    /// unknown one cannot be guessed, so it is not left out.
    #[error("`{path}`: {message}")]
    Field {
        /// Where it is.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// A value is not of the expected kind.
    #[error("`{path}`: not a value of the expected kind")]
    Value {
        /// Where it is.
        path: String,
    },
    /// It calls itself by another name than the one that it was sent under.
    #[error("it is version `{stated}`, and was sent as version `{sent}`")]
    Version {
        /// In the configuration.
        stated: String,
        /// Beside it.
        sent: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: u32,
}

// === impl SidecarConfig ===

impl SidecarConfig {
    /// Reads a configuration of the version `hash` out of JSON.
    ///
    /// # Errors
    /// [`UnreadableConfig`]. Nothing is skipped and nothing is filled in.
    pub fn read(json: &str, hash: &str) -> Result<Self, UnreadableConfig> {
        // First of all: everything else may mean something else there.
        let head: Head = serde_json::from_str(json).map_err(|_| UnreadableConfig::NoConfig)?;
        if head.schema_version != SCHEMA_VERSION {
            return Err(UnreadableConfig::SchemaVersion(head.schema_version));
        }
        let mut text = serde_json::Deserializer::from_str(json);
        let config: Self = serde_path_to_error::deserialize(&mut text)
            .map_err(|error| UnreadableConfig::at(error.path().to_string(), error.inner()))?;
        if config.version != hash || hash.is_empty() {
            return Err(UnreadableConfig::Version {
                stated: config.version,
                sent: hash.to_owned(),
            });
        }
        Ok(config)
    }

    /// Accepts `names` as `Host` of every server that leaves its hosts to
    /// default.
    #[must_use]
    pub fn with_service_hosts(mut self, names: &[String]) -> Self {
        for server in &mut self.servers {
            if server.accept_service_hosts {
                for name in names {
                    if !server.hosts.contains(name) {
                        server.hosts.push(name.clone());
                    }
                }
            }
        }
        self
    }
}

// === impl UnreadableConfig ===

impl UnreadableConfig {
    fn at(path: String, error: &serde_json::Error) -> Self {
        // Names of fields are no secrets; a value that is quoted may be one.
        const ABOUT_FIELDS: [&str; 3] = ["unknown field `", "missing field `", "duplicate field `"];
        let text = error.to_string();
        match error.classify() {
            Category::Data if ABOUT_FIELDS.iter().any(|start| text.starts_with(start)) => {
                Self::Field {
                    path,
                    message: text,
                }
            }
            Category::Data => Self::Value { path },
            Category::Io | Category::Syntax | Category::Eof => Self::NoConfig,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Options, build, documents, validate};

    fn config() -> SidecarConfig {
        let text = "
apiVersion: sidegate.dev/v1alpha1
kind: McpGateway
metadata: {name: demo}
spec:
  selector: {matchLabels: {app: demo}}
  servers:
  - {name: demo, port: 8080, resources: ['https://demo.example.com/mcp']}
  - {name: named, port: 8081, resources: ['https://b.example.com/mcp'], hosts: [c.example.com]}
  tls: {mode: Mutual}
  authentication:
    jwt:
    - {issuer: 'https://idp.example.com/', jwks: {uri: 'https://idp.example.com/jwks'}}
  authorization:
    rules: [{name: all, tools: ['*'], requiredScopes: ['demo:use']}]
";
        let documents = documents::parse("demo.yaml", text).expect("documents");
        let options = Options {
            allow_loopback: false,
            built_in_ca: true,
            trust_domain: "cluster.local".to_owned(),
        };
        build(validate(&documents, None, &options).expect("valid"))
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Result<SidecarConfig, UnreadableConfig> {
        let mut json = serde_json::to_value(config()).expect("JSON");
        let hash = config().version;
        change(&mut json);
        SidecarConfig::read(&json.to_string(), &hash)
    }

    #[test]
    fn what_was_built_is_read() {
        assert_eq!(changed(|_| {}), Ok(config()));
    }

    #[test]
    fn cfg_006_nothing_unknown_is_skipped() {
        let unknown = changed(|json| json["servers"][0]["shields"] = json!("up"));
        let unknown = unknown.expect_err("unknown").to_string();
        assert!(
            unknown.starts_with("`servers[0].shields`: unknown field `shields`"),
            "{unknown}"
        );
        let deep = changed(|json| json["policy"]["rules"][0]["unless"] = json!("x"));
        assert!(
            matches!(deep, Err(UnreadableConfig::Field { .. })),
            "{deep:?}"
        );
        let unknown = changed(|json| json["tls"] = json!({"mode": "Telepathy"}));
        assert!(
            matches!(unknown, Err(UnreadableConfig::Value { .. })),
            "{unknown:?}"
        );
        let missing = changed(|json| drop(json["tls"].as_object_mut().unwrap().remove("mutual")));
        assert!(missing.is_err());
        let newer = changed(|json| {
            json["schemaVersion"] = json!(SCHEMA_VERSION + 1);
            json["news"] = json!({});
        });
        assert_eq!(
            newer,
            Err(UnreadableConfig::SchemaVersion(SCHEMA_VERSION + 1))
        );
        let renamed = changed(|json| json["version"] = json!("another"));
        assert!(
            matches!(renamed, Err(UnreadableConfig::Version { .. })),
            "{renamed:?}"
        );
        assert!(SidecarConfig::read("{", "x").is_err());
        let nameless = serde_json::to_string(&SidecarConfig {
            version: String::new(),
            ..config()
        });
        assert!(SidecarConfig::read(&nameless.expect("JSON"), "").is_err());
    }

    #[test]
    fn values_are_not_quoted() {
        let error = changed(|json| json["authentication"]["requireToken"] = json!("canary"));
        let error = error.expect_err("a text").to_string();
        assert_eq!(
            error,
            "`authentication.requireToken`: not a value of the expected kind"
        );
        let error = changed(|json| json["tls"]["mode"] = json!("canary"));
        assert!(!error.expect_err("unknown").to_string().contains("canary"));
    }

    #[test]
    fn names_of_services_are_for_servers_that_name_no_hosts() {
        let names = ["support".to_owned(), "demo.example.com".to_owned()];
        let config = config().with_service_hosts(&names);
        assert_eq!(config.servers[0].hosts, ["demo.example.com", "support"]);
        assert_eq!(
            config.servers[1].hosts,
            ["b.example.com", "c.example.com"],
            "they were named"
        );
    }

    proptest! {
        #[test]
        fn cut_and_mangled_texts_are_refused_or_mean_the_same(at in 0_usize..4000, with in ".{0,3}") {
            let text = serde_json::to_string(&config()).expect("JSON");
            let mut mangled: String = text.chars().take(at).collect();
            mangled.push_str(&with);
            if let Ok(read) = SidecarConfig::read(&mangled, &config().version) {
                prop_assert_eq!(read, config());
            }
        }
    }
}
