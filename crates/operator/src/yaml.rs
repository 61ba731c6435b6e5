//! Objects as text for people and for `kubectl`.

use std::collections::BTreeMap;

use serde_json::Value;

/// Objects as YAML documents, with sorted keys: their order in a JSON value
/// depends on which crates are built together.
///
/// # Errors
/// Never in practice: only when a value cannot be written as YAML.
pub fn to_yaml(objects: &[Value]) -> Result<String, serde_yaml::Error> {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&serde_yaml::to_string(&sorted(object)?)?);
    }
    Ok(text)
}

fn sorted(value: &Value) -> Result<serde_yaml::Value, serde_yaml::Error> {
    Ok(match value {
        Value::Object(object) => {
            let keys: BTreeMap<_, _> = object.iter().collect();
            let mut mapping = serde_yaml::Mapping::new();
            for (key, value) in keys {
                mapping.insert(key.as_str().into(), sorted(value)?);
            }
            mapping.into()
        }
        Value::Array(items) => items
            .iter()
            .map(sorted)
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            serde_yaml::to_value(scalar)?
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_object_is_a_document_with_sorted_keys() {
        let text = to_yaml(&[json!({"b": ["true"], "a": 1}), json!({})]).expect("YAML");
        assert_eq!(text, "---\na: 1\nb:\n- 'true'\n---\n{}\n");
    }
}
