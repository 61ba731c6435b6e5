//! The first start, and what nobody may see of it.

use std::fs;

use sidegate_config::control::{FromOperator, FromSidecar, Purpose};
use sidegate_testkit::certificates::TestAuthority;
use sidegate_testkit::control::snapshot;
use sidegate_testkit::process::SidegateProcess;

use super::{Pod, TOKEN, logged, metric, shown, until_answer, until_logged};

const CONNECTED: &str = "sidegate_control_plane_connected";
const NOT_CONNECTED: &str = "not connected to the operator; what is in force stays";

#[tokio::test]
async fn cfg_011_nothing_is_served_before_the_first_snapshot() {
    let mut pod = Pod::new().await;
    pod.operator.take_down().await;
    let mut sidecar = pod.start();
    let health = sidecar.health().await;
    until_answer(health, "/readyz", |answer| answer.status == 503).await;
    until_logged(&mut sidecar, NOT_CONNECTED, 1).await;
    let config = shown(&mut sidecar).await;
    assert_eq!(config["source"]["kind"], "controlPlane");
    assert_eq!(config["source"]["url"], pod.operator.url());
    assert_eq!(config["source"]["connected"], false);
    assert!(config["source"]["lastError"].is_string(), "{config}");
    assert!(config["version"].is_null() && config["listeners"] == serde_json::json!([]));
    assert_eq!(metric(&mut sidecar, CONNECTED).await, Some(0));
    assert!(logged(&mut sidecar, "listening").is_empty());

    let config = pod.permitting("one");
    let first = snapshot(7, &config);
    pod.operator.say(&FromOperator::Snapshot(first.clone()));
    pod.operator.bring_up().await;
    pod.until_confirmed(&first.version).await;
    sidecar.until_ready().await;
    let address = sidecar.address("support").await;
    assert_eq!(pod.status(address, "one").await, 200);
    assert_eq!(pod.status(address, "two").await, 403);
    let config = shown(&mut sidecar).await;
    assert_eq!(config["version"], first.version.hash.as_str());
    assert_eq!(config["source"]["connected"], true);
    assert_eq!(config["source"]["snapshot"], first.version.to_string());
    assert_eq!(metric(&mut sidecar, CONNECTED).await, Some(1));
    assert_eq!(
        metric(&mut sidecar, "sidegate_config_revision").await,
        Some(7)
    );
    let source = "sidegate_config_source_info{source=\"control_plane\"}";
    assert_eq!(metric(&mut sidecar, source).await, Some(1));
    let taken = "sidegate_snapshots_total{result=\"accepted\"}";
    assert_eq!(metric(&mut sidecar, taken).await, Some(1));
    assert!(sidecar.process().terminate().await.success());
    // It said goodbye.
    let streams = pod.operator.streams();
    assert!(streams.last().unwrap().closed);
}

#[tokio::test]
async fn it_says_who_it_is_and_what_it_can_take() {
    let pod = Pod::new().await;
    let first = snapshot(7, &pod.permitting("one"));
    let mut sidecar = pod.enforcing(first.clone()).await;
    pod.operator.hang_up();
    pod.operator.until_streams(2).await;
    pod.operator
        .until_said("it comes back with a certificate", |_| {
            let streams = pod.operator.streams();
            (streams.get(1)?.said.len() > 1).then_some(())
        })
        .await;
    // Whoever else listens here, loopback is nobody's business.
    let foreign = pod
        .operator
        .until_said("who else listens in the pod", |said| {
            let FromSidecar::Listeners(listeners) = said else {
                return None;
            };
            Some(listeners.foreign.clone())
        })
        .await;
    assert!(
        foreign
            .iter()
            .all(|other| !other.address.ip().is_loopback())
    );
    let streams = pod.operator.streams();
    let hello = |index: usize| {
        let FromSidecar::Hello(hello) = streams[index].said[0].clone() else {
            panic!("no greeting: {:?}", streams[index])
        };
        hello
    };
    let (first_hello, second) = (hello(0), hello(1));
    assert_eq!(first_hello.token.expose(), TOKEN.as_bytes());
    assert_eq!(first_hello.purpose, Purpose::Enforce);
    assert_eq!(first_hello.schema_versions, [1]);
    assert!(first_hello.in_force.is_none());
    assert!(streams[0].certificate.is_none());
    assert_eq!(second.in_force, Some(first.version));
    assert!(streams[1].certificate.is_some(), "it has one by now");
    assert!(sidecar.process().terminate().await.success());
}

