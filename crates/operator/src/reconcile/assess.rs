//! The steps that need no cluster: validate and build, by the functions that
//! the sidecar and the desk tool use.

use kube::core::error_boundary::InvalidObject;
use sidegate_api::names::reason;
use sidegate_config::sidecar_config::SidecarConfig;
use sidegate_config::{Cause, Options, Violation, build, validate};

use super::dereference::{Dereferenced, Missing};
use crate::key::Key;
use crate::permission::Account;
use crate::references::RefKind;

/// Most problems that one condition lists.
const MAX_LISTED: usize = 10;

/// What was found about a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Whether it contradicts nothing, or why it cannot be accepted.
    pub(super) accepted: Result<(), Problem>,
    /// Whether everything that it refers to is good; none when nobody looked.
    pub(super) resolved: Option<Result<(), Problem>>,
    /// What its sidecars are to enforce; only when both are good.
    pub(super) built: Option<Built>,
}

/// What there is to know of a configuration that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Built {
    /// Its content hash.
    pub(super) version: String,
    /// What is valid, but likely not what was meant, or not safe.
    pub(super) warnings: Vec<String>,
}

/// Why a condition does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

// === impl Findings ===

#[cfg(test)]
impl Findings {
    /// What a test says that is about something else.
    pub(crate) fn nothing() -> Self {
        Self {
            accepted: Ok(()),
            resolved: None,
            built: None,
        }
    }
}

/// Validates a gateway and builds its configuration.
pub(super) fn assess(
    key: &Key,
    dereferenced: &Dereferenced,
    options: &Options,
    account: &Account,
) -> (Findings, Option<SidecarConfig>) {
    let Dereferenced {
        documents,
        versions: _,
        missing,
    } = dereferenced;
    let grant = |missing: &Missing| account.grant(&missing.reference);
    match validate(documents, Some(&key.to_string()), options) {
        Ok(valid) => {
            let config = build(valid);
            let built = Built {
                version: config.version.clone(),
                warnings: config.warnings.clone(),
            };
            let findings = Findings {
                accepted: Ok(()),
                resolved: Some(Ok(())),
                built: Some(built),
            };
            (findings, Some(config))
        }
        Err(violations) => {
            let violations: Vec<_> = violations.into_iter().collect();
            let findings = Findings {
                accepted: accepted(&violations),
                resolved: Some(resolved(&violations, missing, grant)),
                built: None,
            };
            (findings, None)
        }
    }
}

/// What there is to say of an object that does not fit its type.
pub(super) fn unreadable(invalid: &InvalidObject) -> Findings {
    let message = format!(
        "the object does not fit this version of McpGateway, as after a change of its definition: \
         {}",
        invalid.error
    );
    Findings {
        accepted: Err(Problem {
            reason: reason::INVALID,
            message,
        }),
        resolved: None,
        built: None,
    }
}

/// Whether an object contradicts nothing, or why it cannot be accepted.
pub(super) fn accepted(violations: &[Violation]) -> Result<(), Problem> {
    let of = |cause| violations.iter().filter(move |it| it.cause() == cause);
    let own: Vec<_> = of(Cause::Invalid).chain(of(Cause::Unserved)).collect();
    if own.is_empty() {
        return Ok(());
    }
    let unserved_only = own.iter().all(|it| it.cause() == Cause::Unserved);
    Err(Problem {
        reason: if unserved_only {
            reason::UNSUPPORTED_VALUE
        } else {
            reason::INVALID
        },
        message: listed(own.into_iter().map(text)),
    })
}

/// Whether everything that an object refers to is good, or why not. The first
/// sort of problem gives the reason, in the order of who has to act: what is
/// missing comes before what is there and bad.
pub(super) fn resolved(
    violations: &[Violation],
    missing: &[Missing],
    grant: impl Fn(&Missing) -> String,
) -> Result<(), Problem> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for missing in missing {
        found.push(if missing.forbidden {
            (reason::FORBIDDEN, forbidden(missing, &grant(missing)))
        } else {
            (not_found_reason(missing), not_found(missing))
        });
    }
    for violation in violations {
        // What is missing as a whole was said above.
        let said = missing
            .iter()
            .any(|missing| violation.field().starts_with(&missing.field));
        if let Some(reason) = reference_reason(violation.cause())
            && !said
        {
            found.push((reason, text(violation)));
        }
    }
    let Some((reason, _)) = found.first() else {
        return Ok(());
    };
    Err(Problem {
        reason,
        message: listed(found.iter().map(|(_, message)| message.clone())),
    })
}

/// The reason of a problem with something that is referred to.
fn reference_reason(cause: Cause) -> Option<&'static str> {
    match cause {
        Cause::Invalid | Cause::Unserved => None,
        Cause::SecretNotFound => Some(reason::SECRET_NOT_FOUND),
        Cause::ConfigMapNotFound => Some(reason::CONFIG_MAP_NOT_FOUND),
        Cause::SecretNotOptedIn => Some(reason::SECRET_NOT_OPTED_IN),
        Cause::InvalidJwks => Some(reason::INVALID_JWKS),
        Cause::InvalidCertificate => Some(reason::INVALID_CERTIFICATE),
    }
}

