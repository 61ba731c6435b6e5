use proptest::prelude::*;

use super::super::tests::{gateway, settings};
use super::*;

fn pod() -> Value {
    json!({
        "metadata": { "name": "demo", "labels": { "app": "demo" } },
        "spec": { "containers": [
            { "name": "app", "image": "x", "ports": [{ "containerPort": 8080 }] },
        ] },
    })
}

fn question(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "crm",
            "operation": "CREATE",
            "object": pod,
        },
    })
}

fn found() -> Lookup {
    let server = json!({ "name": "demo", "port": 8080, "resources": ["https://x/mcp"] });
    Lookup::Gateway(gateway(&json!([server])))
}

fn ask(body: &[u8], lookup: Lookup) -> Value {
    let answer = review(body, &settings(), |_, _| lookup);
    let status = answer.status;
    let mut answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let code = &answer["response"]["status"]["code"];
    assert!(status == 200 || *code == status, "{status} {code}");
    assert_eq!(answer["apiVersion"], API_VERSION);
    assert_eq!(answer["kind"], KIND);
    answer["response"].take()
}

fn ask_about(question: &Value, lookup: Lookup) -> Value {
    ask(question.to_string().as_bytes(), lookup)
}

#[test]
fn a_selected_pod_gets_its_patch_and_the_uid_comes_back() {
    let response = ask_about(&question(&pod()), found());
    assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    assert_eq!(response["allowed"], true);
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = BASE64_STANDARD
        .decode(response["patch"].as_str().unwrap())
        .unwrap();
    let mut patched = pod();
    json_patch::patch(
        &mut patched,
        &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap(),
    )
    .unwrap();
    assert_eq!(patched["spec"]["initContainers"][1]["name"], "sidegate");

    let again = ask_about(&question(&patched), found());
    assert_eq!(again["allowed"], true);
    assert_eq!(again.get("patch").or_else(|| again.get("patchType")), None);
}

#[test]
fn the_gateway_is_looked_up_by_labels_and_namespace() {
    let body = question(&pod()).to_string();
    let mut asked = None;
    review(body.as_bytes(), &settings(), |labels, namespace| {
        asked = Some((labels.clone(), namespace.to_owned()));
        Lookup::NoGateway
    });
    let (labels, namespace) = asked.unwrap();
    assert_eq!(
        labels.into_iter().collect::<Vec<_>>(),
        [("app".to_owned(), "demo".to_owned())]
    );
    assert_eq!(namespace, "crm");
}

#[test]
fn a_pod_of_no_gateway_passes_unchanged() {
    let response = ask_about(&question(&pod()), Lookup::NoGateway);
    let uid = question(&pod())["request"]["uid"].clone();
    assert_eq!(response, json!({ "uid": uid, "allowed": true }));
}

#[test]
fn gateways_that_cannot_be_read_let_nothing_through() {
    let response = ask_about(
        &question(&pod()),
        Lookup::Unavailable("timed out".to_owned()),
    );
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 503);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("timed out"), "{message}");
}

#[test]
fn a_gateway_that_cannot_be_read_lets_no_pod_through() {
    let lookup = Lookup::Unreadable {
        gateway: "odd".to_owned(),
        problem: "missing field `port`".to_owned(),
    };
    let response = ask_about(&question(&pod()), lookup);
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message.contains("McpGateway odd") && message.contains("missing field `port`"),
        "{message}"
    );
}

#[test]
fn a_pod_that_is_not_named_yet_is_answered_like_another() {
    let mut unnamed = pod();
    unnamed["metadata"] = json!({ "generateName": "demo-", "labels": { "app": "demo" } });
    let mut dry = question(&unnamed);
    dry["request"]["dryRun"] = json!(true);
    let response = ask_about(&question(&unnamed), found());
    assert_eq!(response["patchType"], "JSONPatch");
    assert_eq!(ask_about(&dry, found()), response);
}

#[test]
fn a_pod_of_no_gateway_gets_an_identity_when_it_asks_for_one() {
    let mut caller = pod();
    caller["metadata"]["annotations"] = json!({ "sidegate.dev/identity": "Files" });
    let response = ask_about(&question(&caller), Lookup::NoGateway);
    let patch = BASE64_STANDARD.decode(response["patch"].as_str().unwrap());
    let patch = String::from_utf8(patch.unwrap()).unwrap();
    assert!(patch.contains("sidegate-identity"), "{patch}");

    caller["metadata"]["annotations"] = json!({ "sidegate.dev/identity": "please" });
    let response = ask_about(&question(&caller), Lookup::NoGateway);
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 422);

    // However odd: what asks for nothing is not looked at.
    let odd = json!({ "metadata": { "annotations": [] }, "spec": { "containers": 7 } });
    let response = ask_about(&question(&odd), Lookup::NoGateway);
    assert_eq!(response["allowed"], true);
}

#[test]
fn how_a_review_ended_is_told_apart() {
    let outcome = |question: &Value, lookup| {
        let body = question.to_string();
        review(body.as_bytes(), &settings(), |_, _| lookup).outcome
    };
    let mut host = pod();
    host["spec"]["hostNetwork"] = json!(true);
    let unavailable = Lookup::Unavailable(String::new());
    let mut update = question(&pod());
    update["request"]["operation"] = json!("UPDATE");
    for (question, lookup, expected) in [
        (question(&pod()), found(), Outcome::Injected),
        (question(&pod()), Lookup::NoGateway, Outcome::Untouched),
        (update, found(), Outcome::Untouched),
        (question(&host), found(), Outcome::Refused),
        (question(&pod()), unavailable, Outcome::Unavailable),
        (json!({}), found(), Outcome::Unreadable),
    ] {
        assert_eq!(outcome(&question, lookup), expected, "{question}");
    }
}

