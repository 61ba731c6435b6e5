//! The scanner against hand-made documents and against `serde_json`.

mod corpus;
mod reference;

use proptest::prelude::*;

use super::*;

fn check(text: &[u8], max_depth: usize) -> Result<Kind, Fault> {
    let mut scanner = Scanner::new(text, max_depth)?;
    let value = scanner.value()?;
    scanner.end()?;
    Ok(value.kind)
}

fn fault(text: &[u8]) -> Option<FaultKind> {
    check(text, 64).err().map(|fault| fault.kind)
}

fn decoded(text: &str) -> String {
    let value = Scanner::new(text.as_bytes(), 1)
        .expect("text")
        .value()
        .expect("JSON");
    value.text().expect("a string").decode().into_owned()
}

#[test]
fn good_documents_are_accepted() {
    for text in corpus::GOOD {
        assert_eq!(fault(text), None, "{}", String::from_utf8_lossy(text));
        assert!(survey(text).is_ok(), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn rpc_051_broken_documents_are_refused_as_broken() {
    for text in corpus::BROKEN {
        let kind = fault(text).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(text)));
        assert!(
            kind.is_grammar(),
            "{kind:?}: {}",
            String::from_utf8_lossy(text)
        );
        assert!(survey(text).is_err(), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn the_survey_sees_what_is_broken_behind_something_ambiguous() {
    for text in corpus::BROKEN_LATER {
        let kind = fault(text).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(text)));
        assert!(
            !kind.is_grammar(),
            "{kind:?}: {}",
            String::from_utf8_lossy(text)
        );
        assert!(survey(text).is_err(), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn ambiguous_documents_are_refused_as_ambiguous() {
    for (text, expected) in corpus::AMBIGUOUS {
        assert_eq!(
            fault(text),
            Some(*expected),
            "{}",
            String::from_utf8_lossy(text)
        );
        assert!(survey(text).is_ok(), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn depth_is_bounded_on_both_sides() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert_eq!(check(&nested(64), 64), Ok(Kind::Array));
    assert_eq!(
        check(&nested(65), 64).map_err(|fault| fault.kind),
        Err(FaultKind::TooDeep)
    );
    let objects = |depth: usize| [r#"{"a":"#.repeat(depth), "1".into(), "}".repeat(depth)].concat();
    assert_eq!(check(objects(3).as_bytes(), 3), Ok(Kind::Object));
    assert_eq!(
        check(objects(4).as_bytes(), 3).map_err(|fault| fault.kind),
        Err(FaultKind::TooDeep)
    );
    assert_eq!(check(&nested(MAX_DEPTH), usize::MAX), Ok(Kind::Array));
    assert!(
        check(&nested(MAX_DEPTH + 1), usize::MAX).is_err(),
        "the stack is bounded in any case"
    );
    assert_eq!(
        check(b"[[],[],[[]]]", 3),
        Ok(Kind::Array),
        "depth is given back"
    );
    assert_eq!(check(b"1", 0), Ok(Kind::Number));
}

#[test]
fn the_survey_needs_no_stack_for_any_depth() {
    let deep = [vec![b'['; 1_000_000], vec![b']'; 1_000_000]].concat();
    assert!(survey(&deep).is_ok());
    assert!(survey(&vec![b'['; 1_000_000]).is_err());
}

#[test]
fn the_survey_finds_the_one_id_of_the_message_itself() {
    for (text, expected) in [
        (r#"{"id":1,"a":[{"id":2}]}"#, Some("1")),
        (r#"{"a":{"id":2},"id":"x"}"#, Some("\"x\"")),
        (r#"{"i\u0064":7}"#, Some("7")),
        (r#"{"id":1,"id":1}"#, None),
        (r#"{"id":1,"\u0069d":1}"#, None),
        (r#"{"id":null}"#, None),
        (r#"{"id":{}}"#, None),
        (r#"{"a":{"id":2}}"#, None),
        (r#"[{"id":2}]"#, None),
        ("3", None),
    ] {
        let id = survey(text.as_bytes()).expect("JSON").map(|id| id.raw);
        assert_eq!(id, expected, "{text}");
    }
}

#[test]
fn duplicates_are_found_however_many_names_there_are() {
    for count in [1, 2, 11, 12, 13, 14, 100, 3000] {
        let mut members: Vec<String> = (0..count)
            .map(|n| format!("\"some-name-{n}\":{n}"))
            .collect();
        let object = format!("{{{}}}", members.join(","));
        assert_eq!(fault(object.as_bytes()), None, "{count}");
        members.push(format!("\"some-name-{}\":0", count / 2));
        let object = format!("{{{}}}", members.join(","));
        assert_eq!(
            fault(object.as_bytes()),
            Some(FaultKind::DuplicateName),
            "{count}"
        );
    }
}

#[test]
fn names_that_differ_late_or_by_padding_are_different() {
    assert_eq!(
        fault(br#"{"abcdefghi":1,"abcdefghj":2,"abcdefgh":3}"#),
        None
    );
    assert_eq!(fault(br#"{"a":1,"a\u0000":2,"":3,"\u0000":4}"#), None);
    assert_eq!(
        fault(br#"{"a":{"b":1},"b":{"a":1}}"#),
        None,
        "each object has its own names"
    );
}

#[test]
fn strings_decode_to_their_values() {
    for (text, expected) in [
        (r#""""#, ""),
        (r#""plain é 😀""#, "plain é 😀"),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u0041\u00e9\u20ac""#, "Aé€"),
        (r#""x\ud83d\ude00y""#, "x😀y"),
        (r#""\uD834\uDD1E""#, "\u{1d11e}"),
        (r#""\u0000""#, "\0"),
        (r#""a\\u0041""#, "a\\u0041"),
    ] {
        assert_eq!(decoded(text), expected, "{text}");
    }
}

#[test]
fn a_quote_is_found_at_every_offset() {
    for length in 0..150 {
        for fill in ["a", "é"] {
            let text = format!("\"{}\"", fill.repeat(length));
            assert_eq!(check(text.as_bytes(), 1), Ok(Kind::String), "{length}");
            assert_eq!(decoded(&text).chars().count(), length);
        }
        for (bad, expected) in [
            ("\u{1f}", FaultKind::ControlCharacter),
            ("\n", FaultKind::ControlCharacter),
            ("\\x", FaultKind::Escape),
        ] {
            let text = format!("\"{}{bad}{}\"", "a".repeat(length), "b".repeat(40));
            assert_eq!(fault(text.as_bytes()), Some(expected), "{length}");
        }
        let open = format!("\"{}", "\u{7f}".repeat(length));
        assert_eq!(
            fault(open.as_bytes()),
            Some(FaultKind::StringEnd),
            "{length}"
        );
    }
}

#[test]
fn every_byte_is_special_or_plain_as_the_grammar_says() {
    for byte in 0..=255_u8 {
        for position in 0..8 {
            let mut word = [b'a'; 8];
            word[position] = byte;
            let expected = is_special_by_grammar(byte).then_some(position);
            assert_eq!(
                string::first_special(word),
                expected,
                "{byte} at {position}"
            );
        }
    }
}

fn is_special_by_grammar(byte: u8) -> bool {
    byte < 0x20 || byte == 0x22 || byte == 0x5c
}

proptest! {
    #[test]
    fn any_string_survives_escaping_and_decoding(value in any::<String>(), all in any::<bool>()) {
        let text = if all {
            let units = value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            format!("\"{units}\"")
        } else {
            serde_json::to_string(&value).expect("a string")
        };
        prop_assert_eq!(decoded(&text), value);
    }

    #[test]
    fn generated_json_is_accepted_and_looked_at_alike(value in reference::json()) {
        let text = value.to_string();
        prop_assert_eq!(check(text.as_bytes(), 64).is_ok(), reference::accepts(text.as_bytes()));
        prop_assert!(survey(text.as_bytes()).is_ok());
    }

    #[test]
    fn mutated_json_is_accepted_exactly_when_the_reference_accepts_it(
        value in reference::json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), reference::mutation()), 1..4),
    ) {
        let mut text = value.to_string().into_bytes();
        for (index, mutation) in &changes {
            mutation.apply(&mut text, index);
        }
        let expected = reference::accepts(&text);
        let found = check(&text, 64);
        prop_assert_eq!(found.is_ok(), expected, "{:?}: {}", found, String::from_utf8_lossy(&text));
        if expected {
            prop_assert!(survey(&text).is_ok());
        }
        if found.is_err_and(|fault| fault.kind.is_grammar()) {
            prop_assert!(survey(&text).is_err());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(check(&text, 64).is_ok(), reference::accepts(&text));
        let _ = survey(&text);
    }

    #[test]
    fn bytes_of_json_make_it_agree_with_the_reference(
        pieces in prop::collection::vec(reference::piece(), 0..24),
    ) {
        let text = pieces.concat();
        prop_assert_eq!(check(text.as_bytes(), 64).is_ok(), reference::accepts(text.as_bytes()), "{}", text);
    }
}
