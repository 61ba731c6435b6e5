//! `spec.authorization`.

use serde_json::{Map, Value, json};

use super::{Cases, numbered, one};

pub(super) fn add(cases: &mut Cases) {
    cases
        .spec("/authorization/mode")
        .taken(&json!(["Audit"]))
        .refused(&json!(["audit", "Off"]));
    hierarchy(cases);
    rules(cases);
    names(cases);
    methods(cases);
    cases
        .spec(&field("when"))
        .taken(&json!(["true", padded(2_048)]))
        .refused(&json!(["", padded(2_049)]))
        .only_sidegate_knows("CEL inside a string", &json!([" ", "args.x ==", "nope"]))
        .only_sidegate_knows(
            "the schema counts characters, not bytes",
            &json!([format!("'{}' == ''", "ä".repeat(1_024))]),
        );
    principals(cases);
    workloads(cases);
}

/// A field of the first rule.
fn field(name: &str) -> String {
    format!("/authorization/rules/0/{name}")
}

fn padded(length: usize) -> String {
    format!("true{}", " ".repeat(length - "true".len()))
}

/// A map of so many names to lists.
fn map(count: usize) -> Value {
    let entries = (0..count).map(|index| (format!("k{index}"), json!(["v"])));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn hierarchy(cases: &mut Cases) {
    let key = |length: usize| json!({"k".repeat(length): ["a"]});
    cases
        .spec("/authorization/scopeHierarchy")
        .taken(&json!([{"a": ["a"]}, {"a": []}, key(256), map(256)]))
        .refused(&json!([
            {"a b": ["c"]}, {"": ["a"]}, {"a": ["b c"]}, {"a": [""]}, {"a": ["b", "b"]},
            {"a": one("s".repeat(257))}, key(257), map(257),
        ]));
    cases
        .spec("/authorization/scopeHierarchy/all")
        .at_most(64, numbered("scope"));
}

fn rules(cases: &mut Cases) {
    cases
        .spec("/authorization/rules")
        .at_most(
            1_000,
            |index| json!({"name": format!("r{index}"), "tools": ["*"]}),
        )
        .taken(&json!([
            [],
            [{"name": "a", "models": ["fast"]}],
            [{"name": "a", "effect": "Deny", "tools": ["b"], "requiredScopes": []}],
        ]))
        .refused(&json!([
            [{"name": "a"}],
            [{"tools": ["b"]}],
            [{"name": "a", "tools": ["b"]}, {"name": "a", "tools": ["c"]}],
            [{"name": "a", "tools": ["b"], "effect": "deny"}],
            [{"name": "a", "tools": ["b"], "effect": "Deny", "requiredScopes": ["c"]}],
            [{"name": "a", "tools": ["b"], "if": "true"}],
            [{"name": "a", "models": ["b"], "servers": ["demo"]}],
        ]));
    cases
        .spec(&field("name"))
        .taken(&json!(["a-1", "a".repeat(63)]))
        .refused(&json!(["", "A", "a.b", "a".repeat(64)]));
    cases
        .spec(&field("requiredScopes"))
        .at_most(32, numbered("scope"))
        .taken(&json!([[], one("s".repeat(256))]))
        .refused(&json!([
            [""],
            ["a b"],
            ["a\"b"],
            ["a", "a"],
            one("s".repeat(257))
        ]));
}

fn names(cases: &mut Cases) {
    for list in ["tools", "prompts", "models"] {
        cases
            .spec(&field(list))
            .at_most(256, numbered("name"))
            .taken(&json!([["get_*"], ["*"], ["a b"], one("ä".repeat(256))]))
            .refused(&json!([
                [],
                [""],
                ["a*b"],
                ["*a"],
                ["**"],
                ["a", "a"],
                one("ä".repeat(257)),
            ]));
    }
    cases
        .spec(&field("resources"))
        .at_most(64, numbered("file:///"))
        .taken(&json!([["file:///a/*"], one("u".repeat(2_048))]))
        .refused(&json!([
            [],
            [""],
            ["a*b"],
            ["a", "a"],
            one("u".repeat(2_049))
        ]));
    cases
        .spec(&field("servers"))
        .taken(&json!([["demo"]]))
        .refused(&json!([[], ["demo", "demo"], ["dem*"], ["*"], ["Demo"]]))
        .only_sidegate_knows(
            "a rule in CEL that looks for each name among the servers costs too much",
            &json!([["none"]]),
        );
}

fn methods(cases: &mut Cases) {
    cases
        .spec(&field("methods"))
        .at_most(32, numbered("vendor/"))
        .taken(&json!([["ping"], ["tools/list"], one("m".repeat(128))]))
        .refused(&json!([
            [],
            [""],
            ["*"],
            ["vendor/*"],
            ["a*b"],
            ["a", "a"],
            one("m".repeat(129)),
            ["tools/call"],
            ["prompts/get"],
            ["resources/read"],
            ["resources/subscribe"],
            ["resources/unsubscribe"],
            ["subscriptions/listen"],
            ["completion/complete"],
            ["tasks/get"],
        ]));
    let before = cases.base.clone();
    cases.base["spec"]["authorization"]["rules"] = json!([{"name": "no", "effect": "Deny"}]);
    cases
        .spec(&field("methods"))
        .taken(&json!([
            ["*"],
            ["tools/*"],
            ["tools/call"],
            ["tasks/*"],
            ["initialize"]
        ]))
        .refused(&json!([[], ["a*b"], ["a", "a"]]));
    cases.base = before;
}

fn principals(cases: &mut Cases) {
    cases
        .spec(&field("principals"))
        .at_most(32, |index| json!({"subjects": [format!("s{index}")]}))
        .refused(&json!([[], [{}], [{"mystery": 1}], [["https://idp.example.com/"]]]));
    let before = cases.base.clone();
    cases.base["spec"]["authorization"]["rules"][0]["principals"] = json!([{}]);
    cases
        .spec(&field("principals/0/issuer"))
        .taken(&json!(["https://idp.example.com/"]))
        .refused(&json!(["", "idp"]))
        .only_sidegate_knows(
            "it is compared with another field of the gateway",
            &json!(["https://none.example.com"]),
        );
    for list in ["subjects", "clients", "claims/team"] {
        cases
            .spec(&field(&format!("principals/0/{list}")))
            .at_most(64, numbered("value"))
            .taken(&json!([["a b"], one("ä".repeat(512))]))
            .refused(&json!([
                [],
                [""],
                ["a", "a"],
                ["a\nb"],
                one("ä".repeat(513))
            ]));
    }
    cases
        .spec(&field("principals/0/claims"))
        .taken(&json!([map(16)]))
        .refused(&json!([{}, map(17)]))
        .only_sidegate_knows(
            "a rule in CEL about every claim of every rule costs too much",
            &json!([{"": ["a"]}]),
        );
    cases.base = before;
}

fn workloads(cases: &mut Cases) {
    let before = cases.base.clone();
    cases.base["spec"]["authorization"]["rules"][0]["principals"] = json!([{}]);
    cases
        .spec(&field("principals/0/serviceAccounts"))
        .at_most(64, numbered("crm/agent"))
        .taken(&json!([
            ["a/b"],
            ["a/b.c"],
            one(format!("{}/b", "n".repeat(63))),
            one(format!("a/{}", "s".repeat(253))),
        ]))
        .refused(&json!([
            [],
            [""],
            ["a"],
            ["a/"],
            ["/b"],
            ["a/b/c"],
            ["A/b"],
            ["a/B"],
            ["a/*"],
            ["*/b"],
            ["a.b/c"],
            ["-a/b"],
            ["a/-b"],
            ["a/b-"],
            ["a/."],
            ["a/b..c"],
            ["a_b/c"],
            ["a/b", "a/b"],
            one(format!("{}/b", "n".repeat(64))),
        ]))
        .only_sidegate_knows(
            "the length of a part of a text",
            &json!([one(format!("a/{}", "s".repeat(254)))]),
        );
    let path = |length: usize| one(format!("spiffe://td/{}", "a".repeat(length - 12)));
    let domain = |length: usize| one(format!("spiffe://{}/a", "t".repeat(length)));
    cases
        .spec(&field("principals/0/spiffeIds"))
        .at_most(64, numbered("spiffe://td/a"))
        .taken(&json!([
            ["spiffe://td/a/b"],
            ["spiffe://t_d/a-b_c.d"],
            ["spiffe://td/..."],
            ["spiffe://td/a..b"],
            path(2_048),
            domain(255),
        ]))
        .refused(&json!([
            [],
            [""],
            ["https://a"],
            ["SPIFFE://td/a"],
            ["spiffe://TD/a"],
            ["spiffe:///a"],
            ["spiffe://td"],
            ["spiffe://td/"],
            ["spiffe://td/a/"],
            ["spiffe://td//a"],
            ["spiffe://td/."],
            ["spiffe://td/./a"],
            ["spiffe://td/../a"],
            ["spiffe://td/a%20"],
            ["spiffe://td/a b"],
            ["spiffe://td:80/a"],
            ["spiffe://u@td/a"],
            ["spiffe://td/a?x"],
            ["spiffe://td/*"],
            ["spiffe://td/~a"],
            ["spiffe://td/a", "spiffe://td/a"],
            path(2_049),
            domain(256),
        ]));
    cases.base = before;
}
