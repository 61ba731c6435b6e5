//! Bytes on a connection, for requests that no library would send.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAnswer {
    /// Every byte.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub end: End,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed it.
    Closed,
    /// The peer reset it.
    Reset,
    /// It is open and silent.
    Open,
}

/// Sends bytes over a new connection and reads until it is closed, or silent
/// for `quiet`.
///
/// # Errors
/// There is no connection.
pub async fn exchange(address: SocketAddr, bytes: &[u8], quiet: Duration) -> io::Result<RawAnswer> {
    exchange_pieces(address, &[bytes], quiet).await
}

/// The same with the bytes in pieces, each in a packet of its own.
///
/// # Errors
/// There is no connection.
pub async fn exchange_pieces(
    address: SocketAddr,
    pieces: &[&[u8]],
    quiet: Duration,
) -> io::Result<RawAnswer> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            // Long enough that the peer reads the piece before by itself.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // The peer may answer and close before it got everything.
        if stream.write_all(piece).await.is_err() {
            break;
        }
    }
    Ok(read(&mut stream, quiet).await)
}

async fn read(stream: &mut TcpStream, quiet: Duration) -> RawAnswer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        match timeout(quiet, stream.read(&mut buffer)).await {
            Err(_) => break End::Open,
            Ok(Ok(0)) => break End::Closed,
            Ok(Ok(read)) => bytes.extend_from_slice(&buffer[..read]),
            Ok(Err(_)) => break End::Reset,
        }
    };
    RawAnswer { bytes, end }
}

// === impl RawAnswer ===

impl RawAnswer {
    /// The answer as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The statuses of all answers, in order.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        let text = self.text();
        let answers = text.split("HTTP/1.1 ").skip(1);
        answers
            .filter_map(|answer| answer.get(..3)?.parse().ok())
            .collect()
    }

    /// The status of the only answer; none when there is none.
    ///
    /// # Panics
    /// There are several: something in the request was taken for another one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let statuses = self.statuses();
        assert!(statuses.len() <= 1, "several answers: {}", self.text());
        statuses.first().copied()
    }
}