#[tokio::test]
async fn missing_files_are_waited_for_with_one_word_about_each() {
    let pod = Pod::new().await;
    fs::remove_file(pod.path("token")).unwrap();
    fs::remove_file(pod.path("trust/endpoints.crt")).unwrap();
    let first = snapshot(1, &pod.permitting("one"));
    pod.operator.say(&FromOperator::Snapshot(first.clone()));
    let mut sidecar = pod.start_with(&["--listen", "support=127.0.0.1:0", "--log-level", "debug"]);
    // Several attempts, one warning.
    until_logged(&mut sidecar, "still not connected to the operator", 2).await;
    let said = logged(&mut sidecar, NOT_CONNECTED);
    assert_eq!(said.len(), 1, "{said:?}");
    let error = said[0]["error"].as_str().unwrap();
    assert!(
        error.contains("token") && error.contains("No such file"),
        "{error}"
    );

    pod.write("token", TOKEN);
    let said = until_logged(&mut sidecar, NOT_CONNECTED, 2).await;
    let error = said[1]["error"].as_str().unwrap();
    assert!(error.contains("endpoints.crt"), "{error}");
    pod.write("trust/endpoints.crt", pod.operator.trust_pem());
    pod.until_confirmed(&first.version).await;
    assert!(sidecar.process().terminate().await.success());
}

/// Also CFG-014: the token is in files and nowhere else.
#[tokio::test]
async fn cfg_003_an_impostor_gets_nothing() {
    let pod = Pod::new().await;
    let other = TestAuthority::new();
    pod.write("trust/endpoints.crt", other.pem());
    let first = snapshot(1, &pod.permitting("one"));
    pod.operator.say(&FromOperator::Snapshot(first.clone()));
    let mut sidecar = pod.start_with(&["--listen", "support=127.0.0.1:0", "--log-level", "trace"]);
    until_logged(&mut sidecar, "still not connected to the operator", 2).await;
    assert!(pod.operator.streams().is_empty(), "no handshake ends well");
    let said = logged(&mut sidecar, NOT_CONNECTED);
    assert!(
        said[0]["error"].as_str().unwrap().contains("impostor"),
        "{said:?}"
    );
    until_answer(sidecar.health().await, "/readyz", |answer| {
        answer.status == 503
    })
    .await;

    pod.write("trust/endpoints.crt", pod.operator.trust_pem());
    pod.until_confirmed(&first.version).await;
    assert_silent_about_secrets(&mut sidecar).await;
    assert!(sidecar.process().terminate().await.success());
    let key = fs::read_to_string(pod.path("state/key.pem")).unwrap();
    let line = key.lines().nth(1).unwrap();
    let process = sidecar.process();
    for text in [process.stderr(), process.stdout()] {
        assert!(!text.contains(TOKEN) && !text.contains("canary"), "{text}");
        assert!(!text.contains(line), "{text}");
    }
}

/// CFG-014.
async fn assert_silent_about_secrets(sidecar: &mut SidegateProcess) {
    let config = shown(sidecar).await.to_string();
    let metrics = until_answer(sidecar.health().await, "/metrics", |_| true).await;
    let process = sidecar.process().id();
    let mut texts = vec![config, metrics.text()];
    for file in ["environ", "cmdline"] {
        let bytes = fs::read(format!("/proc/{process}/{file}")).unwrap();
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for text in texts {
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
}
