//! What messages ask for.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::call::{Call, ListKind, Reference};

fn legacy_body(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#)
}

#[test]
fn every_legacy_method_is_understood() {
    let uri = Cow::Borrowed("file:///a");
    for (method, params, expected) in [
        (
            "tools/call",
            r#""name":"t""#,
            Call::Tool { name: "t".into() },
        ),
        (
            "prompts/get",
            r#""name":"p""#,
            Call::Prompt { name: "p".into() },
        ),
        (
            "resources/read",
            r#""uri":"file:///a""#,
            Call::ReadResource { uri: uri.clone() },
        ),
        (
            "resources/subscribe",
            r#""uri":"file:///a""#,
            Call::SubscribeResource { uri: uri.clone() },
        ),
        (
            "resources/unsubscribe",
            r#""uri":"file:///a""#,
            Call::SubscribeResource { uri: uri.clone() },
        ),
        (
            "completion/complete",
            r#""ref":{"type":"ref/prompt","name":"p","title":"x"},"argument":{"name":"a","value":"b"}"#,
            Call::Complete {
                reference: Reference::Prompt("p".into()),
            },
        ),
        (
            "completion/complete",
            r#""ref":{"type":"ref/resource","uri":"file:///a"}"#,
            Call::Complete {
                reference: Reference::Resource(uri.clone()),
            },
        ),
        ("tools/list", r#""cursor":"c""#, Call::List(ListKind::Tools)),
        ("prompts/list", "", Call::List(ListKind::Prompts)),
        ("resources/list", "", Call::List(ListKind::Resources)),
        (
            "resources/templates/list",
            "",
            Call::List(ListKind::Templates),
        ),
        (
            "tasks/get",
            r#""taskId":"1""#,
            Call::Task { id: "1".into() },
        ),
        (
            "tasks/result",
            r#""taskId":"1""#,
            Call::Task { id: "1".into() },
        ),
        (
            "tasks/cancel",
            r#""taskId":"1""#,
            Call::Task { id: "1".into() },
        ),
        ("tasks/list", "", Call::ListTasks),
        (
            "initialize",
            r#""protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{}"#,
            Call::Session,
        ),
        ("ping", "", Call::Session),
        ("logging/setLevel", r#""level":"info""#, Call::Session),
        ("tasks/update", r#""taskId":"1""#, Call::Other),
        ("subscriptions/listen", "", Call::Other),
        ("server/discover", "", Call::Other),
        ("vendor/thing", r#""name":"x""#, Call::Other),
        ("Tools/Call", r#""name":"x""#, Call::Other),
    ] {
        let body = legacy_body(method, params);
        let received = legacy(body.as_bytes()).expect(method);
        assert_eq!(received.call, expected, "{method}");
        assert_eq!(
            (received.era, received.version),
            (Era::Legacy, "2025-11-25"),
            "{method}"
        );
        assert_eq!((&*received.method, received.id), (method, Some("1")));
    }
}

#[test]
fn every_modern_method_is_understood() {
    for (method, name, params, expected) in [
        (
            "tools/call",
            "t",
            r#""name":"t""#,
            Call::Tool { name: "t".into() },
        ),
        (
            "prompts/get",
            "p",
            r#""name":"p""#,
            Call::Prompt { name: "p".into() },
        ),
        (
            "resources/read",
            "a:b",
            r#""uri":"a:b""#,
            Call::ReadResource { uri: "a:b".into() },
        ),
        (
            "tasks/get",
            "1",
            r#""taskId":"1""#,
            Call::Task { id: "1".into() },
        ),
        (
            "tasks/cancel",
            "1",
            r#""taskId":"1""#,
            Call::Task { id: "1".into() },
        ),
        (
            "tasks/update",
            "1",
            r#""taskId":"1","inputResponses":{}"#,
            Call::Task { id: "1".into() },
        ),
        ("server/discover", "", "", Call::Session),
        ("tools/list", "", "", Call::List(ListKind::Tools)),
        ("ping", "", "", Call::Other),
        ("logging/setLevel", "", r#""level":"info""#, Call::Other),
        ("resources/subscribe", "a:b", r#""uri":"a:b""#, Call::Other),
        ("resources/unsubscribe", "", r#""uri":"a:b""#, Call::Other),
        ("tasks/result", "1", r#""taskId":"1""#, Call::Other),
        ("tasks/list", "", "", Call::Other),
        ("vendor/thing", "", "", Call::Other),
    ] {
        let body = modern_body(method, params);
        let received = modern(&body, method, name).expect(method);
        assert_eq!(received.call, expected, "{method}");
        assert_eq!(
            (received.era, received.version),
            (Era::Modern, "2026-07-28"),
            "{method}"
        );
    }
}

#[test]
fn notifications_are_known_by_name() {
    let body = |method: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
    for method in ["initialized", "cancelled", "progress", "roots/list_changed"] {
        let body = body(&format!("notifications/{method}"));
        let received = legacy(body.as_bytes()).expect(method);
        assert_eq!(
            (received.call, received.id),
            (Call::Notification, None),
            "{method}"
        );
    }
    for method in [
        "notifications/message",
        "notifications/vendor",
        "notifications/tasks",
    ] {
        assert_eq!(
            legacy(body(method).as_bytes()).expect(method).call,
            Call::Other,
            "{method}"
        );
    }
    let cancelled = body("notifications/cancelled");
    let received = modern(&cancelled, "", "").expect("needs neither headers nor _meta");
    assert_eq!(received.call, Call::Notification);
}

#[test]
fn a_call_without_an_id_is_received_as_such() {
    let body = br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t"}}"#;
    let received = legacy(body).expect("whether it may run is not decided here");
    assert_eq!(
        (received.id, received.call),
        (None, Call::Tool { name: "t".into() })
    );
}

#[test]
fn an_answer_of_the_client_is_legacy_only() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"a":[]}}"#,
        r#"{"jsonrpc":"2.0","id":"x","error":{"code":1,"message":""}}"#,
    ] {
        let received = legacy(body.as_bytes()).expect(body);
        assert_eq!(
            (&*received.method, received.call),
            ("", Call::ClientResponse)
        );
        assert_eq!(
            refused(modern(body, "", "")).kind,
            RejectionKind::InvalidRequest
        );
        assert!(receive(body.as_bytes(), &no_headers(), LIMITS).is_ok());
    }
}

#[test]
fn arguments_are_their_own_text() {
    let body = legacy_body(
        "tools/call",
        r#""arguments": { "b" : 1.50, "a":"\u0041" } ,"name":"t""#,
    );
    let received = legacy(body.as_bytes()).expect("a call");
    assert_eq!(received.arguments, Some(r#"{ "b" : 1.50, "a":"\u0041" }"#));
    let body = legacy_body("prompts/get", r#""name":"p","arguments":{}"#);
    assert_eq!(
        legacy(body.as_bytes()).expect("a prompt").arguments,
        Some("{}")
    );
    let body = legacy_body("tools/call", r#""name":"t""#);
    assert_eq!(legacy(body.as_bytes()).expect("a call").arguments, None);
    let body = legacy_body("tools/list", r#""arguments":[]"#);
    assert_eq!(
        legacy(body.as_bytes()).expect("no matter here").arguments,
        None
    );
    for bad in ["[]", "null", "\"x\"", "1", "true"] {
        let body = legacy_body("tools/call", &format!(r#""name":"t","arguments":{bad}"#));
        assert_eq!(
            refused(legacy(body.as_bytes())).kind,
            RejectionKind::InvalidParams,
            "{bad}"
        );
    }
}

#[test]
fn escaped_names_are_decided_by_their_value() {
    let body = r#"{"jsonrpc":"2.0","\u0069d":1,"m\u0065thod":"tools\/c\u0061ll","params":{"n\u0061me":"db\u002edrop"}}"#;
    let received = legacy(body.as_bytes()).expect("escapes are unambiguous");
    assert_eq!(
        received.call,
        Call::Tool {
            name: "db.drop".into()
        }
    );
    assert_eq!(&*received.method, "tools/call");
}

#[test]
fn names_that_cannot_be_decided_are_refused() {
    let name = |text: &str| legacy_body("tools/call", &format!(r#""name":{text}"#));
    for bad in [
        "7",
        "null",
        "[\"a\"]",
        "{}",
        "\"\"",
        "\"a\\u0000\"",
        "\"a\\nb\"",
        "\"\\u007f\"",
        "\"\\u0085\"",
    ] {
        let rejection = refused(legacy(name(bad).as_bytes()));
        assert_eq!(rejection.kind, RejectionKind::InvalidParams, "{bad}");
        assert_eq!(rejection.id.as_deref(), Some("1"));
    }
    let sized = |length: usize| name(&format!("\"{}\"", "n".repeat(length)));
    assert!(legacy(sized(128).as_bytes()).is_ok());
    assert_eq!(
        kind(&legacy(sized(129).as_bytes())),
        Some(RejectionKind::InvalidParams)
    );
    for (method, params) in [
        ("tools/call", ""),
        ("prompts/get", r#""arguments":{}"#),
        ("resources/read", r#""name":"a""#),
        ("resources/subscribe", r#""uri":1"#),
        ("tasks/get", r#""taskId":1"#),
        ("tasks/cancel", ""),
        ("completion/complete", ""),
        ("completion/complete", r#""ref":"ref/prompt""#),
        ("completion/complete", r#""ref":{}"#),
        ("completion/complete", r#""ref":{"type":"ref/prompt"}"#),
        (
            "completion/complete",
            r#""ref":{"type":"ref/prompt","uri":"a:b"}"#,
        ),
        (
            "completion/complete",
            r#""ref":{"type":"ref/resource","name":"a"}"#,
        ),
        (
            "completion/complete",
            r#""ref":{"type":"ref/prompt","name":"a","uri":"a:b"}"#,
        ),
        (
            "completion/complete",
            r#""ref":{"type":"ref/other","name":"a"}"#,
        ),
        ("completion/complete", r#""ref":{"name":"a"}"#),
    ] {
        let body = legacy_body(method, params);
        assert_eq!(
            kind(&legacy(body.as_bytes())),
            Some(RejectionKind::InvalidParams),
            "{method} {params}"
        );
    }
}

#[test]
fn uris_and_task_ids_are_bounded_on_both_sides() {
    let uri = |length: usize| {
        legacy_body(
            "resources/read",
            &format!(r#""uri":"{}""#, "u".repeat(length)),
        )
    };
    assert!(legacy(uri(8192).as_bytes()).is_ok());
    assert_eq!(
        kind(&legacy(uri(8193).as_bytes())),
        Some(RejectionKind::InvalidParams)
    );
    let task = |length: usize| {
        legacy_body(
            "tasks/get",
            &format!(r#""taskId":"{}""#, "t".repeat(length)),
        )
    };
    assert!(legacy(task(1024).as_bytes()).is_ok());
    assert_eq!(
        kind(&legacy(task(1025).as_bytes())),
        Some(RejectionKind::InvalidParams)
    );
}

#[test]
fn a_subscription_names_everything_it_listens_to() {
    let listen = |notifications: &str| modern_body("subscriptions/listen", notifications);
    let body = listen(
        r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:1","a:\u0032"],"taskIds":["t"]}"#,
    );
    let received = modern(&body, "subscriptions/listen", "").expect("a subscription");
    let expected = Call::Listen {
        uris: vec!["a:1".into(), "a:2".into()],
        task_ids: vec!["t".into()],
    };
    assert_eq!(received.call, expected);
    let body = listen("");
    let received = modern(&body, "subscriptions/listen", "").expect("nothing in particular");
    assert_eq!(
        received.call,
        Call::Listen {
            uris: vec![],
            task_ids: vec![]
        }
    );
    for bad in [
        r#""notifications":[]"#,
        r#""notifications":{"resourceSubscriptions":"a:1"}"#,
        r#""notifications":{"resourceSubscriptions":{"0":"a:1"}}"#,
        r#""notifications":{"resourceSubscriptions":[1]}"#,
        r#""notifications":{"resourceSubscriptions":["a:1",null]}"#,
        r#""notifications":{"taskIds":["a",["b"]]}"#,
        r#""notifications":{"taskIds":[""]}"#,
        r#""notifications":{"resourceSubscriptions":["a\u0000"]}"#,
    ] {
        let body = listen(bad);
        let result = modern(&body, "subscriptions/listen", "");
        assert_eq!(kind(&result), Some(RejectionKind::InvalidParams), "{bad}");
    }
    let many = |count: usize| {
        let uris = vec![r#""a:1""#; count].join(",");
        listen(&format!(
            r#""notifications":{{"resourceSubscriptions":[{uris}]}}"#
        ))
    };
    assert!(modern(&many(1024), "subscriptions/listen", "").is_ok());
    let result = kind(&modern(&many(1025), "subscriptions/listen", ""));
    assert_eq!(result, Some(RejectionKind::InvalidParams));
}

#[test]
fn a_trace_is_taken_from_meta() {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let meta = |value: &str| {
        legacy_body(
            "tools/list",
            &format!(r#""_meta":{{"traceparent":{value}}}"#),
        )
    };
    let body = meta(&format!("\"{traceparent}\""));
    assert_eq!(
        legacy(body.as_bytes())
            .expect("a list")
            .traceparent
            .as_deref(),
        Some(traceparent)
    );
    for other in ["1", "null", &format!("\"{}\"", "0".repeat(257))] {
        let body = meta(other);
        assert_eq!(
            legacy(body.as_bytes())
                .expect("no reason to refuse")
                .traceparent,
            None,
            "{other}"
        );
    }
}

proptest! {
    #[test]
    fn any_printable_name_is_received_as_it_is(name in "\\PC{1,30}", id in any::<i32>()) {
        prop_assume!(name.len() <= 128 && !name.chars().any(char::is_control));
        let body = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name}}).to_string();
        let received = legacy(body.as_bytes()).expect("a call");
        prop_assert_eq!(received.call, Call::Tool { name: name.into() });
        prop_assert_eq!(received.id.map(str::to_owned), Some(id.to_string()));
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = legacy(&body);
    }
}