fn not_found_reason(missing: &Missing) -> &'static str {
    match missing.reference.kind {
        RefKind::Secret => reason::SECRET_NOT_FOUND,
        RefKind::ConfigMap => reason::CONFIG_MAP_NOT_FOUND,
    }
}

fn not_found(missing: &Missing) -> String {
    let Missing {
        field, reference, ..
    } = missing;
    format!("{field}: there is no {reference}: create it")
}

fn forbidden(missing: &Missing, grant: &str) -> String {
    let Missing {
        field, reference, ..
    } = missing;
    format!("{field}: the operator may not read {reference}: allow it with `{grant}`")
}

fn text(violation: &Violation) -> String {
    format!("{}: {}", violation.field(), violation.message())
}

/// A list that fits into a condition.
fn listed(problems: impl Iterator<Item = String>) -> String {
    let mut problems: Vec<_> = problems.collect();
    let more = problems.len().saturating_sub(MAX_LISTED);
    problems.truncate(MAX_LISTED);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    problems.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sidegate_config::Options;
    use sidegate_config::documents::{Documents, GatewayDocument};

    use super::*;
    use crate::references::Reference;

    fn violations(change: impl FnOnce(&mut Value)) -> Vec<Violation> {
        let mut spec = json!({
            "selector": {"matchLabels": {"app": "a"}},
            "servers": [{"name": "s", "port": 8080, "resources": ["https://s.example.com/mcp"]}],
            "tls": {"mode": "Plaintext"},
            "authentication": {"jwt": [
                {"issuer": "https://idp.example.com/", "jwks": {"uri": "https://idp.example.com/k"}}
            ]},
            "authorization": {"rules": [{"name": "r", "tools": ["t"]}]},
        });
        change(&mut spec);
        let spec = serde_json::from_value(spec).expect("a spec");
        let documents = Documents {
            gateways: vec![GatewayDocument::new("crm", "a", spec)],
            ..Documents::default()
        };
        let options = Options {
            allow_loopback: false,
            built_in_ca: true,
            trust_domain: "td".to_owned(),
        };
        match validate(&documents, None, &options) {
            Ok(_) => Vec::new(),
            Err(violations) => violations.into_iter().collect(),
        }
    }

    fn missing(field: &str, kind: RefKind, forbidden: bool) -> Missing {
        Missing {
            field: field.to_owned(),
            reference: Reference {
                kind,
                key: Key::new("crm", "it"),
            },
            forbidden,
        }
    }

    #[test]
    fn only_unserved_fields_are_an_unsupported_value() {
        let llm = json!({"port": 15080, "resource": "https://llm.example.com", "routes": []});
        let found = violations(|spec| spec["anomaly"] = json!({}));
        let problem = accepted(&found).expect_err("not served");
        assert_eq!(problem.reason, reason::UNSUPPORTED_VALUE);
        assert!(problem.message.starts_with("spec.anomaly: is not served"));
        let found = violations(|spec| {
            spec["llm"] = llm;
            spec["servers"][0]["port"] = json!(15020);
        });
        let problem = accepted(&found).expect_err("invalid");
        assert_eq!(problem.reason, reason::INVALID);
        assert!(
            problem.message.contains("spec.servers[0].port"),
            "{}",
            problem.message
        );
        assert!(problem.message.contains("spec.llm"), "{}", problem.message);
    }

    #[test]
    fn a_reference_is_no_matter_of_acceptance() {
        let found = violations(|spec| {
            spec["tls"] = json!({"mode": "Server", "certificateRef": {"name": "it"}});
        });
        assert_eq!(accepted(&found), Ok(()));
        let gone = [missing("spec.tls.certificateRef", RefKind::Secret, false)];
        let problem = resolved(&found, &gone, |_| String::new()).expect_err("missing");
        assert_eq!(problem.reason, reason::SECRET_NOT_FOUND);
        assert_eq!(
            problem.message,
            "spec.tls.certificateRef: there is no Secret crm/it: create it"
        );
    }

    #[test]
    fn a_permission_comes_with_its_command() {
        let found = violations(|spec| {
            spec["tls"] = json!({"mode": "Server", "certificateRef": {"name": "it"}});
        });
        let gone = [missing("spec.tls.certificateRef", RefKind::Secret, true)];
        let problem = resolved(&found, &gone, |_| "the command".to_owned()).expect_err("missing");
        assert_eq!(problem.reason, reason::FORBIDDEN);
        assert!(problem.message.ends_with("allow it with `the command`"));
    }

    #[test]
    fn a_key_that_is_missing_in_a_config_map_is_said() {
        let keys = json!({"configMapKeyRef": {"name": "it", "key": "k"}});
        let found = violations(|spec| spec["authentication"]["jwt"][0]["jwks"] = keys);
        let problem = resolved(&found, &[], |_| String::new()).expect_err("missing");
        assert_eq!(problem.reason, reason::CONFIG_MAP_NOT_FOUND);
        assert!(
            problem.message.contains("configMapKeyRef"),
            "{}",
            problem.message
        );
    }

    #[test]
    fn a_condition_lists_a_few_problems_and_counts_the_rest() {
        let texts = |count: usize| listed((0..count).map(|index| index.to_string()));
        assert_eq!(texts(MAX_LISTED), "0; 1; 2; 3; 4; 5; 6; 7; 8; 9");
        assert!(texts(MAX_LISTED + 2).ends_with("; 9; and 2 more"));
    }
}
