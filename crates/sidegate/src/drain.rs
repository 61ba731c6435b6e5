//! `sidegate drain`: asks a running sidecar to drain and waits until it has
//! stopped. It is the `preStop` hook of the sidecar's container.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::args::DrainArgs;
use crate::{complain, say};

const POLL: Duration = Duration::from_millis(200);
/// One question to a port on this machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn drain(args: &DrainArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let drained = runtime
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(drain_and_wait(args.admin, args.timeout)));
    match drained {
        Ok(()) => {
            say("drained");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn drain_and_wait(admin: SocketAddr, wait: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + wait;
    ask(admin)
        .await
        .with_context(|| format!("no sidecar at {admin}; name its admin port with --admin"))?;
    while Instant::now() < until {
        sleep(POLL).await;
        // The admin port goes when the sidecar has stopped.
        if ask(admin).await.is_err() {
            return Ok(());
        }
    }
    bail!(
        "the sidecar at {admin} still drains after {} s",
        wait.as_secs()
    )
}

/// Begins the drain; asking again changes nothing.
async fn ask(admin: SocketAddr) -> anyhow::Result<()> {
    let answered = timeout(ANSWER_TIMEOUT, async {
        let stream = TcpStream::connect(admin).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri("/drain")
            .header("host", admin.to_string())
            .header("connection", "close")
            .body(Empty::<Bytes>::new())?;
        tokio::spawn(connection);
        anyhow::Ok(sender.send_request(request).await?.status())
    });
    match answered.await?? {
        StatusCode::ACCEPTED => Ok(()),
        status => bail!("the admin port answered {status}"),
    }
}
