//! `spec.servers`.

use serde_json::{Value, json};

use super::{Cases, numbered, one};

pub(super) fn add(cases: &mut Cases) {
    several(cases);
    names_and_ports(cases);
    paths(cases);
    resources(cases);
    hosts(cases);
    origins(cases);
    headers(cases);
    cases
        .spec("/servers/0/bindEnv")
        .at_most(16, numbered("HOST"))
        .taken(&json!([["_H2"], one("V".repeat(128))]))
        .refused(&json!([
            [""],
            ["2H"],
            ["A-B"],
            ["A=B"],
            ["A", "A"],
            one("V".repeat(129))
        ]));
    cases
        .spec("/servers/0/upstreamHost")
        .taken(&json!(["Loopback", "Preserve"]))
        .refused(&json!(["preserve"]));
    cases
        .spec("/servers/0/authorizationHeader")
        .taken(&json!(["Remove", "Keep"]))
        .refused(&json!(["Drop"]));
    cases.spec("/servers/0/mystery").refused(&json!([1]));
}

fn server(index: usize) -> Value {
    json!({
        "name": format!("s{index}"),
        "port": 8_000 + index,
        "resources": [format!("https://s{index}.example.com")],
    })
}

fn with(mut server: Value, changes: &Value) -> Value {
    for (field, value) in changes.as_object().unwrap() {
        server[field] = value.clone();
    }
    server
}

fn separate(index: usize, port: u16) -> Value {
    with(
        server(index),
        &json!({"exposure": "SeparatePort", "listenPort": port}),
    )
}

fn several(cases: &mut Cases) {
    cases
        .spec("/servers")
        .at_most(16, server)
        .taken(&json!([[separate(0, 9_000), separate(1, 9_001)]]))
        .refused(&json!([
            [],
            [server(0), with(server(1), &json!({"name": "s0"}))],
            [server(0), with(server(1), &json!({"port": 8_000}))],
            [server(0), separate(1, 8_000)],
            [separate(0, 8_000)],
            [separate(0, 9_000), separate(1, 9_000)],
            [separate(0, 0)],
            [separate(0, 15_020)],
            [with(server(0), &json!({"listenPort": 9_000}))],
            [with(server(0), &json!({"exposure": "SeparatePort"}))],
            [with(server(0), &json!({"exposure": "Redirect"}))],
            [
                server(0),
                with(server(1), &json!({"resources": ["https://s0.example.com"]}))
            ],
            {},
        ]));
}

fn names_and_ports(cases: &mut Cases) {
    cases
        .spec("/servers/0/name")
        .taken(&json!(["a", "a-1", "a".repeat(63)]))
        .refused(&json!(["", "A", "-a", "a-", "a.b", "ä", "a".repeat(64)]));
    cases
        .spec("/servers/0/port")
        .taken(&json!([1, 65_535]))
        .refused(&json!([0, -1, 65_536, 1.5, "80", 15_020, 15_021]));
}

fn paths(cases: &mut Cases) {
    let long = |length: usize| format!("/{}", "a".repeat(length - 1));
    cases
        .spec("/servers/0/path")
        .taken(&json!([
            "/",
            "/mcp",
            "/mcp/",
            "/-._~!$&'()*+,=",
            "/a:b@c",
            "/..a",
            "/a../b",
            "/...",
            "/.well-knownx",
            "/a/.well-known",
            long(1_024),
        ]))
        .refused(&json!([
            "",
            "mcp",
            "//",
            "//mcp",
            "/a//b",
            "/./a",
            "/a/.",
            "/a/..",
            "/..",
            "/a?b",
            "/a#b",
            "/a;b",
            "/a%2fb",
            "/a b",
            "/a\n",
            "/ä",
            "/a\\b",
            "/a^",
            "/a\"",
            "/a|b",
            "/.well-known",
            "/.well-known/x",
            long(1_025),
        ]));
}

