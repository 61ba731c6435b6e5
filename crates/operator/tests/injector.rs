//! Pods before and after injection: every file of `golden/injector`, by its
//! name, and what a real API server says to the result.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic, also in its helpers"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sidegate_operator::injector::{
    Gateway, InjectError, Injection, InjectorSettings, inject, inject_identity, wants_identity,
};

#[path = "injector/apiserver.rs"]
mod apiserver;

/// A file: a pod and the gateway that selects it, if one does.
#[derive(Debug)]
struct Case {
    name: String,
    gateway: Option<Gateway>,
    pod: Value,
}

// === impl Case ===

impl Case {
    /// What the pod, or what has become of it, gets.
    fn inject(&self, pod: &Value) -> Result<Injection, InjectError> {
        match &self.gateway {
            Some(gateway) => inject(pod, gateway, &settings()),
            None => {
                assert!(wants_identity(pod), "{}", self.name);
                inject_identity(pod, &settings())
            }
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/injector")
}

fn read(path: &Path) -> Case {
    let text = fs::read_to_string(path).expect("a text");
    let mut file: Value = serde_yaml::from_str(&text).expect("YAML");
    let spec: Option<_> = serde_json::from_value(file["gateway"].take()).expect("a gateway");
    Case {
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
        gateway: spec.map(gateway),
        pod: file["pod"].take(),
    }
}

fn gateway(spec: sidegate_api::McpGatewaySpec) -> Gateway {
    Gateway {
        namespace: "crm".to_owned(),
        name: "demo".to_owned(),
        uid: "0c5c9d0e-0000-4000-8000-000000000001".to_owned(),
        spec: Arc::new(spec),
    }
}

fn cases() -> Vec<Case> {
    let mut files: Vec<_> = fs::read_dir(folder())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 30, "{} files", files.len());
    files.iter().map(|it| read(it)).collect()
}

fn good_cases() -> impl Iterator<Item = Case> {
    cases()
        .into_iter()
        .filter(|it| it.name.starts_with("good-"))
}

fn settings() -> InjectorSettings {
    InjectorSettings::new(
        "registry.example/sidegate:0.1.0",
        "https://sidegate-operator.sidegate-system.svc:8443",
    )
}

fn apply(pod: &Value, injection: &Injection) -> Value {
    let mut patched = pod.clone();
    let patch = serde_json::to_value(&injection.patch).unwrap();
    json_patch::patch(
        &mut patched,
        &serde_json::from_value::<json_patch::Patch>(patch).unwrap(),
    )
    .expect("a patch");
    patched
}

#[test]
fn golden_files() {
    let mut settings_of_insta = insta::Settings::clone_current();
    settings_of_insta.set_snapshot_path(folder().join("snapshots"));
    settings_of_insta.set_prepend_module_to_snapshot(false);
    settings_of_insta.set_omit_expression(true);
    settings_of_insta.set_sort_maps(true);
    let _bound = settings_of_insta.bind_to_scope();
    for case in cases() {
        let name = &case.name;
        let shown = match case.inject(&case.pod) {
            Ok(injection) => {
                assert!(name.starts_with("good-"), "{name} was accepted");
                let pod = apply(&case.pod, &injection);
                let second = case.inject(&pod).expect("injected again");
                assert_eq!(second.patch, [], "{name} is injected twice");
                json!({ "pod": pod, "warnings": injection.warnings })
            }
            Err(refusal) => {
                assert!(name.starts_with("bad-"), "{name} was refused: {refusal}");
                json!({ "refused": refusal.to_string() })
            }
        };
        let mut shown = shown;
        shown.sort_all_objects();
        insta::assert_json_snapshot!(name.as_str(), shown);
    }
    assert_no_leftover();
}

/// An answer without its file would be checked by nobody.
fn assert_no_leftover() {
    for entry in fs::read_dir(folder().join("snapshots")).expect("a directory") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let file = folder().join(format!("{stem}.yaml"));
        assert!(file.exists(), "{stem} has no file any more");
    }
}
