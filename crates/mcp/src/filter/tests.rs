//! The filter against hand-made answers and against filtering a parsed value.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const LIMITS: ScanLimits = ScanLimits {
    max_depth: 64,
    max_name_bytes: 128,
};

/// Everything whose name does not begin with `x` may be seen.
fn visible(item: Item<'_>) -> bool {
    let (Item::Tool(name)
    | Item::Prompt(name)
    | Item::Resource(name)
    | Item::Template(name)
    | Item::Task(name)) = item;
    !name.starts_with('x')
}

fn filtered(body: &str) -> Result<(String, Filtered), FilterError> {
    let mut out = Vec::new();
    let filtered = filter_json(body.as_bytes(), LIMITS, &mut out, &mut visible)?;
    Ok((String::from_utf8(out).expect("UTF-8"), filtered))
}

fn result(members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{members}}}}}"#)
}

#[track_caller]
fn assert_filtered(body: &str, expected: &str) {
    let (out, filtered) = filtered(body).expect("a message");
    assert_eq!(out, expected);
    assert_eq!(filtered.changed, body != expected);
}

#[test]
fn res_001_every_list_shows_only_what_may_be_seen() {
    for (member, key) in [
        ("tools", "name"),
        ("prompts", "name"),
        ("resources", "uri"),
        ("resourceTemplates", "uriTemplate"),
        ("tasks", "taskId"),
    ] {
        assert_filtered(
            &result(&format!(
                r#""{member}":[{{"{key}":"a"}},{{"{key}":"x1"}},{{"{key}":"b"}},{{"{key}":"x2"}}]"#
            )),
            &result(&format!(r#""{member}":[{{"{key}":"a"}},{{"{key}":"b"}}]"#)),
        );
    }
}

#[test]
fn each_kind_of_item_is_asked_about_as_what_it_is() {
    let body = result(
        r#""tools":[{"name":"t"}],"prompts":[{"name":"p"}],"resources":[{"uri":"r:1","name":"n"}],"resourceTemplates":[{"uriTemplate":"r:{x}","name":"n"}],"tasks":[{"taskId":"k"}]"#,
    );
    let mut asked = Vec::new();
    let mut keep = |item: Item<'_>| {
        asked.push(format!("{item:?}"));
        true
    };
    filter_json(body.as_bytes(), LIMITS, &mut Vec::new(), &mut keep).expect("a message");
    let expected = [
        r#"Tool("t")"#,
        r#"Prompt("p")"#,
        r#"Resource("r:1")"#,
        r#"Template("r:{x}")"#,
        r#"Task("k")"#,
    ];
    assert_eq!(asked, expected);
}

#[test]
fn commas_stay_right_wherever_items_are_cut() {
    for (list, expected) in [
        ("[]", "[]"),
        ("[ ]", "[ ]"),
        ("[X]", "[]"),
        ("[ X ]", "[  ]"),
        ("[X,X,X]", "[]"),
        ("[A]", "[A]"),
        ("[X,A]", "[A]"),
        ("[A,X]", "[A]"),
        ("[ X , A , X ]", "[ A ]"),
        ("[X,X,A,X,B,X,X]", "[A,B]"),
        ("[A, X, B]", "[A, B]"),
        ("[A,X,X,B]", "[A,B]"),
        ("[\n  A,\n  X,\n  B\n]", "[\n  A,\n  B\n]"),
        ("[\n  X,\n  A\n]", "[\n  A\n]"),
    ] {
        let fill = |text: &str| {
            let text = text
                .replace('X', r#"{"name":"x"}"#)
                .replace('A', r#"{"name":"a"}"#)
                .replace('B', r#"{"name":"b"}"#);
            result(&format!(r#""tools":{text},"nextCursor":"c""#))
        };
        assert_filtered(&fill(list), &fill(expected));
    }
}

#[test]
fn what_cannot_be_decided_is_cut() {
    for item in [
        "null",
        "1",
        "\"a\"",
        "[]",
        "{}",
        r#"{"name":1}"#,
        r#"{"name":null}"#,
        r#"{"title":"a"}"#,
        r#"{"name":["a"]}"#,
        r#"{"name":"a","Name":"x"}"#,
        r#"{"name":"a","name\u0000":"x"}"#,
        r#"{"NAME":"a"}"#,
    ] {
        assert_filtered(
            &result(&format!(r#""tools":[{{"name":"a"}},{item}]"#)),
            &result(r#""tools":[{"name":"a"}]"#),
        );
    }
}

#[test]
fn names_are_decided_by_their_value() {
    assert_filtered(
        &result(r#""tools":[{"n\u0061me":"\u0078"},{"name":"\u0061"}]"#),
        &result(r#""tools":[{"name":"\u0061"}]"#),
    );
    assert_filtered(
        &result(r#""t\u006fols":[{"name":"x"}]"#),
        &result(r#""t\u006fols":[]"#),
    );
}

#[test]
fn everything_else_stays_byte_for_byte() {
    let body = r#" { "result" : { "nextCursor":"\u0041" , "tools":[ {"name":"a","inputSchema":{"x":1.50e1,"y":123456789012345678901234567890}} ] ,"ttlMs":5,"cacheScope":"private" } , "id":1.0, "jsonrpc":"2.0", "vendor":[] } "#;
    assert_filtered(body, body);
    let call = result(
        r#""content":[{"type":"text","text":"x"}],"structuredContent":{"tools":[{"name":"x"}]},"cacheScope":"public""#,
    );
    assert_filtered(&call, &call);
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"x","data":{"tools":[{"name":"x"}]}}}"#;
    assert_filtered(error, error);
}

#[test]
fn res_011_a_page_keeps_its_cursor_though_it_becomes_empty() {
    assert_filtered(
        &result(r#""nextCursor":"p3","tools":[{"name":"x"}]"#),
        &result(r#""nextCursor":"p3","tools":[]"#),
    );
}

#[test]
fn res_012_a_list_is_never_public() {
    assert_filtered(
        &result(r#""cacheScope":"public","tools":[{"name":"a"},{"name":"x"}]"#),
        &result(r#""cacheScope":"private","tools":[{"name":"a"}]"#),
    );
    assert_filtered(
        &result(r#""tools":[{"name":"a"}],"cacheScope" : "pub\u006cic" ,"ttlMs":1"#),
        &result(r#""tools":[{"name":"a"}],"cacheScope" : "private" ,"ttlMs":1"#),
    );
    assert_filtered(
        &result(r#""resources":[],"cacheScope":"public""#),
        &result(r#""resources":[],"cacheScope":"private""#),
    );
}

#[test]
fn batches_are_filtered_message_by_message() {
    let list = |names: &str| result(&format!(r#""tools":[{names}],"cacheScope":"public""#));
    let body = format!(
        "[{}, {}]",
        list(r#"{"name":"x"}"#),
        list(r#"{"name":"a"},{"name":"x"}"#)
    );
    let expected =
        format!("[{}, {}]", list(""), list(r#"{"name":"a"}"#)).replace("public", "private");
    assert_filtered(&body, &expected);
    assert_filtered("[]", "[]");
}

#[test]
fn notices_about_what_may_not_be_seen_are_left_out() {
    let updated = |uri: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{{uri}}}}}"#
        )
    };
    assert!(filtered(&updated(r#""uri":"a:1""#)).is_ok());
    for hidden in [r#""uri":"x:1""#, r#""uri":1"#, "", r#""uri":"\u0078""#] {
        assert_eq!(
            filtered(&updated(hidden)),
            Err(FilterError::Hidden),
            "{hidden}"
        );
    }
    for method in ["notifications/tasks", "notifications/tasks/status"] {
        let task = |id: &str| {
            format!(
                r#"{{"params":{{"status":"completed","taskId":"{id}"}},"method":"{method}","jsonrpc":"2.0"}}"#
            )
        };
        assert!(filtered(&task("a")).is_ok());
        assert_eq!(filtered(&task("x")), Err(FilterError::Hidden));
    }
    let (seen, hidden) = (updated(r#""uri":"a:1""#), updated(r#""uri":"x:1""#));
    assert_filtered(&format!("[{hidden},{seen}]"), &format!("[{seen}]"));
    assert_filtered(&format!("[{seen},{hidden}]"), &format!("[{seen}]"));
    assert_eq!(
        filtered(&format!("[{hidden},{hidden}]")),
        Err(FilterError::Hidden)
    );
}

#[test]
fn an_answer_that_could_be_read_in_two_ways_is_not_passed_on() {
    for odd in [
        r#"{"method":"notifications/tasks","result":{"tools":[{"name":"x"},{"name":"a"}]}}"#,
        r#"{"id":1,"result":{"tools":[]},"error":{"code":1,"message":"x"}}"#,
        r#"{"tools":[{"name":"x"}]}"#,
        r#"{"id":1,"result":[{"name":"x"}]}"#,
        r#"{"id":1,"result":"x"}"#,
        r#"[{"result":{}},{"name":"x"}]"#,
        "{}",
    ] {
        assert!(
            matches!(filtered(odd), Err(FilterError::Malformed(_))),
            "{odd}"
        );
    }
    for plain in [
        r#"{"id":1,"result":null}"#,
        r#"{"id":1,"error":{"code":1,"message":"tools"}}"#,
    ] {
        assert_filtered(plain, plain);
    }
}

#[test]
fn other_notices_and_requests_of_the_server_pass() {
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"x","progress":1}}"#,
        r#"{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage","params":{"tools":[{"name":"x"}]}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{}}}"#,
    ] {
        assert_filtered(body, body);
    }
}

#[test]
fn a_new_task_is_noticed_in_both_shapes() {
    let created = |members: &str| {
        filtered(&result(members))
            .expect("a message")
            .1
            .created_task
    };
    assert_eq!(
        created(r#""task":{"taskId":"t1","status":"working"}"#).as_deref(),
        Some("t1")
    );
    assert_eq!(
        created(r#""taskId":"t\u0032","resultType":"task""#).as_deref(),
        Some("t2")
    );
    assert_eq!(
        created(r#""resultType":"complete","taskId":"t3","status":"working""#),
        None
    );
    assert_eq!(
        created(r#""taskId":"t4","status":"working""#),
        None,
        "what tasks/get answers"
    );
    assert_eq!(created(r#""task":{"taskId":1}"#), None);
    assert_eq!(created(r#""content":[]"#), None);
}

#[test]
fn answers_that_parsers_read_differently_are_refused() {
    for body in [
        "",
        "1",
        "null",
        "\"x\"",
        "[1]",
        "[[]]",
        "{}{}",
        "{",
        "\u{feff}{}",
        r#"{"result":{"tools":[]},"result":{"tools":[{"name":"x"}]}}"#,
        r#"{"result":{"tools":[],"tools":[{"name":"x"}]}}"#,
        r#"{"result":{"tools":[{"name":"a","name":"x"}]}}"#,
        r#"{"result":{"tools":[{"name":"a","inputSchema":{"a":1,"a":2}}]}}"#,
        r#"{"result":{"tools":[],"Tools":[{"name":"x"}]}}"#,
        r#"{"result":{"toolſ":[{"name":"x"}]}}"#,
        r#"{"Result":{"tools":[{"name":"x"}]}}"#,
        r#"{"result":{"tools":[{"name":"a","x":1e999}]}}"#,
        r#"{"method":"notifications/resources/updated","params":{"uri":"a","URI":"x"}}"#,
    ] {
        let mut out = b"kept".to_vec();
        let refused = filter_json(body.as_bytes(), LIMITS, &mut out, &mut visible);
        assert!(
            matches!(refused, Err(FilterError::Malformed(_))),
            "{body}: {refused:?}"
        );
        assert_eq!(out, b"kept", "{body}");
    }
    let mut out = Vec::new();
    assert!(filter_json(b"{\"a\":\"\xff\"}", LIMITS, &mut out, &mut visible).is_err());
}

#[test]
fn an_object_in_the_place_of_a_list_is_refused() {
    for list in [
        "tools",
        "prompts",
        "resources",
        "resourceTemplates",
        "tasks",
    ] {
        let object = result(&format!(r#""{list}":{{"0":{{"name":"x"}}}}"#));
        assert!(filtered(&object).is_err(), "{list}");
        let null = result(&format!(r#""{list}":null"#));
        assert!(
            filtered(&null).is_ok(),
            "{list}: some servers write an empty list so"
        );
    }
}

#[test]
fn depth_of_answers_is_bounded_on_both_sides() {
    let nested = |depth: usize| {
        result(&format!(
            r#""content":{}{}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        ))
    };
    assert!(filtered(&nested(62)).is_ok());
    assert!(filtered(&nested(63)).is_err());
}

/// What filtering a parsed message gives.
fn reference(mut message: Value) -> Value {
    let Some(result) = message.get_mut("result").and_then(Value::as_object_mut) else {
        return message;
    };
    let mut has_list = false;
    for (member, key) in [
        ("tools", "name"),
        ("prompts", "name"),
        ("resources", "uri"),
        ("resourceTemplates", "uriTemplate"),
        ("tasks", "taskId"),
    ] {
        if let Some(list) = result.get_mut(member).and_then(Value::as_array_mut) {
            has_list = true;
            list.retain(|item| {
                item[key]
                    .as_str()
                    .is_some_and(|name| !name.starts_with('x'))
            });
        }
    }
    if has_list && result.get("cacheScope") == Some(&json!("public")) {
        result.insert("cacheScope".into(), json!("private"));
    }
    message
}

fn item() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec!["name", "uri", "uriTemplate", "taskId", "title"]);
    let name = prop_oneof![
        "[ax]{0,3}".prop_map(Value::from),
        Just(Value::Null),
        ".{0,4}".prop_map(Value::from)
    ];
    let object = prop::collection::vec((key, name), 0..4).prop_map(|members| {
        Value::from(
            members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<Map<_, _>>(),
        )
    });
    prop_oneof![8 => object, 1 => Just(json!([1])), 1 => Just(json!("x"))]
}

fn message() -> impl Strategy<Value = Value> {
    let list_name = prop::sample::select(vec![
        "tools",
        "prompts",
        "resources",
        "resourceTemplates",
        "tasks",
        "content",
    ]);
    let lists = prop::collection::vec((list_name, prop::collection::vec(item(), 0..8)), 0..4);
    let scope = prop::option::of(prop::sample::select(vec!["public", "private", "other"]));
    (lists, scope, any::<bool>()).prop_map(|(lists, scope, error)| {
        let mut result = Map::new();
        for (name, list) in lists {
            result.insert(name.to_owned(), Value::from(list));
        }
        if let Some(scope) = scope {
            result.insert("cacheScope".to_owned(), Value::from(scope));
        }
        let member = if error { "error" } else { "result" };
        json!({"jsonrpc": "2.0", "id": 1, member: result})
    })
}

proptest! {
    #[test]
    fn filtering_text_is_filtering_the_value(
        messages in prop::collection::vec(message(), 1..3),
        batch in any::<bool>(),
        pretty in any::<bool>(),
    ) {
        let (value, expected) = if batch {
            (json!(messages), messages.iter().cloned().map(reference).collect::<Vec<_>>().into())
        } else {
            (messages[0].clone(), reference(messages[0].clone()))
        };
        let text = if pretty {
            serde_json::to_string_pretty(&value).expect("JSON")
        } else {
            value.to_string()
        };
        let (out, filtered) = filtered(&text).expect("a message");
        let parsed: Value = serde_json::from_str(&out).expect("still JSON");
        prop_assert_eq!(&parsed, &expected);
        prop_assert_eq!(filtered.changed, value != expected);
        if !filtered.changed {
            prop_assert_eq!(out, text);
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_write_half_an_answer(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut out = Vec::new();
        if filter_json(&body, LIMITS, &mut out, &mut visible).is_err() {
            prop_assert!(out.is_empty());
        }
    }
}
