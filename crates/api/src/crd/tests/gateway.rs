//! McpGateways that the API server takes, and those that it refuses.

use serde_json::{Value, json};

use super::api_server::{create, fill_defaults, update};
use crate::gateway::McpGatewaySpec;

fn schema() -> Value {
    super::schema("McpGateway")
}

/// The smallest useful gateway.
fn minimal() -> Value {
    json!({ "spec": {
        "selector": { "matchLabels": { "app": "support" } },
        "servers": [{
            "name": "support", "port": 8080,
            "resources": ["https://support.crm.svc.cluster.local/mcp"],
        }],
        "authentication": { "jwt": [{
            "issuer": "https://idp.example.com/",
            "jwks": { "uri": "https://idp.example.com/jwks" },
        }] },
    }})
}

/// A gateway with every field.
fn full() -> Value {
    json!({ "spec": {
        "selector": {
            "matchLabels": { "app": "support-mcp", "example.com/tier": "" },
            "matchExpressions": [
                { "key": "track", "operator": "NotIn", "values": ["canary"] },
                { "key": "legacy", "operator": "DoesNotExist" },
            ],
        },
        "servers": [
            {
                "name": "support", "port": 8080, "path": "/mcp",
                "resources": ["https://support.crm.svc.cluster.local/mcp", "https://a.example.com:8443"],
                "hosts": ["support", "support.crm:8080", "[::1]:8080"],
                "allowedOrigins": ["https://app.example.com", "http://localhost:6274"],
                "upstreamHost": "Preserve", "authorizationHeader": "Keep",
                "identityHeaders": {
                    "subject": "X-Subject", "issuer": "X-Issuer", "clientId": "X-Client",
                    "scopes": "X-Scopes", "spiffeId": "X-Spiffe-Id",
                },
                "exposure": "SamePort", "bindEnv": ["LISTEN_ADDRESS"],
            },
            {
                "name": "other", "port": 8081, "exposure": "SeparatePort", "listenPort": 9081,
                "resources": ["http://127.0.0.1:9081/mcp"],
            },
        ],
        "tls": { "mode": "Server", "certificateRef": { "name": "support-tls" } },
        "authentication": { "requireToken": true, "jwt": [
            {
                "issuer": "https://idp.example.com/", "audiences": ["support"],
                "jwks": { "uri": "https://idp.example.com/jwks?v=2", "caRef": { "name": "ca" } },
                "algorithms": ["PS512", "EdDSA"], "scopeClaims": ["permissions"],
                "allowedScopes": ["customer:read"],
            },
            {
                "issuer": "http://localhost:8090",
                "jwks": { "configMapKeyRef": { "name": "keys", "key": "jwks.json" } },
            },
            { "issuer": "https://inline.example.com", "jwks": { "inline": "{\"keys\":[]}" } },
        ] },
        "authorization": {
            "mode": "Audit",
            "scopeHierarchy": { "support:admin": ["customer:read", "ticket:create"] },
            "rules": [
                { "name": "read", "tools": ["get_*"], "requiredScopes": ["customer:read"] },
                { "name": "all", "servers": ["support"], "prompts": ["*"], "resources": ["file:///a/*"],
                  "when": "!has(args.priority)" },
                { "name": "chat", "models": ["fast"], "requiredScopes": ["llm:chat"] },
                { "name": "bot", "tools": ["*"], "principals": [
                    { "serviceAccounts": ["finance/billing"] },
                    { "issuer": "https://idp.example.com/", "clients": ["batch"], "subjects": ["x|y"],
                      "claims": { "groups": ["a", "b"] } },
                    { "spiffeIds": ["spiffe://cluster.local/ns/a/sa/b"] },
                ] },
                { "name": "exact", "methods": ["vendor/method"] },
                { "name": "no-drop", "effect": "Deny", "tools": ["drop_table"], "methods": ["tasks/*"] },
            ],
        },
        "llm": {
            "port": 15080, "resource": "https://llm.crm.svc.cluster.local",
            "routes": [{ "name": "fast", "models": ["fast"], "targets": [
                { "provider": { "name": "openai" }, "model": "gpt-5-mini" },
                { "provider": { "name": "anthropic", "namespace": "ai" }, "model": "claude-haiku-4-5",
                  "priority": 1, "weight": 3 },
            ] }],
            "toolLoop": { "maxSteps": 4 }, "localAccess": { "scopes": ["llm:chat"] },
        },
        "remoteServers": [{
            "name": "billing", "url": "https://billing.finance.svc:8080/mcp", "listenPort": 15081,
            "caRef": { "name": "ca", "key": "root.pem" }, "resource": "https://billing.example.com/mcp",
            "auth": { "clientCredentials": {
                "issuer": "https://idp.example.com/",
                "clientIdRef": { "name": "billing", "key": "id" },
                "clientSecretRef": { "name": "billing", "key": "secret" },
                "scopes": ["invoice:read"],
            } },
        }],
        "rateLimits": [
            { "name": "per-caller", "per": "Principal", "requests": 600, "period": "1m", "scope": "Shared" },
            { "name": "tokens", "tokens": 200_000, "period": "1h", "models": ["*"] },
            { "name": "spend", "cost": "25.50", "period": "24h" },
        ],
        "anomaly": { "failureRatePercent": 20, "window": "10m", "minRequests": 5, "action": "Disable", "cooldown": "2m" },
        "audit": { "arguments": "Hash" },
        "limits": { "maxBodyBytes": 1_048_576, "requestTimeout": "2m", "maxRequestsPerPrincipal": 8 },
        "acceptBypass": true,
    }})
}

