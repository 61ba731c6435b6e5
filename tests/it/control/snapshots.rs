//! What is put in force, and what is not.

use std::net::TcpListener;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use sidegate_config::control::{FromOperator, FromSidecar, Outdated, RejectReason, Snapshot};
use sidegate_config::sidecar_config::SidecarConfig;
use sidegate_testkit::client::Client;
use sidegate_testkit::control::{snapshot, version, withdrawn};
use sidegate_testkit::mcp;

use super::{Pod, metric, shown, until_answer, until_unready};

/// A snapshot whose configuration was changed on its way.
fn mangled(revision: u64, config: &SidecarConfig, change: impl FnOnce(&mut Value)) -> Snapshot {
    let mut json = serde_json::to_value(config).unwrap();
    change(&mut json);
    let text = RawValue::from_string(json.to_string()).unwrap();
    Snapshot {
        config: Arc::from(text),
        ..snapshot(revision, config)
    }
}

#[tokio::test]
async fn cfg_005_an_older_snapshot_is_refused() {
    let pod = Pod::new().await;
    let seven = snapshot(7, &pod.permitting("seven"));
    let mut sidecar = pod.enforcing(seven.clone()).await;
    let address = sidecar.address("support").await;

    let five = snapshot(5, &pod.permitting("five"));
    let rejected = pod
        .assert_rejected(
            five.clone(),
            RejectReason::Older,
            &seven.version.to_string(),
        )
        .await;
    assert_eq!(rejected.in_force, Some(seven.version.clone()));
    assert_eq!(pod.status(address, "seven").await, 200);
    assert_eq!(pod.status(address, "five").await, 403);
    // Nor can a lagging replica withdraw a gateway.
    pod.operator.say_once(&withdrawn(6));
    let rejected = pod.until_rejected(&version(6, "")).await;
    assert_eq!(rejected.reason, RejectReason::Older);
    assert_eq!(pod.status(address, "seven").await, 200);
    // The same content is not older, whoever sends it.
    let again = snapshot(6, &pod.permitting("seven"));
    pod.operator
        .say_once(&FromOperator::Snapshot(again.clone()));
    pod.until_confirmed(&again.version).await;
    let shown = shown(&mut sidecar).await;
    assert_eq!(shown["source"]["snapshot"], seven.version.to_string());
    // It stays refused after a restart.
    sidecar.process().signal("KILL");
    sidecar.process().until_ended().await;
    let mut sidecar = pod.start();
    sidecar.until_ready().await;
    pod.operator.until_streams(2).await;
    pod.operator
        .until_said("the second stream stands", |_| {
            (pod.operator.streams().get(1)?.said.len() > 1).then_some(())
        })
        .await;
    let four = snapshot(4, &pod.permitting("four"));
    pod.assert_rejected(four, RejectReason::Older, "older")
        .await;
    // A new epoch begins to count anew.
    let mut restored = five;
    restored.version.epoch = 2;
    pod.operator
        .say_once(&FromOperator::Snapshot(restored.clone()));
    pod.until_confirmed(&restored.version).await;
    let address = sidecar.address("support").await;
    assert_eq!(pod.status(address, "five").await, 200);
    let older = "sidegate_snapshots_total{result=\"older\"}";
    assert_eq!(metric(&mut sidecar, older).await, Some(1));
}

/// However new its gateway is, and also after a restart.
#[tokio::test]
async fn cfg_005_an_old_value_of_a_reference_is_refused() {
    let pod = Pod::new().await;
    let made_of = |revision, keys: u64, tool: &str| {
        let mut snapshot = snapshot(revision, &pod.permitting(tool));
        let references = [("ConfigMap/keys".to_owned(), keys)];
        snapshot.version.references = references.into_iter().collect();
        snapshot
    };
    let now = made_of(7, 500, "now");
    let mut sidecar = pod.enforcing(now.clone()).await;
    let address = sidecar.address("support").await;
    let old = made_of(8, 499, "old");
    let rejected = pod
        .assert_rejected(old, RejectReason::Older, "a Secret or ConfigMap")
        .await;
    assert_eq!(rejected.in_force, Some(now.version.clone()));
    assert_eq!(pod.status(address, "now").await, 200);
    assert_eq!(pod.status(address, "old").await, 403);

    sidecar.process().signal("KILL");
    sidecar.process().until_ended().await;
    let mut sidecar = pod.start();
    sidecar.until_ready().await;
    let address = sidecar.address("support").await;
    let in_force = pod
        .operator
        .until_said("the second stream stands", |_| {
            let streams = pod.operator.streams();
            let [hello, _, ..] = streams.get(1)?.said.as_slice() else {
                return None;
            };
            let FromSidecar::Hello(hello) = hello else {
                panic!("no greeting: {hello:?}")
            };
            hello.in_force.clone()
        })
        .await;
    assert_eq!(in_force, now.version);
    let old = made_of(9, 499, "old");
    pod.assert_rejected(old, RejectReason::Older, "a Secret or ConfigMap")
        .await;
    let next = made_of(9, 500, "next");
    pod.operator.say_once(&FromOperator::Snapshot(next.clone()));
    pod.until_confirmed(&next.version).await;
    assert_eq!(pod.status(address, "next").await, 200);
}