fn resources(cases: &mut Cases) {
    let long = |length: usize| one(format!("https://a/{}", "m".repeat(length - 10)));
    cases
        .spec("/servers/0/resources")
        .at_most(8, numbered("https://a/"))
        .taken(&json!([
            ["https://a"],
            ["https://a/"],
            ["https://a.example.com:8443/x/mcp/"],
            ["https://[::1]:8443/mcp"],
            ["https://10.0.0.1/mcp"],
            ["http://a/mcp"],
            ["https://a_b/mcp"],
            ["https://a/..."],
            ["https://a/.x"],
            ["https://a/'x"],
            ["https://a/x:y"],
            long(2_048),
        ]))
        .refused(&json!([
            [],
            [""],
            ["https://a/x", "https://a/x"],
            ["HTTPS://a/mcp"],
            ["https://A/mcp"],
            ["https://a:443/mcp"],
            ["http://a:80/mcp"],
            ["https://a/mcp#x"],
            ["https://a/mcp#"],
            ["https://a/mcp?x=1"],
            ["https://a/mcp?"],
            ["https://u@a/mcp"],
            ["https://u:p@a/mcp"],
            ["https://@a/mcp"],
            ["https://a/../mcp"],
            ["https://a/./mcp"],
            ["https://a/x/."],
            ["https://a//mcp"],
            ["https://a/x://y"],
            ["https://a/%6dcp"],
            ["https://a/m cp"],
            ["https:/a/mcp"],
            ["https:a/mcp"],
            ["https://a\\mcp"],
            ["https://a/b\\mcp"],
            ["https://a./mcp"],
            ["https://a..b/mcp"],
            ["https://-a/mcp"],
            ["https://ä/mcp"],
            ["https://a/ä"],
            ["https://0x7f.1/mcp"],
            ["https://2130706433/mcp"],
            ["https://1.2.3/mcp"],
            ["https://1.2.3.4.5/"],
            ["https://a:0/mcp"],
            ["https://a:65536/mcp"],
            ["https://a:08443/mcp"],
            ["https://a:8443:1/"],
            ["ftp://a/mcp"],
            ["urn:x"],
            ["https://"],
            ["https:///mcp"],
            ["https://a/mcp\n"],
            ["https://a/\"x"],
            ["https://a/<x>"],
            ["https://a/a^b"],
            ["https://a/a|b"],
            ["https://a/a{b}"],
            ["https://a/`"],
            ["https://a/x;y"],
            ["https://[::1/mcp"],
            ["https://[x]/mcp"],
            ["https://[::FFFF]/mcp"],
            long(2_049),
            one(format!("https://{}.b/", "a".repeat(64))),
        ]))
        .only_sidegate_knows(
            "the rules of international names",
            &json!([["https://xn--a/"]]),
        );
    let before = cases.base.clone();
    cases.base["spec"]["tls"] = json!({"mode": "Server", "certificateRef": {"name": "a"}});
    cases
        .spec("/servers/0/resources")
        .refused(&json!([["http://a/mcp"], ["http://localhost.a/mcp"]]))
        .only_sidegate_knows(
            "a Secret of another document",
            &json!([
                ["https://a/mcp"],
                ["http://localhost:8080/mcp"],
                ["http://127.0.0.1/mcp"],
                ["http://[::1]:8080/mcp"],
            ]),
        );
    cases.base = before;
}

