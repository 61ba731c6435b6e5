//! JSON-RPC error objects, as bodies of refusals.

use std::fmt::Write;

/// A JSON-RPC error response.
///
/// `id` is the JSON text of the request's id, `data` JSON text too; both must
/// come from a strict scan or be written by us. Without a readable id it is
/// `null` (JSON-RPC 2.0 section 5).
#[must_use]
pub fn error_body(id: Option<&str>, code: i64, message: &str, data: Option<&str>) -> Vec<u8> {
    let mut body = String::with_capacity(96 + message.len() + data.map_or(0, str::len));
    body.push_str(r#"{"jsonrpc":"2.0","id":"#);
    body.push_str(id.unwrap_or("null"));
    body.push_str(r#","error":{"code":"#);
    body.push_str(&code.to_string());
    body.push_str(r#","message":"#);
    push_json_string(&mut body, message);
    if let Some(data) = data {
        body.push_str(r#","data":"#);
        body.push_str(data);
    }
    body.push_str("}}");
    body.into_bytes()
}

/// Appends `text` as a JSON string.
pub(crate) fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Line separators end a string in old JavaScript, DEL garbles terminals.
            c if c < ' ' || c == '\u{7f}' || c == '\u{2028}' || c == '\u{2029}' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parsed(body: &[u8]) -> Value {
        serde_json::from_slice(body).expect("an error body is JSON")
    }

    #[test]
    fn an_error_carries_id_code_message_and_data() {
        let body = error_body(
            Some("\"a\\n1\""),
            -32022,
            "no",
            Some(r#"{"supported":["x"]}"#),
        );
        assert_eq!(
            parsed(&body),
            json!({"jsonrpc": "2.0", "id": "a\n1",
                   "error": {"code": -32022, "message": "no", "data": {"supported": ["x"]}}})
        );
    }

    #[test]
    fn an_unreadable_id_is_null() {
        let body = error_body(None, 4030, "not allowed", None);
        assert_eq!(
            parsed(&body),
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": 4030, "message": "not allowed"}})
        );
    }

    proptest! {
        #[test]
        fn any_message_survives_as_one_json_string(message in any::<String>()) {
            let body = error_body(Some("7"), 1, &message, None);
            prop_assert!(body.iter().all(|byte| *byte >= b' ' && *byte != 0x7f));
            let value = parsed(&body);
            prop_assert_eq!(value["error"]["message"].as_str(), Some(message.as_str()));
        }
    }
}
