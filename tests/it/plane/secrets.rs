//! No secret value is anywhere but in Secrets and where it is used.

use std::fs;

use sidegate_testkit::client::Client;
use sidegate_testkit::plane::{Plane, PodProcess, Wishes};

use super::{Stage, references, until_certified, until_connected};

/// OPR-006, OPR-007, CFG-014. Canaries are the values themselves: keys of
/// certificates, of authorities, and tokens.
#[tokio::test(flavor = "multi_thread")]
async fn opr_006_opr_007_cfg_014_no_secret_value_leaks() {
    let wishes = Wishes {
        trace: true,
        ..Wishes::default()
    };
    let mut stage = Stage::with(wishes, |_| {}).await;
    until_certified(&stage.pod).await;
    let (mut canaries, client) = references::a_server_with_a_secret(&stage).await;
    canaries.extend(own_secrets(&stage).await);
    canaries.extend(secrets_of(&stage.pod));
    // Everything is used once: a call, a stream that comes back, a refusal.
    references::call(&stage, &client, "steady", 200).await;
    references::call(&stage, &client, "other", 403).await;
    canaries.push(stage.token.clone());
    stage.plane.streams.point(&[]);
    until_connected(&mut stage.pod, false).await;
    let [one, two] = &mut stage.operators;
    stage.plane.point(&mut [one, two]).await;
    until_connected(&mut stage.pod, true).await;
    references::break_secret(&stage).await;

    let canaries: Vec<_> = canaries.iter().flat_map(|secret| pieces(secret)).collect();
    assert!(canaries.len() > 10, "{}", canaries.len());
    for (place, text) in places(&mut stage).await {
        assert!(!text.is_empty(), "{place}");
        for canary in &canaries {
            assert!(!text.contains(canary), "a secret value is in {place}");
        }
    }
}

/// Parts of a secret that nothing else holds: whole lines of a key, and each
/// part of a token. The header of a token is no secret.
fn pieces(secret: &str) -> Vec<String> {
    let is_pem = secret.contains("-----BEGIN");
    let parts = if is_pem {
        secret
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<Vec<_>>()
    } else {
        secret.split('.').skip(1).collect()
    };
    let long = parts.into_iter().filter(|part| part.len() >= 24);
    long.map(str::to_owned).collect()
}

/// Keys of the authorities, and tokens of the operators.
async fn own_secrets(stage: &Stage) -> Vec<String> {
    let path = "/api/v1/namespaces/sidegate-system/secrets/sidegate-authority";
    let mut secrets = Vec::new();
    for set in ["workload", "endpoints"] {
        let text = stage.plane.api.secret_text(path, set).await;
        let set: serde_json::Value = serde_json::from_str(&text).unwrap();
        for root in set["roots"].as_array().unwrap() {
            secrets.push(root["key"].as_str().unwrap().to_owned());
        }
    }
    for name in ["one", "two"] {
        let file = stage
            .plane
            .dir()
            .join(format!("operator-{name}/kubeconfig"));
        let text = fs::read_to_string(file).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let token = config["users"][0]["user"]["token"].as_str().unwrap();
        secrets.push(token.to_owned());
    }
    secrets
}

fn secrets_of(pod: &PodProcess) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(pod.file(name)).unwrap();
    vec![read("token"), read("state/key.pem")]
}

/// Everywhere that somebody may look.
async fn places(stage: &mut Stage) -> Vec<(String, String)> {
    let mut places = Vec::new();
    let mut processes = Vec::new();
    for (index, operator) in stage.operators.iter_mut().enumerate() {
        let health = Client::plaintext(operator.health().await);
        let metrics = health.get("/metrics").await.unwrap().text();
        places.push((format!("the metrics of operator {index}"), metrics));
        let log = operator.process().stderr();
        places.push((format!("the log of operator {index}"), log));
        processes.push((format!("operator {index}"), operator.process().id()));
    }
    places.push((
        "the metrics of the sidecar".to_owned(),
        stage.pod.metrics().await,
    ));
    let config = stage.pod.config().await.to_string();
    places.push(("/config of the sidecar".to_owned(), config));
    let process = stage.pod.sidecar().process();
    places.push(("the log of the sidecar".to_owned(), process.stderr()));
    places.push(("the audit log of the sidecar".to_owned(), process.stdout()));
    processes.push(("the sidecar".to_owned(), process.id()));
    for (name, id) in processes {
        for file in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{id}/{file}")).unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            places.push((format!("{file} of {name}"), text));
        }
    }
    for path in [
        "/apis/sidegate.dev/v1alpha1/mcpgateways",
        "/apis/events.k8s.io/v1/events",
        "/api/v1/pods",
        "/api/v1/configmaps",
        "/apis/coordination.k8s.io/v1/leases",
        "/apis/networking.k8s.io/v1/networkpolicies",
    ] {
        let listed = stage.plane.api.get(path).await.to_string();
        places.push((path.to_owned(), listed));
    }
    let gateway = Plane::gateway_path(super::NAMESPACE, super::GATEWAY);
    let status = stage.plane.api.get(&gateway).await["status"].to_string();
    places.push(("the status".to_owned(), status));
    places
}
