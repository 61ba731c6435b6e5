use serde::{Deserialize, Serialize};

/// What audit lines contain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Audit {
    /// Omit: no arguments. Hash: their SHA-256, to compare calls. Include: the
    /// arguments themselves, with whatever callers put into them.
    #[serde(default)]
    pub arguments: AuditArguments,
}

/// What audit lines say about the arguments of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum AuditArguments {
    /// Nothing.
    #[default]
    Omit,
    /// Their SHA-256.
    Hash,
    /// All of them.
    Include,
}
