//! Texts of strangers in lines that people and programs read.
//!
//! Beyond what JSON asks for, characters are escaped that a terminal or an
//! editor would obey or hide: control characters of both sets (CWE-117,
//! RUSTSEC-2025-0055), bidirectional controls (CVE-2021-42574), invisible
//! ones.

/// Longest text in a line; the rest is cut off.
pub(crate) const MAX_TEXT_BYTES: usize = 1024;
/// What stands where a text was cut.
pub(crate) const CUT_MARK: &str = "…";

/// Writes `text` as a JSON string, cut at [`MAX_TEXT_BYTES`].
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if text.len() <= MAX_TEXT_BYTES {
        push_escaped(out, text);
    } else {
        let (kept, _) = text.split_at(text.floor_char_boundary(MAX_TEXT_BYTES));
        push_escaped(out, kept);
        out.extend_from_slice(CUT_MARK.as_bytes());
    }
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    if is_plain(text) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let is_special = |c: char| matches!(c, '"' | '\\') || is_unsafe(c);
    for_each_special(text, is_special, out, |out, c| match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        _ => push_unicode_escape(out, c),
    });
}

/// Whether nothing in `text` is escaped, as in nearly every text. Blocks are
/// looked at whole, which the compiler turns into vector instructions.
fn is_plain(text: &str) -> bool {
    let is_special = |byte: u8| {
        u8::from(!matches!(byte, b' '..=b'~')) | u8::from(byte == b'"') | u8::from(byte == b'\\')
    };
    let found = |block: &[u8]| {
        block
            .iter()
            .fold(0, |found, byte| found | is_special(*byte))
    };
    text.as_bytes().chunks(32).all(|block| found(block) == 0)
}

/// Writes a JSON text that is known to be valid, with the same value, on one
/// line. Control characters can stand only between its tokens, all other
/// unsafe characters only inside its strings.
pub(crate) fn push_json(out: &mut Vec<u8>, json: &str) {
    for_each_special(json, is_unsafe, out, |out, c| {
        if c < ' ' {
            out.push(b' ');
        } else {
            push_unicode_escape(out, c);
        }
    });
}

/// Copies `text`, and calls `escape` for each special character instead.
fn for_each_special(
    text: &str,
    is_special: impl Fn(char) -> bool,
    out: &mut Vec<u8>,
    escape: impl Fn(&mut Vec<u8>, char),
) {
    let mut rest = text;
    while let Some(at) = rest.find(&is_special) {
        let (clean, tail) = rest.split_at(at);
        out.extend_from_slice(clean.as_bytes());
        let mut characters = tail.chars();
        if let Some(special) = characters.next() {
            escape(out, special);
        }
        rest = characters.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
}

fn push_unicode_escape(out: &mut Vec<u8>, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            let digit = u32::from(*unit >> shift & 0xf);
            let digit = char::from_digit(digit, 16).unwrap_or('0');
            out.extend_from_slice(digit.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Whether a reader could obey `c` or fail to show it.
fn is_unsafe(c: char) -> bool {
    // Nearly every character of nearly every text is decided here.
    if (' '..='~').contains(&c) {
        return false;
    }
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' // C0, DEL, C1
        | '\u{ad}' // soft hyphen
        | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' // zero width, directional marks
        | '\u{2028}'..='\u{202e}' // line separators, embeddings, overrides
        | '\u{2060}'..='\u{206f}' // invisible operators, isolates
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' // tags
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn string(text: &str) -> String {
        let mut out = Vec::new();
        push_string(&mut out, text);
        String::from_utf8(out).expect("UTF-8")
    }

    fn json(text: &str) -> String {
        let mut out = Vec::new();
        push_json(&mut out, text);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn log_003_a_text_cannot_end_its_line() {
        assert_eq!(
            string("a\n{\"level\":\"info\"}\r\0"),
            r#""a\n{\"level\":\"info\"}\r\u0000""#
        );
    }

    #[test]
    fn log_004_terminals_and_editors_are_told_nothing() {
        assert_eq!(
            string("\x1b[2J\u{9b}2J\x7f"),
            r#""\u001b[2J\u009b2J\u007f""#
        );
        assert_eq!(
            string("a\u{202e}b\u{2066}c\u{e0041}"),
            r#""a\u202eb\u2066c\udb40\udc41""#
        );
    }

    #[test]
    fn ordinary_text_of_every_script_stays_readable() {
        assert_eq!(string("Grüße, 東京 🙂"), "\"Grüße, 東京 🙂\"");
    }

    #[test]
    fn a_text_is_cut_beyond_its_limit_and_says_so() {
        let exact = "a".repeat(MAX_TEXT_BYTES);
        assert_eq!(string(&exact), format!("\"{exact}\""));
        assert_eq!(string(&format!("{exact}b")), format!("\"{exact}…\""));
        // Never inside a character.
        let wide = format!("{}é", "a".repeat(MAX_TEXT_BYTES - 1));
        assert_eq!(
            string(&wide),
            format!("\"{}…\"", "a".repeat(MAX_TEXT_BYTES - 1))
        );
    }

    #[test]
    fn raw_json_keeps_its_value_on_one_line() {
        let text = "{\r\n\t\"a\": \"x\\n\u{202e}\u{9b}\u{2028}\",\n \"b\": [1e400, 0.10]}";
        let safe = json(text);
        assert_eq!(
            safe,
            "{   \"a\": \"x\\n\\u202e\\u009b\\u2028\",  \"b\": [1e400, 0.10]}"
        );
    }

    proptest! {
        #[test]
        fn every_text_is_read_back(text in "\\PC{0,40}|[\\x00-\\x7f\u{80}-\u{a0}\u{2000}-\u{2070}\"\\\\]{0,40}") {
            let safe = string(&text);
            prop_assert!(!safe.contains(is_unsafe), "{}", safe);
            prop_assert_eq!(serde_json::from_str::<String>(&safe).expect("JSON"), text);
        }

        #[test]
        fn every_json_text_keeps_its_value(text: String, number: i64) {
            let value = serde_json::json!({ &text: [text.clone(), number, null] });
            let pretty = serde_json::to_string_pretty(&value).expect("JSON");
            let safe = json(&pretty);
            prop_assert!(!safe.contains(is_unsafe), "{}", safe);
            prop_assert_eq!(serde_json::from_str::<Value>(&safe).expect("JSON"), value);
        }
    }
}
