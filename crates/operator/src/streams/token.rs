//! A look at a token without asking anybody.
//!
//! What it says is a claim and no more: good for refusing at once what cannot
//! be a pod's token, and for counting attempts. Who the pod is, the API server
//! says (`token_review.rs`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sidegate_api::names::TOKEN_AUDIENCE;
use thiserror::Error;

use crate::board::PodRef;
use crate::key::Key;

/// Largest token, in bytes. Those of the kubelet have about one thousand.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Names of objects are DNS subdomains at most; a uid is shorter.
const MAX_NAME_BYTES: usize = 253;

/// What a token claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claimed {
    /// The pod that it is bound to.
    pub(super) pod: PodRef,
    /// When it ends, in seconds since 1970.
    pub(super) expires_at_unix: i64,
}

/// Why a text is no token of a pod for this operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum InvalidToken {
    #[error("the token is larger than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
    #[error("the token is no projected service account token")]
    Unreadable,
    #[error(
        "the token is for another audience: project one with the audience `{TOKEN_AUDIENCE}` into the pod"
    )]
    Audience,
    #[error("the token has ended: read the file of the projected token again")]
    Ended,
    #[error("the token is not bound to a pod: use the projected one of the pod")]
    NoPod,
}

#[derive(Deserialize)]
struct Payload {
    aud: Audiences,
    exp: i64,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: Option<String>,
    pod: Option<Object>,
    serviceaccount: Option<Object>,
}

#[derive(Deserialize)]
struct Object {
    name: String,
    uid: Option<String>,
}

/// Looks at a token.
///
/// # Errors
/// [`InvalidToken`]: asking the API server would be a waste.
pub(super) fn look_at(token: &[u8], now_unix: i64) -> Result<Claimed, InvalidToken> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(InvalidToken::TooLarge);
    }
    let payload = payload(token).ok_or(InvalidToken::Unreadable)?;
    let for_us = match &payload.aud {
        Audiences::One(audience) => audience == TOKEN_AUDIENCE,
        Audiences::Several(audiences) => audiences.iter().any(|it| it == TOKEN_AUDIENCE),
    };
    if !for_us {
        return Err(InvalidToken::Audience);
    }
    if payload.exp <= now_unix {
        return Err(InvalidToken::Ended);
    }
    bound(payload).ok_or(InvalidToken::NoPod)
}

/// The second of three parts (RFC 7519, section 3.1). All three must be what
/// they should be, as the API server asks it too.
fn payload(token: &[u8]) -> Option<Payload> {
    let mut parts = token.split(|byte| *byte == b'.');
    let mut next = || URL_SAFE_NO_PAD.decode(parts.next()?).ok();
    let (header, payload, signature) = (next()?, next()?, next()?);
    if parts.next().is_some() || signature.is_empty() {
        return None;
    }
    let _header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&header).ok()?;
    // Only an object: a struct could be read from a list as well.
    let _object: std::collections::HashMap<String, IgnoredAny> =
        serde_json::from_slice(&payload).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn bound(payload: Payload) -> Option<Claimed> {
    let Kubernetes {
        namespace,
        pod,
        serviceaccount,
    } = payload.kubernetes?;
    let (namespace, pod, account) = (namespace?, pod?, serviceaccount?);
    let uid = pod.uid?;
    let names = [&namespace, &pod.name, &account.name, &uid];
    // They get into tables and log lines.
    names.iter().all(|name| is_name(name)).then(|| Claimed {
        pod: PodRef {
            key: Key::new(&namespace, &pod.name),
            uid: uid.into(),
        },
        expires_at_unix: payload.exp,
    })
}

