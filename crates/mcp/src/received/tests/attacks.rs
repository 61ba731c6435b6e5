//! Bodies by which one parser can be played off against another.

use super::*;

const PARSE: RejectionKind = RejectionKind::Parse;
const INVALID: RejectionKind = RejectionKind::InvalidRequest;

/// Refused in a legacy and in a modern setting alike.
fn assert_refused(body: &[u8], expected: RejectionKind) {
    let shown = String::from_utf8_lossy(body);
    for version in ["", "2025-03-26", "2025-11-25", "2026-07-28"] {
        for method in ["", "tools/call", "tools/list"] {
            let result = receive(body, &headers(version, method, ""), LIMITS);
            assert_eq!(kind(&result), Some(expected), "{version} {method} {shown}");
        }
    }
}

fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}}}}}"#)
}

#[test]
fn rpc_001_a_second_method_is_refused() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"db.drop"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","m\u0065thod":"tools/call","params":{"name":"db.drop"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"params":{"name":"db.drop"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}"#,
    ] {
        assert_refused(body.as_bytes(), INVALID);
    }
}

#[test]
fn rpc_002_a_second_name_is_refused_at_every_depth() {
    for params in [
        r#""name":"weather.get","name":"db.drop""#,
        r#""name":"weather.get","\u006eame":"db.drop""#,
        r#""name":"a","arguments":{},"arguments":{"x":1}"#,
        r#""name":"a","arguments":{"x":1,"x":2}"#,
        r#""name":"a","arguments":{"x":[{"y":{"z":1,"z":2}}]}"#,
        r#""name":"a","_meta":{},"_meta":{}"#,
        r#""name":"a","_meta":{"progressToken":1,"progressToken":2}"#,
        r#""uri":"a:b","uri":"c:d""#,
        r#""taskId":"a","taskId":"b""#,
        r#""ref":{"type":"ref/prompt","name":"a","name":"b"}"#,
        r#""notifications":{"taskIds":["a"],"taskIds":["b"]}"#,
    ] {
        assert_refused(call(params).as_bytes(), INVALID);
    }
}

#[test]
fn rpc_007_a_member_in_other_letters_is_refused() {
    for member in [
        "Method",
        "METHOD",
        "mEthod",
        "method ",
        " method",
        "method\\u0000",
        "methods",
        "m\u{e9}thod",
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"{member}":"tools/call","params":{{"name":"db.drop"}}}}"#
        );
        assert_refused(body.as_bytes(), INVALID);
    }
    assert_refused(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","paramſ":{"name":"db.drop"}}"#.as_bytes(),
        INVALID,
    );
    assert_refused(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","PARAMS":{"name":"db.drop"}}"#.as_bytes(),
        INVALID,
    );
    assert_refused(
        r#"{"JSONRPC":"2.0","id":1,"method":"tools/list"}"#.as_bytes(),
        INVALID,
    );
    assert_refused(
        r#"{"jsonrpc":"2.0","Id":1,"method":"tools/list"}"#.as_bytes(),
        INVALID,
    );
}

#[test]
fn rpc_008_a_member_beside_its_look_alike_is_refused() {
    for extra in [
        r#""METHOD":"tools/call""#,
        r#""Method":"tools/call""#,
        r#""params":{},"Params":{"name":"db.drop"}"#,
        r#""extra":1"#,
        r#""_meta":{}"#,
        r#""":1"#,
        r#""method\u0000":"tools/call""#,
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list",{extra}}}"#);
        assert_refused(body.as_bytes(), INVALID);
    }
}

