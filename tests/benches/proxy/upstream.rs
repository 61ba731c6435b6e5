//! The server behind both proxies: MCP as far as the load needs it.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

pub(crate) const COMMAND: &str = "upstream";

/// Of this many bytes is an answer to `tools/call`.
const CALL_BYTES: usize = 1024;
/// Tools of the list that a request with [`MANY_CURSOR`] gets.
pub(crate) const MANY_TOOLS: usize = 1_000;
/// Tools of the list that any other request gets.
pub(crate) const FEW_TOOLS: usize = 10;
/// The cursor that asks for the long list.
pub(crate) const MANY_CURSOR: &str = "many";

/// Every answer, made once.
struct Answers {
    call: Bytes,
    few: Bytes,
    many: Bytes,
}

/// Serves until the parent process is gone.
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = announced_listener().await?;
        tokio::select! {
            served = serve(&listener) => served,
            () = orphaned() => Ok(()),
        }
    })
}

/// A port of loopback; its address is told to the parent process.
pub(crate) async fn announced_listener() -> anyhow::Result<TcpListener> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any_port).await.context("no port")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    Ok(listener)
}

/// Ends when the parent process has ended, however it did: it holds the other
/// side of standard input.
pub(crate) async fn orphaned() {
    let (gone_tx, gone_rx) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = gone_tx.send(());
    });
    let _ = gone_rx.await;
}

async fn serve(listener: &TcpListener) -> anyhow::Result<()> {
    let answers = Arc::new(Answers {
        call: Bytes::from(call_answer()),
        few: Bytes::from(list_answer(FEW_TOOLS)),
        many: Bytes::from(list_answer(MANY_TOOLS)),
    });
    loop {
        let (stream, _peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        let service = service_fn(move |request| answer(Arc::clone(&answers), request));
        tokio::spawn(async move {
            // A proxy that closes its connection is no fault.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    answers: Arc<Answers>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.headers().get("mcp-method").cloned();
    let Ok(body) = request.into_body().collect().await else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    let body = body.to_bytes();
    let answer = match method.as_ref().map(HeaderValue::as_bytes) {
        Some(b"tools/call") => &answers.call,
        Some(b"tools/list") if names_cursor(&body) => &answers.many,
        Some(b"tools/list") => &answers.few,
        _ => return Ok(status(StatusCode::BAD_REQUEST)),
    };
    let mut response = Response::new(Full::new(answer.clone()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn names_cursor(body: &[u8]) -> bool {
    let cursor = MANY_CURSOR.as_bytes();
    body.windows(cursor.len()).any(|window| window == cursor)
}

/// The answer to every `tools/call`.
pub(crate) fn call_answer() -> String {
    let answer = |text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}],"isError":false}}}}"#
        )
    };
    let room = CALL_BYTES.saturating_sub(answer("").len());
    answer(&"x".repeat(room))
}

/// The name of a tool in the lists: every other one reads.
pub(crate) fn tool_name(index: usize) -> String {
    let verb = if index.is_multiple_of(2) {
        "get"
    } else {
        "set"
    };
    format!("{verb}_{index:04}")
}

/// The answer to `tools/list`, with tools as large as real ones.
pub(crate) fn list_answer(tools: usize) -> String {
    let mut text = String::from(
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","ttlMs":60000,"cacheScope":"public","tools":["#,
    );
    for index in 0..tools {
        let name = tool_name(index);
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            r#"{comma}{{"name":"{name}","title":"Tool {index}","description":"Works on the record of a customer, by its number.\nSays \"not found\" when there is none.","inputSchema":{{"type":"object","properties":{{"customer":{{"type":"string","description":"number of the customer"}},"fields":{{"type":"array","items":{{"type":"string"}}}}}},"required":["customer"]}}}}"#
        );
    }
    text.push_str("]}}");
    text
}