fn hosts(cases: &mut Cases) {
    let name = |length: usize| "a.".repeat(length / 2) + "a";
    cases
        .spec("/servers/0/hosts")
        .at_most(32, numbered("host"))
        .taken(&json!([
            ["a"],
            ["A-b.c_d"],
            ["_a"],
            ["a:1"],
            ["a:65535"],
            ["127.0.0.1:80"],
            ["[::1]"],
            ["[::1]:80"],
            ["[::ffff:1.2.3.4]"],
            ["A", "a"],
            one("a".repeat(63)),
            one(name(253)),
        ]))
        .refused(&json!([
            [""],
            ["a", "a"],
            ["*"],
            ["*.a"],
            ["a/b"],
            ["https://a"],
            ["a:"],
            ["a:0"],
            ["a:65536"],
            ["a:b"],
            ["a:+1"],
            ["a:080"],
            ["::1"],
            ["[::1"],
            ["[x]"],
            ["[1.2.3.4]"],
            ["-a"],
            ["a-"],
            ["a-.b"],
            ["a.-b"],
            ["a..b"],
            ["a."],
            [".a"],
            ["a b"],
            ["u@a"],
            ["ä"],
            ["256.1.1.1"],
            ["1.2.3"],
            one("a".repeat(64)),
        ]))
        .only_sidegate_knows("the grammar of addresses", &json!([["[:::]"]]))
        .only_sidegate_knows("the length of a part of a text", &json!([one(name(255))]));
}

fn origins(cases: &mut Cases) {
    cases
        .spec("/servers/0/allowedOrigins")
        .at_most(32, numbered("https://origin"))
        .taken(&json!([
            ["https://a"],
            ["http://localhost:6274"],
            ["https://a:8443"],
            ["https://a:80"],
            ["http://a:443"],
            ["http://[::1]:81"],
            ["https://1.2.3.4"],
            ["https://a_b"],
        ]))
        .refused(&json!([
            [""],
            ["https://a", "https://a"],
            ["*"],
            ["null"],
            ["a"],
            ["https://a/"],
            ["https://a/b"],
            ["https://A"],
            ["https://a:443"],
            ["http://a:80"],
            ["http://[::1]:80"],
            ["https://*.a"],
            ["https://u@a"],
            ["https://a?b"],
            ["https://a#"],
            ["file:///a"],
            ["ws://a"],
            ["chrome-extension://a"],
            ["https://a..b"],
            ["https://a."],
            ["https://-a"],
            ["https://a-"],
            ["https://a:0"],
            ["https://a:65536"],
            ["https://a:08"],
            ["https://[x]"],
            ["https://[::FF]"],
            one(format!("https://{}", "a".repeat(64))),
        ]))
        .only_sidegate_knows(
            "the rules of international names",
            &json!([["https://xn--a"]]),
        )
        .only_sidegate_knows("an address in another notation", &json!([["https://0x7f"]]));
}

fn headers(cases: &mut Cases) {
    cases
        .spec("/servers/0/identityHeaders")
        .taken(&json!([
            {},
            {"subject": "X-Subject", "issuer": "X-Issuer", "clientId": "X-Client",
             "scopes": "X-Scopes", "spiffeId": "X-Spiffe"},
        ]))
        .refused(&json!([
            [],
            {"mystery": "X"},
            {"subject": "X-Who", "issuer": "X-Who"},
            {"subject": "X-Who", "spiffeId": "x-who"},
        ]));
    cases
        .spec("/servers/0/identityHeaders/scopes")
        .taken(&json!([
            "X-User",
            "Remote-User",
            "x-",
            "Iffy",
            "X-Accept",
            "X-Real-Ip2",
            "X".repeat(64),
        ]))
        .refused(&json!([
            "",
            "X_User",
            "X User",
            "1x",
            "-x",
            ":path",
            "X".repeat(65),
            "Authorization",
            "HOST",
            "Content-Length",
            "Content-Anything",
            "Connection",
            "Transfer-Encoding",
            "TE",
            "Upgrade",
            "Cookie",
            "Set-Cookie",
            "Set-Cookie2",
            "Proxy-Authorization",
            "Mcp-Session-Id",
            "mcp-x",
            "X-Forwarded-For",
            "Sec-Fetch-Mode",
            "Origin",
            "traceparent",
            "Accept",
            "Accept-Encoding",
            "Acceptance",
            "Age",
            "Via",
            "x-real-ip",
            "If-Match",
            "Access-Control-Allow-Origin",
        ]));
}
