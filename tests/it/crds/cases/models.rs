//! What this version does not serve yet, but the API server stores: models,
//! remote servers, rate limits; and `LlmProvider`, which it checks.

use serde_json::{Value, json};

use super::{Case, Cases, numbered};

const NOT_SERVED: &str = "this version does not serve it yet";

pub(super) fn add(cases: &mut Cases) {
    let llm = |port: u16| {
        json!({"port": port, "resource": "https://llm.example.com", "routes": [{
            "name": "fast", "models": ["fast"],
            "targets": [{"provider": {"name": "openai"}, "model": "gpt-5-mini"}],
        }]})
    };
    cases
        .spec("/llm")
        .only_sidegate_knows(NOT_SERVED, &json!([llm(15_080)]))
        .refused(&json!([llm(8_080), llm(15_020), {"port": 15_080}]));
    let remote = |name: &str, port: u16| json!({"name": name, "url": "https://billing.example.com/mcp", "listenPort": port});
    cases
        .spec("/remoteServers")
        .only_sidegate_knows(NOT_SERVED, &json!([[remote("billing", 15_081)]]))
        .refused(&json!([
            [remote("demo", 15_081)],
            [remote("billing", 8_080)],
            [remote("billing", 15_081), remote("other", 15_081)],
        ]));
    let before = cases.base.clone();
    cases.base["spec"]["remoteServers"] = json!([remote("billing", 15_081)]);
    cases
        .spec("/remoteServers/0/url")
        .only_sidegate_knows(
            NOT_SERVED,
            &json!(["http://localhost:1/mcp", "https://a/b?c"]),
        )
        .refused(&json!([
            "http://a/mcp",
            "https://u@a/mcp",
            "https://a/#",
            "a"
        ]));
    cases.base = before;
    cases
        .spec("/rateLimits")
        .only_sidegate_knows(
            NOT_SERVED,
            &json!([
                [{"name": "a", "period": "1m", "tokens": 1}],
                [{"name": "a", "period": "1m", "cost": "0.000001"}],
            ]),
        )
        .refused(&json!([
            [{"name": "a", "period": "1m"}],
            [{"name": "a", "period": "1m", "requests": 1, "tokens": 1}],
            [{"name": "a", "period": "1m", "cost": 1}],
            [{"name": "a", "period": "60", "requests": 1}],
            [{"name": "a", "requests": 1}],
        ]));
    cases
        .spec("/anomaly")
        .only_sidegate_knows(NOT_SERVED, &json!([{}, {"failureRatePercent": 100}]))
        .refused(&json!([{"failureRatePercent": 0}, {"failureRatePercent": 101}]));
}

/// Changes to providers. What they refer to is there, and the Secret lets
/// itself be sent to the hosts of good ones.
pub(in crate::crds) fn providers() -> Vec<Case> {
    let mut cases = Cases::new(json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "LlmProvider",
        "metadata": {"name": "demo", "namespace": "default"},
    }));
    types(&mut cases);
    urls(&mut cases);
    credentials(&mut cases);
    namespaces(&mut cases);
    cases.cases
}

fn secret(key: &str) -> Value {
    json!({"name": "secret", "key": key})
}

fn key() -> Value {
    json!({"secretKeyRef": secret("key")})
}

fn sig_v4() -> Value {
    json!({"awsSigV4": {
        "region": "eu-central-1",
        "accessKeyIdRef": secret("id"),
        "secretAccessKeyRef": secret("key"),
    }})
}

fn client() -> Value {
    json!({"clientCredentials": {
        "tokenUrl": "https://idp.example.com/token",
        "clientIdRef": secret("id"),
        "clientSecretRef": secret("key"),
    }})
}

fn types(cases: &mut Cases) {
    let own = "https://gw.example.com/v1";
    let azure = "https://crm.openai.azure.com/openai/v1";
    let bedrock = "https://bedrock-runtime.eu-central-1.amazonaws.com";
    cases
        .spec("")
        .taken(&json!([
            {"type": "OpenAI", "credentials": key()},
            {"type": "Anthropic", "credentials": key()},
            {"type": "Cohere", "credentials": key(), "baseUrl": own},
            {"type": "Gemini", "baseUrl": own},
            {"type": "Bedrock", "credentials": sig_v4()},
            {"type": "Bedrock", "credentials": key(), "baseUrl": bedrock},
            {"type": "AzureOpenAI", "credentials": key(), "baseUrl": azure},
            {"type": "AzureOpenAI", "credentials": client(), "baseUrl": azure},
            {"type": "OpenAICompatible", "credentials": client(), "baseUrl": own},
            {"type": "OpenAICompatible", "preset": "groq", "baseUrl": own, "credentials": key()},
            {"type": "OpenAI", "credentials": key(), "tls": {"caRef": {"name": "ca"}}},
        ]))
        .refused(&json!([
            {},
            {"type": "Other"},
            {"type": "OpenAI"},
            {"type": "Bedrock"},
            {"type": "OpenAICompatible"},
            {"type": "AzureOpenAI", "credentials": key()},
            {"type": "Bedrock", "credentials": key()},
            {"type": "OpenAI", "credentials": {}},
            {"type": "OpenAI", "credentials": sig_v4()},
            {"type": "OpenAI", "credentials": client()},
            {"type": "OpenAI", "preset": "groq", "credentials": key()},
            {"type": "OpenAICompatible", "preset": "G", "baseUrl": own},
            {"type": "OpenAI", "credentials": key(), "tls": {}},
            {"type": "OpenAI", "credentials": key(), "tls": {"caRef": {"name": ""}}},
        ]))
        .only_sidegate_knows(
            "presets are a matter of the version",
            &json!([{"type": "OpenAICompatible", "preset": "groq", "credentials": key()}]),
        )
        .only_sidegate_knows(
            "what is in Secrets and ConfigMaps",
            &json!([
                {"type": "OpenAI", "credentials": {"secretKeyRef": {"name": "none", "key": "key"}}},
                {"type": "OpenAI", "credentials": {"secretKeyRef": secret("none")}},
                {"type": "OpenAI", "credentials": key(), "baseUrl": "https://other.example.com"},
                {"type": "OpenAI", "credentials": key(), "tls": {"caRef": {"name": "none"}}},
            ]),
        );
}

