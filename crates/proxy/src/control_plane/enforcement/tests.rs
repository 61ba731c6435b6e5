use serde_json::value::RawValue;

use super::*;
use crate::control_plane::client::Client;
use crate::control_plane::test_client::client;

fn version(revision: u64, hash: &str) -> SnapshotVersion {
    SnapshotVersion {
        epoch: 1,
        revision,
        hash: hash.to_owned(),
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
