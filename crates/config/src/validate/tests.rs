//! Every bound, on both sides. What is refused beside bounds is in the golden
//! files.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sidegate_api::McpGatewaySpec;
use sidegate_api::gateway::{JwtIssuer, PrincipalMatch, Rule, Server};

use super::*;
use crate::documents::GatewayDocument;

fn spec() -> McpGatewaySpec {
    from_json(json!({
        "selector": {"matchLabels": {"app": "demo"}},
        "servers": [{"name": "s", "port": 8080, "resources": ["https://s.example.com/mcp"]}],
        "tls": {"mode": "Plaintext"},
        "authentication": {"jwt": [
            {"issuer": "https://idp.example.com/", "jwks": {"uri": "https://idp.example.com/jwks"}}
        ]},
        "authorization": {"rules": [{"name": "r", "tools": ["t"]}]}
    }))
}

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("fits the type")
}

/// The fields that are refused after a change.
fn refused(change: impl FnOnce(&mut McpGatewaySpec)) -> Vec<String> {
    let mut spec = spec();
    change(&mut spec);
    let gateways = vec![GatewayDocument::new("default", "demo", spec)];
    let documents = Documents {
        gateways,
        ..Documents::default()
    };
    let options = Options {
        allow_loopback: false,
        built_in_ca: false,
        trust_domain: "td".to_owned(),
    };
    match validate(&documents, None, &options) {
        Ok(_) => Vec::new(),
        Err(violations) => violations
            .iter()
            .map(|violation| violation.field().to_owned())
            .collect(),
    }
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}{index}")).collect()
}

type Change = fn(&mut McpGatewaySpec, usize);

/// Fields with a bound on their length: the field, the most, and how to set it.
const MOST: [(&str, usize, Change); 22] = [
    ("spec.selector.matchLabels", 32, |spec, count| {
        let labels = numbered("label", count).into_iter();
        spec.selector.match_labels = labels.map(|label| (label, String::new())).collect();
    }),
    ("spec.selector.matchExpressions", 16, |spec, count| {
        let expression = |key| json!({"key": key, "operator": "Exists"});
        let expressions = numbered("label", count).into_iter().map(expression);
        spec.selector.match_expressions = from_json(expressions.collect());
    }),
    (
        "spec.selector.matchExpressions[0].values",
        64,
        |spec, count| {
            let values = numbered("value", count);
            let expression = json!([{"key": "a", "operator": "In", "values": values}]);
            spec.selector.match_expressions = from_json(expression);
        },
    ),
    ("spec.servers", 16, |spec, count| {
        spec.servers = (0..count).map(server).collect();
    }),
    ("spec.servers[0].resources", 8, |spec, count| {
        spec.servers[0].resources = numbered("https://s.example.com/", count);
    }),
    ("spec.servers[0].hosts", 32, |spec, count| {
        spec.servers[0].hosts = numbered("host", count);
    }),
    ("spec.servers[0].allowedOrigins", 32, |spec, count| {
        spec.servers[0].allowed_origins = numbered("https://origin", count);
    }),
    ("spec.servers[0].bindEnv", 16, |spec, count| {
        spec.servers[0].bind_env = numbered("HOST", count);
    }),
    ("spec.authentication.jwt", 8, |spec, count| {
        spec.authentication.jwt = (0..count).map(issuer).collect();
    }),
    ("spec.authentication.jwt[0].audiences", 32, |spec, count| {
        spec.authentication.jwt[0].audiences = numbered("audience", count);
    }),
    (
        "spec.authentication.jwt[0].scopeClaims",
        8,
        |spec, count| {
            spec.authentication.jwt[0].scope_claims = numbered("claim", count);
        },
    ),
    (
        "spec.authentication.jwt[0].allowedScopes",
        256,
        |spec, count| {
            spec.authentication.jwt[0].allowed_scopes = numbered("scope", count);
        },
    ),
    ("spec.authorization.rules", 1_000, |spec, count| {
        spec.authorization.rules = (0..count).map(rule).collect();
    }),
    ("spec.authorization.rules[0].tools", 256, |spec, count| {
        spec.authorization.rules[0].tools = Some(numbered("tool", count));
    }),
    (
        "spec.authorization.rules[0].resources",
        64,
        |spec, count| {
            spec.authorization.rules[0].resources = Some(numbered("a://", count));
        },
    ),
    ("spec.authorization.rules[0].methods", 32, |spec, count| {
        spec.authorization.rules[0].methods = Some(numbered("vendor/", count));
    }),
    (
        "spec.authorization.rules[0].requiredScopes",
        32,
        |spec, count| {
            spec.authorization.rules[0].required_scopes = numbered("scope", count);
        },
    ),
    (
        "spec.authorization.rules[0].principals",
        32,
        |spec, count| {
            let entry = |index| PrincipalMatch {
                subjects: Some(vec![format!("subject{index}")]),
                ..PrincipalMatch::default()
            };
            spec.authorization.rules[0].principals = Some((0..count).map(entry).collect());
        },
    ),
    (
        "spec.authorization.rules[0].principals[0].subjects",
        64,
        |spec, count| {
            let entry = PrincipalMatch {
                subjects: Some(numbered("subject", count)),
                ..PrincipalMatch::default()
            };
            spec.authorization.rules[0].principals = Some(vec![entry]);
        },
    ),
    ("spec.authorization.rules[0].when", 2_048, |spec, length| {
        let padding = " ".repeat(length - "true".len());
        spec.authorization.rules[0].when = Some(format!("true{padding}"));
    }),
    ("spec.authorization.scopeHierarchy", 256, |spec, count| {
        let names = numbered("scope", count);
        spec.authorization.scope_hierarchy = names
            .into_iter()
            .map(|name| (name, vec!["other".to_owned()]))
            .collect();
    }),
    (
        "spec.authorization.scopeHierarchy.all",
        64,
        |spec, count| {
            spec.authorization.scope_hierarchy =
                BTreeMap::from([("all".to_owned(), numbered("scope", count))]);
        },
    ),
];

