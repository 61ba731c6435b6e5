//! What a provider says of itself. What it refers to is in `consent`.

mod consent;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::documents::{ConfigMapDocument, Origin, SecretDocument};

fn provider(spec: &Value) -> ProviderDocument {
    let spec = serde_json::from_value(spec.clone()).expect("a spec");
    ProviderDocument::new("ai", "demo", spec)
}

/// A Secret with a value under every key that these tests name.
fn secret(name: &str, allowed_hosts: &str) -> SecretDocument {
    let values = ["key", "id", "secret", "token"];
    let values = values.map(|key| (key.to_owned(), "canary!".to_owned().into()));
    SecretDocument::new("ai", name, "Opaque", values.into()).allowing(match allowed_hosts {
        "" => None,
        hosts => Some(hosts.to_owned()),
    })
}

fn reference(key: &str) -> Value {
    json!({"name": "openai", "key": key})
}

fn key() -> Value {
    json!({"secretKeyRef": reference("key")})
}

fn sig_v4(region: &str) -> Value {
    json!({"awsSigV4": {
        "region": region,
        "accessKeyIdRef": reference("id"),
        "secretAccessKeyRef": reference("secret"),
    }})
}

fn client(token_url: &str) -> Value {
    json!({"clientCredentials": {
        "tokenUrl": token_url,
        "clientIdRef": reference("id"),
        "clientSecretRef": reference("secret"),
    }})
}

fn validated(
    spec: &Value,
    secrets: Vec<SecretDocument>,
    allow_loopback: bool,
) -> Result<ValidatedProvider, Violations> {
    let ca = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).expect("a pair");
    let map = ConfigMapDocument {
        namespace: "ai".to_owned(),
        name: "ca".to_owned(),
        data: BTreeMap::from([("server.crt".to_owned(), ca.cert.pem().into_bytes())]),
        origin: Origin::default(),
    };
    let documents = Documents {
        secrets,
        config_maps: vec![map],
        ..Documents::default()
    };
    let options = Options {
        allow_loopback,
        built_in_ca: true,
        trust_domain: "td".to_owned(),
    };
    let found = validate_provider(&documents, &provider(spec), &options);
    if let Err(violations) = &found {
        assert!(!violations.to_string().contains("canary"), "{violations}");
    }
    found
}

/// The fields that are refused in a cluster, with a Secret that consents to
/// every host of these tests.
fn refused(spec: &Value) -> Vec<String> {
    let hosts = "gw.example.com,gw.example.com:8443,idp.example.com,127.0.0.1";
    match validated(spec, vec![secret("openai", hosts)], false) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.iter().map(|it| it.field().to_owned()).collect(),
    }
}

#[test]
fn every_type_goes_to_its_host() {
    for (spec, host) in [
        (json!({"type": "OpenAI"}), "api.openai.com"),
        (json!({"type": "Anthropic"}), "api.anthropic.com"),
        (json!({"type": "Cohere"}), "api.cohere.com"),
        (
            json!({"type": "Gemini"}),
            "generativelanguage.googleapis.com",
        ),
        (
            json!({"type": "Bedrock", "credentials": sig_v4("eu-central-1")}),
            "bedrock-runtime.eu-central-1.amazonaws.com",
        ),
        (
            json!({"type": "AzureOpenAI", "baseUrl": "https://Crm.OpenAI.azure.com/openai/v1"}),
            "crm.openai.azure.com",
        ),
        (
            json!({"type": "OpenAICompatible", "baseUrl": "https://gw.example.com:8443/v1"}),
            "gw.example.com:8443",
        ),
        (
            json!({"type": "OpenAICompatible", "preset": "groq",
                   "baseUrl": "https://gw.example.com:443/v1"}),
            "gw.example.com",
        ),
    ] {
        let mut spec = spec;
        if spec["credentials"].is_null() {
            spec["credentials"] = key();
        }
        let hosts = "gw.example.com,gw.example.com:8443";
        let found = validated(&spec, vec![secret("openai", hosts)], false);
        assert_eq!(
            found.as_ref().map(ValidatedProvider::host),
            Ok(host),
            "{spec}"
        );
    }
    let keyless = json!({"type": "OpenAICompatible", "baseUrl": "https://vllm.ai.svc:8000/v1"});
    let found = validated(&keyless, Vec::new(), false).expect("it needs no key");
    assert_eq!(found.host(), "vllm.ai.svc:8000");
}

