//! JSON that can be read in one way only.
//!
//! Parsers differ in which of two equal member names they keep, so a token or
//! key set that names one twice, at any depth, is refused. What `serde_json`
//! refuses anyway: a byte order mark, invalid UTF-8, lone surrogates, NaN,
//! numbers out of range, anything after the value.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting of objects and arrays.
pub(crate) const MAX_DEPTH: usize = 16;

/// Why a text is not an unambiguous JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidObject {
    #[error("it is not a JSON object, or nested too deeply")]
    Syntax,
    #[error("it names one member twice")]
    DuplicateMember,
}

/// Reads an object.
///
/// # Errors
/// [`InvalidObject`] when the text is anything else or could be read in two
/// ways.
pub(crate) fn object(text: &[u8]) -> Result<Map<String, Value>, InvalidObject> {
    let duplicate = Cell::new(false);
    let refused = |_| match duplicate.get() {
        true => InvalidObject::DuplicateMember,
        false => InvalidObject::Syntax,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let strict = Strict {
        depth_left: MAX_DEPTH,
        duplicate: &duplicate,
    };
    let value = strict.deserialize(&mut deserializer).map_err(refused)?;
    deserializer.end().map_err(refused)?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(InvalidObject::Syntax)
        }
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth_left: usize,
    duplicate: &'a Cell<bool>,
}

// === impl Strict ===

impl Strict<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(E::custom("nested too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element_seed(inner)? {
            elements.push(element);
        }
        Ok(elements.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.contains_key(&name) {
                self.duplicate.set(true);
                return Err(A::Error::custom("duplicate member"));
            }
            let value = map.next_value_seed(inner)?;
            members.insert(name, value);
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))
    }

    #[test]
    fn depth_is_bounded_on_both_sides() {
        assert!(object(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(
            object(nested(MAX_DEPTH + 1).as_bytes()),
            Err(InvalidObject::Syntax)
        );
        let array = format!(
            "{{\"a\":{}{}}}",
            "[".repeat(MAX_DEPTH),
            "]".repeat(MAX_DEPTH)
        );
        assert_eq!(object(array.as_bytes()), Err(InvalidObject::Syntax));
    }

    #[test]
    fn a_name_twice_at_any_depth_is_refused() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"b":2,"a":3}]}"#,
        ] {
            assert_eq!(
                object(text.as_bytes()),
                Err(InvalidObject::DuplicateMember),
                "{text}"
            );
        }
        assert!(object(br#"{"a":{"a":1},"A":2}"#).is_ok(), "other names");
    }

    #[test]
    fn only_one_whole_object_is_accepted() {
        let texts: [&[u8]; 13] = [
            b"",
            b"[]",
            b"1",
            b"\"a\"",
            b"null",
            b"{",
            b"{} {}",
            b"{}x",
            b"\xEF\xBB\xBF{}",
            b"{\"a\":NaN}",
            b"{\"a\":1e400}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"a\":\"\xFF\"}",
        ];
        for text in texts {
            assert_eq!(object(text), Err(InvalidObject::Syntax), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&text);
        }

        #[test]
        fn what_is_read_is_what_serde_reads(text in r#"\{("[a-c]":([0-9]|"x"|\{\}|\[1\]|1\.5|null|true),){0,4}"z":-3\}"#) {
            match object(text.as_bytes()) {
                Ok(members) => {
                    let reference: Value = serde_json::from_str(&text).expect("JSON");
                    prop_assert_eq!(Value::Object(members), reference);
                }
                Err(error) => prop_assert_eq!(error, InvalidObject::DuplicateMember),
            }
        }
    }
}
