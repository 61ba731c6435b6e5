//! Everything that can be wrong with a gateway, found at once.
//!
//! What the API server refuses by the schema and its rules is refused here as
//! well, because files pass no API server, and so is what only the documents
//! together show: references, keys, rules. Missing input is never replaced by
//! a default that lets more through.

mod authentication;
mod authorization;
mod consent;
mod jwks;
mod limits;
pub(crate) mod names;
mod pem;
mod provider;
mod selector;
mod servers;
mod tls;
mod unserved;
mod uris;

use sidegate_api::McpGatewaySpec;
use sidegate_api::gateway::Server;
use sidegate_policy::policy_config::PolicyConfig;

pub use self::provider::{ValidatedProvider, validate_provider};
use crate::documents::{Documents, GatewayDocument, Origin};
use crate::sidecar_config::{AuditArguments, AuthenticationConfig, Limits, TlsConfig};
use crate::violations::{Cause, Place, Violation, Violations};

const EMPTY_SELECTOR: &str =
    "is empty and would take every pod of the namespace: name a label in matchLabels";

/// What differs between a cluster and files.
#[derive(Debug, Clone)]
pub struct Options {
    /// Accept loopback addresses, and plain http to them.
    pub allow_loopback: bool,
    /// There is a built-in certificate authority: TLS needs no certificate of
    /// its owner's.
    pub built_in_ca: bool,
    /// The SPIFFE trust domain of service accounts in rules.
    pub trust_domain: String,
}

/// A gateway in which nothing is wrong. Only [`validate`] makes one.
#[derive(Debug, Clone)]
pub struct ValidatedGateway {
    pub(crate) gateway: String,
    pub(crate) servers: Vec<Server>,
    pub(crate) tls: TlsConfig,
    pub(crate) authentication: AuthenticationConfig,
    pub(crate) policy: PolicyConfig,
    pub(crate) audit_arguments: AuditArguments,
    pub(crate) limits: Limits,
    pub(crate) warnings: Vec<String>,
}

/// Checks one gateway: the one called `gateway` (`namespace/name`), or the only
/// one.
///
/// # Errors
/// Everything that is wrong with it and with what it refers to.
pub fn validate(
    documents: &Documents,
    gateway: Option<&str>,
    options: &Options,
) -> Result<ValidatedGateway, Violations> {
    let gateway = choose(documents, gateway)?;
    let spec = &gateway.spec;
    let mut check = Check {
        namespace: &gateway.namespace,
        object: gateway.object(),
        origin: &gateway.origin,
        spec,
        documents,
        options,
        violations: Vec::new(),
        warnings: Vec::new(),
    };
    selector::check(&mut check, "spec.selector", &spec.selector, EMPTY_SELECTOR);
    servers::check(&mut check);
    let tls = tls::check(&mut check);
    let limits = limits::check(&mut check, &spec.limits);
    let authentication = authentication::check(&mut check, &limits);
    let policy = authorization::check(&mut check);
    unserved::check(&mut check);
    let Check {
        violations,
        warnings,
        ..
    } = check;
    let violations: Violations = violations.into_iter().collect();
    match (tls, violations.is_empty()) {
        (Some(tls), true) => Ok(ValidatedGateway {
            gateway: format!("{}/{}", gateway.namespace, gateway.name),
            servers: spec.servers.clone(),
            tls,
            authentication,
            policy,
            audit_arguments: audit_arguments(spec.audit.arguments),
            limits,
            warnings,
        }),
        (_, _) => Err(violations),
    }
}

fn choose<'a>(
    documents: &'a Documents,
    wanted: Option<&str>,
) -> Result<&'a GatewayDocument, Violations> {
    let name = |gateway: &GatewayDocument| format!("{}/{}", gateway.namespace, gateway.name);
    let all = || {
        documents
            .gateways
            .iter()
            .map(name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let refused =
        |message: String| Violations::from(Violation::new(Place::file("(all documents)"), message));
    match (wanted, documents.gateways.as_slice()) {
        (_, []) => Err(refused("there is no McpGateway: add one".to_owned())),
        (None, [gateway]) => Ok(gateway),
        (None, [..]) => Err(refused(format!(
            "there are several gateways: choose one of {} with --gateway NAMESPACE/NAME",
            all()
        ))),
        (Some(wanted), gateways) => gateways
            .iter()
            .find(|gateway| name(gateway) == wanted)
            .ok_or_else(|| refused(format!("there is no McpGateway {wanted}, but {}", all()))),
    }
}

fn audit_arguments(setting: sidegate_api::gateway::AuditArguments) -> AuditArguments {
    match setting {
        sidegate_api::gateway::AuditArguments::Omit => AuditArguments::Omit,
        sidegate_api::gateway::AuditArguments::Hash => AuditArguments::Hash,
        sidegate_api::gateway::AuditArguments::Include => AuditArguments::Include,
    }
}

/// What the checks of one object share: of a gateway, or of a provider.
pub(crate) struct Check<'a, S = McpGatewaySpec> {
    namespace: &'a str,
    /// As violations call it.
    object: String,
    origin: &'a Origin,
    spec: &'a S,
    documents: &'a Documents,
    options: &'a Options,
    violations: Vec<Violation>,
    warnings: Vec<String>,
}

