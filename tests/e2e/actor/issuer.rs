//! An issuer whose keys are read over HTTPS, and which signs whatever claims it
//! is sent.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
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

    async fn token(&self, request: Request<Incoming>) -> anyhow::Result<Value> {
        let body = request.into_body().collect().await?.to_bytes();
        let asked: Value = serde_json::from_slice(&body)?;
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
        Ok(json!({"access_token": format!("{input}.{}", base64url(signature))}))
    }
}
