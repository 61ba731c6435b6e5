//! References to other objects. Except a provider's, they stay in the
//! namespace of the object that has them.

use serde::{Deserialize, Serialize};

/// One key of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// Name of the Secret, in the same namespace.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::object_name"))]
    pub name: String,
    /// Key in the Secret's data.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::data_key"))]
    pub key: String,
}

/// One key of a ConfigMap in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap, in the same namespace.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::object_name"))]
    pub name: String,
    /// Key in the ConfigMap's data.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::data_key"))]
    pub key: String,
}

/// Certificates of authorities in a ConfigMap in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaRef {
    /// Name of the ConfigMap, in the same namespace.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::object_name"))]
    pub name: String,
    /// Key in the ConfigMap's data; the value is PEM.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::data_key"))]
    #[serde(default = "ca_key")]
    pub key: String,
}

/// A Secret of type `kubernetes.io/tls` in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateRef {
    /// Name of the Secret, in the same namespace.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::object_name"))]
    pub name: String,
}

/// A model provider, perhaps of another namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderRef {
    /// Name of the LlmProvider.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::object_name"))]
    pub name: String,
    /// Its namespace, when it is another one. The provider must consent with
    /// allowedNamespaces, which this version does not look at yet: it serves no
    /// models.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::dns_label"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}
