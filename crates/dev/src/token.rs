//! Asking a development authorization server for a token.

use anyhow::{Context as _, bail};
use http::Uri;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::clients::{self, CLIENTS};
use crate::fetch::{Content, fetch};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The client that asks.
    pub client: String,
    /// Scopes separated by spaces; none: all that the client gets unasked.
    pub scope: Option<String>,
    /// What the token is for; none: the first resource of the gateways.
    pub resource: Option<String>,
    /// The authorization server.
    pub issuer: String,
}

/// Gets a token.
///
/// # Errors
/// It says what to do.
pub async fn token(request: &TokenRequest) -> anyhow::Result<String> {
    let TokenRequest {
        client,
        scope,
        resource,
        issuer,
    } = request;
    let Some(known) = clients::find(client) else {
        let ids: Vec<_> = CLIENTS.iter().map(|client| client.id).collect();
        bail!("no client `{client}`: there are {}", ids.join(", "));
    };
    let uri = format!("{}/token", issuer.trim_end_matches('/'));
    let uri: Uri = uri
        .parse()
        .with_context(|| format!("`{issuer}` is no address"))?;
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    form.append_pair("client_id", known.id)
        .append_pair("client_secret", known.secret);
    for (name, value) in [("scope", scope), ("resource", resource)] {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    let body = form.finish();
    let content = Content {
        media_type: "application/x-www-form-urlencoded",
        body: &body,
    };
    let answer = fetch(&uri, Some(content)).await.with_context(|| {
        format!("no token from {issuer}: is `sidegate-dev up` running with this issuer?")
    })?;
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    match (text("access_token"), text("error")) {
        (Some(token), _) => Ok(token.to_owned()),
        (None, Some(error)) => {
            let why = text("error_description").unwrap_or("it does not say why");
            bail!("{issuer} refused: {error}: {why}")
        }
        (None, None) => bail!("{issuer} answered {} without a token", answer.status()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use sidegate_policy::clock::SystemClock;

    use super::*;
    use crate::authority::{Authority, AuthorityConfig};

    async fn ask(client: &str, scope: Option<&str>) -> Result<String, String> {
        let config = AuthorityConfig {
            clients: clients::with_scopes(&BTreeSet::new()),
            resources: vec!["https://a.example/mcp".to_owned()],
            ..AuthorityConfig::default()
        };
        let authority = Authority::start(config, Arc::new(SystemClock))
            .await
            .unwrap();
        let request = TokenRequest {
            client: client.to_owned(),
            scope: scope.map(str::to_owned),
            resource: None,
            issuer: format!("{}/", authority.issuer()),
        };
        token(&request).await.map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn a_known_client_gets_a_token_and_others_learn_why_not() {
        assert_eq!(ask("agent", None).await.unwrap().split('.').count(), 3);
        let error = ask("nobody", None).await.unwrap_err();
        assert_eq!(
            error,
            "no client `nobody`: there are agent, lead, admin, developer"
        );
        let error = ask("agent", Some("support:admin")).await.unwrap_err();
        assert!(
            error.contains("refused: invalid_scope: the client may not"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn nobody_there_is_explained() {
        let listener = crate::loopback::bind(0, "", "").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let request = TokenRequest {
            client: "agent".to_owned(),
            scope: None,
            resource: None,
            issuer: format!("http://{address}"),
        };
        let error = format!("{:#}", token(&request).await.unwrap_err());
        assert!(error.contains("is `sidegate-dev up` running"), "{error}");
        assert!(
            error.contains(&format!("nothing answers on {address}")),
            "{error}"
        );
    }
}
