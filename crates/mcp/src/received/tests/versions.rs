//! Versions and mirrored headers.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::VERSIONS;
use crate::call::Call;

const MISMATCH: RejectionKind = RejectionKind::HeaderMismatch;
const PARAMS: RejectionKind = RejectionKind::InvalidParams;
const UNSUPPORTED: RejectionKind = RejectionKind::UnsupportedVersion;

fn call_body(name: &str) -> String {
    modern_body("tools/call", &format!(r#""name":{}"#, json!(name)))
}

fn data(rejection: &Rejection) -> Value {
    serde_json::from_str(rejection.data.as_deref().expect("data")).expect("JSON")
}

#[test]
fn hdr_001_a_name_header_that_differs_is_refused() {
    let body = call_body("db.drop");
    for name in [
        "weather.get",
        "DB.DROP",
        "db.drop2",
        "db.dro",
        "db",
        "=?base64?d2VhdGhlci5nZXQ=?=",
    ] {
        assert_eq!(
            kind(&modern(&body, "tools/call", name)),
            Some(MISMATCH),
            "{name}"
        );
    }
    let rejection = refused(modern(&body, "tools/call", "weather.get"));
    assert_eq!(rejection.id.as_deref(), Some("1"));
}

#[test]
fn hdr_002_a_method_header_that_differs_is_refused() {
    let body = call_body("db.drop");
    for method in [
        "tools/list",
        "TOOLS/CALL",
        "tools/call/",
        "=?base64?dG9vbHMvY2FsbA==?=",
    ] {
        assert_eq!(
            kind(&modern(&body, method, "db.drop")),
            Some(MISMATCH),
            "{method}"
        );
    }
}

#[test]
fn hdr_003_a_missing_header_is_refused() {
    assert_eq!(kind(&modern(&call_body("a"), "", "a")), Some(MISMATCH));
    assert_eq!(
        kind(&modern(&call_body("a"), "tools/call", "")),
        Some(MISMATCH)
    );
    assert_eq!(
        kind(&modern(&modern_body("tools/list", ""), "", "")),
        Some(MISMATCH)
    );
    for (method, params) in [
        ("prompts/get", r#""name":"a""#),
        ("resources/read", r#""uri":"a""#),
        ("tasks/get", r#""taskId":"a""#),
        ("tasks/update", r#""taskId":"a""#),
        ("tasks/cancel", r#""taskId":"a""#),
    ] {
        let body = modern_body(method, params);
        assert_eq!(kind(&modern(&body, method, "")), Some(MISMATCH), "{method}");
        assert!(modern(&body, method, "a").is_ok(), "{method}");
    }
    for (method, params) in [
        (
            "completion/complete",
            r#""ref":{"type":"ref/prompt","name":"a"}"#,
        ),
        ("subscriptions/listen", ""),
    ] {
        assert!(
            modern(&modern_body(method, params), method, "").is_ok(),
            "{method} needs no name"
        );
    }
    let without_id = format!(
        r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"a",{MODERN_META}}}}}"#
    );
    assert_eq!(
        kind(&modern(&without_id, "", "a")),
        Some(MISMATCH),
        "no id makes it no notification"
    );
}

#[test]
fn hdr_005_an_encoded_name_is_decoded_before_it_is_compared() {
    assert!(
        modern(
            &call_body("db.query"),
            "tools/call",
            "=?base64?ZGIucXVlcnk=?="
        )
        .is_ok()
    );
    assert!(
        modern(
            &call_body("Hello, 世界"),
            "tools/call",
            "=?base64?SGVsbG8sIOS4lueVjA==?="
        )
        .is_ok()
    );
    assert!(
        modern(
            &call_body(" padded "),
            "tools/call",
            "=?base64?IHBhZGRlZCA=?="
        )
        .is_ok()
    );
    let literal = "=?base64?literal?=";
    assert!(
        modern(
            &call_body(literal),
            "tools/call",
            "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="
        )
        .is_ok()
    );
    for bad in [
        literal,
        "=?base64?ZGIucXVlcnk?=",
        "=?base64?ZGIucXVlcnk==?=",
        "=?base64?ZGIucXV$cnk=?=",
        "=?base64?ZGIucXVlcnl=?=",
        "=?base64?ZGIu cXVlcnk=?=",
        "=?base64??=",
        "=?base64?/w==?=",
    ] {
        assert_eq!(
            kind(&modern(&call_body("db.query"), "tools/call", bad)),
            Some(MISMATCH),
            "{bad}"
        );
    }
}

#[test]
fn what_is_not_quite_the_encoding_is_literal() {
    for name in [
        "=?base64?ZGI=",
        "ZGI=?=",
        "=?BASE64?ZGI=?=",
        "=?base64?=",
        "=?Base64?ZGI=?=",
    ] {
        assert!(
            modern(&call_body(name), "tools/call", name).is_ok(),
            "{name}"
        );
        assert_eq!(
            kind(&modern(&call_body("db"), "tools/call", name)),
            Some(MISMATCH),
            "{name}"
        );
    }
}

#[test]
fn hdr_009_a_header_that_comes_twice_is_refused() {
    let body = call_body("a");
    let good = headers("2026-07-28", "tools/call", "a");
    for bad in [
        McpHeaders {
            name: Field::Many,
            ..good
        },
        McpHeaders {
            method: Field::Many,
            ..good
        },
        McpHeaders {
            protocol_version: Field::Many,
            ..good
        },
    ] {
        assert_eq!(
            kind(&receive(body.as_bytes(), &bad, LIMITS)),
            Some(MISMATCH),
            "{bad:?}"
        );
    }
    let legacy = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
    for bad in [
        McpHeaders {
            name: Field::Many,
            ..no_headers()
        },
        McpHeaders {
            method: Field::Many,
            ..no_headers()
        },
        McpHeaders {
            protocol_version: Field::Many,
            ..no_headers()
        },
    ] {
        assert_eq!(
            kind(&receive(legacy, &bad, LIMITS)),
            Some(MISMATCH),
            "{bad:?}"
        );
    }
}

#[test]
fn bytes_that_no_mirrored_value_has_are_refused() {
    let body = call_body("caf\u{e9}");
    let good = headers("2026-07-28", "tools/call", "=?base64?Y2Fmw6k=?=");
    assert!(receive(body.as_bytes(), &good, LIMITS).is_ok());
    for bytes in [
        "caf\u{e9}".as_bytes(),
        b"caf\xe9",
        b"a\x00",
        b"a\x7f",
        b"a\x1f",
    ] {
        for bad in [
            McpHeaders {
                name: Field::One(bytes),
                ..good
            },
            McpHeaders {
                method: Field::One(bytes),
                ..good
            },
            McpHeaders {
                protocol_version: Field::One(bytes),
                ..good
            },
        ] {
            assert_eq!(
                kind(&receive(body.as_bytes(), &bad, LIMITS)),
                Some(MISMATCH),
                "{bad:?}"
            );
        }
    }
}

#[test]
fn white_space_around_a_header_is_no_part_of_it() {
    let body = call_body("a");
    let padded = headers(" 2026-07-28\t", "\ttools/call ", "  a  ");
    assert!(receive(body.as_bytes(), &padded, LIMITS).is_ok());
}

#[test]
fn hdr_013_a_version_header_that_differs_from_meta_is_refused() {
    let meta = |version: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        )
    };
    for (header, stated) in [
        ("2026-07-28", "2025-11-25"),
        ("2025-11-25", "2026-07-28"),
        ("", "2026-07-28"),
        ("", "2025-11-25"),
        ("2026-07-28", "v999.0.0"),
        ("2026-07-28", ""),
        ("2026-07-28", "2026-07-28 "),
    ] {
        let result = receive(
            meta(stated).as_bytes(),
            &headers(header, "tools/list", ""),
            LIMITS,
        )
        .map(drop);
        assert_eq!(
            result.map_err(|rejection| rejection.kind),
            Err(MISMATCH),
            "{header} {stated}"
        );
    }
    let same = meta("2025-11-25");
    let received =
        receive(same.as_bytes(), &headers("2025-11-25", "", ""), LIMITS).expect("the same version");
    assert_eq!(received.era, Era::Legacy);
}

#[test]
fn hdr_014_an_unsupported_version_is_refused_with_the_supported_ones() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for version in [
        "1900-01-01",
        "2024-11-05",
        "2026-07-29",
        "2025-11-25,2025-06-18",
        "DRAFT-2026-v1",
        "latest",
    ] {
        let rejection = refused(receive(body, &headers(version, "", ""), LIMITS));
        assert_eq!(rejection.kind, UNSUPPORTED, "{version}");
        assert_eq!(
            data(&rejection),
            json!({"supported": VERSIONS, "requested": version})
        );
        assert_eq!(rejection.id.as_deref(), Some("1"));
    }
}

