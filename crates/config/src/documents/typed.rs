//! JSON to the types of an object, with the path of what does not fit.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// Something that does not fit the type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) path: String,
    pub(super) message: String,
}

/// A typo is rarely alone, but a file that is something else entirely has
/// nothing but unknown fields.
const MAX_MISFITS: usize = 20;

/// Reads a value as `T`.
///
/// # Errors
/// Every unknown field, and the first value of a wrong type.
pub(super) fn read<T: DeserializeOwned>(mut value: Value, root: &str) -> Result<T, Vec<Misfit>> {
    let mut misfits = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(Reader(&value)) {
            Ok(read) if misfits.is_empty() => return Ok(read),
            Ok(_) => return Err(misfits),
            Err(error) => error,
        };
        let steps = steps(error.path());
        let message = error.inner().to_string();
        let unknown = unknown_field(&message);
        misfits.push(misfit(root, &steps, &message, unknown));
        // Without the unknown field, whatever else is wrong comes to light.
        let removed = unknown.is_some_and(|field| remove(&mut value, &steps, field));
        if !removed || misfits.len() >= MAX_MISFITS {
            return Err(misfits);
        }
    }
}

/// Reads JSON, but no list as an object: serde would take its values for the
/// object's fields, in their order.
#[derive(Debug, Clone, Copy)]
struct Reader<'a>(&'a Value);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            serde_path_to_error::Segment::Seq { index } => Some(Step::Index(*index)),
            serde_path_to_error::Segment::Map { key } => Some(Step::Key(key.clone())),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {
                None
            }
        })
        .collect()
}

/// serde says it in words only.
fn unknown_field(message: &str) -> Option<&str> {
    message
        .strip_prefix("unknown field `")?
        .split_once('`')
        .map(|(field, _)| field)
}

fn misfit(root: &str, steps: &[Step], message: &str, unknown: Option<&str>) -> Misfit {
    let mut path = root.to_owned();
    for step in steps {
        path = match step {
            Step::Key(key) => super::path::key(&path, key),
            Step::Index(index) => format!("{path}[{index}]"),
        };
    }
    if let Some(field) = unknown
        && !matches!(steps.last(), Some(Step::Key(last)) if last == field)
    {
        path = super::path::key(&path, field);
    }
    Misfit {
        path,
        message: in_plain_words(message),
    }
}

/// The names of number types are for programmers.
fn in_plain_words(message: &str) -> String {
    let kinds = [
        ("u16", "a number from 0 to 65535"),
        ("u32", "a whole number, 0 or more"),
        ("u64", "a whole number, 0 or more"),
    ];
    for (kind, words) in kinds {
        if let Some(before) = message.strip_suffix(&format!("expected {kind}")) {
            return format!("{before}expected {words}");
        }
    }
    message.to_owned()
}

/// Removes the unknown field; the path may or may not end with it.
fn remove(value: &mut Value, steps: &[Step], field: &str) -> bool {
    let inner = match steps.split_last() {
        Some((Step::Key(last), before)) if last == field => before,
        Some(_) | None => steps,
    };
    let mut at = value;
    for step in inner {
        let next = match step {
            Step::Key(key) => at.get_mut(key),
            Step::Index(index) => at.get_mut(index),
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    at.as_object_mut()
        .is_some_and(|object| object.remove(field).is_some())
}

// === impl Reader ===

impl<'de> IntoDeserializer<'de, serde_json::Error> for Reader<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(Reader)))
            }
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| (key.as_str(), Reader(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                scalar.deserialize_any(visitor)
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if self.0.is_array() {
            return Err(Self::Error::invalid_type(Unexpected::Seq, &visitor));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0.is_null() {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Outer {
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        port: u16,
    }

    fn paths(value: Value) -> Vec<String> {
        let misfits = read::<Outer>(value, "spec").expect_err("does not fit");
        misfits.into_iter().map(|misfit| misfit.path).collect()
    }

    #[test]
    fn what_fits_is_read() {
        let outer: Outer = read(json!({"inner": [{"port": 1}]}), "spec").expect("fits");
        assert_eq!(outer.inner[0].port, 1);
    }

    #[test]
    fn every_unknown_field_is_named() {
        let value = json!({"innr": 1, "inner": [{"port": 1}, {"port": 2, "prot": 3}]});
        let mut found = paths(value);
        found.sort();
        assert_eq!(found, ["spec.inner[1].prot", "spec.innr"]);
    }

    #[test]
    fn a_wrong_type_is_named_after_the_unknown_fields() {
        assert_eq!(
            paths(json!({"inner": [{"port": "x"}]})),
            ["spec.inner[0].port"]
        );
        assert_eq!(
            paths(json!({"inner": [{"port": 70000}]})),
            ["spec.inner[0].port"]
        );
        assert_eq!(paths(json!({"inner": [{}]})), ["spec.inner[0]"]);
        let value = json!({"a": 1, "inner": [{"port": null}]});
        assert_eq!(paths(value), ["spec.a", "spec.inner[0].port"]);
    }

    #[test]
    fn a_list_is_no_object() {
        assert_eq!(paths(json!([[]])), ["spec"]);
        assert_eq!(paths(json!({"inner": [[1]]})), ["spec.inner[0]"]);
    }

    #[test]
    fn numbers_are_described_in_words() {
        let misfits = read::<Outer>(json!({"inner": [{"port": "x"}]}), "spec").expect_err("no fit");
        let expected = "invalid type: string \"x\", expected a number from 0 to 65535";
        assert_eq!(misfits[0].message, expected);
    }

    #[test]
    fn a_flood_of_unknown_fields_is_cut() {
        let fields = (0..100).map(|index| (format!("f{index}"), Value::Null));
        assert_eq!(paths(Value::Object(fields.collect())).len(), MAX_MISFITS);
    }
}
