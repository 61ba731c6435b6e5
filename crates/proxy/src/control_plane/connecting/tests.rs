use std::fs;
use std::time::Duration;

use sidegate_policy::clock::{Clock as _, SystemClock};
use sidegate_tls::{Authority, Subject, Usages};

use crate::control_plane::state_dir::StateDir;
use crate::control_plane::test_client::client;
use crate::identity::IssuedIdentity;

/// A certificate that begins then, and its key.
fn pair(authority: &Authority, begins_at: i64) -> [Vec<u8>; 2] {
    let subject = Subject {
        common_name: "pod".to_owned(),
        spiffe_id: None,
        dns_names: vec!["support".to_owned()],
        usages: Usages::Both,
    };
    let issued = authority.issue(&subject, begins_at, Duration::from_secs(7200));
    let (certificate, key) = issued.expect("a certificate");
    [certificate.into_bytes(), key.expose().to_vec()]
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_used_when_the_clock_is_right() {
    let dir = tempfile::tempdir().expect("a directory");
    let now = SystemClock.unix_seconds();
    let day = Duration::from_secs(24 * 3600);
    let authority = Authority::create("test", now, day).expect("an authority");
    let [certificate, key] = pair(&authority, now).map(|it| String::from_utf8(it).expect("PEM"));
    let authorities = authority.certificate_pem().to_owned();
    let good = IssuedIdentity::new(certificate, key.into_bytes().into(), authorities);
    let state = StateDir::open(dir.path().join("state"));
    state.keep_identity(&good.expect("usable")).expect("kept");
    let file = |name: &str| dir.path().join("state").join(name);
    // As a clock sees it that is an hour behind.
    let place = |begins_at| {
        let [certificate, key] = pair(&authority, begins_at);
        fs::write(file("certificate.pem"), certificate).expect("written");
        fs::write(file("key.pem"), key).expect("written");
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
    let now = SystemClock.unix_seconds();
    let day = Duration::from_secs(24 * 3600);
    let authority = Authority::create("test", now, day).expect("an authority");
    let [certificate, key] = pair(&authority, now).map(|it| String::from_utf8(it).expect("PEM"));
    let authorities = authority.certificate_pem().to_owned();
    let identity = IssuedIdentity::new(certificate, key.into_bytes().into(), authorities);
    let identity = identity.expect("usable");

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
