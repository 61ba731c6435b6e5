//! JSON as values of CEL: the arguments of a call, and claims.
//!
//! Texts are borrowed where JSON spells them without escapes, so that a
//! condition copies little of a large call.

use std::collections::HashMap;
use std::fmt;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
};
use cel::common::value::Val;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Most elements of a list, and entries of a map.
pub(super) const MAX_ELEMENTS: usize = 1_000;

type Boxed<'v> = Box<dyn Val + 'v>;

/// The arguments of a call; None when they are not an object, name something
/// twice, or have a list or map that is too long.
pub(super) fn parse(text: &str) -> Option<CelMap<'_>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let arguments = deserializer.deserialize_map(ObjectVisitor).ok()?;
    deserializer.end().ok()?;
    Some(arguments)
}

/// Claims, which were checked and bounded with the token.
pub(super) fn from_claims(claims: &Map<String, Value>) -> CelMap<'_> {
    let entries = claims
        .iter()
        .map(|(name, value)| (key(name.as_str()), from_json(value)));
    CelMap::from(entries.collect::<HashMap<_, _>>())
}

fn from_json(value: &Value) -> Boxed<'_> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => from_number(number),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(values) => Box::new(CelList::from(
            values.iter().map(from_json).collect::<Vec<_>>(),
        )),
        Value::Object(entries) => Box::new(from_claims(entries)),
    }
}

fn from_number<'v>(number: &Number) -> Boxed<'v> {
    match number.as_i64() {
        Some(integer) => Box::new(CelInt::from(integer)),
        None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
    }
}

pub(super) fn key<'v>(text: impl Into<CelString<'v>>) -> CelMapKey<'v> {
    CelMapKey::String(text.into())
}

struct AnyVisitor;

impl<'de> DeserializeSeed<'de> for AnyVisitor {
    type Value = Boxed<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Boxed<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Boxed<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Boxed<'de>, E> {
        Ok(Box::new(CelNull))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Boxed<'de>, E> {
        Ok(Box::new(CelBool::from(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Boxed<'de>, E> {
        Ok(Box::new(CelInt::from(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Boxed<'de>, E> {
        Ok(from_number(&Number::from(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Boxed<'de>, E> {
        Ok(Box::new(CelDouble::from(value)))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Boxed<'de>, E> {
        Ok(Box::new(CelString::from(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Boxed<'de>, E> {
        Ok(Box::new(CelString::from(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Boxed<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(AnyVisitor)? {
            if list.len() == MAX_ELEMENTS {
                return Err(A::Error::custom("too many elements"));
            }
            list.push(element);
        }
        Ok(Box::new(CelList::from(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Boxed<'de>, A::Error> {
        ObjectVisitor
            .visit_map(entries)
            .map(|map| Box::new(map) as Boxed<'de>)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = CelMap<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<CelMap<'de>, A::Error> {
        let mut map = HashMap::new();
        while let Some(name) = entries.next_key_seed(NameVisitor)? {
            if map.len() == MAX_ELEMENTS {
                return Err(A::Error::custom("too many entries"));
            }
            if map
                .insert(name, entries.next_value_seed(AnyVisitor)?)
                .is_some()
            {
                return Err(A::Error::custom("a name occurs twice"));
            }
        }
        Ok(CelMap::from(map))
    }
}

struct NameVisitor;

impl<'de> DeserializeSeed<'de> for NameVisitor {
    type Value = CelMapKey<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameVisitor {
    type Value = CelMapKey<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(key(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(key(name.to_owned()))
    }
}
