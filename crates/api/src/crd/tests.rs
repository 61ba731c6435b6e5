//! The schema is tested as the API server uses it: defaults are filled in, then
//! bounds, patterns and rules are checked by the small evaluator in
//! `api_server`.

mod api_server;
mod gateway;
mod provider;
mod shape;

use serde_json::Value;

/// The schema of a kind's objects.
fn schema(kind: &str) -> Value {
    let definition = super::crds()
        .unwrap()
        .into_iter()
        .find(|it| it["spec"]["names"]["kind"] == kind)
        .unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}