#[test]
fn a_client_that_states_its_version_is_told_versions_it_can_state() {
    let body = modern_body("server/discover", "").replace("2026-07-28", "v999.0.0");
    let expected = json!({"supported": ["2026-07-28"], "requested": "v999.0.0"});
    for version in ["v999.0.0", ""] {
        let rejection = refused(receive(
            body.as_bytes(),
            &headers(version, "server/discover", ""),
            LIMITS,
        ));
        assert_eq!(
            (rejection.kind, data(&rejection)),
            (UNSUPPORTED, expected.clone()),
            "{version}"
        );
    }
    let body = modern_body("tools/list", "");
    let rejection = refused(receive(
        body.as_bytes(),
        &headers("1900-01-01", "tools/list", ""),
        LIMITS,
    ));
    assert_eq!(rejection.kind, UNSUPPORTED);
}

#[test]
fn what_was_requested_is_echoed_in_bounds() {
    let long = "9".repeat(5000);
    let rejection = refused(receive(
        br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        &headers(&long, "", ""),
        LIMITS,
    ));
    assert_eq!(
        data(&rejection)["requested"].as_str().map(str::len),
        Some(64)
    );
    let rejection = refused(receive(
        br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        &headers("\"\\", "", ""),
        LIMITS,
    ));
    assert_eq!(data(&rejection)["requested"], json!("\"\\"));
}

