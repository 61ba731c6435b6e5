//! The Secret: read, written, damaged.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::stored::{EPOCH, ROTATE};
use super::*;
use crate::ours::MANAGED_BY;

/// What must never be told; PEM keeps the rest of a key from being told.
const CANARY: &str = "CANARY-2f6c1a";

fn secret() -> Secret {
    stored().write().expect("a Secret")
}

fn set_value(secret: &mut Secret, key: &str, value: Vec<u8>) {
    let data = secret.data.get_or_insert_default();
    data.insert(key.to_owned(), ByteString(value));
}

/// The Secret with one value changed as JSON.
fn changed(key: &str, change: impl FnOnce(&mut Value)) -> Secret {
    let mut secret = secret();
    let data = secret.data.as_ref().expect("data");
    let mut value: Value = serde_json::from_slice(&data[key].0).expect("JSON");
    change(&mut value);
    set_value(&mut secret, key, value.to_string().into_bytes());
    secret
}

fn why(secret: &Secret) -> String {
    match Stored::read(secret) {
        Ok(_) => panic!("it can be read"),
        Err(why) => why.to_string(),
    }
}

#[test]
fn what_was_written_is_read() {
    let mut before = stored();
    before.epoch = 7;
    let step = super::super::rotation::Step::Create;
    let lifetimes = *settings().lifetimes(Purpose::Workload);
    let two = before
        .workload
        .after(step, Purpose::Workload, &lifetimes, now());
    before.workload = Arc::new(two.expect("a set"));
    before.requests.purposes.insert(Purpose::Workload);
    before.requests.unknown.push("all".to_owned());
    let secret = before.write().expect("a Secret");
    assert_eq!(
        secret.metadata.annotations.as_ref().unwrap()[ROTATE],
        "workload,all"
    );
    let after = Stored::read(&secret).expect("it is read");
    assert_eq!((after.epoch, &after.requests), (7, &before.requests));
    for purpose in Purpose::ALL {
        let (before, after) = (before.set(purpose), after.set(purpose));
        assert_eq!(before.certificates_pem(), after.certificates_pem());
        let times = |set: &RootSet| set.roots().iter().map(|it| it.times).collect::<Vec<_>>();
        assert_eq!(times(before), times(after));
    }
    assert_eq!(after.workload.roots().len(), 2);
    // What was asked for and is done is not asked for any more.
    let mut done = after;
    done.requests = Requests::default();
    let secret = done.write().expect("a Secret");
    assert!(!secret.metadata.annotations.unwrap().contains_key(ROTATE));
}

#[test]
fn other_labels_and_annotations_stay() {
    let mut secret = secret();
    secret
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("team".into(), "a".into());
    secret
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert("note".into(), "b".into());
    secret.metadata.resource_version = Some("5".into());
    let written = Stored::read(&secret).unwrap().write().unwrap();
    assert_eq!(written.metadata, secret.metadata);
}

#[test]
fn a_damaged_secret_says_where() {
    let foreign = {
        let mut secret = secret();
        secret.metadata.labels.as_mut().unwrap().remove(MANAGED_BY);
        secret
    };
    assert!(why(&foreign).contains("lacks the label"));
    let typed = Secret {
        type_: Some("kubernetes.io/tls".to_owned()),
        ..secret()
    };
    assert_eq!(why(&typed), "its type is not Opaque");
    for bad in [None, Some("0"), Some("-1"), Some("one"), Some("")] {
        let mut secret = secret();
        let annotations = secret.metadata.annotations.as_mut().unwrap();
        annotations.remove(EPOCH);
        annotations.extend(bad.map(|it| (EPOCH.to_owned(), it.to_owned())));
        assert!(why(&secret).contains(EPOCH), "{bad:?}");
    }
    let mut missing = secret();
    missing.data.as_mut().unwrap().remove("endpoints");
    assert_eq!(why(&missing), "`endpoints` is missing");
    let mut text = secret();
    set_value(&mut text, "workload", b"not JSON".to_vec());
    assert_eq!(why(&text), "`workload` cannot be read (line 1, column 2)");

    let none = changed("workload", |set| set["roots"] = json!([]));
    assert!(why(&none).contains("`workload` has 0 roots"));
    let four = changed("workload", |set| {
        let root = set["roots"][0].clone();
        set["roots"] = json!([root, root, root, root]);
    });
    assert!(why(&four).contains("has 4 roots"));
    let twice = changed("workload", |set| {
        let root = set["roots"][0].clone();
        set["roots"] = json!([root, root]);
    });
    assert!(why(&twice).contains("the same root twice"));
    let nobody = changed("endpoints", |set| {
        set["roots"][0]["retiredSince"] = json!(1);
    });
    assert!(why(&nobody).contains("`endpoints` has 0 roots that sign"));
    let other_key = changed("endpoints", |set| {
        let other = changed("workload", |_| {}).data.unwrap();
        let other: Value = serde_json::from_slice(&other["workload"].0).unwrap();
        set["roots"][0]["key"] = other["roots"][0]["key"].clone();
    });
    assert!(why(&other_key).contains("root 1 of `endpoints`: the key does not belong"));
    let newer = changed("workload", |set| set["roots"][0]["comment"] = json!("x"));
    assert!(why(&newer).contains("cannot be read"));
}

