//! What an API server does with an object: defaults, structure, rules. Errors
//! are `path: message`.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock, Mutex},
};

use cel::extractors::This;
use regex::Regex;
use serde_json::{Map, Value};

use crate::duration::DurationText;

/// Fills in defaults and returns what is wrong, as at creation.
pub(super) fn create(schema: &Value, object: &mut Value) -> Vec<String> {
    update(schema, object, None)
}

/// The same for a change of `old`, which has its defaults already.
pub(super) fn update(schema: &Value, object: &mut Value, old: Option<&Value>) -> Vec<String> {
    fill_defaults(schema, object);
    let mut errors = Vec::new();
    check(schema, object, old, "", &mut errors);
    errors
}

pub(super) fn fill_defaults(schema: &Value, value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        for (name, property) in properties(schema) {
            if let Some(default) = property.get("default") {
                object
                    .entry(name.clone())
                    .or_insert_with(|| default.clone());
            }
            if let Some(value) = object.get_mut(name) {
                fill_defaults(property, value);
            }
        }
    }
    for item in value.as_array_mut().into_iter().flatten() {
        fill_defaults(&schema["items"], item);
    }
}

pub(super) fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn check(schema: &Value, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<String>) {
    let errors_before = errors.len();
    match (schema["type"].as_str().unwrap(), value) {
        ("object", Value::Object(object)) => check_object(schema, object, old, path, errors),
        ("array", Value::Array(items)) => check_array(schema, items, path, errors),
        ("string", Value::String(text)) => check_string(schema, text, path, errors),
        ("integer", Value::Number(number)) if !number.is_f64() => {
            let number = number.as_i64().unwrap();
            let within = |bound: &str, holds: fn(&i64, &i64) -> bool| {
                schema[bound]
                    .as_i64()
                    .is_none_or(|bound| holds(&number, &bound))
            };
            if !within("minimum", i64::ge) || !within("maximum", i64::le) {
                errors.push(format!("{path}: out of range"));
            }
        }
        ("boolean", Value::Bool(_)) => {}
        (wanted, _) => return errors.push(format!("{path}: must be {wanted}")),
    }
    // Rules rely on the structure.
    if errors.len() == errors_before {
        check_rules(schema, value, old, path, errors);
    }
}

fn check_object(
    schema: &Value,
    object: &Map<String, Value>,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<String>,
) {
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.filter(|name| !object.contains_key(name.as_str().unwrap())) {
        errors.push(format!("{path}: needs {}", name.as_str().unwrap()));
    }
    check_size(schema, "Properties", object.len(), path, errors);
    for (name, value) in object {
        let path = format!("{path}.{name}");
        match [&schema["properties"][name], &schema["additionalProperties"]]
            .into_iter()
            .find(|it| it.is_object())
        {
            Some(inner) => check(inner, value, old.and_then(|it| it.get(name)), &path, errors),
            None => errors.push(format!("{path}: unknown field")),
        }
    }
}

fn check_array(schema: &Value, items: &[Value], path: &str, errors: &mut Vec<String>) {
    check_size(schema, "Items", items.len(), path, errors);
    let keys: Vec<_> = match schema["x-kubernetes-list-type"].as_str().unwrap() {
        "set" => items.iter().map(Value::to_string).collect(),
        "map" => items.iter().map(|it| key_of(schema, it)).collect(),
        _ => Vec::new(),
    };
    if keys.iter().collect::<HashSet<_>>().len() != keys.len() {
        errors.push(format!("{path}: duplicate value"));
    }
    for (index, item) in items.iter().enumerate() {
        check(
            &schema["items"],
            item,
            None,
            &format!("{path}[{index}]"),
            errors,
        );
    }
}

fn key_of(schema: &Value, item: &Value) -> String {
    let keys = schema["x-kubernetes-list-map-keys"].as_array().unwrap();
    keys.iter()
        .map(|key| item[key.as_str().unwrap()].to_string())
        .collect()
}

fn check_string(schema: &Value, text: &str, path: &str, errors: &mut Vec<String>) {
    check_size(schema, "Length", text.chars().count(), path, errors);
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(&text.into())
    {
        errors.push(format!("{path}: unsupported value"));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !matches(text, pattern)
    {
        errors.push(format!("{path}: should match"));
    }
}

fn check_size(schema: &Value, noun: &str, size: usize, path: &str, errors: &mut Vec<String>) {
    let bound = |word: &str| schema[format!("{word}{noun}")].as_u64();
    let size = size as u64;
    if bound("min").is_some_and(|min| size < min) || bound("max").is_some_and(|max| size > max) {
        errors.push(format!("{path}: wrong size"));
    }
}

fn check_rules(
    schema: &Value,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<String>,
) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = rule["rule"].as_str().unwrap();
        let mut variables = vec![("self", value)];
        match old {
            Some(old) => variables.push(("oldSelf", old)),
            None if text.contains("oldSelf") => continue,
            None => {}
        }
        if !evaluate(text, &variables) {
            errors.push(format!("{path}: {}", rule["message"].as_str().unwrap()));
        }
    }
}

/// Evaluates CEL; an error fails the test, for it is a wrong rule.
fn evaluate(text: &str, variables: &[(&str, &Value)]) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Arc<cel::Program>>>> =
        LazyLock::new(Mutex::default);
    let program = {
        let mut compiled = COMPILED.lock().unwrap();
        let compile = || Arc::new(cel::Program::compile(text).unwrap());
        Arc::clone(compiled.entry(text.to_owned()).or_insert_with(compile))
    };
    let mut context = cel::Context::default();
    let matching = |This(text): This<Arc<String>>, pattern: Arc<String>| matches(&text, &pattern);
    if context.add_function("matches", matching).is_err() {
        // The library was built with its own.
    }
    let small = |This(text): This<Arc<String>>| text.to_ascii_lowercase();
    context.add_function("lowerAscii", small).unwrap();
    let duration = |text: Arc<String>| {
        let span = text.parse::<DurationText>().unwrap().as_duration();
        i64::try_from(span.as_millis()).unwrap()
    };
    context.add_function("duration", duration).unwrap();
    for (name, value) in variables {
        context.add_variable_from_value(*name, to_cel(value));
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(outcome)) => outcome,
        other => panic!("{text}: {other:?}"),
    }
}

/// Patterns are compiled once: a thousand rules have the same.
fn matches(text: &str, pattern: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap();
    let regex = compiled
        .entry(pattern.to_owned())
        .or_insert_with(|| Regex::new(pattern).unwrap());
    regex.is_match(text)
}

/// Numbers become `int`, as the API server has them.
fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(it) => (*it).into(),
        Value::Number(it) => it.as_i64().unwrap().into(),
        Value::String(it) => it.as_str().into(),
        Value::Array(items) => items.iter().map(to_cel).collect::<Vec<_>>().into(),
        Value::Object(object) => {
            let entries = object
                .iter()
                .map(|(name, value)| (name.clone(), to_cel(value)));
            entries.collect::<HashMap<_, _>>().into()
        }
    }
}
