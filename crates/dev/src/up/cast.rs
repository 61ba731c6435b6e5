//! Who can show what: which client and tool make a good example, decided by
//! the rules themselves, so that what is printed about them is true.

use std::sync::Arc;

use serde_json::json;
use sidegate_config::sidecar_config::SidecarConfig;
use sidegate_policy::decision::Decision;
use sidegate_policy::policy_set::PolicySet;
use sidegate_policy::principal::{Claims, PeerIdentity, Principal};
use sidegate_policy::resource::{Action, Context, Resource};
use sidegate_policy::scope::{Scope, ScopeSet};

use super::prepare::TRUST_DOMAIN;
use crate::clients::{CLIENTS, DevClient};

/// A call of a demo tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) tool: &'static str,
    pub(super) arguments: &'static str,
}

const INFO: Call = Call {
    tool: "get_customer_info",
    arguments: r#"{"customer_id":"C-1001"}"#,
};
const VALUE: Call = Call {
    tool: "calculate_account_value",
    arguments: r#"{"customer_id":"C-1001"}"#,
};
const TICKET: Call = Call {
    tool: "create_support_ticket",
    arguments: r#"{"customer_id":"C-1001","subject":"Cannot sign in"}"#,
};
const URGENT: Call = Call {
    tool: "create_support_ticket",
    arguments: r#"{"customer_id":"C-1001","subject":"Cannot sign in","priority":"urgent"}"#,
};

/// Somebody with the scopes of their token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) client: &'static DevClient,
    /// Asked for; none: what the client gets unasked.
    pub(super) scope: Option<&'static str>,
}

/// The examples that a gateway has.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) permitted: Option<(Caller, Call)>,
    /// A call that more scopes would permit, and the first of them.
    pub(super) missing: Option<(Caller, Call, String)>,
    /// A call that is permitted or not by its arguments: who, without, with.
    pub(super) by_argument: Option<(Caller, Call, Call)>,
}

// === impl Cast ===

impl Cast {
    pub(super) fn of(config: &SidecarConfig) -> Self {
        let none = Self {
            permitted: None,
            missing: None,
            by_argument: None,
        };
        let (Ok(compiled), Some(server)) =
            (PolicySet::compile(&config.policy), config.servers.first())
        else {
            return none;
        };
        let stage = Stage {
            policies: &compiled.policies,
            config,
            server: &server.name,
        };
        Self {
            permitted: stage.permitted(),
            missing: stage.missing(),
            by_argument: stage.by_argument(),
        }
    }
}

struct Stage<'a> {
    policies: &'a PolicySet,
    config: &'a SidecarConfig,
    server: &'a str,
}

fn unasked(client: &'static DevClient) -> Caller {
    Caller {
        client,
        scope: None,
    }
}

