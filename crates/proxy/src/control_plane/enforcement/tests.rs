use serde_json::value::RawValue;

use super::*;
use crate::control_plane::client::Client;
use crate::control_plane::test_client::client;

fn version(revision: u64, hash: &str) -> SnapshotVersion {
    SnapshotVersion {
        epoch: 1,
        revision,
        hash: hash.to_owned(),
        references: Default::default(),
    }
}

fn kept(version: SnapshotVersion, config: &str) -> Kept {
    let json = RawValue::from_string(config.to_owned()).expect("JSON");
    Kept {
        config: Some(KeptConfig {
            hash: version.hash.clone(),
            json: json.into(),
        }),
        version,
        service_hosts: Vec::new(),
    }
}

async fn withdraw(client: &mut Client, revision: u64) -> FromSidecar {
    let version = version(revision, "");
    client.enforcement.withdrawn(Withdrawn { version }).await
}

#[tokio::test]
async fn a_lagging_replica_cannot_make_a_withdrawal_older() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut client = client(&dir).await;
    for (revision, in_force) in [(100, 100), (50, 100), (120, 120)] {
        let word = withdraw(&mut client, revision).await;
        let FromSidecar::Confirmed(Confirmed { version: said }) = word else {
            panic!("{word:?}")
        };
        assert_eq!(said, version(revision, ""), "what was sent is confirmed");
        assert_eq!(client.enforcement.version(), Some(&version(in_force, "")));
    }
    // Nor does it outlive a restart.
    let back = client.state.snapshot().expect("kept");
    assert_eq!(back.version, version(120, ""));
    // The gateway that was deleted, in the words of the lagging replica.
    let deleted = Snapshot {
        version: version(110, "deleted"),
        config: RawValue::from_string("{}".to_owned()).expect("JSON").into(),
        service_hosts: Vec::new(),
    };
    let word = client.enforcement.snapshot(deleted).await;
    let Some(FromSidecar::Rejected(rejected)) = word else {
        panic!("{word:?}")
    };
    assert_eq!(rejected.reason, RejectReason::Older);
}

#[tokio::test]
async fn what_waits_for_a_certificate_does_not_get_older_either() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut client = client(&dir).await;
    let waiting = kept(version(100, "new"), "{}");
    client.enforcement.wait(waiting, Until::Certificate);
    let lagging = Snapshot {
        version: version(50, "new"),
        config: RawValue::from_string("{}".to_owned()).expect("JSON").into(),
        service_hosts: Vec::new(),
    };
    let word = client.enforcement.snapshot(lagging).await;
    assert!(word.is_none(), "it waits: {word:?}");
    let waiting = client.enforcement.waiting.as_ref().expect("it waits");
    assert_eq!(waiting.kept.version, version(100, "new"));
}

fn with_keys(version: SnapshotVersion, keys: u64) -> SnapshotVersion {
    let references = [("ConfigMap/keys".to_owned(), keys)];
    SnapshotVersion {
        references: references.into_iter().collect(),
        ..version
    }
}

/// What the sidecar says of a snapshot. Its configuration can be put in force
/// by nobody, so only the order decides whether that is the reason.
async fn offer(client: &mut Client, version: SnapshotVersion) -> Rejected {
    let snapshot = Snapshot {
        version,
        config: RawValue::from_string("{}".to_owned()).expect("JSON").into(),
        service_hosts: Vec::new(),
    };
    match client.enforcement.snapshot(snapshot).await {
        Some(FromSidecar::Rejected(rejected)) => rejected,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn cfg_005_an_old_value_of_a_reference_does_not_come_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut client = client(&dir).await;
    let now = with_keys(version(100, "now"), 500);
    client.enforcement.in_force = Some(kept(now.clone(), "{}"));
    // However new its gateway is.
    for revision in [99, 100, 101, 600] {
        let older = with_keys(version(revision, "old"), 499);
        let rejected = offer(&mut client, older.clone()).await;
        assert_eq!(rejected.reason, RejectReason::Older, "{revision}");
        assert_eq!(rejected.in_force, Some(now.clone()));
        assert_eq!(rejected.version, older);
    }
    let restored = SnapshotVersion {
        epoch: 2,
        ..with_keys(version(3, "restored"), 3)
    };
    for taken in [
        with_keys(version(100, "next"), 500),
        with_keys(version(100, "next"), 501),
        // An older operator does not say it.
        version(100, "next"),
        restored,
    ] {
        let rejected = offer(&mut client, taken.clone()).await;
        assert_eq!(rejected.reason, RejectReason::Unreadable, "{taken}");
    }
}

#[tokio::test]
async fn what_was_referred_to_before_is_remembered() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut client = client(&dir).await;
    client.enforcement.in_force = Some(kept(with_keys(version(100, "now"), 500), "{}"));
    let without = client.enforcement.not_forgetting(version(101, "without"));
    assert_eq!(without, with_keys(version(101, "without"), 500));
    // The gateway is deleted, and made again.
    withdraw(&mut client, 110).await;
    let gone = with_keys(version(110, ""), 500);
    assert_eq!(client.enforcement.version(), Some(&gone));
    assert_eq!(client.state.snapshot().expect("kept").version, gone);
    let again = offer(&mut client, with_keys(version(120, "again"), 499)).await;
    assert_eq!(again.reason, RejectReason::Older);
    let again = offer(&mut client, with_keys(version(120, "again"), 500)).await;
    assert_eq!(again.reason, RejectReason::Unreadable);
}

/// The same content does not make what is known of it older.
#[tokio::test]
async fn the_same_content_leaves_what_is_known_or_adds_to_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut client = client(&dir).await;
    client.enforcement.in_force = Some(kept(with_keys(version(100, "now"), 500), "{}"));
    for (revision, keys, known) in [
        (90, 400, (100, 500)),
        (110, 400, (110, 500)),
        (90, 600, (110, 600)),
        (120, 700, (120, 700)),
    ] {
        let same = with_keys(version(revision, "now"), keys);
        assert!(client.enforcement.confirm_same(&same, &[]));
        let known = with_keys(version(known.0, "now"), known.1);
        assert_eq!(client.enforcement.version(), Some(&known));
    }
}

#[tokio::test]
async fn configurations_are_not_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut client = client(&dir).await;
    let config = r#"{"tls": {"keyPem": "canary"}}"#;
    client.enforcement.in_force = Some(kept(version(1, "abc"), config));
    let waiting = kept(version(2, "def"), config);
    client.enforcement.wait(waiting.clone(), Until::Certificate);
    for shown in [
        format!("{waiting:?}"),
        format!("{:?}", waiting.config),
        format!("{:#?}", client.enforcement),
        format!("{client:?}"),
    ] {
        assert!(shown.contains("def"), "{shown}");
        assert!(
            !shown.contains("canary") && !shown.contains("keyPem"),
            "{shown}"
        );
    }
}
