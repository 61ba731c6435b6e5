use std::time::Duration;

use proptest::prelude::*;
use sidegate_policy::clock::{Clock as _, SystemClock};
use sidegate_tls::{Authority, Subject, Usages};
use tempfile::TempDir;

use super::*;

fn now() -> i64 {
    SystemClock.unix_seconds()
}

fn identity(issued_at: i64, lifetime: Duration) -> (String, PrivateKeyPem, String) {
    let days = Duration::from_secs(4 * 24 * 3600);
    let authority = Authority::create("test", now() - 24 * 3600, days).expect("an authority");
    let subject = Subject {
        common_name: "pod".to_owned(),
        spiffe_id: None,
        dns_names: vec!["support".to_owned()],
        usages: Usages::Both,
    };
    let (certificate, key) = authority
        .issue(&subject, issued_at, lifetime)
        .expect("a certificate");
    (certificate, key, authority.certificate_pem().to_owned())
}

fn good() -> IssuedIdentity {
    let (certificate, key, authorities) = identity(now(), Duration::from_secs(3600));
    IssuedIdentity::new(certificate, key, authorities).expect("usable")
}

fn kept(config: &str) -> Kept {
    Kept {
        version: SnapshotVersion {
            epoch: 1,
            revision: 7,
            hash: "abc".to_owned(),
        },
        service_hosts: vec!["support".to_owned()],
        config: Some(KeptConfig {
            hash: "abc".to_owned(),
            json: RawValue::from_string(config.to_owned())
                .expect("JSON")
                .into(),
        }),
    }
}

fn state() -> (TempDir, StateDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let state = StateDir::open(dir.path().join("deep").join("state"));
    (dir, state)
}

#[test]
fn what_is_kept_comes_back() {
    let (_dir, state) = state();
    assert!(state.identity().is_none() && state.snapshot().is_none());
    let identity = good();
    state.keep_identity(&identity).expect("kept");
    state.keep_snapshot(&kept(r#"{"x": 1.50}"#)).expect("kept");
    let back = state.identity().expect("there");
    assert_eq!(back.certificate_pem(), identity.certificate_pem());
    assert_eq!(back.key_pem().expose(), identity.key_pem().expose());
    assert_eq!(back.authorities_pem(), identity.authorities_pem());
    let back = state.snapshot().expect("there");
    assert_eq!(back.version, kept("1").version);
    assert_eq!(back.service_hosts, ["support"]);
    assert_eq!(back.config.expect("there").json.get(), r#"{"x": 1.50}"#);
}

#[test]
fn cfg_013_nobody_else_may_look() {
    let (_dir, state) = state();
    state.keep_identity(&good()).expect("kept");
    state.keep_snapshot(&kept("1")).expect("kept");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&state.dir), 0o700);
    for name in [KEY, CERTIFICATE, AUTHORITIES, SNAPSHOT] {
        assert_eq!(mode(&state.dir.join(name)), 0o600, "{name}");
    }
    // A volume is often open to the world.
    fs::set_permissions(&state.dir, Permissions::from_mode(0o777)).expect("set");
    let state = StateDir::open(state.dir);
    assert_eq!(mode(&state.dir), 0o770);
}

#[test]
fn damaged_files_are_left_out() {
    let (_dir, state) = state();
    state.keep_identity(&good()).expect("kept");
    state
        .keep_snapshot(&kept(r#"{"limit":100}"#))
        .expect("kept");
    // A key that was renewed without its certificate.
    state
        .write(KEY, good().key_pem().expose())
        .expect("written");
    assert!(state.identity().is_none());
    fs::remove_file(state.dir.join(CERTIFICATE)).expect("removed");
    assert!(state.identity().is_none());
    assert!(
        state.dir.join(KEY).exists(),
        "it is left out, not taken away"
    );

    let text = fs::read_to_string(state.dir.join(SNAPSHOT)).expect("text");
    for damaged in [
        text.replace("100", "900"),
        text.replace("\"revision\":7", "\"revision\":1"),
        text.chars().take(text.len() / 2).collect(),
        String::new(),
    ] {
        state.write(SNAPSHOT, damaged.as_bytes()).expect("written");
        assert!(state.snapshot().is_none(), "{damaged}");
    }
    let large = vec![b' '; MAX_SNAPSHOT_BYTES + 1];
    state.write(SNAPSHOT, &large).expect("written");
    assert!(matches!(state.read_snapshot(), Err(Useless::TooLarge)));
    let mut at_the_limit = text.into_bytes();
    at_the_limit.resize(MAX_SNAPSHOT_BYTES, b' ');
    state.write(SNAPSHOT, &at_the_limit).expect("written");
    assert!(state.snapshot().is_some());
}

#[test]
fn a_key_whose_certificate_has_expired_is_thrown_away() {
    let (_dir, state) = state();
    let (certificate, key, authorities) = identity(now() - 7200, Duration::from_secs(3600));
    state.write(KEY, key.expose()).expect("written");
    state
        .write(CERTIFICATE, certificate.as_bytes())
        .expect("written");
    state
        .write(AUTHORITIES, authorities.as_bytes())
        .expect("written");
    assert!(state.identity().is_none());
    for name in [KEY, CERTIFICATE, AUTHORITIES] {
        assert!(!state.dir.join(name).exists(), "{name}");
    }
}

#[test]
fn what_a_killed_sidecar_left_does_not_matter() {
    let (dir, state) = state();
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, "untouched").expect("written");
    let next = state.dir.join(format!(".{SNAPSHOT}.next"));
    std::os::unix::fs::symlink(&elsewhere, &next).expect("linked");
    state.keep_snapshot(&kept("1")).expect("kept");
    assert_eq!(fs::read_to_string(&elsewhere).expect("text"), "untouched");
    assert!(state.snapshot().is_some());
}

#[test]
fn a_directory_that_cannot_be_used_is_not_fatal() {
    let state = StateDir::open(PathBuf::from("/dev/null/state"));
    assert!(state.identity().is_none() && state.snapshot().is_none());
    assert!(state.keep_snapshot(&kept("1")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_byte_can_change_unnoticed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (_dir, state) = state();
        state.keep_snapshot(&kept(r#"{"limit":100}"#)).expect("kept");
        let mut bytes = fs::read(state.dir.join(SNAPSHOT)).expect("bytes");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        state.write(SNAPSHOT, &bytes).expect("written");
        if let Some(read) = state.snapshot() {
            prop_assert_eq!(read.version, kept("1").version);
            let config = read.config.expect("there");
            prop_assert_eq!(config.json.get(), r#"{"limit":100}"#);
        }
    }
}