#[test]
fn a_refusal_names_the_gateway_and_the_cure() {
    for (field, value, code, cure) in [
        ("hostNetwork", json!(true), 403, "hostNetwork: false"),
        ("volumes", json!({}), 400, "/spec/volumes"),
    ] {
        let mut pod = pod();
        pod["spec"][field] = value;
        let response = ask_about(&question(&pod), found());
        assert_eq!(response["allowed"], false);
        assert_eq!(response["status"]["code"], code);
        let message = response["status"]["message"].as_str().unwrap();
        assert!(
            message.contains("McpGateway demo") && message.contains(cure),
            "{message}"
        );
    }
}

/// WHK-005.
#[test]
fn questions_that_are_not_understood_are_refused() {
    let mut nested = question(&pod());
    nested["request"]["object"]["spec"]["x"] = json!(0);
    let deep = nested.to_string().replace(
        "\"x\":0",
        &format!("\"x\":{}{}", "[".repeat(100_000), "]".repeat(100_000)),
    );
    let twice = question(&pod()).to_string().replace(
        "\"operation\":\"CREATE\"",
        "\"operation\":\"CREATE\",\"operation\":\"UPDATE\"",
    );
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\u{feff}{}",
        "{\"request\":null}",
        &deep,
        &twice,
    ] {
        let response = ask(body.as_bytes(), found());
        assert_eq!(response["allowed"], false, "{body:.60}");
        assert_eq!(response["status"]["code"], 400, "{body:.60}");
    }
    for (place, value) in [
        ("/apiVersion", json!("admission.k8s.io/v1beta1")),
        ("/kind", json!("ConversionReview")),
        ("/request/uid", json!("")),
        ("/request/uid", json!("x".repeat(129))),
        ("/request/kind/kind", json!("Secret")),
        ("/request/kind/group", json!("evil.example")),
        ("/request/resource/resource", json!("secrets")),
        ("/request/namespace", json!("")),
        ("/request/namespace", json!("../../../api/v1/secrets")),
        ("/request/namespace", json!("crm?x=1")),
        ("/request/operation", json!("PATCH")),
        ("/request/object", json!(null)),
        ("/request/object/metadata/labels", json!({ "app": 1 })),
        ("/request/object/metadata/labels", json!([])),
    ] {
        let mut question = question(&pod());
        *question.pointer_mut(place).unwrap() = value;
        let response = ask_about(&question, found());
        assert_eq!(response["allowed"], false, "{place}");
        assert_eq!(response["status"]["code"], 400, "{place}");
        if !place.ends_with("uid") {
            assert_eq!(response["uid"], question["request"]["uid"], "{place}");
        }
    }
    let mut status = question(&pod());
    status["request"]["subResource"] = json!("status");
    assert_eq!(ask_about(&status, found())["allowed"], false);
}

#[test]
fn changes_of_pods_pass_without_a_question() {
    for operation in ["UPDATE", "DELETE", "CONNECT"] {
        let mut question = question(&pod());
        question["request"]["operation"] = json!(operation);
        question["request"]["object"] = Value::Null;
        let answer = review(question.to_string().as_bytes(), &settings(), |_, _| {
            panic!("nothing to look up")
        });
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer["response"]["allowed"], true);
    }
}

#[test]
fn the_size_of_a_review_is_bounded_on_both_sides() {
    let mut question = question(&pod());
    question["request"]["padding"] = json!("");
    let padding = MAX_REVIEW_BYTES - question.to_string().len();
    question["request"]["padding"] = json!("x".repeat(padding));
    assert_eq!(question.to_string().len(), MAX_REVIEW_BYTES);
    assert_eq!(ask_about(&question, found())["allowed"], true);
    question["request"]["padding"] = json!("x".repeat(padding + 1));
    let response = ask_about(&question, found());
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 413);
}

#[test]
fn warnings_and_messages_are_short() {
    let mut pod = pod();
    let containers = (0..20).map(|index| {
        let name = format!("c{index:062}");
        let mut probe = json!({ "tcpSocket": { "port": 8080 } });
        probe["tcpSocket"]["ä".repeat(300)] = json!(1);
        json!({ "name": name, "image": "x", "livenessProbe": probe })
    });
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .extend(containers);
    let response = ask_about(&question(&pod), found());
    let warnings = response["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), MAX_WARNINGS);
    for warning in warnings {
        assert!(warning.as_str().unwrap().len() <= MAX_WARNING_BYTES);
    }
    let long = Lookup::Unavailable("ä".repeat(5000));
    let response = ask_about(&question(&pod), long);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.len() <= MAX_MESSAGE_BYTES && message.len() > MAX_MESSAGE_BYTES - 4);
}

proptest! {
    #[test]
    fn any_bytes_are_answered_with_a_refusal(body in any::<Vec<u8>>()) {
        prop_assert_eq!(&ask(&body, found())["allowed"], &json!(false));
    }
}