/// Creates `base` with `change` at `pointer`; null removes the field.
fn errors_with(mut object: Value, pointer: &str, change: &Value) -> Vec<String> {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    if let Some(items) = parent.as_array_mut() {
        match field {
            "-" => items.push(change.clone()),
            index => items[index.parse::<usize>().unwrap()] = change.clone(),
        }
    } else if change.is_null() {
        parent.as_object_mut().unwrap().remove(field);
    } else {
        parent[field] = change.clone();
    }
    create(&schema(), &mut object)
}

#[test]
fn the_minimal_and_the_full_gateway_are_taken() {
    assert_eq!(create(&schema(), &mut minimal()), [""; 0]);
    assert_eq!(create(&schema(), &mut full()), [""; 0]);
}

#[test]
fn rust_reads_all_that_the_schema_takes_and_writes_it_back() {
    let mut object = full();
    fill_defaults(&schema(), &mut object);
    let spec: McpGatewaySpec = serde_json::from_value(object["spec"].clone()).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), object["spec"]);
}

/// Shows that a desk, which has no API server, sees the same object.
#[test]
fn defaults_in_rust_are_the_defaults_in_the_schema() {
    for bare in [minimal(), full()] {
        let mut filled = bare.clone();
        fill_defaults(&schema(), &mut filled);
        let from_bare: McpGatewaySpec = serde_json::from_value(bare["spec"].clone()).unwrap();
        let from_filled: McpGatewaySpec = serde_json::from_value(filled["spec"].clone()).unwrap();
        assert_eq!(from_bare, from_filled);
        assert_eq!(serde_json::to_value(&from_bare).unwrap(), filled["spec"]);
    }
}

#[test]
fn defaults_are_the_strict_ones() {
    let mut object = minimal();
    fill_defaults(&schema(), &mut object);
    for (pointer, value) in [
        ("/spec/tls/mode", json!("Mutual")),
        ("/spec/authentication/requireToken", json!(true)),
        (
            "/spec/authentication/jwt/0/algorithms",
            json!(["RS256", "ES256", "EdDSA"]),
        ),
        (
            "/spec/authentication/jwt/0/scopeClaims",
            json!(["scope", "scp"]),
        ),
        ("/spec/authorization/mode", json!("Enforce")),
        ("/spec/audit/arguments", json!("Omit")),
        ("/spec/servers/0/path", json!("/mcp")),
        ("/spec/servers/0/exposure", json!("SamePort")),
        ("/spec/servers/0/authorizationHeader", json!("Remove")),
        ("/spec/servers/0/upstreamHost", json!("Loopback")),
    ] {
        assert_eq!(object.pointer(pointer), Some(&value), "{pointer}");
    }
}

