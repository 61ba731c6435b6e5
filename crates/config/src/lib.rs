//! From documents to the configuration of a sidecar: the one meeting point of
//! the operator, the sidecar and the desk tool.
//!
//! [`documents`] reads YAML and nothing else does. [`validate`] finds
//! everything that is wrong at once, each with its file and line, and
//! [`build`] turns what is valid into a
//! [`SidecarConfig`](sidecar_config::SidecarConfig). Neither needs a network
//! or a cluster. [`watch`] follows a directory.
//!
//! ```
//! use sidegate_config::{Options, build, documents, validate};
//!
//! let text = r#"
//! apiVersion: sidegate.dev/v1alpha1
//! kind: McpGateway
//! metadata: {name: demo}
//! spec:
//!   selector: {matchLabels: {app: demo}}
//!   servers:
//!   - {name: demo, port: 8080, resources: ["http://localhost:18080/mcp"]}
//!   tls: {mode: Plaintext}
//!   authentication:
//!     jwt:
//!     - {issuer: "https://idp.example.com/", jwks: {uri: "https://idp.example.com/jwks"}}
//!   authorization:
//!     rules: [{name: all, tools: ["*"], requiredScopes: ["demo:use"]}]
//! "#;
//! let documents = documents::parse("demo.yaml", text)?;
//! let options = Options {
//!     allow_loopback: true,
//!     built_in_ca: false,
//!     trust_domain: "cluster.local".to_owned(),
//! };
//! let config = build(validate(&documents, None, &options)?);
//! assert_eq!(config.gateway, "default/demo");
//! # Ok::<(), sidegate_config::Violations>(())
//! ```

mod build;
pub mod control;
pub mod documents;
pub mod probes;
pub mod sidecar_config;
mod validate;
mod violations;
pub mod watch;

pub use build::build;
pub use validate::{Options, ValidatedGateway, ValidatedProvider, validate, validate_provider};
pub use violations::{Cause, Violation, Violations};
