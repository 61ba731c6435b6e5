//! An issuer whose keys are read over HTTPS. It signs whatever claims it is sent
//! as JSON, and gives every client of OAuth what it asks for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sidegate_dev::signing::{SigningKey, base64url, random_name, signing_input};
use sidegate_policy::clock::{Clock as _, SystemClock};
use tokio::net::TcpListener;
use url::form_urlencoded;

use crate::tls;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name, as in tokens
    #[arg(long)]
    issuer: String,
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Folder with tls.crt and tls.key
    #[arg(long)]
    certificate: PathBuf,
}

const LIFETIME: i64 = 3600;
const KID: &str = "e2e";
const USUAL_SCOPE: &str = "customer:read";
/// RFC 8414, for an issuer without a path.
const METADATA: &str = "/.well-known/oauth-authorization-server";
const FORM: &[u8] = b"application/x-www-form-urlencoded";

struct Issuer {
    name: String,
    key: SigningKey,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let acceptor = tls::acceptor(&args.certificate)?;
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, args.port));
    let listener = TcpListener::bind(address).await.context("no port")?;
    let issuer = Arc::new(Issuer {
        name: args.issuer,
        key: SigningKey::p256()?,
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, issuer) = (acceptor.clone(), Arc::clone(&issuer));
        tokio::spawn(async move {
            // A probe connects without a handshake.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let issuer = Arc::clone(&issuer);
                async move { Ok::<_, Infallible>(issuer.answer(request).await) }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(served.await);
        });
    }
}

// === impl Issuer ===

impl Issuer {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answer = match (request.method(), request.uri().path()) {
            (&Method::GET, "/jwks") => Ok(json!({"keys": [self.key.jwk(KID)]})),
            (&Method::GET, METADATA) => Ok(self.metadata()),
            (&Method::POST, "/token") => self.token(request).await,
            _ => Err(anyhow::anyhow!("not found")),
        };
        let (status, body) = match answer {
            Ok(body) => (StatusCode::OK, body.to_string()),
            Err(error) => (StatusCode::NOT_FOUND, format!("{error:#}")),
        };
        let mut answer = Response::new(Full::from(body));
        *answer.status_mut() = status;
        answer.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        answer
    }

    /// Official clients refuse it without an authorization endpoint.
    fn metadata(&self) -> Value {
        let name = &self.name;
        json!({
            "issuer": name,
            "authorization_endpoint": format!("{name}/authorize"),
            "token_endpoint": format!("{name}/token"),
            "jwks_uri": format!("{name}/jwks"),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        })
    }

    async fn token(&self, request: Request<Incoming>) -> anyhow::Result<Value> {
        let is_form = request.headers().get(http::header::CONTENT_TYPE);
        let is_form = is_form.is_some_and(|kind| kind.as_bytes() == FORM);
        let body = request.into_body().collect().await?.to_bytes();
        let asked = match is_form {
            true => of_form(&body)?,
            false => serde_json::from_slice(&body)?,
        };
        let token = self.sign(&asked)?;
        Ok(json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": LIFETIME,
            "scope": asked["scope"],
        }))
    }

    fn sign(&self, asked: &Value) -> anyhow::Result<String> {
        let now = SystemClock.unix_seconds();
        let mut claims = json!({
            "iss": self.name,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": random_name()?,
        });
        for (name, value) in asked.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let header = json!({"typ": "at+jwt", "alg": self.key.algorithm(), "kid": KID});
        let input = signing_input(&header.to_string(), &claims.to_string());
        let signature = self.key.sign(input.as_bytes())?;
        Ok(format!("{input}.{}", base64url(signature)))
    }
}

/// The claims of a token request (RFC 6749, section 4.4; RFC 8707, section 2).
/// Who asks for no scope gets what its registration would say.
fn of_form(body: &[u8]) -> anyhow::Result<Value> {
    let parameters: HashMap<_, _> = form_urlencoded::parse(body).collect();
    let parameter = |name: &str| parameters.get(name).map(AsRef::as_ref).unwrap_or_default();
    let grant = parameter("grant_type");
    ensure!(grant == "client_credentials", "the grant type is {grant}");
    let scope = match parameter("scope") {
        "" => USUAL_SCOPE,
        asked => asked,
    };
    Ok(json!({
        "sub": parameter("client_id"),
        "client_id": parameter("client_id"),
        "aud": parameter("resource"),
        "scope": scope,
    }))
}
