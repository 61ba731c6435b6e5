//! LlmProviders that the API server takes, and those that it refuses.

use serde_json::{Value, json};

use super::api_server::{create, fill_defaults};
use crate::provider::LlmProviderSpec;

fn errors(spec: &Value) -> Vec<String> {
    create(&super::schema("LlmProvider"), &mut json!({ "spec": spec }))
}

fn key() -> Value {
    json!({ "secretKeyRef": { "name": "key", "key": "key" } })
}

fn accepted() -> Vec<Value> {
    let secret = |key: &str| json!({ "name": "secret", "key": key });
    vec![
        json!({ "type": "OpenAI", "credentials": key() }),
        json!({ "type": "OpenAICompatible", "preset": "groq", "credentials": key(),
                "allowedNamespaces": { "from": "All" } }),
        json!({ "type": "OpenAICompatible", "baseUrl": "https://vllm.ai.svc:8000/v1" }),
        json!({ "type": "Bedrock", "credentials": key(),
                "baseUrl": "https://bedrock-runtime.us-gov-west-1.amazonaws.com" }),
        json!({ "type": "OpenAICompatible", "baseUrl": "http://127.0.0.1:8000", "credentials": key() }),
        json!({ "type": "Gemini", "tls": { "caRef": { "name": "ca" } },
                "baseUrl": "https://proxy.example.com/gemini",
                "credentials": { "clientCredentials": {
                    "tokenUrl": "https://idp.example.com/token", "clientIdRef": secret("id"),
                    "clientSecretRef": secret("secret"), "scopes": ["models"] } } }),
        json!({ "type": "Bedrock", "credentials": { "awsSigV4": {
                    "region": "eu-central-1", "accessKeyIdRef": secret("id"),
                    "secretAccessKeyRef": secret("key"), "sessionTokenRef": secret("token") } },
                "allowedNamespaces": { "from": "Selector",
                    "selector": { "matchLabels": { "team": "crm" } } } }),
    ]
}

#[test]
fn providers_of_every_sort_are_taken_and_read_alike() {
    let schema = super::schema("LlmProvider");
    for spec in accepted() {
        assert_eq!(errors(&spec), [""; 0], "{spec}");
        let mut filled = json!({ "spec": spec.clone() });
        fill_defaults(&schema, &mut filled);
        let from_bare: LlmProviderSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(serde_json::to_value(&from_bare).unwrap(), filled["spec"]);
    }
}

#[test]
fn only_the_own_namespace_may_use_a_provider_unless_its_owner_says_so() {
    let mut object = json!({ "spec": { "type": "OpenAI" } });
    fill_defaults(&super::schema("LlmProvider"), &mut object);
    assert_eq!(
        object["spec"]["allowedNamespaces"],
        json!({ "from": "Same" })
    );
}

#[test]
fn contradictions_are_refused_with_what_to_do() {
    for (spec, expected) in [
        (json!({}), "needs type"),
        (json!({ "type": "Other" }), "unsupported value"),
        (
            json!({ "type": "OpenAICompatible" }),
            "set preset or baseUrl",
        ),
        (
            json!({ "type": "AzureOpenAI", "credentials": key() }),
            "needs baseUrl",
        ),
        (
            json!({ "type": "OpenAI", "credentials": {} }),
            "exactly one of secretKeyRef",
        ),
        (
            json!({ "type": "OpenAI", "baseUrl": "ftp://a" }),
            "must be an https:// URL",
        ),
        (
            json!({ "type": "OpenAI", "baseUrl": "https://a/?q" }),
            "must be an https:// URL",
        ),
        (
            json!({ "type": "OpenAI", "baseUrl": "https://k@a/" }),
            "must be an https:// URL",
        ),
        (
            json!({ "type": "OpenAI", "baseUrl": "http://a.example.com", "credentials": key() }),
            "must be an https:// URL",
        ),
        (
            json!({ "type": "OpenAICompatible", "baseUrl": "http://localhost.example.com" }),
            "must be an https:// URL",
        ),
        (json!({ "type": "OpenAI" }), "set credentials"),
        (
            json!({ "type": "Anthropic", "preset": "groq", "credentials": key() }),
            "preset is for type OpenAICompatible",
        ),
        (
            json!({ "type": "Bedrock", "credentials": key() }),
            "needs to know its region",
        ),
        (
            json!({ "type": "Cohere", "credentials": { "clientCredentials": {
                "tokenUrl": "https://idp.example.com/token",
                "clientIdRef": { "name": "a", "key": "a" },
                "clientSecretRef": { "name": "a", "key": "a" } } } }),
            "takes keys only",
        ),
        (
            json!({ "type": "Bedrock", "credentials": { "awsSigV4": {
                "region": "s3", "accessKeyIdRef": { "name": "a", "key": "a" },
                "secretAccessKeyRef": { "name": "a", "key": "a" } } } }),
            "region",
        ),
        (
            json!({ "type": "OpenAI", "credentials": { "awsSigV4": {
                "region": "us-east-1", "accessKeyIdRef": { "name": "a", "key": "a" },
                "secretAccessKeyRef": { "name": "a", "key": "a" } } } }),
            "awsSigV4 is for type Bedrock",
        ),
        (
            json!({ "type": "OpenAI", "allowedNamespaces": { "from": "Selector" } }),
            "selector goes with",
        ),
        (
            json!({ "type": "OpenAI", "allowedNamespaces": {
                "from": "All", "selector": { "matchLabels": { "a": "b" } } } }),
            "selector goes with",
        ),
        (
            json!({ "type": "OpenAI", "allowedNamespaces": { "from": "Selector", "selector": {} } }),
            "an empty selector is every namespace",
        ),
    ] {
        let errors = errors(&spec);
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "{spec}: {errors:?}"
        );
    }
}