fn server(index: usize) -> Server {
    from_json(json!({
        "name": format!("s{index}"),
        "port": 8000 + index,
        "resources": [format!("https://s{index}.example.com")]
    }))
}

fn issuer(index: usize) -> JwtIssuer {
    from_json(json!({
        "issuer": format!("https://idp{index}.example.com"),
        "jwks": {"uri": "https://idp.example.com/jwks"}
    }))
}

fn rule(index: usize) -> Rule {
    from_json(json!({"name": format!("r{index}"), "tools": ["t"]}))
}

#[test]
fn lists_are_bounded() {
    for (field, most, change) in MOST {
        let none: [&str; 0] = [];
        assert_eq!(
            refused(|spec| change(spec, most)),
            none,
            "{field} with {most}"
        );
        assert_eq!(
            refused(|spec| change(spec, most + 1)),
            [field],
            "one more than {most}"
        );
    }
}

#[test]
fn texts_are_bounded() {
    let none: [&str; 0] = [];
    let name =
        |length: usize| move |spec: &mut McpGatewaySpec| spec.servers[0].name = "a".repeat(length);
    assert_eq!(refused(name(63)), none);
    assert_eq!(refused(name(64)), ["spec.servers[0].name"]);
    assert_eq!(refused(name(0)), ["spec.servers[0].name"]);
    let tool = |length: usize| {
        move |spec: &mut McpGatewaySpec| {
            spec.authorization.rules[0].tools = Some(vec!["ä".repeat(length)]);
        }
    };
    assert_eq!(
        refused(tool(256)),
        none,
        "characters are counted, as the API server does"
    );
    assert_eq!(refused(tool(257)), ["spec.authorization.rules[0].tools[0]"]);
    let audience = |length: usize| {
        move |spec: &mut McpGatewaySpec| {
            spec.authentication.jwt[0].audiences = vec!["a".repeat(length)];
        }
    };
    assert_eq!(refused(audience(2_048)), none);
    assert_eq!(
        refused(audience(2_049)),
        ["spec.authentication.jwt[0].audiences[0]"]
    );
}

#[test]
fn an_inline_key_set_is_bounded() {
    let keys = |length: usize| {
        move |spec: &mut McpGatewaySpec| {
            let set = r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#;
            let padding = " ".repeat(length - set.len());
            let jwks = &mut spec.authentication.jwt[0].jwks;
            (jwks.uri, jwks.inline) = (None, Some(format!("{set}{padding}")));
        }
    };
    assert!(refused(keys(65_536)).is_empty());
    assert_eq!(
        refused(keys(65_537)),
        ["spec.authentication.jwt[0].jwks.inline"]
    );
    let few = |spec: &mut McpGatewaySpec| {
        keys(2_000)(spec);
        spec.limits.jwks_max_bytes = Some(1_999);
    };
    assert_eq!(refused(few), ["spec.authentication.jwt[0].jwks.inline"]);
}

