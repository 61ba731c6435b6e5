//! Who answers at a port: the sidecar, nobody, or the server itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::{print_started, until_input_ends};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address and port
    address: SocketAddr,
}

/// How often what happened.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Dialled {
    /// The server answered: there is a way around the sidecar.
    server: u64,
    /// Somebody took the connection, and was not the server.
    other: u64,
    /// Nobody took the connection, by reason.
    nobody: BTreeMap<String, u64>,
}

const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(2);
/// The demo server says it to everybody who asks for another path than its own.
const QUESTION: &[u8] = b"GET /who HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
const SERVER: &[u8] = b"HTTP/1.1 404";

pub(crate) async fn run(args: Args) -> anyhow::Result<Dialled> {
    let mut dialled = Dialled::default();
    print_started()?;
    let mut stop = std::pin::pin!(until_input_ends());
    loop {
        tokio::select! {
            () = &mut stop => return Ok(dialled),
            () = dial(args.address, &mut dialled) => {}
        }
        sleep(PAUSE).await;
    }
}

async fn dial(address: SocketAddr, dialled: &mut Dialled) {
    let reached = timeout(PATIENCE, TcpStream::connect(address)).await;
    let mut stream = match reached {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            *dialled.nobody.entry(error.kind().to_string()).or_default() += 1;
            return;
        }
        Err(_) => {
            *dialled.nobody.entry("no answer".to_owned()).or_default() += 1;
            return;
        }
    };
    let mut said = Vec::new();
    let asked = async {
        stream.write_all(QUESTION).await?;
        stream.read_to_end(&mut said).await
    };
    // A sidecar that is being started again holds the connection for a while.
    drop(timeout(PATIENCE, asked).await);
    if said.starts_with(SERVER) {
        dialled.server += 1;
    } else {
        dialled.other += 1;
    }
}
