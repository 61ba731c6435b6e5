//! One request to a server of this machine.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// What a request is about beside its address.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The media type of the body.
    pub media_type: &'a str,
    /// The body.
    pub body: &'a str,
}

/// Sends a request to an `http` address, a POST when there is something to
/// send, and reads the answer whole.
///
/// # Errors
/// There is no answer, or it is too long or too late.
pub async fn fetch(uri: &Uri, content: Option<Content<'_>>) -> anyhow::Result<Response<Bytes>> {
    match tokio::time::timeout(TIMEOUT, Box::pin(send(uri, content))).await {
        Ok(answer) => answer,
        Err(_) => bail!("{uri} does not answer within {} s", TIMEOUT.as_secs()),
    }
}

async fn send(uri: &Uri, content: Option<Content<'_>>) -> anyhow::Result<Response<Bytes>> {
    if uri.scheme_str() != Some("http") {
        bail!("`{uri}` is no http address");
    }
    let authority = uri
        .authority()
        .with_context(|| format!("`{uri}` names no host"))?;
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)))
        .await
        .with_context(|| format!("nothing answers on {authority}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder()
        .uri(path)
        .header(HOST, authority.as_str());
    let request = match content {
        None => request.body(Full::default())?,
        Some(Content { media_type, body }) => request
            .method(Method::POST)
            .header(CONTENT_TYPE, media_type)
            .body(Full::new(Bytes::from(body.to_owned())))?,
    };
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer of {uri}: {error}"))?;
        anyhow::Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => {
            ended.with_context(|| format!("{uri} broke the connection"))?;
            exchange.await
        }
    }
}
