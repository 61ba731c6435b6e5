//! What the policy decides is tested with a real API server, in
//! `tests/injector.rs`.

use super::*;

fn validations_of(manifests: &[Value]) -> String {
    manifests[0]["spec"]["validations"].to_string()
}

#[test]
fn the_policy_is_bound_to_the_namespaces_that_opted_in() {
    let manifests = manifests();
    let [policy, binding] = manifests.as_slice() else {
        panic!("{manifests:?}")
    };
    assert_eq!(policy["kind"], "ValidatingAdmissionPolicy");
    assert_eq!(policy["spec"]["failurePolicy"], "Fail");
    assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
    assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
    let selector = &binding["spec"]["matchResources"]["namespaceSelector"];
    assert_eq!(
        selector["matchLabels"],
        json!({ "sidegate.dev/injection": "enabled" })
    );
    let excluded = selector["matchExpressions"][0]["values"].to_string();
    for name in ["kube-system", "sidegate-system"] {
        assert!(excluded.contains(name), "{excluded}");
    }
}

#[test]
fn an_image_is_asked_for_only_when_one_is_given() {
    assert!(!validations_of(&manifests()).contains("c.image == '"));
    let policy = AdmissionPolicy {
        image: Some("registry.example/sidegate@sha256:1".to_owned()),
        ..AdmissionPolicy::default()
    };
    let pinned = validations_of(&policy.manifests());
    assert!(pinned.contains("c.image == 'registry.example/sidegate@sha256:1'"));
}

#[test]
fn a_text_cannot_leave_its_quotes() {
    assert_eq!(quoted(r"a' || true || '\"), r"'a\' || true || \'\\'");
}
