//! The operator's certificate authority: its Secret, and how it changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use sidegate_operator::authority::{AuthoritySettings, Lifetimes};
use sidegate_operator::run::{Operator, Settings};
use sidegate_policy::clock::{Clock as _, ManualClock, SystemClock};
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, PATIENCE, get, metric, settings};

const SECRET: &str = "sidegate-authority";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const USABLE: &str = "sidegate_operator_authority_usable";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What an operator for one test is told: it looks often.
pub(crate) fn authority(cluster: &Cluster) -> AuthoritySettings {
    let mut authority = AuthoritySettings::new(&cluster.namespace, "cluster.local");
    authority.webhook_configuration = format!("sidegate-injector-{}", cluster.namespace);
    authority.look_every = Duration::from_millis(50);
    authority
}

pub(crate) async fn operator_with(cluster: &Cluster, authority: AuthoritySettings) -> Operator {
    let settings = Settings {
        authority,
        ..settings(&cluster.namespace)
    };
    let client = cluster.client.clone();
    Operator::start(client, settings).await.expect("it starts")
}

fn secrets(cluster: &Cluster) -> Api<Secret> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

fn config_maps(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

async fn secret(cluster: &Cluster) -> Secret {
    until("the Secret", || async {
        secrets(cluster).get_opt(SECRET).await.expect("an answer")
    })
    .await
}

/// The roots that the namespace is told: of workloads and of endpoints.
async fn bundle(cluster: &Cluster) -> Option<(String, String)> {
    let found = config_maps(cluster).get_opt("sidegate-trust").await;
    let data = found.expect("an answer")?.data?;
    Some((
        data.get("ca.crt")?.clone(),
        data.get("endpoints.crt")?.clone(),
    ))
}

/// The value of a data key of the Secret.
fn set(secret: &Secret, key: &str) -> Value {
    let data = secret.data.as_ref().expect("data");
    serde_json::from_slice(&data[key].0).expect("JSON")
}

fn roots(pem: &str) -> usize {
    pem.matches("BEGIN CERTIFICATE").count()
}

async fn merge(cluster: &Cluster, patch: Value) {
    let (secrets, params) = (secrets(cluster), PatchParams::default());
    let patched = secrets.patch(SECRET, &params, &Patch::Merge(patch)).await;
    patched.expect("it is patched");
}

/// Waits until `look` sees something.
pub(crate) async fn until<T, F>(what: &str, look: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_lead_one_makes_the_secret_and_a_restart_keeps_it() {
    let cluster = Cluster::new("authority-two").await;
    // Without a Lease both believe to lead.
    let (first, second) = tokio::join!(
        operator_with(&cluster, authority(&cluster)),
        operator_with(&cluster, authority(&cluster))
    );
    let made = secret(&cluster).await;
    assert_eq!(made.type_.as_deref(), Some("Opaque"));
    let metadata = &made.metadata;
    assert_eq!(
        metadata.labels.as_ref().unwrap()[MANAGED_BY],
        "sidegate-operator"
    );
    assert_eq!(
        metadata.annotations.as_ref().unwrap()["sidegate.dev/epoch"],
        "1"
    );
    let expiry = |set: &str| {
        format!("sidegate_operator_authority_root_expiry_timestamp_seconds{{set=\"{set}\"}}")
    };
    let mut told = BTreeMap::new();
    for operator in [&first, &second] {
        for set in ["workload", "endpoints"] {
            let sample = expiry(set);
            let seconds = until("the metric", || async {
                Some(metric(operator, &sample).await).filter(|it| *it > 0)
            })
            .await;
            assert_eq!(*told.entry(set).or_insert(seconds), seconds, "{set}");
        }
    }
    until("the bundle", || bundle(&cluster)).await;
    first.stop().await.expect("it stops");
    second.stop().await.expect("it stops");

    let third = operator_with(&cluster, authority(&cluster)).await;
    until("the metric", || async {
        Some(metric(&third, &expiry("workload")).await).filter(|it| *it > 0)
    })
    .await;
    third.stop().await.expect("it stops");
    let kept = secret(&cluster).await;
    assert_eq!(
        kept.metadata.resource_version,
        made.metadata.resource_version
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_trusted_then_signs_and_the_old_one_goes() {
    let cluster = Cluster::new("authority-rotation").await;
    let clock = Arc::new(ManualClock::new(SystemClock.unix_seconds()));
    let mut authority = authority(&cluster);
    authority.clock = Arc::clone(&clock) as _;
    authority.workload = Lifetimes {
        root: 300 * DAY,
        leaf: 2 * DAY,
        spread: DAY,
    };
    authority.endpoints.root = 3000 * DAY;
    let operator = operator_with(&cluster, authority).await;
    let (old, endpoints) = until("the bundle", || bundle(&cluster)).await;
    assert_eq!((roots(&old), roots(&endpoints)), (1, 1));
    let signer = |secret: &Secret| {
        let roots = set(secret, "workload")["roots"].clone();
        let mut roots = roots.as_array().unwrap().iter();
        let signs = |root: &&Value| !root["signsSince"].is_null() && root["retiredSince"].is_null();
        roots.find(signs).unwrap()["certificate"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(old.contains(&signer(&secret(&cluster).await)));

    // The new root is told to all before it signs.
    clock.advance(200 * DAY);
    let both = until("both roots", || async {
        bundle(&cluster).await.filter(|(it, _)| roots(it) == 2)
    })
    .await;
    assert_eq!(both.1, endpoints);
    assert!(both.0.starts_with(&old));
    assert!(
        old.contains(&signer(&secret(&cluster).await)),
        "the old one signs"
    );
    clock.advance(DAY);
    until("the new signer", || async {
        let signer = signer(&secret(&cluster).await);
        (!old.contains(&signer)).then_some(())
    })
    .await;
    let rotations = r#"sidegate_operator_authority_rotations_total{set="workload"}"#;
    until("the metric", || async {
        (metric(&operator, rotations).await == 1).then_some(())
    })
    .await;
    assert_eq!(
        bundle(&cluster).await,
        Some(both.clone()),
        "both are trusted"
    );
    clock.advance(3 * DAY);
    let (new, _) = until("the new root alone", || async {
        bundle(&cluster).await.filter(|(it, _)| roots(it) == 1)
    })
    .await;
    assert_eq!(format!("{old}{new}"), both.0);
    assert_eq!(metric(&operator, rotations).await, 1);
    assert_eq!(
        set(&secret(&cluster).await, "workload")["roots"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_asks_for_new_roots_by_an_annotation() {
    let cluster = Cluster::new("authority-asked").await;
    let clock = Arc::new(ManualClock::new(SystemClock.unix_seconds()));
    let mut authority = authority(&cluster);
    authority.clock = Arc::clone(&clock) as _;
    // Without a Lease both believe to lead; one of them makes the root.
    let operator = operator_with(&cluster, authority.clone()).await;
    let second = operator_with(&cluster, authority).await;
    let (workload, endpoints) = until("the bundle", || bundle(&cluster)).await;
    let ask = |what: Value| json!({"metadata": {"annotations": {"sidegate.dev/rotate": what}}});
    let asked = |secret: &Secret| {
        let annotations = secret.metadata.annotations.clone().unwrap_or_default();
        annotations.get("sidegate.dev/rotate").cloned()
    };

    merge(&cluster, ask(json!("everything"))).await;
    until("an event", || async {
        let events = cluster.events(SECRET).await;
        let found = events
            .iter()
            .any(|(reason, _)| reason == "RotationNotStarted");
        found.then_some(())
    })
    .await;
    merge(&cluster, ask(json!("endpoints"))).await;
    let (other, both) = until("both roots", || async {
        bundle(&cluster).await.filter(|(_, it)| roots(it) == 2)
    })
    .await;
    assert_eq!(other, workload);
    assert!(both.starts_with(&endpoints));
    assert_eq!(asked(&secret(&cluster).await).as_deref(), Some("endpoints"));
    clock.advance(DAY);
    until("the annotation to go", || async {
        asked(&secret(&cluster).await).is_none().then_some(())
    })
    .await;
    let reasons = until("events", || async {
        let events = cluster.events(SECRET).await;
        let reasons: Vec<_> = events.into_iter().map(|(reason, _)| reason).collect();
        reasons
            .contains(&"RootRotated".to_owned())
            .then_some(reasons)
    })
    .await;
    assert!(reasons.contains(&"RootAdded".to_owned()), "{reasons:?}");
    let roots = set(&secret(&cluster).await, "endpoints")["roots"].clone();
    assert_eq!(roots.as_array().expect("roots").len(), 2);
    second.stop().await.expect("it stops");
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_secret_is_left_alone_and_the_last_good_one_stays() {
    let cluster = Cluster::new("authority-damaged").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    let before = until("the bundle", || bundle(&cluster)).await;
    assert_eq!(metric(&operator, USABLE).await, 1);

    let good = secret(&cluster).await;
    merge(&cluster, json!({"data": {"workload": null}})).await;
    until("the metric", || async {
        (metric(&operator, USABLE).await == 0).then_some(())
    })
    .await;
    let note = until("an event", || async {
        let mut events = cluster.events(SECRET).await.into_iter();
        events.find(|(reason, _)| reason == "AuthorityUnusable")
    })
    .await;
    assert!(note.1.contains("`workload` is missing"), "{note:?}");
    assert!(
        note.1.contains("delete the Secret to start anew"),
        "{note:?}"
    );
    // It goes on with what it had.
    config_maps(&cluster)
        .delete("sidegate-trust", &Default::default())
        .await
        .unwrap();
    let mended = until("the bundle", || bundle(&cluster)).await;
    assert_eq!(mended, before);
    assert!(
        !secret(&cluster)
            .await
            .data
            .unwrap()
            .contains_key("workload")
    );

    // What it held is put back.
    let value = json!(good.data.as_ref().unwrap()["workload"]);
    merge(&cluster, json!({"data": {"workload": value}})).await;
    until("the metric", || async {
        (metric(&operator, USABLE).await == 1).then_some(())
    })
    .await;
    assert_eq!(secret(&cluster).await.data, good.data);

    // Its owner starts anew.
    merge(&cluster, json!({"data": {"endpoints": null}})).await;
    until("the metric", || async {
        (metric(&operator, USABLE).await == 0).then_some(())
    })
    .await;
    secrets(&cluster)
        .delete(SECRET, &Default::default())
        .await
        .unwrap();
    until("new roots", || async {
        bundle(&cluster)
            .await
            .filter(|it| it.0 != before.0 && it.1 != before.1)
    })
    .await;
    assert_eq!(metric(&operator, USABLE).await, 1);
    operator.stop().await.expect("it stops");
}

/// OPR-011.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_secret_is_not_touched() {
    let cluster = Cluster::new("authority-foreign").await;
    cluster
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
            "stringData": {"mine": "yes"},
        }))
        .await;
    let before = secret(&cluster).await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    until("an event", || async {
        let mut events = cluster.events(SECRET).await.into_iter();
        events.find(|(reason, note)| reason == "AuthorityUnusable" && note.contains("the label"))
    })
    .await;
    assert_eq!(metric(&operator, USABLE).await, 0);
    assert_eq!(bundle(&cluster).await, None);
    assert_eq!(
        secret(&cluster).await.metadata.resource_version,
        before.metadata.resource_version
    );
    // It is in the way no more.
    secrets(&cluster)
        .delete(SECRET, &Default::default())
        .await
        .unwrap();
    until("the bundle", || bundle(&cluster)).await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_outlives_its_secret() {
    let cluster = Cluster::new("authority-epoch").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    let before = until("the bundle", || bundle(&cluster)).await;
    merge(
        &cluster,
        json!({"metadata": {"annotations": {"sidegate.dev/epoch": "7"}}}),
    )
    .await;
    secrets(&cluster)
        .delete(SECRET, &Default::default())
        .await
        .unwrap();
    until("new roots", || async {
        bundle(&cluster).await.filter(|it| *it != before)
    })
    .await;
    let annotations = secret(&cluster).await.metadata.annotations.unwrap();
    assert_eq!(annotations["sidegate.dev/epoch"], "7");
    operator.stop().await.expect("it stops");
}

/// Of every key, no line is anywhere but in the Secret.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_in_the_secret_and_nowhere_else() {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    let cluster = Cluster::new("authority-canary").await;
    let dir = tempfile::tempdir().expect("a directory");
    let kubeconfig = dir.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.server.kubeconfig()).expect("a file");
    let namespace = cluster.namespace.clone();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sidegate-operator"))
        .args([
            "run",
            "--namespace",
            &namespace,
            "--own-namespace",
            &namespace,
        ])
        .args(["--health", "127.0.0.1:0", "--log-level", "trace"])
        .args(["--control-plane", "127.0.0.1:0", "--webhook", "127.0.0.1:0"])
        .env("KUBECONFIG", &kubeconfig)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut log = child.stderr.take().expect("a pipe");
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).expect("text");
        text
    });
    until("the bundle", || bundle(&cluster)).await;
    let good = secret(&cluster).await;
    let lines: Vec<_> = ["workload", "endpoints"]
        .iter()
        .flat_map(|key| {
            let pem = set(&good, key)["roots"][0]["key"]
                .as_str()
                .unwrap()
                .to_owned();
            let lines: Vec<_> = pem.lines().map(str::to_owned).collect();
            lines.into_iter().filter(|line| !line.starts_with('-'))
        })
        .collect();
    assert!(lines.len() >= 4);
    // A key in a place where it does not belong, which makes an error.
    let mut value = set(&good, "workload");
    value["roots"][0]["trustedSince"] = value["roots"][0]["key"].clone();
    merge(
        &cluster,
        json!({"stringData": {"workload": value.to_string()}}),
    )
    .await;
    let events = until("an event", || async {
        let events = cluster.events(SECRET).await;
        (!events.is_empty()).then_some(events)
    })
    .await;
    let kill = format!("kill -TERM {}", child.id());
    let sent = Command::new("sh").args(["-c", &kill]).status();
    assert!(sent.expect("a shell").success());
    assert!(child.wait().expect("it ends").success());
    let log = log.join().expect("the log");
    assert!(log.contains("the authority cannot be used"), "{log}");
    let maps = config_maps(&cluster)
        .list(&Default::default())
        .await
        .expect("an answer");
    let told = format!("{log} {events:?} {maps:?}");
    for line in lines {
        assert!(!told.contains(&line), "a line of a key was told");
    }
}

/// The health port shows when roots expire, and nothing of them.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_when_roots_expire() {
    let cluster = Cluster::new("authority-metrics").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    until("the bundle", || bundle(&cluster)).await;
    let written = r#"sidegate_operator_trust_bundle_writes_total{result="written"}"#;
    until("the metric", || async {
        (metric(&operator, written).await >= 1).then_some(())
    })
    .await;
    let text = get(&operator, "/metrics").await.1;
    for set in ["workload", "endpoints"] {
        let name = "sidegate_operator_authority_root_expiry_timestamp_seconds";
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}{{set=\"{set}\"}} ")));
        let expiry: i64 = line.expect("a line").parse().expect("a number");
        let left = expiry - SystemClock.unix_seconds();
        assert!((364 * 86_400..=365 * 86_400).contains(&left), "{left}");
    }
    assert!(!text.contains("CERTIFICATE") && !text.contains("PRIVATE"));
    operator.stop().await.expect("it stops");
}