#[test]
fn rpc_011_a_look_alike_of_a_reserved_name_inside_params_is_refused() {
    for extra in [
        r#""Name":"db.drop""#,
        r#""NAME":"db.drop""#,
        r#""name\u0000":"db.drop""#,
        r#""name\u0000x":"db.drop""#,
        r#""name ":"db.drop""#,
        r#""\u000bname":"db.drop""#,
        r#""\u00a0name":"db.drop""#,
        r#""\ufeffname":"db.drop""#,
        r#""n\u0041me":"db.drop""#,
        r#""Arguments":{}"#,
        r#""argument\u017f":{}"#,
        r#""URI":"a:b""#,
        r#""ur\u0131":"a:b""#,
        r#""TaskId":"x""#,
        r#""tas\u212aId":"x""#,
        r#""taskid":"x""#,
        r#""_META":{}"#,
        r#""Cursor":"x""#,
        r#""requeststate":"x""#,
        r#""InputResponses":{}"#,
        r#""Ref":{}"#,
        r#""_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28"}"#,
        r#""_meta":{"ProgressToken":1}"#,
        r#""_meta":{"progressToken\u0000":1}"#,
        r#""ref":{"type":"ref/prompt","name":"a","Name":"b"}"#,
        r#""ref":{"type":"ref/prompt","name":"a","Type":"ref/resource"}"#,
        r#""notifications":{"ResourceSubscriptions":["a:b"]}"#,
        r#""notifications":{"taskids":["a"]}"#,
    ] {
        let body = call(&format!(r#""name":"weather.get",{extra}"#));
        assert_refused(body.as_bytes(), INVALID);
    }
}

#[test]
fn arguments_and_unknown_members_may_have_any_names() {
    let body = call(
        r#""name":"a","arguments":{"Name":"x","name":"y","NAME":"z","":0,"name\u0000":1},"vendor/x":{"Name":1,"name":2}"#,
    );
    assert!(legacy(body.as_bytes()).is_ok());
}

#[test]
fn rpc_020_a_second_message_is_refused() {
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for tail in [
        call(r#""name":"db.drop""#).as_str(),
        list,
        "x",
        "\0",
        "]",
        "}",
        ",",
        "null",
        "\u{feff}",
        "//",
    ] {
        assert_refused(format!("{list}{tail}").as_bytes(), PARSE);
        assert_refused(format!("{list}\n{tail}").as_bytes(), PARSE);
    }
    let padded = format!(" \r\n\t{list}\n\n ");
    assert!(
        legacy(padded.as_bytes()).is_ok(),
        "white space around a message is allowed"
    );
}

#[test]
fn rpc_024_and_025_a_batch_is_refused_in_every_version() {
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let drop = call(r#""name":"db.drop""#);
    for body in [
        format!("[{list}]"),
        format!("[{list},{drop}]"),
        "[]".into(),
        format!(" [ {drop} ] "),
    ] {
        assert_refused(body.as_bytes(), INVALID);
    }
}

#[test]
fn rpc_027_a_positional_array_is_refused() {
    assert_refused(br#"["2.0","tools/call",{"name":"db.drop"},1]"#, INVALID);
}

#[test]
fn rpc_051_broken_json_is_a_parse_error_whatever_it_begins_with() {
    for body in [
        "[1,]",
        "[\"\",]",
        "{\"a\":1,}",
        "{\"id\":1",
        "[",
        "{",
        "\"",
        "nul",
        "01",
        "1.",
        "'a'",
        "{a:1}",
        "[1 2]",
        "{\"a\":\"b\" 1}",
        "[\"a\",\n4\n,1,",
        "\"\\ud800\"",
        "[NaN]",
        "{\"method\":\"tools/list\",\"method\":}",
    ] {
        assert_refused(body.as_bytes(), PARSE);
    }
    assert_refused(&vec![b'['; 100_000], PARSE);
    assert_refused("[{\"\":".repeat(50_000).as_bytes(), PARSE);
}

#[test]
fn rpc_054_an_empty_body_is_a_parse_error() {
    for body in ["", " ", "\r\n"] {
        assert_refused(body.as_bytes(), PARSE);
    }
}

#[test]
fn scalars_are_no_messages() {
    for body in ["null", "1", "\"tools/call\"", "true"] {
        assert_refused(body.as_bytes(), INVALID);
    }
}

#[test]
fn other_encodings_are_parse_errors() {
    let text = call(r#""name":"db.drop""#);
    assert_refused(format!("\u{feff}{text}").as_bytes(), PARSE);
    let wide = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    assert_refused(&wide(u16::to_le_bytes), PARSE);
    assert_refused(&wide(u16::to_be_bytes), PARSE);
    assert_refused(
        &[b"\xff\xfe".as_slice(), &wide(u16::to_le_bytes)].concat(),
        PARSE,
    );
    assert_refused(
        &text
            .replace("db", "d\u{1}")
            .replace('\u{1}', "\u{fffd}")
            .as_bytes()[..20],
        PARSE,
    );
    let invalid = [b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"db\xff\"}}".as_slice()];
    assert_refused(invalid[0], PARSE);
    assert_refused(call(r#""name":"\ud800""#).as_bytes(), PARSE);
    assert_refused(
        call(r#""name":"a","arguments":{"x":NaN}"#).as_bytes(),
        PARSE,
    );
}

#[test]
fn a_number_that_overflows_is_refused() {
    assert_refused(
        call(r#""name":"a","arguments":{"x":1e400}"#).as_bytes(),
        INVALID,
    );
    assert!(legacy(call(r#""name":"a","arguments":{"x":1e300}"#).as_bytes()).is_ok());
    let big = call(r#""name":"a","arguments":{"x":123456789012345678901234567890}"#);
    let received = legacy(big.as_bytes()).expect("a large integer stays as it is written");
    assert_eq!(
        received.arguments,
        Some(r#"{"x":123456789012345678901234567890}"#)
    );
}

#[test]
fn nesting_is_bounded_on_both_sides() {
    // The message and its params are two levels, the arguments a third.
    let nested = |depth: usize| {
        call(&format!(
            r#""name":"a","arguments":{{"x":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        ))
    };
    assert!(legacy(nested(61).as_bytes()).is_ok());
    assert_refused(nested(62).as_bytes(), INVALID);
    assert_refused(nested(5000).as_bytes(), INVALID);
}

#[test]
fn ids_are_strings_or_safe_integers() {
    let with_id = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    for id in [
        "0",
        "1",
        "-1",
        "9007199254740992",
        "-9007199254740992",
        "\"\"",
        "\"a\"",
        "\"\\u0041\"",
        "\"é\"",
    ] {
        let body = with_id(id);
        assert_eq!(legacy(body.as_bytes()).expect(id).id, Some(id));
    }
    for id in [
        "null",
        "true",
        "1.0",
        "1e2",
        "1E0",
        "1e400",
        "9007199254740993",
        "-9007199254740993",
        "-0",
        "99999999999999999999",
        "[]",
        "{}",
        "[1]",
        "0.1",
    ] {
        assert_refused(with_id(id).as_bytes(), INVALID);
        assert_eq!(refused(legacy(with_id(id).as_bytes())).id, None, "{id}");
    }
    let long = with_id(&format!("\"{}\"", "a".repeat(1024)));
    assert!(legacy(long.as_bytes()).is_ok());
    assert_refused(
        with_id(&format!("\"{}\"", "a".repeat(1025))).as_bytes(),
        INVALID,
    );
}

#[test]
fn jsonrpc_is_exactly_2_0() {
    for version in [
        r#""1.0""#,
        r#""2""#,
        "2.0",
        "2",
        "null",
        r#""2.0 ""#,
        r#""""#,
        r#"["2.0"]"#,
    ] {
        let body = format!(r#"{{"jsonrpc":{version},"id":1,"method":"tools/list"}}"#);
        assert_refused(body.as_bytes(), INVALID);
    }
    assert_refused(br#"{"id":1,"method":"tools/list"}"#, INVALID);
}

#[test]
fn a_message_is_one_thing_only() {
    for members in [
        r#""method":"tools/list","result":{}"#,
        r#""method":"tools/call","params":{"name":"db.drop"},"error":{"code":1,"message":""}"#,
        r#""result":{},"error":{"code":1,"message":""}"#,
        r#""params":{}"#,
        r#""result":{},"params":{}"#,
    ] {
        assert_refused(
            format!(r#"{{"jsonrpc":"2.0","id":1,{members}}}"#).as_bytes(),
            INVALID,
        );
    }
    assert_refused(br#"{"jsonrpc":"2.0","result":{}}"#, INVALID);
    assert_refused(br#"{"jsonrpc":"2.0","id":null,"result":{}}"#, INVALID);
    assert_refused(b"{}", INVALID);
}

#[test]
fn methods_and_params_have_their_types() {
    for members in [
        r#""method":"""#,
        r#""method":1"#,
        r#""method":null"#,
        r#""method":["tools/call"]"#,
        r#""method":"tools/call\u0000""#,
        r#""method":"tools\n""#,
        r#""method":"tools/list","params":[]"#,
        r#""method":"tools/list","params":null"#,
        r#""method":"tools/list","params":"x""#,
        r#""method":"tools/call","params":["db.drop"]"#,
    ] {
        assert_refused(
            format!(r#"{{"jsonrpc":"2.0","id":1,{members}}}"#).as_bytes(),
            INVALID,
        );
    }
    let method = |length: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#,
            "m".repeat(length)
        )
    };
    assert!(legacy(method(128).as_bytes()).is_ok());
    assert_refused(method(129).as_bytes(), INVALID);
}

#[test]
fn a_notification_with_an_id_is_refused() {
    assert_refused(
        br#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#,
        INVALID,
    );
    assert_refused(
        br#"{"jsonrpc":"2.0","id":1,"method":"notifications/vendor"}"#,
        INVALID,
    );
}

#[test]
fn a_refusal_carries_the_id_where_there_is_one() {
    for (body, id) in [
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            Some("7"),
        ),
        (
            r#"{"method":"a","method":"b","jsonrpc":"2.0","id":"x\n"}"#,
            Some(r#""x\n""#),
        ),
        (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, Some("7")),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"ping","x":1}"#,
            Some("7"),
        ),
        (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#, None),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping","x":1}"#, None),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}}"#, None),
        (r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#, None),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#,
            Some("7"),
        ),
    ] {
        assert_eq!(refused(legacy(body.as_bytes())).id.as_deref(), id, "{body}");
    }
}
