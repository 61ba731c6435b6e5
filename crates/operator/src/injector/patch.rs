//! RFC 6902 operations and RFC 6901 pointers.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

/// One operation of a JSON patch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Puts a value where nothing is, or before an item of a list.
    Add {
        /// Where.
        path: Pointer,
        /// What.
        value: Value,
    },
    /// Puts a value in the place of another.
    Replace {
        /// Where.
        path: Pointer,
        /// What.
        value: Value,
    },
    /// Takes a value away.
    Remove {
        /// Where.
        path: Pointer,
    },
}

/// A place in a JSON document. Keys are escaped as they are added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Pointer(String);

/// Operations as they are collected.
#[derive(Debug, Default)]
pub(super) struct Patch {
    pub(super) operations: Vec<Operation>,
}

// === impl Pointer ===

impl Pointer {
    /// The place of a member of the object at this place.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        // `~` first: the other way round would escape the escape of `/`.
        let escaped = key.replace('~', "~0").replace('/', "~1");
        Self(format!("{}/{escaped}", self.0))
    }

    /// The place of an item of the list at this place.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }

    /// The place after the last item of the list at this place.
    #[must_use]
    pub fn end(&self) -> Self {
        Self(format!("{}/-", self.0))
    }

    /// The pointer as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Patch ===

impl Patch {
    pub(super) fn add(&mut self, path: Pointer, value: Value) {
        self.operations.push(Operation::Add { path, value });
    }

    pub(super) fn replace(&mut self, path: Pointer, value: Value) {
        self.operations.push(Operation::Replace { path, value });
    }

    pub(super) fn remove(&mut self, path: Pointer) {
        self.operations.push(Operation::Remove { path });
    }

    /// Appends items to the list `key` of the object at `parent`. A list that
    /// is missing or null has no end to add to: it is made whole.
    pub(super) fn append(
        &mut self,
        parent: &Pointer,
        object: &Map<String, Value>,
        key: &str,
        items: Vec<Value>,
    ) {
        if items.is_empty() {
            return;
        }
        let list = parent.key(key);
        if is_list(object, key) {
            for item in items {
                self.add(list.end(), item);
            }
        } else {
            self.add(list, items.into());
        }
    }

    /// The same, in front of what is there.
    pub(super) fn prepend(
        &mut self,
        parent: &Pointer,
        object: &Map<String, Value>,
        key: &str,
        items: Vec<Value>,
    ) {
        let list = parent.key(key);
        if is_list(object, key) {
            for (index, item) in items.into_iter().enumerate() {
                self.add(list.index(index), item);
            }
        } else {
            self.add(list, items.into());
        }
    }

    /// Sets members of the object `key` of the object at `parent`, which is
    /// made when it is missing or null.
    pub(super) fn set_members(
        &mut self,
        parent: &Pointer,
        object: &Map<String, Value>,
        key: &str,
        members: Vec<(&str, Value)>,
    ) {
        if members.is_empty() {
            return;
        }
        let place = parent.key(key);
        match object.get(key).and_then(Value::as_object) {
            Some(present) => {
                for (name, value) in members {
                    let path = place.key(name);
                    if present.contains_key(name) {
                        self.replace(path, value);
                    } else {
                        self.add(path, value);
                    }
                }
            }
            None => {
                let members = members.into_iter().map(|(name, it)| (name.to_owned(), it));
                self.add(place, Value::Object(members.collect()));
            }
        }
    }
}

fn is_list(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key).is_some_and(Value::is_array)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn apply(document: &Value, patch: &Patch) -> Value {
        let mut document = document.clone();
        let patch = serde_json::to_value(&patch.operations).unwrap();
        json_patch::patch(
            &mut document,
            &serde_json::from_value::<json_patch::Patch>(patch).unwrap(),
        )
        .unwrap();
        document
    }

    #[test]
    fn operations_are_written_as_rfc_6902_has_them() {
        let mut patch = Patch::default();
        let at = Pointer::default().key("a~b/c");
        patch.add(at.index(0), json!(1));
        patch.replace(at.clone(), json!(null));
        patch.remove(at.end());
        assert_eq!(
            serde_json::to_value(&patch.operations).unwrap(),
            json!([
                { "op": "add", "path": "/a~0b~1c/0", "value": 1 },
                { "op": "replace", "path": "/a~0b~1c", "value": null },
                { "op": "remove", "path": "/a~0b~1c/-" },
            ])
        );
    }

    #[test]
    fn missing_null_and_empty_lists_all_end_up_with_the_items() {
        for (list, before, after) in [
            (None, json!([1, 2]), json!([1, 2])),
            (Some(json!(null)), json!([1, 2]), json!([1, 2])),
            (Some(json!([])), json!([1, 2]), json!([1, 2])),
            (Some(json!([9])), json!([1, 2, 9]), json!([9, 1, 2])),
        ] {
            let mut document = json!({ "s": {} });
            if let Some(list) = list {
                document["s"]["l"] = list;
            }
            let parent = Pointer::default().key("s");
            let object = document["s"].as_object().unwrap();
            let (mut front, mut back) = (Patch::default(), Patch::default());
            front.prepend(&parent, object, "l", vec![json!(1), json!(2)]);
            back.append(&parent, object, "l", vec![json!(1), json!(2)]);
            assert_eq!(apply(&document, &front)["s"]["l"], before);
            assert_eq!(apply(&document, &back)["s"]["l"], after);
        }
    }

    #[test]
    fn members_are_set_beside_what_is_there() {
        for (document, expected) in [
            (json!({}), json!({ "m": { "x/y": "1", "z": "2" } })),
            (
                json!({ "m": null }),
                json!({ "m": { "x/y": "1", "z": "2" } }),
            ),
            (
                json!({ "m": { "z": "0", "k": "3" } }),
                json!({ "m": { "x/y": "1", "z": "2", "k": "3" } }),
            ),
        ] {
            let mut patch = Patch::default();
            let members = vec![("x/y", json!("1")), ("z", json!("2"))];
            patch.set_members(
                &Pointer::default(),
                document.as_object().unwrap(),
                "m",
                members,
            );
            assert_eq!(apply(&document, &patch), expected);
        }
    }

    proptest! {
        #[test]
        fn any_key_is_found_again_by_its_pointer(key in any::<String>()) {
            let document = json!({ "o": { key.clone(): 7 } });
            let pointer = Pointer::default().key("o").key(&key);
            prop_assert_eq!(document.pointer(pointer.as_str()), Some(&json!(7)));
        }
    }
}