#[test]
fn a_gateway_without_authentication_is_refused_and_not_open() {
    let errors = errors_with(minimal(), "/spec/authentication", &Value::Null);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("add an issuer"), "{errors:?}");
}

#[test]
fn contradictions_are_refused_with_what_to_do() {
    for (pointer, change, expected) in [
        ("/spec/servers", json!([]), "set at least one of servers"),
        ("/spec/selector", json!({}), "name a label"),
        (
            "/spec/selector",
            json!({ "matchLabels": {} }),
            "name a label",
        ),
        (
            "/spec/selector/matchLabels/app",
            json!("a b"),
            "should match",
        ),
        (
            "/spec/selector/matchExpressions",
            json!([{ "key": "a", "operator": "In" }]),
            "In and NotIn need values",
        ),
        (
            "/spec/selector/matchExpressions",
            json!([{ "key": "a", "operator": "Exists", "values": ["b"] }]),
            "In and NotIn need values",
        ),
        (
            "/spec/authentication/requireToken",
            json!("no"),
            "must be boolean",
        ),
        ("/spec/authentication/jwt", json!([]), "add an issuer"),
        (
            "/spec/authentication/jwt/0/issuer",
            json!("http://idp.example.com/"),
            "must be an https://",
        ),
        (
            "/spec/authentication/jwt/0/issuer",
            json!("https://user@idp.example.com/"),
            "must be an https://",
        ),
        (
            "/spec/authentication/jwt/0/issuer",
            json!("https://idp.example.com/#x"),
            "must be an https://",
        ),
        (
            "/spec/authentication/jwt/0/issuer",
            json!("http://localhost.example.com/"),
            "must be an https://",
        ),
        (
            "/spec/authentication/jwt/0/jwks",
            json!({}),
            "exactly one of uri",
        ),
        (
            "/spec/authentication/jwt/0/jwks/inline",
            json!("{}"),
            "exactly one of uri",
        ),
        (
            "/spec/authentication/jwt/0/jwks",
            json!({ "inline": "{}", "caRef": { "name": "ca" } }),
            "caRef verifies",
        ),
        (
            "/spec/authentication/jwt/0/algorithms",
            json!(["HS256"]),
            "unsupported value",
        ),
        (
            "/spec/authentication/jwt/0/algorithms",
            json!([]),
            "wrong size",
        ),
        (
            "/spec/authentication/jwt/-",
            minimal()["spec"]["authentication"]["jwt"][0].clone(),
            "duplicate",
        ),
        ("/spec/servers/0/port", json!(0), "out of range"),
        ("/spec/servers/0/port", json!(65_536), "out of range"),
        ("/spec/servers/0/port", json!(15_020), "the sidecar's own"),
        ("/spec/servers/0/port", json!(15_021), "the sidecar's own"),
        ("/spec/servers/0/path", json!("mcp"), "must begin with /"),
        ("/spec/servers/0/path", json!("/mcp?x"), "must begin with /"),
        ("/spec/servers/0/name", json!("Support"), "should match"),
        ("/spec/servers/0/resources", json!([]), "wrong size"),
        ("/spec/servers/0/resources", Value::Null, "needs resources"),
        (
            "/spec/servers/0/resources/0",
            json!("https://u:p@h/mcp"),
            "must be a URL",
        ),
        (
            "/spec/servers/0/resources/0",
            json!("https://h/mcp#f"),
            "must be a URL",
        ),
        (
            "/spec/servers/0/resources/0",
            json!("urn:mcp"),
            "must be a URL",
        ),
        (
            "/spec/servers/0/hosts",
            json!(["a/b"]),
            "must be a name or address",
        ),
        ("/spec/servers/0/hosts", json!(["a", "a"]), "duplicate"),
        (
            "/spec/servers/0/allowedOrigins",
            json!(["*"]),
            "must be an origin",
        ),
        (
            "/spec/servers/0/allowedOrigins",
            json!(["https://a/"]),
            "must be an origin",
        ),
        (
            "/spec/servers/0/identityHeaders",
            json!({ "subject": "X Y" }),
            "must be 1 to 64 letters",
        ),
        (
            "/spec/servers/0/exposure",
            json!("SeparatePort"),
            "listenPort goes with",
        ),
        (
            "/spec/servers/0/listenPort",
            json!(9000),
            "listenPort goes with",
        ),
        (
            "/spec/servers/0/exposure",
            json!("Redirect"),
            "unsupported value",
        ),
        ("/spec/servers/0/mystery", json!(1), "unknown field"),
        ("/spec/tls", json!({ "mode": "Off" }), "unsupported value"),
        (
            "/spec/limits",
            json!({ "requestTimeout": "1 m" }),
            "should match",
        ),
        (
            "/spec/limits",
            json!({ "maxBodyBytes": "4Mi" }),
            "must be integer",
        ),
        (
            "/spec/anomaly",
            json!({ "failureRatePercent": 0 }),
            "out of range",
        ),
        (
            "/spec/anomaly",
            json!({ "failureRatePercent": 101 }),
            "out of range",
        ),
    ] {
        let errors = errors_with(minimal(), pointer, &change);
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "{pointer} = {change}: {errors:?}"
        );
    }
}

