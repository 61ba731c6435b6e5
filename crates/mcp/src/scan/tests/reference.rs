//! What `serde_json` accepts, with duplicate names refused at every level.

use std::collections::HashSet;
use std::fmt;

use proptest::prelude::*;
use proptest::sample::Index;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The verdict of the reference.
pub(super) fn accepts(text: &[u8]) -> bool {
    serde_json::from_slice::<Unambiguous>(text).is_ok()
}

struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unambiguous, A::Error> {
        while list.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a name occurs twice"));
            }
            map.next_value::<Unambiguous>()?;
        }
        Ok(Unambiguous)
    }
}

/// Any JSON, up to a few levels.
pub(super) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[a-c\"\\\\\n]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[ab]{0,2}|.{0,3}", inner), 0..6)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// One change to a text.
#[derive(Debug, Clone)]
pub(super) enum Mutation {
    Insert(u8),
    Replace(u8),
    Remove,
    Repeat,
    Truncate,
}

pub(super) fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = prop_oneof![
        3 => prop::sample::select(b"{}[]:,\"\\0123456789-+.eEtfnua \n\t".to_vec()),
        1 => any::<u8>(),
    ];
    prop_oneof![
        byte.clone().prop_map(Mutation::Insert),
        byte.prop_map(Mutation::Replace),
        Just(Mutation::Remove),
        Just(Mutation::Repeat),
        Just(Mutation::Truncate),
    ]
}

impl Mutation {
    pub(super) fn apply(&self, text: &mut Vec<u8>, index: &Index) {
        if text.is_empty() {
            return;
        }
        let at = index.index(text.len());
        match self {
            Self::Insert(byte) => text.insert(at, *byte),
            Self::Replace(byte) => text[at] = *byte,
            Self::Remove => drop(text.remove(at)),
            // The likeliest way to a name that occurs twice.
            Self::Repeat => {
                let copy = text[at..].to_vec();
                text.extend(copy);
            }
            Self::Truncate => text.truncate(at),
        }
    }
}

/// Tokens, right and wrong, of which texts are put together.
pub(super) fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "{\"a\":",
        "\"a\"",
        "\"b\"",
        "\"\\u0061\"",
        "\"\\ud800\"",
        "1",
        "-",
        "0",
        ".5",
        "e5",
        "1e400",
        "true",
        "null",
        "nul",
        " ",
        "\n",
        "\\",
        "\"",
        "{}",
        "[]",
        ",\"a\":1",
    ])
}