#[test]
fn two_that_sign_are_refused() {
    let stored = stored();
    let both = [stored.workload.roots(), stored.endpoints.roots()].concat();
    let refused = RootSet::new(both).map(drop).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "has 2 roots that sign: there must be exactly one"
    );
}

#[test]
fn nothing_of_a_damaged_secret_is_told() {
    let told = |secret: &Secret| {
        let why = Stored::read(secret).map(drop).unwrap_err();
        format!("{why} {why:?}")
    };
    let cases = [
        changed("workload", |set| set["roots"][0]["key"] = json!(CANARY)),
        changed("workload", |set| {
            set["roots"][0]["certificate"] = json!(CANARY);
        }),
        changed("workload", |set| {
            set["roots"][0]["trustedSince"] = json!(CANARY);
        }),
        changed("workload", |set| set["roots"][0][CANARY] = json!(1)),
        changed("workload", |set| *set = json!(CANARY)),
        changed("workload", |set| {
            // A key where a time belongs.
            let key = set["roots"][0]["key"].clone();
            set["roots"][0]["signsSince"] = key;
        }),
    ];
    for (index, secret) in cases.iter().enumerate() {
        let told = told(secret);
        assert!(!told.contains(CANARY), "case {index}: {told}");
        assert!(!told.contains("PRIVATE"), "case {index}: {told}");
    }
}

#[test]
fn keys_are_in_no_debug_text() {
    let stored = stored();
    let key = stored.workload.signer().authority.key_pem().expose();
    let key = String::from_utf8_lossy(key);
    let line = key.lines().nth(1).expect("a line of the key").to_owned();
    let secret = stored.write().expect("a Secret");
    let text = String::from_utf8(secret.data.unwrap()["workload"].0.clone()).unwrap();
    assert!(text.contains(&line), "the key is where it belongs");
    let told = format!(
        "{:?} {:?}",
        stored.workload,
        Trust::new(&stored, &settings())
    );
    assert!(!told.contains(&line) && !told.contains("PRIVATE"), "{told}");
}

#[test]
fn requests_are_read_leniently() {
    let read = |text: &str| {
        let mut secret = secret();
        let annotations = secret.metadata.annotations.as_mut().unwrap();
        annotations.insert(ROTATE.to_owned(), text.to_owned());
        Stored::read(&secret).expect("it is read").requests
    };
    assert_eq!(read(""), Requests::default());
    assert_eq!(read(" , "), Requests::default());
    let both = read("endpoints, workload");
    assert_eq!(both.purposes.into_iter().collect::<Vec<_>>(), Purpose::ALL);
    let odd = read("workload,Endpoints");
    assert_eq!(odd.unknown, ["Endpoints"]);
    assert_eq!(odd.purposes.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens to a value, it is read or refused, and never quoted.
    #[test]
    fn damaged_values_never_panic_and_are_never_quoted(
        at in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 0..8),
        cut in any::<bool>(),
    ) {
        let mut secret = secret();
        let data = secret.data.as_mut().unwrap();
        let mut value = data["endpoints"].0.clone();
        let text = String::from_utf8(value.clone()).unwrap();
        let at = at.index(value.len());
        if cut {
            value.truncate(at);
        }
        let end = (at + with.len()).min(value.len());
        value.splice(at..end, with);
        data.insert("endpoints".to_owned(), ByteString(value));
        if let Err(why) = Stored::read(&secret).map(drop) {
            let told = format!("{why} {why:?}");
            for word in text.split(|it: char| !it.is_ascii_alphanumeric()) {
                prop_assert!(word.len() < 20 || !told.contains(word), "{}", told);
            }
        }
    }
}
