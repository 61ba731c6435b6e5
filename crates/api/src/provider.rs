//! `LlmProvider`: a provider of language models and the key to it.

use serde::{Deserialize, Serialize};

use crate::{
    reference::{CaRef, SecretKeyRef},
    selector::LabelSelector,
};

/// A provider of language models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(kube::CustomResource, schemars::JsonSchema))]
#[cfg_attr(
    feature = "crd",
    kube(
        group = "sidegate.dev",
        version = "v1alpha1",
        kind = "LlmProvider",
        plural = "llmproviders",
        namespaced,
        shortname = "llmp",
        category = "mcp",
        category = "sidegate",
        status = "crate::status::LlmProviderStatus",
        derive = "PartialEq",
        doc = "A provider of language models, and where its key is.",
        printcolumn = r#"{"name":"Ready", "type":"string", "jsonPath":".status.conditions[?(@.type==\"Ready\")].status", "description":"Whether gateways can use it"}"#,
        printcolumn = r#"{"name":"Type", "type":"string", "jsonPath":".spec.type", "description":"The provider's interface"}"#,
        printcolumn = r#"{"name":"Preset", "type":"string", "jsonPath":".spec.preset", "description":"Its row of the built-in catalogue"}"#,
        printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#,
        printcolumn = r#"{"name":"Reason", "type":"string", "jsonPath":".status.conditions[?(@.type==\"Ready\")].reason", "description":"Why it is ready or not", "priority":1}"#
    )
)]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::provider_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmProviderSpec {
    /// The interface that the provider has.
    #[serde(rename = "type")]
    pub provider_type: ProviderType,
    /// A row of the built-in catalogue, such as groq, which knows the base URL
    /// and the quirks of the provider; for OpenAICompatible.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::dns_label"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Base URL of the provider's interface. Without it, that of preset or
    /// type. The Secret of the key must name the host of a URL given here in
    /// its annotation sidegate.dev/allowed-hosts, unless it is one of the
    /// type's own, such as RESOURCE.openai.azure.com.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::base_url"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// How requests to the provider are authenticated. Only a provider without
    /// authentication has none. A Secret goes to the provider's own host by
    /// itself, and to others only if its annotation sidegate.dev/allowed-hosts
    /// names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// How the provider's certificate is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProviderTls>,
    /// Namespaces whose gateways may use the provider. This hands them the use
    /// of its key, and to a determined owner of pods there its value.
    /// This version checks that the field is valid and does not enforce it yet:
    /// it serves no models, so no gateway can use a provider.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
}

/// The interface of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum ProviderType {
    /// OpenAI.
    OpenAI,
    /// Anthropic.
    Anthropic,
    /// Cohere.
    Cohere,
    /// Google Gemini.
    Gemini,
    /// Amazon Bedrock.
    Bedrock,
    /// Azure OpenAI.
    AzureOpenAI,
    /// Any provider with OpenAI's interface.
    OpenAICompatible,
}

/// How requests to a provider are authenticated: exactly one of secretKeyRef,
/// awsSigV4 and clientCredentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::credentials_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// A key of the provider, in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// AWS Signature Version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_sig_v4: Option<AwsSigV4>,
    /// A token of the OAuth client credentials grant (RFC 6749 section 4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_credentials: Option<ProviderClientCredentials>,
}

/// Keys for AWS Signature Version 4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsSigV4 {
    /// The AWS region, such as eu-central-1.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::aws_region"))]
    pub region: String,
    /// The access key id.
    pub access_key_id_ref: SecretKeyRef,
    /// The secret access key.
    pub secret_access_key_ref: SecretKeyRef,
    /// The session token of temporary keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token_ref: Option<SecretKeyRef>,
}

/// A client of the provider's authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderClientCredentials {
    /// The token endpoint.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::identity_url"))]
    pub token_url: String,
    /// The client id.
    pub client_id_ref: SecretKeyRef,
    /// The client's secret.
    pub client_secret_ref: SecretKeyRef,
    /// Scopes to ask for.
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::schema::required_scopes")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// How a provider's certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderTls {
    /// Certificate authorities that it is verified with, instead of the public
    /// ones.
    pub ca_ref: CaRef,
}

/// Namespaces whose gateways may use a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::allowed_namespaces_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedNamespaces {
    /// Same: the provider's own. All: every namespace. Selector: those whose
    /// labels selector chooses.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Chooses namespaces by their labels; for Selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// How namespaces are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum NamespacesFrom {
    /// The provider's own.
    #[default]
    Same,
    /// Every one.
    All,
    /// By labels.
    Selector,
}
