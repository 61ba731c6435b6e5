//! JSON in which no two readers could see two things, and of bounded size in
//! memory. A pod whose `hostNetwork` stands there twice would be one pod for the
//! injector and another for the API server.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads one JSON text of at most so many values. Nesting is bounded by the
/// reader itself.
pub(super) fn parse(text: &[u8], most_values: usize) -> Result<Value, serde_json::Error> {
    let left = Cell::new(most_values);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict { left: &left }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[derive(Debug, Clone, Copy)]
struct Strict<'a> {
    /// How many more values may come.
    left: &'a Cell<usize>,
}

// === impl Strict ===

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left
            .set(left.ok_or_else(|| D::Error::custom("too many values"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(self)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn ordinary_json_is_read_as_it_is() {
        let text = r#" {"a":[1,-2,0.5,true,null,"x"],"b":{"c":{}}} "#;
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text.as_bytes(), 100).unwrap(), plain);
    }

    #[test]
    fn ambiguous_and_broken_json_is_refused() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"x":[{"a":1,"\u0061":2}]}"#,
            r#"{"a":1}{"#,
            r#"{"a":1} x"#,
            "",
            "[1,]",
            "nul",
            "\u{feff}{}",
        ] {
            assert!(parse(text.as_bytes(), 100).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"", 100).is_err());
    }

    #[test]
    fn the_number_of_values_is_bounded_on_both_sides() {
        // The list, the object and three numbers.
        assert_eq!(
            parse(b"[1,2,{\"a\":3}]", 5).unwrap(),
            json!([1, 2, { "a": 3 }])
        );
        assert!(parse(b"[1,2,{\"a\":3}]", 4).is_err());
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(100).as_bytes(), 1_000_000).is_ok());
        assert!(parse(nested(100_000).as_bytes(), 1_000_000).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in any::<Vec<u8>>()) {
            let strict = parse(&bytes, 1000).ok();
            let plain: Option<Value> = serde_json::from_slice(&bytes).ok();
            prop_assert!(strict.is_none() || strict == plain);
        }
    }
}
