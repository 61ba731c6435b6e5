//! The CustomResourceDefinitions, as the API server likes them.
//!
//! What the derives produce is valid JSON Schema with a few habits that the API
//! server warns about or reads differently; they are mended here, once for
//! every field.

use kube::CustomResourceExt as _;
use serde_json::{Map, Value};

use crate::{gateway::McpGateway, provider::LlmProvider};

#[cfg(test)]
mod tests;

/// The definitions of both kinds, McpGateway first.
///
/// # Errors
/// Never in practice: only when a definition cannot be written as JSON.
pub fn crds() -> Result<[Value; 2], serde_json::Error> {
    let mut gateway = serde_json::to_value(McpGateway::crd())?;
    let mut provider = serde_json::to_value(LlmProvider::crd())?;
    for definition in [&mut gateway, &mut provider] {
        let versions = definition
            .pointer_mut("/spec/versions")
            .and_then(Value::as_array_mut);
        for version in versions.into_iter().flatten() {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                mend(schema);
            }
        }
    }
    Ok([gateway, provider])
}

/// Mends a schema and all schemas in it. It walks by keyword, so that a field
/// which happens to be called `format` is left alone.
fn mend(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    mend_one(schema);
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(keyword) {
            mend(inner);
        }
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flat_map(Map::values_mut) {
        mend(property);
    }
}

fn mend_one(schema: &mut Map<String, Value>) {
    // With it, an explicit null would be stored, and `has()` true of it.
    schema.remove("nullable");
    schema.remove("title");
    // The API server does not know formats such as uint16 and warns.
    if schema.get("type").is_none_or(|it| it != "string") {
        schema.remove("format");
    }
    for keyword in ["minItems", "minLength", "minProperties"] {
        if schema.get(keyword).is_some_and(|it| it == 0) {
            schema.remove(keyword);
        }
    }
    for keyword in ["minimum", "maximum"] {
        if let Some(bound) = schema.get_mut(keyword) {
            make_whole(bound);
        }
    }
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    }
}

/// Bounds pass through floating point on their way; all of ours are whole.
fn make_whole(bound: &mut Value) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "compared afterwards: only a number that survives is taken"
    )]
    if let Some(float) = bound.as_f64()
        && float as i64 as f64 == float
    {
        *bound = Value::from(float as i64);
    }
}
