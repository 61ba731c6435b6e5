//! The same text, read a second time by an independent reader.
//!
//! `yaml_serde` goes back to the library that the YAML of `kubectl` goes back
//! to as well. A text that the two readers understand differently is refused,
//! because somebody would enforce something else than what was meant.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::tree::Node;
use crate::violations::{Place, Violation};

/// Compares `documents` with what the second reader finds in `text`.
///
/// # Errors
/// The first difference.
pub(super) fn agree(file: &Arc<str>, text: &str, documents: &[Node]) -> Result<(), Violation> {
    let mut first = documents.iter();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = serde_yaml::Value::deserialize(document).map_err(|error| {
            let place = error.location().map_or_else(
                || Place::file(Arc::clone(file)),
                |at| Place {
                    file: Arc::clone(file),
                    line: at.line(),
                    column: at.column(),
                },
            );
            Violation::new(place, format!("is not YAML: {error}"))
        })?;
        let value = serde_json::to_value(&value).map_err(|error| {
            Violation::new(
                Place::file(Arc::clone(file)),
                format!("cannot be JSON: {error}"),
            )
        })?;
        if value.is_null() {
            continue;
        }
        match first.next() {
            Some(node) if node.to_json() == value => {}
            Some(node) => return Err(differs(node.place.clone(), &node.to_json(), &value)),
            None => {
                let place = Place::file(Arc::clone(file));
                return Err(differs(place, &Value::Null, &value));
            }
        }
    }
    match first.next() {
        Some(node) => Err(differs(node.place.clone(), &node.to_json(), &Value::Null)),
        None => Ok(()),
    }
}

fn differs(place: Place, first: &Value, second: &Value) -> Violation {
    let field = difference("", first, second);
    let message = "is read differently by different YAML readers: quote the text or write it \
                   more plainly";
    Violation::new(place, message).in_field(field)
}

/// The path of the first difference, for people.
fn difference(path: &str, first: &Value, second: &Value) -> String {
    match (first, second) {
        (Value::Object(first), Value::Object(second)) => {
            let differing = first
                .iter()
                .find(|(name, value)| second.get(*name) != Some(*value));
            differing.map_or_else(
                || path.to_owned(),
                |(name, value)| {
                    let path = super::path::key(path, name);
                    match second.get(name) {
                        Some(other) => difference(&path, value, other),
                        None => path,
                    }
                },
            )
        }
        (Value::Array(first), Value::Array(second)) => {
            let differing = first
                .iter()
                .zip(second)
                .enumerate()
                .find(|(_, (a, b))| a != b);
            differing.map_or_else(
                || path.to_owned(),
                |(index, (a, b))| difference(&format!("{path}[{index}]"), a, b),
            )
        }
        (_, _) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::tree;

    #[test]
    fn another_value_is_found_and_named() {
        let file: Arc<str> = "f".into();
        let first = tree::read(&file, "a: 1\nb:\n- c: x\n").expect("YAML");
        assert!(agree(&file, "a: 1\nb: [{c: x}]\n", &first).is_ok());
        let violation = agree(&file, "a: 1\nb: [{c: y}]\n", &first).expect_err("differs");
        assert_eq!(violation.field(), "b[0].c");
        assert_eq!(violation.line(), 1);
    }

    #[test]
    fn more_or_fewer_documents_are_found() {
        let file: Arc<str> = "f".into();
        let first = tree::read(&file, "a: 1\n").expect("YAML");
        assert!(agree(&file, "# nothing\n---\na: 1\n---\n", &first).is_ok());
        assert!(agree(&file, "a: 1\n---\nb: 1\n", &first).is_err());
        assert!(agree(&file, "", &first).is_err());
    }
}
