//! Policies as data: what a configuration carries and a
//! [`PolicySet`](crate::policy_set::PolicySet) is compiled from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole policy of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyConfig {
    /// Whether denials are carried out.
    #[serde(default)]
    pub mode: Mode,
    /// The own SPIFFE trust domain: `serviceAccounts` match there only.
    pub trust_domain: String,
    /// Which scope includes which others.
    #[serde(default)]
    pub scope_hierarchy: BTreeMap<String, Vec<String>>,
    /// The rules; their order does not decide anything.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
}

/// Whether denials are carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// What no rule allows passes, and is marked; explicit Deny rules hold.
    Audit,
}

/// What a matching rule does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// It allows, unless another rule denies.
    #[default]
    Allow,
    /// It denies, whatever the other rules say.
    Deny,
}

/// One rule. It matches when its servers, one of its names, its principals and
/// its condition match, and all its scopes are held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleConfig {
    /// The name in audit lines and answers of `explain`; unique.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub effect: Effect,
    /// The MCP servers it is about; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Tool names, each exact or with a trailing `*`; so are all names below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Prompt names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// Resource URIs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Model names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// JSON-RPC methods: of an Allow rule exact names of unknown ones, of a
    /// Deny rule any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Scopes that the principal must hold, all of them; Allow rules only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_scopes: Vec<String>,
    /// Who it is about, one of them; empty means everyone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<PrincipalMatch>,
    /// A condition in CEL, of at most 2,048 bytes, over these variables:
    ///
    /// - `args`: the arguments of the call, an empty map without any;
    /// - `claims`: all claims of the token, an empty map without one;
    /// - `scopes`: the scopes held, as a list of texts;
    /// - `principal`: `subject`, `issuer`, `client`, `spiffeId` and
    ///   `serviceAccount` (`namespace/name`, of the own trust domain); each is
    ///   always there, as an empty text when it is not known;
    /// - `tool`, `model`, `server`, `method`: names, empty where there is none.
    ///
    /// When it cannot be evaluated, an Allow rule does not match and a Deny
    /// rule does. That includes arguments with a list or map of more than 1,000
    /// elements, and, for conditions with a comprehension (`all`, `exists`,
    /// `exists_one`, `filter`, `map`), arguments of more than 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// A description of principals. Each field that is there must match; within a
/// list one value is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrincipalMatch {
    /// The issuer of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Values of `sub`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// Client ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// For each named claim the accepted values. A claim that is a list
    /// matches with one of its elements.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Vec<String>>,
    /// Service accounts of the own trust domain, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<String>,
    /// SPIFFE ids of whatever trust domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spiffe_ids: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_refused() {
        let rule = r#"{"name": "r", "tools": ["a"], "tool": ["b"]}"#;
        assert!(serde_json::from_str::<RuleConfig>(rule).is_err());
        let principal = r#"{"subject": ["a"]}"#;
        assert!(serde_json::from_str::<PrincipalMatch>(principal).is_err());
        let policy = r#"{"trustDomain": "td", "modus": "Audit"}"#;
        assert!(serde_json::from_str::<PolicyConfig>(policy).is_err());
    }

    #[test]
    fn the_default_is_to_enforce() {
        let policy: PolicyConfig =
            serde_json::from_str(r#"{"trustDomain": "td"}"#).expect("a policy");
        assert_eq!(policy.mode, Mode::Enforce);
        assert!(policy.rules.is_empty());
    }

    #[test]
    fn a_policy_comes_back_from_json_as_it_went() {
        let policy = PolicyConfig {
            mode: Mode::Audit,
            trust_domain: "td".to_owned(),
            scope_hierarchy: BTreeMap::from([("a".to_owned(), vec!["b".to_owned()])]),
            rules: vec![RuleConfig {
                name: "r".to_owned(),
                effect: Effect::Deny,
                tools: vec!["x".to_owned()],
                principals: vec![PrincipalMatch {
                    service_accounts: vec!["ns/sa".to_owned()],
                    ..PrincipalMatch::default()
                }],
                when: Some("true".to_owned()),
                ..RuleConfig::default()
            }],
        };
        let text = serde_json::to_string(&policy).expect("JSON");
        assert_eq!(
            serde_json::from_str::<PolicyConfig>(&text).expect("a policy"),
            policy
        );
    }
}