#[test]
fn contradictions_are_found_in_their_fields() {
    let with = |provider_type: &str, credentials: Value| json!({"type": provider_type, "credentials": credentials});
    let at = |url: &str| json!({"type": "OpenAICompatible", "baseUrl": url});
    let namespaces = |allowed: Value| json!({"type": "OpenAI", "credentials": key(), "allowedNamespaces": allowed});
    let token_url = "https://idp.example.com/token";
    let mut scopes = client(token_url);
    scopes["clientCredentials"]["scopes"] = json!(["a b"]);
    let mut two = key();
    two["awsSigV4"] = sig_v4("us-east-1")["awsSigV4"].clone();
    for (spec, field) in [
        (json!({"type": "OpenAI"}), CREDENTIALS),
        (with("OpenAI", json!({})), CREDENTIALS),
        (with("Bedrock", two), CREDENTIALS),
        (json!({"type": "OpenAICompatible"}), BASE_URL),
        (with("AzureOpenAI", key()), BASE_URL),
        (with("Bedrock", key()), BASE_URL),
        (
            with("OpenAI", sig_v4("us-east-1")),
            "spec.credentials.awsSigV4",
        ),
        (
            with("Bedrock", sig_v4("s3")),
            "spec.credentials.awsSigV4.region",
        ),
        (
            with("Cohere", client(token_url)),
            "spec.credentials.clientCredentials",
        ),
        (
            json!({"type": "OpenAICompatible", "baseUrl": "https://gw.example.com",
                   "credentials": client("http://idp.example.com/token")}),
            "spec.credentials.clientCredentials.tokenUrl",
        ),
        (
            json!({"type": "OpenAICompatible", "baseUrl": "https://gw.example.com",
                   "credentials": scopes}),
            "spec.credentials.clientCredentials.scopes[0]",
        ),
        (
            json!({"type": "Anthropic", "preset": "groq", "credentials": key()}),
            "spec.preset",
        ),
        (
            json!({"type": "OpenAICompatible", "preset": "groq"}),
            "spec.preset",
        ),
        (
            json!({"type": "OpenAICompatible", "preset": "A_B", "baseUrl": "https://a"}),
            "spec.preset",
        ),
        (at("http://vllm.ai.svc:8000/v1"), BASE_URL),
        (at("http://127.0.0.1:8000"), BASE_URL),
        (at("https://127.0.0.1:8000"), BASE_URL),
        (at("https://localhost/v1"), BASE_URL),
        (at("https://[::1]/v1"), BASE_URL),
        (at("https://169.254.169.254/latest"), BASE_URL),
        (at("https://user@gw.example.com"), BASE_URL),
        (at("https://gw.example.com/v1?key=a"), BASE_URL),
        (at("https://gw.example.com/v1?"), BASE_URL),
        (at("https://gw.example.com/v1#a"), BASE_URL),
        (at("https://gw.example.com./v1"), BASE_URL),
        (at("https://günther.example/v1"), BASE_URL),
        (at("gw.example.com/v1"), BASE_URL),
        (at("ftp://gw.example.com"), BASE_URL),
        (
            namespaces(json!({"from": "Selector"})),
            "spec.allowedNamespaces.selector",
        ),
        (
            namespaces(json!({"from": "Selector", "selector": {}})),
            "spec.allowedNamespaces.selector",
        ),
        (
            namespaces(json!({"from": "All", "selector": {"matchLabels": {"a": "b"}}})),
            "spec.allowedNamespaces.selector",
        ),
        (
            namespaces(json!({"from": "Selector", "selector": {"matchLabels": {"-": "b"}}})),
            "spec.allowedNamespaces.selector.matchLabels.-",
        ),
        (
            json!({"type": "OpenAI", "credentials": key(), "tls": {"caRef": {"name": "none"}}}),
            "spec.tls.caRef",
        ),
        (
            json!({"type": "OpenAI", "credentials": key(), "tls": {"caRef": {"name": "ca"}}}),
            "spec.tls.caRef",
        ),
        (
            json!({"type": "OpenAI", "credentials": key(),
                   "tls": {"caRef": {"name": "ca", "key": "server.crt"}}}),
            "spec.tls.caRef",
        ),
    ] {
        assert_eq!(refused(&spec), [field], "{spec}");
    }
}

#[test]
fn what_is_only_not_served_yet_is_said_so() {
    let spec = json!({"type": "OpenAICompatible", "preset": "groq", "credentials": key()});
    let found = validated(&spec, vec![secret("openai", "")], false).expect_err("not served");
    let causes: Vec<_> = found.iter().map(|it| (it.field(), it.cause())).collect();
    assert_eq!(causes, [("spec.preset", Cause::Unserved)], "{found}");
}

#[test]
fn loopback_is_for_the_desk() {
    for (url, host) in [
        ("http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("http://localhost:8000", "localhost:8000"),
        ("https://[::1]:8443", "[::1]:8443"),
    ] {
        let spec = json!({"type": "OpenAI", "baseUrl": url, "credentials": key()});
        // The desk behaves alike: a Secret consents to loopback, too.
        assert!(validated(&spec, vec![secret("openai", "")], true).is_err());
        let found = validated(&spec, vec![secret("openai", host)], true);
        assert_eq!(found.as_ref().map(ValidatedProvider::host), Ok(host));
        assert!(validated(&spec, vec![secret("openai", host)], false).is_err());
    }
}