/// Limits that are numbers, with the least and the most.
const NUMBERS: [(&str, u64, u64); 18] = [
    ("maxBodyBytes", 1_024, 67_108_864), // the default of maxBufferedBytes
    ("maxResponseBytes", 1_024, 1_073_741_824),
    ("maxEventBytes", 1_024, 1_073_741_824),
    ("maxJsonDepth", 1, 128),
    ("maxHeaders", 8, 1_024),
    ("maxHeaderBytes", 256, 1_048_576),
    ("maxHeaderValueBytes", 256, 32_768), // the default of maxHeaderBytes
    ("maxUriBytes", 256, 1_048_576),
    ("maxTokenBytes", 256, 8_192), // the default of maxHeaderValueBytes
    ("maxNameBytes", 1, 4_096),
    ("maxConnections", 1, 1_000_000),
    ("maxRequestsPerPrincipal", 1, 1_000_000),
    ("maxBufferedBytes", 1_048_576, 68_719_476_736),
    ("maxSessions", 1, 1_000_000),
    ("maxSessionsPerPrincipal", 1, 10_000), // the default of maxSessions
    ("jwksMaxBytes", 1_024, 16_777_216),
    ("jwksMaxKeys", 1, 1_000),
    ("tokenCacheEntries", 0, 1_000_000),
];

/// Limits that are times, with the least and the most in milliseconds.
const TIMES: [(&str, u64, u64); 16] = [
    ("headerTimeout", 100, 600_000),
    ("handshakeTimeout", 100, 600_000),
    ("bodyIdleTimeout", 100, 600_000),
    ("idleTimeout", 1_000, 86_400_000),
    ("requestTimeout", 1_000, 3_600_000),
    ("connectTimeout", 100, 600_000),
    ("streamIdleTimeout", 1_000, 86_400_000),
    ("streamKeepAlive", 1_000, 299_999), // below the default of streamIdleTimeout
    ("sessionIdleTimeout", 1_000, 604_800_000),
    ("drainTimeout", 0, 3_600_000),
    ("jwksTimeout", 100, 60_000),
    ("jwksRefreshInterval", 1_000, 3_599_999), // below the default of jwksStaleAfter
    ("jwksCooldown", 1_000, 3_600_000),
    ("jwksStaleAfter", 300_001, 604_800_000), // above the default of jwksRefreshInterval
    ("tokenLeeway", 0, 300_000),
    ("maxTokenLifetime", 60_000, 2_592_000_000),
];

fn with_limit(name: &str, value: impl Into<Value>) -> Vec<String> {
    let limits = json!({name: value.into()});
    refused(|spec| spec.limits = from_json(limits))
}

/// A number of milliseconds as a person may write it: groups of five digits.
fn written(milliseconds: u64) -> String {
    let (hours, rest) = (milliseconds / 3_600_000, milliseconds % 3_600_000);
    format!(
        "{hours}h{}m{}s{}ms",
        rest / 60_000,
        rest % 60_000 / 1_000,
        rest % 1_000
    )
}

#[test]
fn limits_have_limits() {
    let none: [&str; 0] = [];
    for (name, least, most) in NUMBERS {
        assert_eq!(with_limit(name, least), none, "{name} {least}");
        assert_eq!(with_limit(name, most), none, "{name} {most}");
        assert!(!with_limit(name, most + 1).is_empty(), "{name} over {most}");
        if let Some(less) = least.checked_sub(1) {
            assert!(!with_limit(name, less).is_empty(), "{name} under {least}");
        }
    }
    for (name, least, most) in TIMES {
        assert_eq!(with_limit(name, written(least)), none, "{name} {least}");
        assert_eq!(with_limit(name, written(most)), none, "{name} {most}");
        assert!(
            !with_limit(name, written(most + 1)).is_empty(),
            "{name} over {most}"
        );
        if let Some(less) = least.checked_sub(1) {
            assert!(
                !with_limit(name, written(less)).is_empty(),
                "{name} under {least}"
            );
        }
    }
}