#[test]
fn hdr_015_no_version_means_the_oldest_one_and_the_same_checks() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"db.drop"}}"#;
    let received = receive(body, &no_headers(), LIMITS).expect("a legacy call");
    assert_eq!(
        (received.era, received.version),
        (Era::Legacy, "2025-03-26")
    );
    assert_eq!(
        received.call,
        Call::Tool {
            name: "db.drop".into()
        }
    );
    assert_eq!(
        kind(&receive(body, &headers("2024-11-05", "", ""), LIMITS)),
        Some(UNSUPPORTED)
    );
}

#[test]
fn legacy_requests_may_leave_headers_out_but_not_lie_in_them() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
    for version in ["", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let sent = |method, name| receive(body, &headers(version, method, name), LIMITS);
        assert!(sent("", "").is_ok());
        assert!(sent("tools/call", "a").is_ok());
        assert_eq!(kind(&sent("tools/list", "")), Some(MISMATCH), "{version}");
        assert_eq!(kind(&sent("", "b")), Some(MISMATCH), "{version}");
    }
}

#[test]
fn a_name_header_where_the_body_has_no_name_is_refused() {
    let list = modern_body("tools/list", "");
    assert_eq!(kind(&modern(&list, "tools/list", "a")), Some(MISMATCH));
    let nothing = modern_body("tools/call", "");
    assert_eq!(kind(&modern(&nothing, "tools/call", "a")), Some(MISMATCH));
    let vendor = modern_body("vendor/x", r#""name":"a""#);
    assert!(modern(&vendor, "vendor/x", "a").is_ok());
    assert_eq!(kind(&modern(&vendor, "vendor/x", "b")), Some(MISMATCH));
    let complete = modern_body(
        "completion/complete",
        r#""ref":{"type":"ref/prompt","name":"p"},"name":"q""#,
    );
    assert!(modern(&complete, "completion/complete", "p").is_ok());
    assert_eq!(
        kind(&modern(&complete, "completion/complete", "q")),
        Some(MISMATCH)
    );
}

#[test]
fn headers_of_notifications_and_answers_must_match_when_they_come() {
    let notification =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    for version in ["2025-11-25", "2026-07-28"] {
        let sent = |method, name| {
            receive(
                notification.as_bytes(),
                &headers(version, method, name),
                LIMITS,
            )
        };
        assert!(sent("", "").is_ok(), "{version}");
        assert!(sent("notifications/cancelled", "").is_ok(), "{version}");
        assert_eq!(kind(&sent("tools/call", "")), Some(MISMATCH), "{version}");
        assert_eq!(kind(&sent("", "x")), Some(MISMATCH), "{version}");
    }
    let answer = br#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(
        kind(&receive(
            answer,
            &headers("2025-11-25", "tools/call", ""),
            LIMITS
        )),
        Some(MISMATCH)
    );
    assert_eq!(
        kind(&receive(answer, &headers("2025-11-25", "", "x"), LIMITS)),
        Some(MISMATCH)
    );
}