#[test]
fn callers_without_tokens_need_certificates() {
    for (mode, fine) in [("Mutual", true), ("Server", false), ("Plaintext", false)] {
        let mut object = minimal();
        object["spec"]["authentication"] = json!({ "requireToken": false });
        let errors = errors_with(object, "/spec/tls", &json!({ "mode": mode }));
        assert_eq!(errors.is_empty(), fine, "{mode}: {errors:?}");
    }
}

#[test]
fn every_port_is_used_once() {
    for (pointer, port) in [
        ("/spec/servers/1/port", 8080),
        ("/spec/servers/1/listenPort", 8080),
        ("/spec/servers/1/listenPort", 8081),
        ("/spec/servers/0/port", 9081),
        ("/spec/llm/port", 8080),
        ("/spec/llm/port", 9081),
        ("/spec/remoteServers/0/listenPort", 8081),
        ("/spec/remoteServers/0/listenPort", 9081),
        ("/spec/remoteServers/0/listenPort", 15_080),
    ] {
        let errors = errors_with(full(), pointer, &json!(port));
        assert!(
            errors
                .iter()
                .any(|error| error.contains("ports are used once")),
            "{pointer} = {port}: {errors:?}"
        );
    }
    let mut second = full()["spec"]["remoteServers"][0].clone();
    second["name"] = json!("billing-2");
    let errors = errors_with(full(), "/spec/remoteServers/-", &second);
    assert!(
        errors.iter().any(|error| error.contains("used once")),
        "{errors:?}"
    );
    second["listenPort"] = json!(15_082);
    assert_eq!(
        errors_with(full(), "/spec/remoteServers/-", &second),
        [""; 0]
    );
}

#[test]
fn two_separate_ports_must_differ() {
    let mut object = full();
    object["spec"]["servers"][0]["exposure"] = json!("SeparatePort");
    let errors = errors_with(object.clone(), "/spec/servers/0/listenPort", &json!(9081));
    assert!(
        errors.iter().any(|error| error.contains("used once")),
        "{errors:?}"
    );
    assert_eq!(
        errors_with(object, "/spec/servers/0/listenPort", &json!(9082)),
        [""; 0]
    );
}

#[test]
fn remote_servers_do_not_share_names_with_servers() {
    let errors = errors_with(full(), "/spec/remoteServers/0/name", &json!("support"));
    assert!(
        errors
            .iter()
            .any(|error| error.contains("names are used once")),
        "{errors:?}"
    );
}