fn urls(cases: &mut Cases) {
    let with_key = |url: &str| json!({"type": "OpenAI", "baseUrl": url, "credentials": key()});
    let keyless = |url: &str| json!({"type": "OpenAICompatible", "baseUrl": url});
    cases
        .spec("")
        .taken(&json!([
            with_key("https://GW.example.com:443/v1"),
            with_key("http://127.0.0.1:8000"),
            keyless("https://vllm.ai.svc:8000/v1"),
            keyless(&format!("https://{}.b/", "a".repeat(63))),
            keyless(&format!("https://a/{}", "b".repeat(2048 - 10))),
        ]))
        .refused(&json!([
            keyless(""),
            keyless("ftp://a"),
            keyless("http://vllm.ai.svc:8000/v1"),
            keyless("http://localhost.example.com"),
            keyless("https://a/?q"),
            keyless("https://a/#f"),
            keyless("https://k@a/"),
            keyless("https://a./"),
            keyless("https://ä/"),
            keyless("https://a:0/"),
            keyless(&format!("https://{}.b/", "a".repeat(64))),
            keyless(&format!("https://a/{}", "b".repeat(2048 - 9))),
        ]))
        .only_sidegate_knows(
            "addresses in all their forms",
            &json!([keyless("https://169.254.169.254/latest")]),
        );
}

fn credentials(cases: &mut Cases) {
    cases.base["spec"] = json!({"type": "Bedrock", "credentials": sig_v4()});
    cases
        .spec("/credentials/awsSigV4/region")
        .taken(&json!([
            "us-east-1",
            "us-gov-west-1",
            "eusc-de-east-1",
            "ap-northeast-12"
        ]))
        .refused(&json!([
            "",
            "s3",
            "s3-us-west-2",
            "us-east",
            "us-east-0",
            "us-east-100",
            "US-EAST-1"
        ]));
    cases
        .spec("/credentials/awsSigV4/sessionTokenRef")
        .taken(&json!([secret("token")]))
        .refused(&json!([{}, {"name": "secret"}, {"name": "a/b", "key": "k"}]));
    let url = "https://gw.example.com/v1";
    cases.base["spec"] = json!({"type": "OpenAI", "baseUrl": url, "credentials": key()});
    // No reference leaves the namespace.
    cases.spec("/credentials/secretKeyRef").refused(&json!([
        {"name": "secret", "key": "key", "namespace": "other"},
        {"name": "other/secret", "key": "key"},
        {"name": "../other/secret", "key": "key"},
        {"name": "%2e", "key": "key"},
        {"name": "s".repeat(254), "key": "key"},
        {"name": "secret", "key": "k".repeat(254)},
        {"name": "secret", "key": "../key"},
    ]));
    cases.base["spec"]["credentials"] = client();
    let client = "/credentials/clientCredentials";
    cases
        .spec(&format!("{client}/tokenUrl"))
        .taken(&json!([
            "https://idp.example.com/token?tenant=a",
            "http://127.0.0.1:8000/token"
        ]))
        .refused(&json!([
            "",
            "http://idp.example.com/token",
            "https://u@idp.example.com/"
        ]));
    cases
        .spec(&format!("{client}/scopes"))
        .at_most(32, numbered("scope"))
        .refused(&json!([["a b"], [""], ["a", "a"]]));
    cases.base["spec"] = json!(null);
}

fn namespaces(cases: &mut Cases) {
    let shared = |namespaces: Value| json!({"type": "OpenAI", "credentials": key(), "allowedNamespaces": namespaces});
    cases
        .spec("")
        .taken(&json!([
            shared(json!({})),
            shared(json!({"from": "All"})),
            shared(json!({"from": "Selector", "selector": {"matchLabels": {"a": "b"}}})),
        ]))
        .refused(&json!([
            shared(json!({"from": "Other"})),
            shared(json!({"from": "Selector"})),
            shared(json!({"from": "All", "selector": {"matchLabels": {"a": "b"}}})),
            shared(json!({"from": "Selector", "selector": {}})),
            shared(json!({"from": "Selector", "selector": {"matchLabels": {"-": "b"}}})),
            shared(
                json!({"from": "Selector", "selector": {"matchExpressions": [
                    {"key": "a", "operator": "In"},
                ]}})
            ),
        ]));
}
