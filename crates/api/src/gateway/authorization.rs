use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What callers may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authorization {
    /// Enforce: what no rule allows is denied. Audit: such calls of verified
    /// callers to MCP servers pass and are marked; everything else stays
    /// enforced, also Deny rules, tokens and limits.
    #[serde(default)]
    pub mode: Mode,
    /// Which scope includes which others, over any number of steps.
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::schema::scope_hierarchy")
    )]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scope_hierarchy: BTreeMap<String, Vec<String>>,
    /// The rules; their order does not matter. A matching Deny denies; else a
    /// matching Allow allows; else the call is denied.
    #[cfg_attr(
        feature = "crd",
        schemars(
            length(max = 1000),
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// Whether denials are carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// What no rule allows passes, and is marked.
    Audit,
}

/// What a matching rule does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Effect {
    /// It allows, unless another rule denies.
    #[default]
    Allow,
    /// It denies, whatever other rules say.
    Deny,
}

/// A rule. It names at least one of tools, prompts, resources, models and
/// methods. Names are exact, or end in * for any rest; ["*"] is all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::rule_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Name of the rule in audit lines and answers of explain.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::dns_label"))]
    pub name: String,
    /// Allow or Deny.
    #[serde(default)]
    pub effect: Effect,
    /// Servers that it is about, by name. Absent: all.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::server_names"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<String>>,
    /// Tools, by name.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::rule_names"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Prompts, by name.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::rule_names"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Vec<String>>,
    /// Resources, by URI.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::rule_uris"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// Models, by the name that callers use.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::rule_names"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// JSON-RPC methods. An Allow rule can name, exactly, methods that Sidegate
    /// does not know; a Deny rule any method.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::rule_methods"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Scopes that the caller needs, all of them. A Deny rule has none.
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::schema::required_scopes")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_scopes: Vec<String>,
    /// Callers that it is about; one entry must match. Absent: every caller.
    #[cfg_attr(
        feature = "crd",
        schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<Vec<PrincipalMatch>>,
    /// A condition in CEL over args, claims, scopes, principal, tool, server,
    /// model and method. If it cannot be evaluated, an Allow does not match
    /// and a Deny does.
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = 2048)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// A kind of caller. All fields that are set must match; of each list, one
/// value must.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::principal_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrincipalMatch {
    /// Issuer of the caller's token. Needed beside subjects, clients and claims
    /// when the gateway has several issuers.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::issuer_name"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Subjects of tokens.
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::schema::principal_names")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<Vec<String>>,
    /// Client ids of tokens.
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::schema::principal_names")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<String>>,
    /// Claims of the token, each with the values that are accepted. A claim
    /// that is a list needs one of them.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::claims"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<BTreeMap<String, Vec<String>>>,
    /// Service accounts of the own trust domain, as namespace/name.
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::schema::service_accounts")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<Vec<String>>,
    /// SPIFFE ids of certificates.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::spiffe_ids"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_ids: Option<Vec<String>>,
}