#[test]
fn a_modern_request_must_say_version_and_capabilities() {
    for meta in [
        "",
        r#""_meta":{}"#,
        r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{}}"#,
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":null}"#,
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":1,"io.modelcontextprotocol/clientCapabilities":{}}"#,
        r#""_meta":{"protocolVersion":"2026-07-28","clientCapabilities":{}}"#,
        r#""_meta":null"#,
        r#""_meta":[]"#,
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":101,"method":"server/discover","params":{{{meta}}}}}"#
        );
        let rejection = refused(modern(&body, "server/discover", ""));
        assert_eq!(
            (rejection.kind, rejection.id.as_deref()),
            (PARAMS, Some("101")),
            "{meta}"
        );
    }
    assert_eq!(
        kind(&modern(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            "tools/list",
            ""
        )),
        Some(PARAMS)
    );
}

#[test]
fn headers_are_compared_before_parameters_are_looked_at() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    assert_eq!(kind(&modern(body, "prompts/list", "")), Some(MISMATCH));
}

#[test]
fn initialize_negotiates_for_itself() {
    let body = |version: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
        )
    };
    for (asked, version) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2024-11-05", "2025-03-26"),
        ("2026-07-28", "2025-03-26"),
        ("1900", "2025-03-26"),
    ] {
        let body = body(asked);
        let received = receive(body.as_bytes(), &no_headers(), LIMITS).expect(asked);
        assert_eq!(
            (received.era, received.version, received.call),
            (Era::Legacy, version, Call::Session)
        );
    }
    let body = body("2025-11-25");
    assert!(
        legacy(body.as_bytes()).is_ok(),
        "a header that is served does not hurt"
    );
    let refusal = refused(receive(
        body.as_bytes(),
        &headers("2024-11-05", "", ""),
        LIMITS,
    ));
    assert_eq!(refusal.kind, UNSUPPORTED);
}

#[test]
fn initialize_does_not_exist_in_the_modern_era() {
    for body in [
        modern_body("initialize", r#""protocolVersion":"2026-07-28""#),
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#.to_owned(),
    ] {
        let rejection = refused(modern(&body, "initialize", ""));
        assert_eq!(rejection.kind, RejectionKind::MethodNotFound);
        assert_eq!(data(&rejection)["supported"], json!(VERSIONS));
    }
}

#[test]
fn discovery_must_name_its_version() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
    assert_eq!(
        kind(&receive(body.as_bytes(), &no_headers(), LIMITS)),
        Some(MISMATCH)
    );
    assert_eq!(
        legacy(body.as_bytes()).expect("an unknown method").call,
        Call::Other
    );
    let in_session = McpHeaders {
        session: true,
        ..no_headers()
    };
    let received =
        receive(body.as_bytes(), &in_session, LIMITS).expect("an unknown method of a session");
    assert_eq!((received.era, received.call), (Era::Legacy, Call::Other));
}

proptest! {
    #[test]
    fn a_name_is_accepted_encoded_and_only_as_itself(name in "\\PC{1,20}", other in "\\PC{1,20}") {
        prop_assume!(name != other && name.len() <= 128 && !name.chars().any(char::is_control));
        let encode = |name: &str| format!("=?base64?{}?=", BASE64_STANDARD.encode(name));
        let body = call_body(&name);
        prop_assert!(modern(&body, "tools/call", &encode(&name)).is_ok());
        prop_assert_eq!(kind(&modern(&body, "tools/call", &encode(&other))), Some(MISMATCH));
    }

    #[test]
    fn no_header_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let field = Field::One(&bytes);
        let all = McpHeaders { protocol_version: field, method: field, name: field, session: true };
        let _ = receive(call_body("a").as_bytes(), &all, LIMITS);
    }
}
