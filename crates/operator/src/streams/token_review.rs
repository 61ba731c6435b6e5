//! Asking the API server whose token it is (TokenReview).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Client;
use sidegate_api::names::TOKEN_AUDIENCE;
use sidegate_config::sidecar_config::SecretText;
use thiserror::Error;
use tokio::time::timeout;

use super::token::is_name;
use crate::board::PodRef;
use crate::key::Key;

/// For one answer of the API server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Who is asked about tokens.
pub(super) trait TokenReviewer: Send + Sync + 'static {
    /// What the API server says about a token for our audience.
    fn review(&self, token: SecretText) -> Reviewing;
}

/// The answer to come.
pub(super) type Reviewing =
    Pin<Box<dyn Future<Output = Result<TokenReviewStatus, ReviewError>> + Send>>;

/// The API server, as the operator's own service account.
pub(super) struct ApiServer(pub(super) Client);

/// Why there is no answer. None of it holds the token.
#[derive(Debug, Error)]
pub(super) enum ReviewError {
    #[error("the API server does not answer: {0}")]
    Failed(#[source] Box<kube::Error>),
    #[error("the API server takes longer than {} s to answer", ANSWER_TIMEOUT.as_secs())]
    TooSlow,
    #[error("the API server answers with no TokenReview (at byte {at})")]
    Unreadable { at: usize },
}

/// The pod of a token, as the API server says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reviewed {
    pub(super) pod: PodRef,
    pub(super) service_account: Arc<str>,
}

/// Why a token proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum NotAPod {
    #[error("the API server does not accept the token: use the projected one of a running pod")]
    NotAuthenticated,
    #[error("the token is not for the audience `{TOKEN_AUDIENCE}`")]
    Audience,
    #[error("the token is not a service account's")]
    NoServiceAccount,
    #[error("the token is not bound to a pod: use the projected one of the pod")]
    NotBound,
}

// === impl ApiServer ===

impl TokenReviewer for ApiServer {
    fn review(&self, token: SecretText) -> Reviewing {
        let client = self.0.clone();
        Box::pin(async move {
            match timeout(ANSWER_TIMEOUT, ask(&client, &token)).await {
                Ok(answer) => answer,
                Err(_) => Err(ReviewError::TooSlow),
            }
        })
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiServer")
    }
}

/// The answer repeats the token. `kube` would write an answer that it cannot
/// read into the log, so it is read here.
async fn ask(client: &Client, token: &SecretText) -> Result<TokenReviewStatus, ReviewError> {
    let review = TokenReview {
        spec: TokenReviewSpec {
            audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]),
            token: Some(String::from_utf8_lossy(token.expose()).into_owned()),
        },
        ..TokenReview::default()
    };
    let unreadable = |error: serde_json::Error| ReviewError::Unreadable { at: error.column() };
    let failed = |error| ReviewError::Failed(Box::new(error));
    let body = serde_json::to_vec(&review).map_err(unreadable)?;
    let request = http::Request::post(PATH)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| failed(kube::Error::HttpError(error)))?;
    let answer = client.request_text(request).await.map_err(failed)?;
    let answer: TokenReview = serde_json::from_str(&answer).map_err(unreadable)?;
    Ok(answer.status.unwrap_or_default())
}

/// Reads the answer. Everything that names the pod has to be there: a token
/// that is bound to something else is good for other purposes only.
///
/// # Errors
/// [`NotAPod`].
pub(super) fn pod_of(answer: &TokenReviewStatus) -> Result<Reviewed, NotAPod> {
    if answer.authenticated != Some(true) {
        return Err(NotAPod::NotAuthenticated);
    }
    // A server that does not know audiences would answer without any.
    let mut audiences = answer.audiences.iter().flatten();
    if !audiences.any(|audience| audience == TOKEN_AUDIENCE) {
        return Err(NotAPod::Audience);
    }
    let user = answer.user.as_ref().ok_or(NotAPod::NoServiceAccount)?;
    let (namespace, service_account) = user
        .username
        .as_deref()
        .and_then(service_account)
        .ok_or(NotAPod::NoServiceAccount)?;
    let extra = |name: &str| match user.extra.as_ref()?.get(name)?.as_slice() {
        [value] if is_name(value) => Some(value.as_str()),
        _ => None,
    };
    let name = extra(POD_NAME).ok_or(NotAPod::NotBound)?;
    let uid = extra(POD_UID).ok_or(NotAPod::NotBound)?;
    Ok(Reviewed {
        pod: PodRef {
            key: Key::new(namespace, name),
            uid: uid.into(),
        },
        service_account: service_account.into(),
    })
}

/// Namespace and name in a username of the form
/// `system:serviceaccount:NAMESPACE:NAME`.
fn service_account(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    (is_name(namespace) && is_name(name)).then_some((namespace, name))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What the API server answers for a pod `crm/NAME`.
    pub(crate) fn answer_for(name: &str, uid: &str) -> Value {
        json!({
            "authenticated": true,
            "audiences": ["sidegate.dev"],
            "user": {
                "username": "system:serviceaccount:crm:support",
                "uid": "s",
                "groups": ["system:serviceaccounts"],
                "extra": {
                    "authentication.kubernetes.io/pod-name": [name],
                    "authentication.kubernetes.io/pod-uid": [uid],
                    "authentication.kubernetes.io/node-name": ["node"],
                },
            },
        })
    }

    fn read(answer: Value) -> Result<Reviewed, NotAPod> {
        pod_of(&serde_json::from_value(answer).expect("an answer"))
    }

    fn with(pointer: &str, value: Value) -> Result<Reviewed, NotAPod> {
        let mut answer = answer_for("a", "u1");
        *answer.pointer_mut(pointer).expect("it is there") = value;
        read(answer)
    }

    #[test]
    fn the_answer_names_the_pod() {
        let reviewed = read(answer_for("a", "u1")).expect("a pod");
        assert_eq!(reviewed.pod.key, Key::new("crm", "a"));
        assert_eq!(&*reviewed.pod.uid, "u1");
        assert_eq!(&*reviewed.service_account, "support");
    }

    #[test]
    fn it_has_to_be_accepted_for_our_audience() {
        for not in [json!(false), Value::Null] {
            assert_eq!(with("/authenticated", not), Err(NotAPod::NotAuthenticated));
        }
        assert_eq!(
            read(json!({"error": "expired"})),
            Err(NotAPod::NotAuthenticated)
        );
        for other in [json!([]), Value::Null, json!(["kubernetes"])] {
            assert_eq!(with("/audiences", other), Err(NotAPod::Audience));
        }
    }

    #[test]
    fn it_has_to_be_a_service_account_in_a_pod() {
        for username in [
            "admin",
            "system:serviceaccount:crm",
            "system:serviceaccount:crm:",
            "system:serviceaccount::a",
            "system:serviceaccount:crm:a:b",
            "system:node:a",
        ] {
            let read = with("/user/username", json!(username));
            assert_eq!(read, Err(NotAPod::NoServiceAccount), "{username}");
        }
        assert_eq!(with("/user", Value::Null), Err(NotAPod::NoServiceAccount));
        assert_eq!(with("/user/extra", Value::Null), Err(NotAPod::NotBound));
        for key in [POD_NAME, POD_UID] {
            let pointer = format!("/user/extra/{}", key.replace('/', "~1"));
            for values in [json!([]), json!(["a", "b"]), json!([""]), json!(["A/b"])] {
                assert_eq!(
                    with(&pointer, values.clone()),
                    Err(NotAPod::NotBound),
                    "{values}"
                );
            }
        }
    }
}
