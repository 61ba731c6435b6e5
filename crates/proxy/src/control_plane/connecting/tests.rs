use std::fs;

use sidegate_policy::clock::{Clock as _, SystemClock};

use crate::control_plane::state_dir::StateDir;
use crate::control_plane::test_client::{authority, client, identity, pair};

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_used_when_the_clock_is_right() {
    let dir = tempfile::tempdir().expect("a directory");
    let now = SystemClock.unix_seconds();
    let authority = authority();
    let state = StateDir::open(dir.path().join("state"));
    state.keep_identity(&identity(&authority)).expect("kept");
    let file = |name: &str| dir.path().join("state").join(name);
    // As a clock sees it that is an hour behind.
    let place = |begins_at| {
        let (certificate, key) = pair(&authority, begins_at);
        fs::write(file("certificate.pem"), certificate).expect("written");
        fs::write(file("key.pem"), key.expose()).expect("written");
    };
    place(now + 3600);

    let mut client = client(&dir).await;
    assert!(client.sidecar.identity().is_none());
    assert!(client.connect().await.is_err(), "there is no operator");
    assert!(client.sidecar.identity().is_none());
    assert!(file("certificate.pem").exists() && file("key.pem").exists());
    // Time passes, as far as the certificate can tell.
    place(now);
    assert!(client.connect().await.is_err());
    assert!(client.sidecar.identity().is_some());
}

/// The operator would ask for what was lost with the container.
#[tokio::test]
async fn a_certificate_that_could_not_be_kept_is_not_shown_until_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let identity = identity(&authority());

    let mut client = client(&dir).await;
    let state = dir.path().join("state");
    fs::remove_dir_all(&state).expect("removed");
    fs::write(&state, "in the way").expect("written");
    client.keep_identity(&identity).await;
    client.use_identity(identity.clone()).await;
    assert!(client.sidecar.identity().is_some(), "it serves with it");
    assert!(client.link.is_unkept(&identity));
    assert!(client.connect().await.is_err(), "there is no operator");
    assert!(client.link.is_unkept(&identity));
    fs::remove_file(&state).expect("removed");
    fs::create_dir(&state).expect("made");
    assert!(client.connect().await.is_err());
    assert!(!client.link.is_unkept(&identity));
    assert!(state.join("certificate.pem").exists());
}