impl Stage<'_> {
    fn permitted(&self) -> Option<(Caller, Call)> {
        let callers = CLIENTS.iter().map(unasked);
        let mut calls = callers.flat_map(|caller| [INFO, VALUE, TICKET].map(|call| (caller, call)));
        calls.find(|(caller, call)| matches!(self.decide(*caller, *call), Some(Decision::Allow(_))))
    }

    fn missing(&self) -> Option<(Caller, Call, String)> {
        let callers = CLIENTS.iter().map(unasked);
        let mut calls = callers.flat_map(|caller| [VALUE, TICKET, INFO].map(|call| (caller, call)));
        calls.find_map(|(caller, call)| match self.decide(caller, call)? {
            Decision::Deny(denial) if !denial.missing_scopes.is_empty() => {
                Some((caller, call, denial.missing_scopes.to_string()))
            }
            Decision::Deny(_) | Decision::Allow(_) => None,
        })
    }

    fn by_argument(&self) -> Option<(Caller, Call, Call)> {
        let client = CLIENTS
            .iter()
            .find(|client| client.scopes.contains(&"ticket:create"))?;
        let caller = Caller {
            client,
            scope: Some("ticket:create"),
        };
        match (self.decide(caller, TICKET)?, self.decide(caller, URGENT)?) {
            (Decision::Allow(_), Decision::Deny(_)) => Some((caller, TICKET, URGENT)),
            (Decision::Allow(_) | Decision::Deny(_), _) => None,
        }
    }

    fn decide(&self, caller: Caller, call: Call) -> Option<Decision> {
        let principal = self.principal(caller)?;
        let resource = Resource::Tool {
            server: self.server,
            name: call.tool,
        };
        let context = Context {
            method: "tools/call",
            arguments: Some(call.arguments),
        };
        Some(
            self.policies
                .decide(&principal, Action::CallTool, &resource, &context),
        )
    }

    /// As the gateway would see this caller.
    fn principal(&self, caller: Caller) -> Option<Principal> {
        let issuer = self.config.authentication.issuers.first()?;
        let client = caller.client;
        let granted: Vec<&str> = match caller.scope {
            Some(scope) => scope.split(' ').collect(),
            None => client.scopes.to_vec(),
        };
        let allowed = issuer.allowed_scopes.as_deref();
        let is_allowed =
            |scope: &&str| allowed.is_none_or(|allowed| allowed.iter().any(|known| known == scope));
        let scopes = granted.iter().copied().filter(is_allowed);
        let scopes: ScopeSet = scopes
            .filter_map(|scope| scope.parse::<Scope>().ok())
            .collect();
        let mut all = serde_json::Map::new();
        for (name, value) in [
            ("iss", &*issuer.issuer),
            ("sub", client.id),
            ("client_id", client.id),
        ] {
            all.insert(name.to_owned(), json!(value));
        }
        let claims = Claims {
            issuer: issuer.issuer.as_str().into(),
            subject: client.id.into(),
            client_id: Some(client.id.into()),
            scopes: self.policies.hierarchy().expand(&scopes),
            expires_at: i64::MAX,
            all,
        };
        let (namespace, _) = self.config.gateway.split_once('/')?;
        let certificate = client.certificate;
        let id = format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{certificate}")
            .parse()
            .ok();
        Principal::verified(Some(PeerIdentity::new(id)), Some(Arc::new(claims)))
    }
}

#[cfg(test)]
mod tests {
    use sidegate_config::{Options, build, documents, validate};

    use super::*;

    const QUICKSTART: &str = include_str!("../../../../manifests/quickstart.yaml");

    fn cast(text: &str) -> Cast {
        let text = text.replace("mode: Mutual", "mode: Plaintext");
        let documents = documents::parse("test.yaml", &text).unwrap();
        let options = Options {
            allow_loopback: true,
            built_in_ca: false,
            trust_domain: TRUST_DOMAIN.to_owned(),
        };
        Cast::of(&build(validate(&documents, None, &options).unwrap()))
    }

    #[test]
    fn the_quick_start_shows_everything() {
        let Cast {
            permitted,
            missing,
            by_argument,
        } = cast(QUICKSTART);
        let (caller, call) = permitted.unwrap();
        assert_eq!((caller.client.id, call), ("agent", INFO));
        let (caller, call, scopes) = missing.unwrap();
        assert_eq!(
            (caller.client.id, call, &*scopes),
            ("agent", VALUE, "account:read")
        );
        let (caller, without, with) = by_argument.unwrap();
        assert_eq!((caller.client.id, without, with), ("lead", TICKET, URGENT));
    }

    #[test]
    fn what_the_rules_do_not_show_is_left_out() {
        let open = QUICKSTART.replace("[get_customer_info]", "[\"*\"]");
        let cast = cast(&open);
        assert!(cast.permitted.is_some());
        assert!(
            cast.by_argument.is_some(),
            "the lead asked for one scope only"
        );
        let nothing = QUICKSTART
            .replace("[get_customer_info]", "[other]")
            .replace("[calculate_account_value]", "[another]")
            .replace("[create_support_ticket]", "[a_third]");
        let cast = super::tests::cast(&nothing);
        assert!(cast.permitted.is_none() && cast.missing.is_none() && cast.by_argument.is_none());
    }
}