#[test]
fn every_limit_that_can_be_set_is_enforced() {
    let all: serde_json::Map<String, Value> = NUMBERS
        .iter()
        .map(|(name, least, _)| ((*name).to_owned(), Value::from(*least)))
        .chain(
            TIMES
                .iter()
                .map(|(name, _, most)| ((*name).to_owned(), written(*most).into())),
        )
        .collect();
    let wanted: sidegate_api::gateway::Limits = from_json(Value::Object(all.clone()));
    let mut spec = spec();
    spec.limits = wanted;
    let gateways = vec![GatewayDocument::new("default", "demo", spec)];
    let documents = Documents {
        gateways,
        ..Documents::default()
    };
    let options = Options {
        allow_loopback: false,
        built_in_ca: false,
        trust_domain: "td".to_owned(),
    };
    let config = crate::build(validate(&documents, None, &options).expect("valid"));
    let enforced = serde_json::to_value(&config.limits).expect("JSON");
    let enforced = enforced.as_object().expect("an object");
    let defaults = serde_json::to_value(Limits::default()).expect("JSON");
    assert_eq!(
        enforced.keys().collect::<Vec<_>>(),
        all.keys().collect::<Vec<_>>(),
        "every limit has a row in the tables"
    );
    for (name, value) in enforced {
        assert_ne!(
            Some(value),
            defaults.get(name),
            "{name} was set and is not enforced"
        );
    }
}

#[test]
fn defaults_follow_a_lower_limit() {
    let none: [&str; 0] = [];
    for (name, value) in [
        ("maxBufferedBytes", json!(1_048_576)),
        ("maxHeaderBytes", json!(1_024)),
        ("maxHeaderValueBytes", json!(1_024)),
        ("maxSessions", json!(1)),
        ("streamIdleTimeout", json!("2s")),
    ] {
        assert_eq!(with_limit(name, value), none, "{name}");
    }
}

fn with_options(spec: McpGatewaySpec, built_in_ca: bool) -> Result<ValidatedGateway, Violations> {
    let documents = Documents {
        gateways: vec![GatewayDocument::new("default", "demo", spec)],
        ..Documents::default()
    };
    let options = Options {
        allow_loopback: false,
        built_in_ca,
        trust_domain: "td".to_owned(),
    };
    validate(&documents, None, &options)
}

#[test]
fn tls_without_a_certificate_needs_a_built_in_authority() {
    use sidegate_api::gateway::TlsMode;

    for (mode, mutual) in [(TlsMode::Mutual, true), (TlsMode::Server, false)] {
        let mut spec = spec();
        spec.tls.mode = mode;
        assert!(with_options(spec.clone(), false).is_err());
        let config = crate::build(with_options(spec, true).expect("valid"));
        assert_eq!(config.tls, TlsConfig::BuiltIn { mutual });
    }
}

#[test]
fn a_cause_tells_what_sort_of_thing_is_wrong() {
    let causes = |change: &dyn Fn(&mut McpGatewaySpec)| {
        let mut spec = spec();
        change(&mut spec);
        let violations = with_options(spec, true).expect_err("refused");
        violations.iter().map(Violation::cause).collect::<Vec<_>>()
    };
    assert_eq!(causes(&|spec| spec.servers[0].port = 0), [Cause::Invalid]);
    assert_eq!(
        causes(&|spec| spec.anomaly = Some(from_json(json!({})))),
        [Cause::Unserved]
    );
    let tls = json!({"mode": "Server", "certificateRef": {"name": "none"}});
    assert_eq!(
        causes(&|spec| spec.tls = from_json(tls.clone())),
        [Cause::SecretNotFound]
    );
    let keys = json!({"configMapKeyRef": {"name": "none", "key": "k"}});
    assert_eq!(
        causes(&|spec| spec.authentication.jwt[0].jwks = from_json(keys.clone())),
        [Cause::ConfigMapNotFound]
    );
    let keys = json!({"inline": "{}"});
    assert_eq!(
        causes(&|spec| spec.authentication.jwt[0].jwks = from_json(keys.clone())),
        [Cause::Invalid],
        "what is written inline is the gateway's own"
    );
}