/// Whether it can be the name or the uid of an object.
pub(super) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_700_000_000;

    /// A token as the API server makes it, but for the signature.
    pub(crate) fn token_of(payload: &Value) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"k"}"#);
        let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
        format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode("signature"))
    }

    /// What the API server says about a pod `crm/a`.
    pub(crate) fn payload_of(name: &str, uid: &str, expires_at_unix: i64) -> Value {
        json!({
            "aud": ["sidegate.dev"],
            "exp": expires_at_unix,
            "iat": 1,
            "iss": "https://kubernetes.default.svc",
            "kubernetes.io": {
                "namespace": "crm",
                "node": {"name": "node", "uid": "n"},
                "pod": {"name": name, "uid": uid},
                "serviceaccount": {"name": "support", "uid": "s"},
            },
            "sub": "system:serviceaccount:crm:support",
        })
    }

    fn with(change: impl FnOnce(&mut Value)) -> Result<Claimed, InvalidToken> {
        let mut payload = payload_of("a", "u1", NOW + 1);
        change(&mut payload);
        look_at(token_of(&payload).as_bytes(), NOW)
    }

    #[test]
    fn a_projected_token_says_which_pod() {
        let claimed = with(|_| {}).expect("a token");
        assert_eq!(claimed.pod.key, Key::new("crm", "a"));
        assert_eq!(&*claimed.pod.uid, "u1");
        assert_eq!(claimed.expires_at_unix, NOW + 1);
        let one = with(|it| it["aud"] = json!("sidegate.dev"));
        assert_eq!(one, Ok(claimed));
    }

    #[test]
    fn it_has_to_be_for_us_and_not_over() {
        for other in [json!("kubernetes"), json!(["a", "b"]), json!([])] {
            assert_eq!(with(|it| it["aud"] = other), Err(InvalidToken::Audience));
        }
        assert_eq!(with(|it| it["exp"] = json!(NOW)), Err(InvalidToken::Ended));
        for unreadable in [json!("soon"), json!(null), json!([1])] {
            let read = with(|it| it["exp"] = unreadable);
            assert_eq!(read, Err(InvalidToken::Unreadable));
        }
    }

    #[test]
    fn it_has_to_be_bound_to_a_pod() {
        for pointer in [
            "/kubernetes.io",
            "/kubernetes.io/pod",
            "/kubernetes.io/pod/uid",
            "/kubernetes.io/namespace",
            "/kubernetes.io/serviceaccount",
        ] {
            let read = with(|it| *it.pointer_mut(pointer).expect("it is there") = Value::Null);
            assert_eq!(read, Err(InvalidToken::NoPod), "{pointer}");
        }
        for name in ["", "../a", "A", "a\nb", &"a".repeat(254)] {
            let read = with(|it| it["kubernetes.io"]["pod"]["name"] = json!(name));
            assert_eq!(read, Err(InvalidToken::NoPod), "{name}");
        }
        assert!(with(|it| it["kubernetes.io"]["pod"]["name"] = json!("a".repeat(253))).is_ok());
    }

    #[test]
    fn it_has_three_parts_of_which_two_are_objects() {
        let good = token_of(&payload_of("a", "u1", NOW + 1));
        assert!(look_at(good.as_bytes(), NOW).is_ok());
        let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts")
        };
        let list = URL_SAFE_NO_PAD.encode("[]");
        for bad in [
            String::new(),
            "..".to_owned(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!("{header}.{payload}.{signature}.{signature}"),
            format!("{header}.{payload}.{signature}="),
            format!("{list}.{payload}.{signature}"),
            format!("{header}.{list}.{signature}"),
            format!("{good}\n"),
        ] {
            let read = look_at(bad.as_bytes(), NOW);
            assert_eq!(read, Err(InvalidToken::Unreadable), "{bad}");
        }
    }

    #[test]
    fn its_size_is_bounded() {
        let sized = |wanted: usize| {
            let good = token_of(&payload_of("a", "u1", NOW + 1));
            // Four characters are three bytes.
            let mut token = good.clone() + &"A".repeat((wanted - good.len()) / 4 * 4);
            while token.len() > wanted {
                token.pop();
            }
            token
        };
        assert!(look_at(sized(MAX_TOKEN_BYTES).as_bytes(), NOW).is_ok());
        let too_large = sized(MAX_TOKEN_BYTES + 4);
        assert_eq!(
            look_at(too_large.as_bytes(), NOW),
            Err(InvalidToken::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(look_at(&bytes, NOW).is_err());
        }

        #[test]
        fn what_looks_like_a_token_is_read_or_refused(payload in "[{}\\[\\]\",:a-z0-9.]{0,80}") {
            let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let token = format!("{}.{}.{}", encode("{}"), encode(&payload), encode("s"));
            prop_assert!(look_at(token.as_bytes(), NOW).is_err());
        }

        #[test]
        fn names_are_taken_as_they_are(
            name in "[a-z0-9]([-a-z0-9.]{0,60}[a-z0-9])?",
            uid in "[0-9a-f]{8}-[0-9a-f]{4}",
            more in 1_i64..100_000,
        ) {
            let token = token_of(&payload_of(&name, &uid, NOW + more));
            let claimed = look_at(token.as_bytes(), NOW).expect("a token");
            prop_assert_eq!(&*claimed.pod.key.name, name);
            prop_assert_eq!(&*claimed.pod.uid, uid);
        }

        #[test]
        fn no_byte_can_be_lost(cut in 0_usize..400) {
            let mut token = token_of(&payload_of("a", "u1", NOW + 1)).into_bytes();
            // Beyond the payload there is the signature, which is the API
            // server's business.
            let payload_end = token.iter().rposition(|byte| *byte == b'.').expect("a dot");
            token.remove(cut.min(payload_end));
            let read = look_at(&token, NOW);
            let good = look_at(token_of(&payload_of("a", "u1", NOW + 1)).as_bytes(), NOW);
            prop_assert_ne!(read, good);
        }
    }
}
