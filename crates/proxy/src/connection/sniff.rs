//! Which protocol a plaintext client speaks: HTTP/2 begins with a preface that
//! no HTTP/1 request begins with (RFC 9113 3.4).

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::activity::Patience;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client began with.
#[derive(Debug)]
pub(super) struct Sniffed {
    pub(super) http2: bool,
    /// The bytes that were read; they are still part of the connection.
    pub(super) read: Vec<u8>,
}

/// Reads until the protocol is known. None when the client closed or waited
/// too long before that.
pub(super) async fn protocol<S>(stream: &mut S, patience: &Patience) -> Option<Sniffed>
where
    S: AsyncRead + Unpin,
{
    let mut read = Vec::with_capacity(PREFACE.len());
    let mut wait = patience.idle;
    loop {
        let missing = (PREFACE.len() - read.len()) as u64;
        let mut part = (&mut *stream).take(missing);
        let count = timeout(wait, part.read_buf(&mut read)).await.ok()?.ok()?;
        if count == 0 {
            return None;
        }
        // From here on the client is sending a head, and the whole of it is
        // timed again by the connection.
        wait = patience.header;
        if !PREFACE.starts_with(&read) {
            return Some(Sniffed { http2: false, read });
        }
        if read.len() == PREFACE.len() {
            return Some(Sniffed { http2: true, read });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    const PATIENCE: Patience = Patience {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
    };

    async fn sniff(pieces: &[&[u8]]) -> Option<Sniffed> {
        let (mut client, mut server) = tokio::io::duplex(64);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        tokio::spawn(async move {
            for piece in pieces {
                client.write_all(&piece).await.expect("writes");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
        });
        protocol(&mut server, &PATIENCE).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_preface_decides() {
        let whole = sniff(&[PREFACE]).await.expect("sniffed");
        assert!(whole.http2);
        let split = sniff(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r", b"\n"])
            .await
            .expect("sniffed");
        assert!(split.http2);
        assert_eq!(split.read, PREFACE);
        let request = sniff(&[b"P", b"OST / HTTP/1.1\r\n"])
            .await
            .expect("sniffed");
        assert!(!request.http2);
        assert!(b"POST / HTTP/1.1\r\n".starts_with(&request.read));
        let almost = sniff(&[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"])
            .await
            .expect("sniffed");
        assert!(!almost.http2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_beyond_the_preface() {
        let long = [PREFACE.as_slice(), b"frames"].concat();
        assert_eq!(sniff(&[&long]).await.expect("sniffed").read, PREFACE);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let begun = tokio::time::Instant::now();
        assert!(sniff(&[]).await.is_none());
        assert_eq!(begun.elapsed(), PATIENCE.idle);
        let begun = tokio::time::Instant::now();
        assert!(sniff(&[b"PRI"]).await.is_none());
        assert_eq!(begun.elapsed(), PATIENCE.header);
    }
}