#[test]
fn rules_that_mean_nothing_or_too_much_are_refused() {
    for (rule, expected) in [
        (json!({ "name": "a" }), "name at least one of"),
        (json!({ "name": "a", "tools": [] }), "wrong size"),
        (json!({ "name": "a", "tools": [""] }), "wrong size"),
        (
            json!({ "name": "a", "tools": ["get_*_all"] }),
            "should match",
        ),
        (json!({ "name": "a", "tools": ["**"] }), "should match"),
        (
            json!({ "name": "a", "tools": ["b"], "servers": [] }),
            "wrong size",
        ),
        (
            json!({ "name": "a", "tools": ["b"], "principals": [] }),
            "wrong size",
        ),
        (
            json!({ "name": "a", "tools": ["b"], "principals": [{}] }),
            "match every caller",
        ),
        (
            json!({ "name": "a", "tools": ["b"], "principals": [{ "subjects": [] }] }),
            "wrong size",
        ),
        (
            json!({ "name": "a", "tools": ["b"], "principals": [{ "spiffeIds": ["https://a"] }] }),
            "should match",
        ),
        (
            json!({ "name": "a", "tools": ["b"], "principals": [{ "serviceAccounts": ["a"] }] }),
            "should match",
        ),
        (
            json!({ "name": "a", "tools": ["b"], "requiredScopes": ["a b"] }),
            "should match",
        ),
        (
            json!({ "name": "a", "tools": ["b"], "requiredScopes": ["a\"b"] }),
            "should match",
        ),
        (
            json!({ "name": "a", "tools": ["b"], "effect": "deny" }),
            "unsupported value",
        ),
        (
            json!({ "name": "a", "tools": ["b"], "effect": "Deny", "requiredScopes": ["c"] }),
            "a Deny rule has no requiredScopes",
        ),
        (
            json!({ "name": "a", "methods": ["vendor/*"] }),
            "names methods exactly",
        ),
        (json!({ "name": "read", "tools": ["b"] }), "duplicate"),
        (
            json!({ "name": "a", "tools": ["b"], "if": "true" }),
            "unknown field",
        ),
    ] {
        let errors = errors_with(full(), "/spec/authorization/rules/-", &rule);
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "{rule}: {errors:?}"
        );
    }
}

#[test]
fn a_rate_limit_counts_exactly_one_thing() {
    for (limit, fine) in [
        (json!({ "name": "a", "period": "1m" }), false),
        (
            json!({ "name": "a", "period": "1m", "requests": 1, "tokens": 1 }),
            false,
        ),
        (json!({ "name": "a", "period": "1m", "tokens": 1 }), true),
        (
            json!({ "name": "a", "period": "1m", "cost": "0.000001" }),
            true,
        ),
        (json!({ "name": "a", "period": "1m", "cost": 1 }), false),
        (json!({ "name": "a", "period": "1m", "cost": "1e3" }), false),
        (json!({ "name": "a", "period": "60", "requests": 1 }), false),
        (json!({ "name": "a", "requests": 1 }), false),
    ] {
        let errors = errors_with(full(), "/spec/rateLimits/-", &limit);
        assert_eq!(errors.is_empty(), fine, "{limit}: {errors:?}");
    }
}

#[test]
fn the_selector_cannot_be_changed_but_the_rest_can() {
    let mut old = minimal();
    assert_eq!(create(&schema(), &mut old), [""; 0]);
    let mut same = old.clone();
    same["spec"]["servers"][0]["port"] = json!(9090);
    assert_eq!(update(&schema(), &mut same, Some(&old)), [""; 0]);
    let mut other = old.clone();
    other["spec"]["selector"]["matchLabels"]["app"] = json!("billing");
    let errors = update(&schema(), &mut other, Some(&old));
    assert!(
        errors
            .iter()
            .any(|error| error.contains("cannot be changed")),
        "{errors:?}"
    );
}

#[test]
fn a_thousand_rules_fit_and_no_more() {
    let rules = |count| -> Value {
        (0..count)
            .map(|it| json!({ "name": format!("r{it}"), "tools": ["*"] }))
            .collect()
    };
    assert_eq!(
        errors_with(full(), "/spec/authorization/rules", &rules(1000)),
        [""; 0]
    );
    let errors = errors_with(full(), "/spec/authorization/rules", &rules(1001));
    assert_eq!(errors, [".spec.authorization.rules: wrong size"]);
}

#[test]
fn unknown_fields_are_refused_by_rust_too() {
    for pointer in [
        "/spec",
        "/spec/tls",
        "/spec/servers/0",
        "/spec/authorization/rules/0",
    ] {
        let mut object = full();
        object.pointer_mut(pointer).unwrap()["mystery"] = json!(true);
        let read = serde_json::from_value::<McpGatewaySpec>(object["spec"].clone());
        let error = read.unwrap_err().to_string();
        assert!(error.contains("mystery"), "{pointer}: {error}");
    }
}
