//! The definitions themselves.

use serde_json::Value;

use super::api_server::properties;
use crate::names;

/// Visits every schema, with its path.
fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in properties(schema) {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for (keyword, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[keyword].is_object() {
            walk(&schema[keyword], &format!("{path}{mark}"), visit);
        }
    }
}

/// Paths, in both kinds, of the schemas for which `wrong` holds.
fn where_wrong(wrong: impl Fn(&str, &Value) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for kind in [names::GATEWAY_KIND, names::PROVIDER_KIND] {
        walk(&super::schema(kind), kind, &mut |path, schema| {
            if wrong(path, schema) {
                found.push(path.to_owned());
            }
        });
    }
    found
}

fn has(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword).is_some()
}

fn is(schema: &Value, kind: &str) -> bool {
    schema["type"] == kind
}

#[test]
fn every_list_has_a_bound_and_a_merge_strategy() {
    let unbounded = where_wrong(|_, it| is(it, "array") && !has(it, "maxItems"));
    assert_eq!(unbounded, [""; 0]);
    let untyped = where_wrong(|_, it| is(it, "array") && !has(it, "x-kubernetes-list-type"));
    assert_eq!(untyped, [""; 0]);
}

#[test]
fn every_string_has_a_bound() {
    let unbounded =
        where_wrong(|_, it| is(it, "string") && !has(it, "maxLength") && !has(it, "enum"));
    assert_eq!(unbounded, [""; 0]);
}

#[test]
fn every_map_has_a_bound() {
    let unbounded =
        where_wrong(|_, it| has(it, "additionalProperties") && !has(it, "maxProperties"));
    assert_eq!(unbounded, [""; 0]);
}

#[test]
fn every_number_of_a_spec_has_bounds() {
    let unbounded = where_wrong(|path, it| {
        path.contains(".spec") && is(it, "integer") && !(has(it, "minimum") && has(it, "maximum"))
    });
    assert_eq!(unbounded, [""; 0]);
}

#[test]
fn every_field_is_explained_on_one_line() {
    let unexplained = where_wrong(|path, it| {
        let text = it["description"].as_str().unwrap_or_default();
        let is_field = !path.ends_with("[]") && !path.ends_with("{}");
        is_field && (text.len() < 10 || text.contains('\n') || !text.ends_with('.'))
    });
    assert_eq!(unexplained, [""; 0]);
}

#[test]
fn every_schema_is_structural_and_has_one_type() {
    let unstructured = where_wrong(|_, it| {
        !it["type"].is_string()
            || [
                "oneOf", "anyOf", "allOf", "not", "$ref", "nullable", "title",
            ]
            .iter()
            .any(|keyword| has(it, keyword))
    });
    assert_eq!(unstructured, [""; 0]);
}

#[test]
fn formats_are_those_that_api_servers_know() {
    let unknown = where_wrong(|_, it| has(it, "format") && it["format"] != "date-time");
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn enumerated_words_are_camel_case() {
    let odd = where_wrong(|_, it| {
        let words = it["enum"].as_array().into_iter().flatten();
        words
            .into_iter()
            .any(|word| !word.as_str().unwrap().starts_with(char::is_uppercase))
    });
    assert_eq!(odd, [""; 0]);
}

#[test]
fn fields_of_list_keys_are_required() {
    let optional = where_wrong(|_, it| {
        let keys = it["x-kubernetes-list-map-keys"]
            .as_array()
            .into_iter()
            .flatten();
        keys.into_iter().any(|key| {
            let required = it["items"]["required"].as_array();
            required.is_none_or(|required| !required.contains(key))
        })
    });
    assert_eq!(optional, [""; 0]);
}

#[test]
fn every_rule_says_what_to_do() {
    let silent = where_wrong(|_, it| {
        let rules = it["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten();
        rules
            .into_iter()
            .any(|rule| rule["message"].as_str().is_none_or(|it| it.len() < 20))
    });
    assert_eq!(silent, [""; 0]);
}

#[test]
fn names_scope_and_columns_are_as_documented() {
    let [gateway, provider] = crate::crds().unwrap();
    for (definition, name, short, columns) in [
        (
            &gateway,
            "mcpgateways",
            "mcpgw",
            &["Ready", "Programmed", "Mode", "Age"][..],
        ),
        (
            &provider,
            "llmproviders",
            "llmp",
            &["Ready", "Type", "Preset", "Age"],
        ),
    ] {
        let spec = &definition["spec"];
        assert_eq!(
            definition["metadata"]["name"],
            format!("{name}.{}", names::GROUP)
        );
        assert_eq!(spec["scope"], "Namespaced");
        assert_eq!(spec["names"]["shortNames"][0], short);
        assert_eq!(
            spec["names"]["categories"],
            serde_json::json!(["mcp", "sidegate"])
        );
        let version = &spec["versions"][0];
        assert_eq!(version["name"], names::VERSION);
        assert!(version["subresources"]["status"].is_object());
        let shown: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| it["priority"].as_i64().unwrap_or_default() == 0)
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert_eq!(shown, columns);
    }
}

/// Client-side apply keeps the whole object in an annotation of at most
/// 256 KiB.
#[test]
fn definitions_are_small_enough_for_client_side_apply() {
    for definition in crate::crds().unwrap() {
        assert!(definition.to_string().len() < 200 * 1024);
    }
}