/// The bounds of a list of texts.
struct Bounds {
    items: std::ops::RangeInclusive<usize>,
    chars: usize,
}

// === impl Check ===

impl<S> Check<'_, S> {
    /// Something is wrong with a field.
    fn refuse(&mut self, field: &str, message: impl Into<String>) {
        self.refuse_because(Cause::Invalid, field, message);
    }

    fn refuse_because(&mut self, cause: Cause, field: &str, message: impl Into<String>) {
        let violation = self.violation(cause, field, message);
        self.violations.push(violation);
    }

    /// The same, with the command that mends it.
    fn refuse_with(
        &mut self,
        cause: Cause,
        field: &str,
        message: impl Into<String>,
        command: &str,
    ) {
        let violation = self.violation(cause, field, message);
        self.violations.push(violation.mended_by(command));
    }

    fn violation(&self, cause: Cause, field: &str, message: impl Into<String>) -> Violation {
        Violation::new(self.origin.place(field), message)
            .about(self.object.clone())
            .in_field(field)
            .because(cause)
    }

    /// Refuses what a check of a single value found.
    fn refuse_err<T>(&mut self, field: &str, result: Result<T, String>) -> Option<T> {
        self.refuse_err_because(Cause::Invalid, field, result)
    }

    fn refuse_err_because<T>(
        &mut self,
        cause: Cause,
        field: &str,
        result: Result<T, String>,
    ) -> Option<T> {
        result
            .map_err(|message| self.refuse_because(cause, field, message))
            .ok()
    }

    /// Whether something was found wrong with a field already.
    fn has_refused(&self, field: &str) -> bool {
        self.violations
            .iter()
            .any(|violation| violation.field() == field)
    }

    /// A field is valid, but likely not what was meant, or not safe.
    fn warn(&mut self, field: &str, message: &str) {
        self.warnings.push(format!("{field}: {message}"));
    }

    /// Checks a list: how many, how long, nothing twice, and each by itself.
    fn texts(
        &mut self,
        field: &str,
        texts: &[String],
        bounds: &Bounds,
        valid: impl Fn(&str) -> Result<(), String>,
    ) {
        let (least, most) = (*bounds.items.start(), *bounds.items.end());
        if texts.len() < least {
            self.refuse(field, format!("must have at least {least}"));
        }
        self.at_most(field, texts.len(), most);
        for (index, text) in texts.iter().enumerate() {
            let field = format!("{field}[{index}]");
            if texts.iter().take(index).any(|before| before == text) {
                self.refuse(&field, format!("`{text}` is there twice: remove one"));
            } else if text.is_empty() {
                self.refuse(&field, "is empty");
            } else if text.chars().nth(bounds.chars).is_some() {
                self.refuse(
                    &field,
                    format!("must be at most {} characters long", bounds.chars),
                );
            } else {
                self.refuse_err(&field, valid(text));
            }
        }
    }

    fn at_most(&mut self, field: &str, count: usize, most: usize) {
        if count > most {
            let message = format!("has {count} entries, and at most {most} are allowed");
            self.refuse(field, message);
        }
    }

    /// A value of a ConfigMap of the object's namespace.
    fn config_map_value(&mut self, field: &str, name: &str, key: &str) -> Option<Vec<u8>> {
        let namespace = self.namespace;
        let found = match self.documents.config_map(namespace, name) {
            None => Err(format!(
                "there is no ConfigMap {namespace}/{name}: add it to the documents"
            )),
            Some(map) => map
                .data
                .get(key)
                .cloned()
                .ok_or_else(|| format!("ConfigMap {namespace}/{name} has no key `{key}`")),
        };
        self.refuse_err_because(Cause::ConfigMapNotFound, field, found)
    }
}

#[cfg(test)]
mod tests;