#[tokio::test]
async fn cfg_006_what_cannot_be_read_whole_is_not_taken() {
    let pod = Pod::new().await;
    let good = snapshot(1, &pod.permitting("good"));
    let mut sidecar = pod.enforcing(good.clone()).await;
    let address = sidecar.address("support").await;
    let next = pod.permitting("next");
    let cases = [
        (
            mangled(2, &next, |json| json["servers"][0]["shield"] = json!("up")),
            "unknown field `shield`",
        ),
        (
            mangled(3, &next, |json| json["schemaVersion"] = json!(99)),
            "format version 99 is not known here",
        ),
        (
            mangled(4, &next, |json| json["version"] = json!("another")),
            "`another`",
        ),
        (
            mangled(5, &next, |json| json["policy"]["rules"] = json!("canary")),
            "`policy.rules`",
        ),
        (
            Snapshot {
                service_hosts: vec!["no name".to_owned()],
                ..snapshot(6, &next)
            },
            "no name of a Service",
        ),
    ];
    for (bad, text) in cases {
        let rejected = pod
            .assert_rejected(bad, RejectReason::Unreadable, text)
            .await;
        assert!(!rejected.message.contains("canary"), "{rejected:?}");
        assert_eq!(rejected.in_force, Some(good.version.clone()));
        assert_eq!(pod.status(address, "good").await, 200);
        assert_eq!(pod.status(address, "next").await, 403);
        let shown = shown(&mut sidecar).await;
        assert!(
            shown["lastError"].as_str().unwrap().contains(text),
            "{shown}"
        );
        assert_eq!(shown["ready"], true);
    }
    let outdated = FromOperator::Outdated(Outdated {
        version: version(7, "newer"),
        schema_version: 99,
    });
    pod.operator.say_once(&outdated);
    let said = |answer: &sidegate_testkit::client::Answer| {
        let text = answer.json()["lastError"].to_string();
        text.contains("restart the pod")
    };
    until_answer(sidecar.admin().await, "/config", said).await;
    assert_eq!(pod.status(address, "good").await, 200);

    let fine = snapshot(8, &next);
    pod.operator.say_once(&FromOperator::Snapshot(fine.clone()));
    pod.until_confirmed(&fine.version).await;
    assert_eq!(pod.status(address, "next").await, 200);
    assert!(shown(&mut sidecar).await["lastError"].is_null());
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_tried_again() {
    let pod = Pod::new().await;
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let first = snapshot(1, &pod.permitting("one"));
    pod.operator.say(&FromOperator::Snapshot(first.clone()));
    let mut sidecar = pod.start_with(&["--listen", &format!("support={address}")]);
    let rejected = pod.until_rejected(&first.version).await;
    assert_eq!(rejected.reason, RejectReason::NotApplicable);
    assert!(
        rejected.message.contains(&address.to_string()) && rejected.message.contains("in use"),
        "{rejected:?}"
    );
    assert!(rejected.in_force.is_none());
    until_unready(&mut sidecar).await;
    drop(taken);
    pod.until_confirmed(&first.version).await;
    sidecar.until_ready().await;
    assert_eq!(pod.status(address, "one").await, 200);
    // The first try and the second, and not a word between them.
    let refused = "sidegate_config_reloads_total{result=\"refused\"}";
    assert_eq!(metric(&mut sidecar, refused).await, Some(1));
}

#[tokio::test]
async fn of_two_snapshots_the_later_is_in_force() {
    let pod = Pod::new().await;
    let mut sidecar = pod.enforcing(snapshot(1, &pod.permitting("zero"))).await;
    let address = sidecar.address("support").await;
    let one = snapshot(2, &pod.permitting("one"));
    let two = snapshot(3, &pod.permitting("two"));
    for next in [&one, &two] {
        pod.operator.say_once(&FromOperator::Snapshot(next.clone()));
    }
    pod.until_confirmed(&one.version).await;
    pod.until_confirmed(&two.version).await;
    assert_eq!(pod.status(address, "two").await, 200);
    assert_eq!(pod.status(address, "one").await, 403);
    assert_eq!(sidecar.address("support").await, address, "same listener");
}

#[tokio::test]
async fn names_of_services_come_beside_the_configuration() {
    let pod = Pod::new().await;
    let config = pod.config(|_| {});
    let mut sidecar = pod.enforcing(snapshot(1, &config)).await;
    let address = sidecar.address("support").await;
    let status = async |host: &str| {
        let call = mcp::call("get_customer", json!({})).token(&pod.token());
        let client = Client::plaintext(address).host(host);
        client.send(call).await.unwrap().status.as_u16()
    };
    assert_eq!(status("support.crm.svc").await, 421);
    // The content is the same; the names alone are new.
    let named = Snapshot {
        service_hosts: vec!["support.crm.svc".to_owned()],
        ..snapshot(2, &config)
    };
    pod.operator
        .say_once(&FromOperator::Snapshot(named.clone()));
    pod.until_confirmed(&named.version).await;
    assert_eq!(status("support.crm.svc").await, 200);
    assert_eq!(status("support.crm.svc:8080").await, 200);
    assert_eq!(status("localhost").await, 200);
    assert_eq!(status("support.other.svc").await, 421);
    // Less knowledge does not take them away.
    let lagging = snapshot(1, &config);
    pod.operator
        .say_once(&FromOperator::Snapshot(lagging.clone()));
    let unchanged = "sidegate_snapshots_total{result=\"unchanged\"} 1";
    until_answer(sidecar.health().await, "/metrics", |answer| {
        answer.text().contains(unchanged)
    })
    .await;
    assert_eq!(status("support.crm.svc").await, 200);
    let fewer = snapshot(3, &config);
    pod.operator
        .say_once(&FromOperator::Snapshot(fewer.clone()));
    pod.until_confirmed(&fewer.version).await;
    assert_eq!(status("support.crm.svc").await, 421);
}

#[tokio::test]
async fn a_withdrawn_gateway_answers_503_and_stays_so() {
    let pod = Pod::new().await;
    let first = snapshot(1, &pod.permitting("one"));
    let mut sidecar = pod.enforcing(first.clone()).await;
    let address = sidecar.address("support").await;
    assert_eq!(pod.status(address, "one").await, 200);
    pod.upstream.forget();

    pod.operator.say(&withdrawn(2));
    pod.until_confirmed(&version(2, "")).await;
    until_unready(&mut sidecar).await;
    let answer = pod.call(address, "one").await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), "1");
    let facts = shown(&mut sidecar).await;
    assert_eq!(facts["withdrawn"], true);
    assert!(facts["version"].is_null());
    // The port is still taken.
    assert!(TcpListener::bind(address).is_err());

    for operator_there in [true, false] {
        sidecar.process().signal("KILL");
        sidecar.process().until_ended().await;
        if !operator_there {
            // What was kept says it as well.
            pod.operator
                .greet(sidegate_testkit::control::Greeting::Silence);
        }
        sidecar = pod.start();
        let address = sidecar.address("support").await;
        let answer = pod.call(address, "one").await.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
        until_unready(&mut sidecar).await;
    }
    pod.upstream.assert_untouched();
}

#[tokio::test]
async fn a_gateway_that_comes_back_is_enforced_again() {
    let pod = Pod::new().await;
    let first = snapshot(1, &pod.permitting("one"));
    let mut sidecar = pod.enforcing(first.clone()).await;
    let address = sidecar.address("support").await;
    pod.operator.say(&withdrawn(2));
    pod.until_confirmed(&version(2, "")).await;
    // The very content that was in force before.
    let same = snapshot(3, &pod.permitting("one"));
    pod.operator.say(&FromOperator::Snapshot(same.clone()));
    pod.until_confirmed(&same.version).await;
    sidecar.until_ready().await;
    assert_eq!(pod.status(address, "one").await, 200);
}
