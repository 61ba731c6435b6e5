//! What this version does not serve yet, but the API server stores: models,
//! remote servers, rate limits, and `LlmProvider`.

use serde_json::{Value, json};

use super::{Case, Cases};

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

/// Providers that the API server takes and refuses; `sidegate check` looks at
/// their types only.
pub(in crate::crds) fn providers() -> Vec<Case> {
    let mut cases = Cases::new(json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "LlmProvider",
        "metadata": {"name": "demo", "namespace": "default"},
    }));
    let key = json!({"secretKeyRef": {"name": "key", "key": "key"}});
    let secret = |key: &str| json!({"name": "secret", "key": key});
    let sig_v4 = json!({"awsSigV4": {
        "region": "eu-central-1",
        "accessKeyIdRef": secret("id"),
        "secretAccessKeyRef": secret("key"),
    }});
    let url = |url: &str| json!({"type": "OpenAICompatible", "baseUrl": url});
    let shared = |namespaces: Value| json!({"type": "OpenAI", "allowedNamespaces": namespaces});
    cases
        .spec("")
        .taken(&json!([
            {"type": "OpenAI", "credentials": key},
            {"type": "OpenAICompatible", "preset": "groq", "credentials": key},
            {"type": "Bedrock", "credentials": sig_v4},
            url("http://vllm.ai.svc:8000/v1"),
            {"type": "OpenAICompatible", "baseUrl": "http://127.0.0.1:8000", "credentials": key},
            shared(json!({"from": "All"})),
            shared(json!({"from": "Selector", "selector": {"matchLabels": {"a": "b"}}})),
        ]))
        .refused(&json!([
            {},
            {"type": "Other"},
            {"type": "OpenAICompatible"},
            {"type": "AzureOpenAI", "credentials": key},
            {"type": "OpenAI", "credentials": {}},
            {"type": "OpenAI", "credentials": sig_v4},
            {"type": "OpenAI", "baseUrl": "http://a.example.com", "credentials": key},
            url("ftp://a"),
            url("https://a/?q"),
            url("https://k@a/"),
            url(&format!("https://{}.b/", "a".repeat(64))),
            shared(json!({"from": "Selector"})),
            shared(json!({"from": "All", "selector": {"matchLabels": {"a": "b"}}})),
            shared(json!({"from": "Selector", "selector": {}})),
            shared(json!({"from": "Selector", "selector": {"matchLabels": {"-": "b"}}})),
            shared(json!({"from": "Selector", "selector": {"matchExpressions": [
                {"key": "a", "operator": "In"},
            ]}})),
        ]));
    cases.cases
}
