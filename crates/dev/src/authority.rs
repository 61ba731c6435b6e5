//! The development authorization server.
//!
//! It gives tokens to clients with a secret (RFC 6749, section 4.4) in the
//! profile of RFC 9068, for the resources that it knows (RFC 8707), and
//! publishes its metadata (RFC 8414) and keys. Its clients and their secrets
//! are known to everyone, so it listens on loopback only.

mod answer;
mod config;
mod fault;
mod form;
mod key_ring;
mod ledger;
mod metadata;
mod token_request;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use sidegate_policy::clock::Clock;
use url::Url;

use self::answer::Answer;
pub use self::config::{AuthorityConfig, Client};
use self::fault::Fault;
use self::key_ring::KeyRing;
pub use self::ledger::{Counts, Ledger};
use self::metadata::Endpoints;
use self::token_request::TokenRequest;
use crate::loopback::{self, BindError, Loopback};
use crate::signing::{SigningError, random_name};

/// How long tokens live, in seconds.
pub const TOKEN_SECONDS: i64 = 300;

/// The largest token request.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// An authorization server that answers until it is dropped.
pub struct Authority {
    shared: Arc<Shared>,
    server: Loopback,
}

/// Why the authorization server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its port cannot be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The port was taken, but cannot be used.
    #[error("the authorization server cannot start: {0}")]
    Listen(#[from] io::Error),
    /// The issuer is no URL that can be served here.
    #[error("issuer `{0}`: the development authorization server needs http://127.0.0.1:PORT")]
    Issuer(String),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] SigningError),
}

struct Shared {
    issuer: String,
    endpoints: Endpoints,
    known: RwLock<Arc<Known>>,
    keys: KeyRing,
    clock: Arc<dyn Clock>,
    ledger: Arc<Ledger>,
}

/// What may change while it runs.
struct Known {
    clients: Vec<Client>,
    resources: Vec<String>,
}

// === impl Authority ===

impl Authority {
    /// Starts it on its port.
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(config: AuthorityConfig, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let AuthorityConfig {
            issuer,
            port,
            clients,
            resources,
        } = config;
        let advice = "or give the issuer in the gateway another port";
        let listener = loopback::bind(port, "the development authorization server", advice).await?;
        let address = listener.local_addr()?;
        let issuer = issuer.unwrap_or_else(|| format!("http://{address}"));
        let base = Url::parse(&issuer).map_err(|_| StartError::Issuer(issuer.clone()))?;
        let shared = Arc::new(Shared {
            endpoints: Endpoints::of(&base),
            issuer,
            known: RwLock::new(Arc::new(Known { clients, resources })),
            keys: KeyRing::new()?,
            clock,
            ledger: Arc::default(),
        });
        let answering = Arc::clone(&shared);
        let server = Loopback::start(listener, move |request| {
            let shared = Arc::clone(&answering);
            async move { shared.answer(request).await }
        })?;
        Ok(Self { shared, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The issuer in its tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// Where it publishes its keys.
    #[must_use]
    pub fn jwks_uri(&self) -> &str {
        &self.shared.endpoints.jwks
    }

    /// What it was asked.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    /// Replaces the clients, and what tokens may be for.
    pub fn know(&self, clients: Vec<Client>, resources: Vec<String>) {
        let known = Arc::new(Known { clients, resources });
        *self
            .shared
            .known
            .write()
            .unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Signs with a new key from now on; the old ones stay published. Gives the
    /// new key's id.
    ///
    /// # Errors
    /// [`SigningError`]; then nothing changed.
    pub fn rotate(&self) -> Result<String, SigningError> {
        self.shared.keys.rotate()
    }

    /// Stops publishing all keys but the one that signs: tokens of the others
    /// become invalid.
    pub fn retire(&self) {
        self.shared.keys.retire();
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("issuer", &self.shared.issuer)
            .field("address", &self.server.address())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        if !loopback::is_addressed_here(&request) {
            let message = "ask for this server as 127.0.0.1 or localhost\n";
            return answer::text(StatusCode::MISDIRECTED_REQUEST, message);
        }
        let path = request.uri().path();
        let paths = &self.endpoints.paths;
        if paths.metadata.iter().any(|known| known == path) {
            self.ledger.metadata();
            return read_only(&request, || answer::json(&self.metadata()));
        }
        if path == paths.jwks {
            self.ledger.jwks();
            return read_only(&request, || answer::json(&self.keys.jwks()));
        }
        if path == paths.token {
            return match *request.method() {
                Method::POST => self.token(request).await,
                _ => answer::method_not_allowed("POST"),
            };
        }
        if path == paths.authorize {
            let message = "nobody signs in here: this server gives tokens to clients with a \
                secret only (grant_type=client_credentials)\n";
            return answer::text(StatusCode::BAD_REQUEST, message);
        }
        if path == paths.rotate {
            return match *request.method() {
                Method::POST => self.rotate(request.uri().query()).await,
                _ => answer::method_not_allowed("POST"),
            };
        }
        answer::text(StatusCode::NOT_FOUND, "not found\n")
    }

    fn metadata(&self) -> Value {
        metadata::document(&self.issuer, &self.endpoints, &self.known().clients)
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn token(&self, request: Request<Incoming>) -> Answer {
        self.ledger.token_request();
        match self.issue(request).await {
            Ok(answer) => {
                self.ledger.token_issued();
                answer
            }
            Err(fault) => fault.into_answer(),
        }
    }

    async fn issue(&self, request: Request<Incoming>) -> Result<Answer, Fault> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_REQUEST_BYTES).collect().await;
        let body =
            body.map_err(|_| Fault::invalid_request("the request is too large or broken"))?;
        let request = TokenRequest::read(&head.headers, &body.to_bytes())?;
        let known = self.known();
        let grant = request.grant(&known.clients, &known.resources)?;
        let token = self
            .sign(&grant)
            .map_err(|SigningError| Fault::server_error())?;
        Ok(answer::json(&json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "scope": grant.scope,
        })))
    }

    fn sign(&self, grant: &token_request::Grant) -> Result<String, SigningError> {
        let now = self.clock.unix_seconds();
        let audience = match grant.audience.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        let claims = json!({
            "iss": self.issuer,
            "sub": grant.client_id,
            "aud": audience,
            "exp": now.saturating_add(TOKEN_SECONDS),
            "iat": now,
            "jti": random_name()?,
            "client_id": grant.client_id,
            "scope": grant.scope,
        });
        self.keys.sign(&claims)
    }

    /// Takes long enough to keep other requests waiting.
    async fn rotate(self: Arc<Self>, query: Option<&str>) -> Answer {
        let retire = query == Some("retire=true");
        let rotated = tokio::task::spawn_blocking(move || {
            let kid = self.keys.rotate();
            if retire && kid.is_ok() {
                self.keys.retire();
            }
            kid
        });
        match rotated.await {
            Ok(Ok(kid)) => answer::json(&json!({"kid": kid, "retired": retire})),
            Ok(Err(_)) | Err(_) => Fault::server_error().into_answer(),
        }
    }
}

fn read_only(request: &Request<Incoming>, answer: impl FnOnce() -> Answer) -> Answer {
    if *request.method() == Method::GET {
        answer()
    } else {
        answer::method_not_allowed("GET")
    }
}

/// The body of answers.
pub(crate) type AnswerBody = Full<Bytes>;

#[cfg(test)]
mod tests;
