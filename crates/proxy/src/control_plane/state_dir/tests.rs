use std::time::Duration;

use proptest::prelude::*;
use sidegate_policy::clock::{Clock as _, SystemClock};
use sidegate_tls::{Authority, InvalidTls, PrivateKeyPem, Subject, Usages};
use tempfile::TempDir;

use super::*;

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const AUTHORITIES: &str = "authorities.pem";

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

/// The one that a restarted sidecar would use.
fn read(state: &StateDir) -> IssuedIdentity {
    state.identity().expect("usable").expect("there")
}

fn kept(config: &str) -> Kept {
    Kept {
        version: SnapshotVersion {
            epoch: 1,
            revision: 7,
            hash: "abc".to_owned(),
            references: Default::default(),
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
    assert!(matches!(state.identity(), Ok(None)) && state.snapshot().is_none());
    let identity = good();
    state.keep_identity(&identity).expect("kept");
    state.keep_snapshot(&kept(r#"{"x": 1.50}"#)).expect("kept");
    let back = read(&state);
    assert_eq!(back.certificate_pem(), identity.certificate_pem());
    assert_eq!(back.key_pem().expose(), identity.key_pem().expose());
    assert_eq!(back.authorities_pem(), identity.authorities_pem());
    let back = state.snapshot().expect("there");
    assert_eq!(back.version, kept("1").version);
    assert_eq!(back.service_hosts, ["support"]);
    assert_eq!(back.config.expect("there").json.get(), r#"{"x": 1.50}"#);
}

/// It was kept by a sidecar that knew no versions of references.
#[test]
fn what_an_older_sidecar_kept_comes_back() {
    let (_dir, state) = state();
    let content =
        r#"{"version":{"epoch":1,"revision":7,"hash":"abc"},"serviceHosts":[],"config":null}"#;
    let sealed = format!(r#"{{"sha256":"{}","content":{content}}}"#, hash(content));
    state.write(SNAPSHOT, sealed.as_bytes()).expect("written");
    let back = state.snapshot().expect("there");
    assert_eq!(back.version, kept("1").version);
    let mut kept = kept("1");
    let references = [("Secret/tls".to_owned(), 5)];
    kept.version.references = references.into_iter().collect();
    state.keep_snapshot(&kept).expect("kept");
    assert_eq!(state.snapshot().expect("there").version, kept.version);
}

#[test]
fn cfg_013_nobody_else_may_look() {
    let (_dir, state) = state();
    state.keep_identity(&good()).expect("kept");
    state.keep_snapshot(&kept("1")).expect("kept");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&state.dir), 0o700);
    assert_eq!(mode(&state.dir.join("..data")), 0o700);
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
    // A key that belongs to another certificate.
    fs::write(state.dir.join(KEY), good().key_pem().expose()).expect("written");
    assert!(matches!(
        state.identity(),
        Err(UnusableFiles::Tls(InvalidTls::KeyMismatch))
    ));
    fs::remove_file(state.dir.join("..data").join(CERTIFICATE)).expect("removed");
    assert!(matches!(state.identity(), Err(UnusableFiles::Io(_))));
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
fn a_certificate_that_has_ended_stays() {
    let (_dir, state) = state();
    state.keep_identity(&good()).expect("kept");
    let (certificate, key, authorities) = identity(now() - 7200, Duration::from_secs(3600));
    let place = |name: &str, bytes: &[u8]| {
        fs::write(state.dir.join(name), bytes).expect("written");
    };
    place(KEY, key.expose());
    place(CERTIFICATE, certificate.as_bytes());
    place(AUTHORITIES, authorities.as_bytes());
    assert!(matches!(
        state.identity(),
        Err(UnusableFiles::Tls(InvalidTls::Expired { days: 0 }))
    ));
    for name in [KEY, CERTIFICATE, AUTHORITIES] {
        assert!(state.dir.join(name).exists(), "{name}");
    }
    let next = good();
    state.keep_identity(&next).expect("kept");
    assert_eq!(read(&state).certificate_pem(), next.certificate_pem());
}

/// Copies a directory as it is at this moment, links and all.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (kind, to) = (
            entry.file_type().expect("a kind"),
            to.join(entry.file_name()),
        );
        if kind.is_symlink() {
            let target = fs::read_link(entry.path()).expect("a link");
            std::os::unix::fs::symlink(target, to).expect("linked");
        } else if kind.is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// Every step of a renewal, in its order, with the kill after it.
#[test]
fn a_sidecar_that_is_killed_at_a_renewal_has_a_whole_certificate() {
    let (dir, state) = state();
    let (before, after) = (good(), good());
    state.keep_identity(&before).expect("kept");
    let (next, current) = (state.dir.join("..data_next"), state.dir.join("..data"));
    let whole = dir.path().join("whole");
    {
        let renewed = StateDir::open(whole.clone());
        renewed.keep_identity(&after).expect("kept");
    }
    let whole = whole.join(fs::read_link(whole.join("..data")).expect("a link"));
    let unfinished = state.dir.join("..generation-next");
    let bring = |name: &str, part: usize| {
        let bytes = fs::read(whole.join(name)).expect("bytes");
        let part = &bytes[..bytes.len() / part];
        fs::write(unfinished.join(name), part).expect("written");
    };
    let mut expected = &before;
    let mut killed = 0;
    let mut kill = |expected: &IssuedIdentity| {
        killed += 1;
        let at = dir.path().join(format!("killed-{killed}"));
        copy(&state.dir, &at);
        let restarted = StateDir::open(at);
        let found = read(&restarted);
        assert_eq!(found.certificate_pem(), expected.certificate_pem());
        assert_eq!(found.key_pem().expose(), expected.key_pem().expose());
        // And the next renewal is none the worse for it.
        let next = good();
        restarted.keep_identity(&next).expect("kept");
        assert_eq!(read(&restarted).certificate_pem(), next.certificate_pem());
    };
    fs::create_dir(&unfinished).expect("made");
    kill(expected);
    for name in [CERTIFICATE, KEY, AUTHORITIES] {
        bring(name, 2);
        kill(expected);
        bring(name, 1);
        kill(expected);
    }
    std::os::unix::fs::symlink("..generation-next", &next).expect("linked");
    kill(expected);
    fs::rename(&next, &current).expect("renamed");
    expected = &after;
    kill(expected);
    for name in [CERTIFICATE, KEY, AUTHORITIES] {
        fs::remove_file(state.dir.join(name)).expect("removed");
        kill(expected);
    }
    assert_eq!(killed, 12);
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
    assert!(state.identity().is_err() && state.snapshot().is_none());
    assert!(state.keep_identity(&good()).is_err());
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

#[test]
fn what_is_kept_of_a_gateway_that_is_gone_has_no_key() {
    let mut config = serde_json::json!({
        "schemaVersion": 1, "version": "a", "gateway": "crm/support", "servers": [],
        "tls": {
            "mode": "Mutual", "certificatePem": "c", "keyPem": "canary", "clientCaPem": "a",
        },
        "authentication": {"requireToken": true, "issuers": []},
        "policy": sidegate_policy::policy_config::PolicyConfig::default(),
        "auditArguments": "Omit",
        "limits": sidegate_config::sidecar_config::Limits::default(),
        "warnings": [],
    });
    let kept = |config: &serde_json::Value| KeptConfig {
        hash: "a".to_owned(),
        json: serde_json::value::to_raw_value(config)
            .expect("JSON")
            .into(),
    };
    let gone = kept(&config).without_secrets().expect("reads");
    assert!(!gone.json.get().contains("canary"), "{}", gone.json);
    assert!(SidecarConfig::read(gone.json.get(), "a").is_ok());
    config["news"] = true.into();
    assert!(kept(&config).without_secrets().is_none());
}
