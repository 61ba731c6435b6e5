//! JSON to the types of an object, with the path of what does not fit.

use serde::de::DeserializeOwned;
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
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
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
