//! What is beside servers and rules: selector, TLS, authentication, audit.

use serde_json::{Value, json};

use super::{Cases, numbered, one};

/// A value that somebody forgot to write.
const NULL: &str = "the API server takes the default for a null";

pub(super) fn add(cases: &mut Cases) {
    selector(cases);
    tls(cases);
    authentication(cases);
    issuer(cases);
    jwks(cases);
    cases
        .spec("/audit")
        .taken(&json!([{"arguments": "Hash"}, {}]))
        .refused(&json!([{"arguments": "all"}]));
    cases
        .spec("/acceptBypass")
        .taken(&json!([true]))
        .refused(&json!(["yes", null]));
    cases.spec("/mystery").refused(&json!([1]));
}

fn selector(cases: &mut Cases) {
    let labels = |count: usize| -> Value {
        let labels = (0..count).map(|index| (format!("k{index}"), json!("v")));
        json!({ "matchLabels": Value::Object(labels.collect()) })
    };
    let label = |key: &str, value: &str| json!({"matchLabels": {key: value}});
    cases
        .spec("/selector")
        .taken(&json!([
            label("example.com/tier", ""),
            label(&"k".repeat(63), &"v".repeat(63)),
            {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]},
            labels(32),
        ]))
        .refused(&json!([
            {},
            {"matchLabels": {}},
            {"matchExpressions": []},
            labels(33),
            label("a", "a b"),
            label("a", &"v".repeat(64)),
            label(&"k".repeat(64), "v"),
            label("-a", "v"),
            label("a/b/c", "v"),
            label("P/k", "v"),
            label("/k", "v"),
            label("", "v"),
            {"matchLabels": {"a": 1}},
        ]));
    let requirement = |key: &str, operator: &str, values: Value| json!([{"key": key, "operator": operator, "values": values}]);
    cases
        .spec("/selector/matchExpressions")
        .at_most(
            16,
            |index| json!({"key": format!("k{index}"), "operator": "Exists"}),
        )
        .taken(&json!([requirement("a", "NotIn", json!(["b", ""]))]))
        .refused(&json!([
            requirement("a", "In", json!([])),
            requirement("a", "Exists", json!(["b"])),
            requirement("a", "in", json!(["b"])),
            requirement("a", "In", json!(["b", "b"])),
            requirement("a", "In", json!(["-"])),
            requirement("a/b/c", "In", json!(["b"])),
            requirement(&"k".repeat(64), "In", json!(["b"])),
            requirement("", "In", json!(["b"])),
            [{"operator": "Exists"}],
        ]));
    let before = cases.base.clone();
    cases.base["spec"]["selector"]["matchExpressions"] = json!([{"key": "a", "operator": "In"}]);
    cases
        .spec("/selector/matchExpressions/0/values")
        .at_most(64, numbered("v"));
    cases.base = before;
}

fn tls(cases: &mut Cases) {
    cases
        .spec("/tls")
        .refused(&json!([
            {"mode": "Off"},
            {"mode": "plaintext"},
            {"mode": "Plaintext", "certificateRef": {"name": "a"}},
            {"mode": "Server", "certificateRef": {"name": "A_b"}},
            {"mode": "Server", "certificateRef": {"name": ""}},
            ["Plaintext"],
        ]))
        .only_sidegate_knows(
            "a cluster has a built-in certificate authority",
            &json!([{}, {"mode": "Server"}, {"mode": "Mutual"}]),
        )
        .only_sidegate_knows(
            "a Secret of another document",
            &json!([{"mode": "Mutual", "certificateRef": {"name": "a"}}]),
        )
        .only_sidegate_knows(NULL, &json!([null]));
}

fn authentication(cases: &mut Cases) {
    cases.spec("/authentication").refused(&json!([
        {},
        {"requireToken": false},
        {"requireToken": "no"},
        {"jwt": []},
    ]));
    let issuer = |index: usize| {
        json!({
            "issuer": format!("https://idp{index}.example.com"),
            "jwks": {"uri": "https://idp.example.com/jwks"},
        })
    };
    cases
        .spec("/authentication/jwt")
        .at_most(8, issuer)
        .refused(&json!([
            [issuer(0), issuer(0)],
            [{"issuer": "https://idp.example.com"}],
        ]));
}

/// URLs that are compared as they are written.
fn identity_urls(cases: &mut Cases, pointer: &str) {
    let long = |length: usize| format!("https://a/{}", "m".repeat(length - 10));
    cases
        .spec(pointer)
        .taken(&json!([
            "https://idp",
            "https://idp/",
            "https://IDP:443/a?b=c",
            "https://idp/%7Ea",
            "https://i_d.p/",
            "https://idp?x",
            "https://idp/ä",
            "https://[::1]/",
            "http://localhost/",
            "http://localhost?x=1",
            "http://127.0.0.1:9000/x",
            "http://127.0.0.2/",
            "http://[::1]:80",
            long(2_048),
        ]))
        .refused(&json!([
            "",
            "idp",
            "https://",
            "https:/idp",
            "HTTPS://idp/",
            "file:///keys",
            "data:,x",
            "https://u@idp/",
            "https://a@b@c/",
            "https://idp/#",
            "https://idp/a b",
            "https://idp/\\",
            "https://idp/\u{1}",
            "https://idp:0/",
            "https://idp:65536/",
            "https://idp:70000",
            "https://idp:0443/",
            "https://a..b/",
            "https://a./",
            "https://-a/",
            "https://ä/",
            "https://a^b/",
            "https://[x]/",
            "https://1.2.3.4.5/",
            "https://1.2.3/",
            "https://256.1.1.1/",
            format!("https://{}.b", "a".repeat(64)),
            "http://idp/",
            "http://localhost.example.com/",
            "http://127.1/",
            "http://LOCALHOST/",
            long(2_049),
        ]))
        .only_sidegate_knows(
            "the rules of international names",
            &json!(["https://xn--a/"]),
        )
        .only_sidegate_knows("an address in another notation", &json!(["https://0x7f/"]));
}

fn issuer(cases: &mut Cases) {
    identity_urls(cases, "/authentication/jwt/0/issuer");
    cases
        .spec("/authentication/jwt/0/audiences")
        .at_most(32, numbered("audience"))
        .taken(&json!([[], ["a b"], one("a".repeat(2_048))]))
        .refused(&json!([[""], ["a", "a"], one("a".repeat(2_049))]));
    cases
        .spec("/authentication/jwt/0/algorithms")
        .taken(&json!([[
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"
        ],]))
        .refused(&json!([
            [],
            ["HS256"],
            ["none"],
            ["es256"],
            ["ES512"],
            ["RS256", "RS256"]
        ]))
        .only_sidegate_knows(NULL, &json!([null]));
    cases
        .spec("/authentication/jwt/0/scopeClaims")
        .at_most(8, numbered("claim"))
        .taken(&json!([
            one("c".repeat(128)),
            ["https://example.com/scopes"]
        ]))
        .refused(&json!([
            [],
            [""],
            ["a b"],
            ["a", "a"],
            one("c".repeat(129))
        ]));
    cases
        .spec("/authentication/jwt/0/allowedScopes")
        .at_most(256, numbered("scope"))
        .taken(&json!([[], one("s".repeat(256))]))
        .refused(&json!([
            [""],
            ["a b"],
            ["a\"b"],
            ["a\\b"],
            ["ä"],
            ["a", "a"],
            one("s".repeat(257)),
        ]));
}

fn jwks(cases: &mut Cases) {
    identity_urls(cases, "/authentication/jwt/0/jwks/uri");
    let keys = r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#;
    let inline = |length: usize| {
        let padding = " ".repeat(length - keys.len());
        json!({"inline": format!("{keys}{padding}")})
    };
    cases
        .spec("/authentication/jwt/0/jwks")
        .taken(&json!([{"inline": keys}, inline(65_536)]))
        .refused(&json!([
            {},
            {"uri": "https://a", "inline": keys},
            {"inline": keys, "caRef": {"name": "ca"}},
            {"inline": ""},
            inline(65_537),
            {"configMapKeyRef": {"name": "a"}},
            {"configMapKeyRef": {"name": "A", "key": "b"}},
            {"configMapKeyRef": {"name": "a", "key": "b/c"}},
            {"configMapKeyRef": {"name": "a", "key": ""}},
            {"uri": "https://a", "caRef": {"name": "A"}},
        ]))
        .only_sidegate_knows(
            "JSON inside a string",
            &json!([{"inline": "no"}, {"inline": "{\"keys\":[]}"}]),
        )
        .only_sidegate_knows(
            "a ConfigMap of another document",
            &json!([
                {"uri": "https://a", "caRef": {"name": "ca"}},
                {"configMapKeyRef": {"name": "a", "key": "b"}},
            ]),
        );
}
