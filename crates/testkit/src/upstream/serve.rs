//! One connection of a server.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Script;
use super::ledger::Ledger;
use super::reply::{End, Reply, Step};
use super::request::SeenRequest;

/// Answers requests until the connection ends.
pub(super) async fn serve(mut stream: TcpStream, ledger: &Ledger, script: &Script) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    loop {
        let request = loop {
            match parse(&buffer) {
                Some((request, used)) => {
                    buffer.drain(..used);
                    break request;
                }
                None if receive(&mut stream, &mut buffer, ledger).await => {}
                None => return,
            }
        };
        // The script runs first: what it saw is what the ledger shows.
        let reply = script(&request);
        ledger.request(request);
        if !answer(&mut stream, reply, ledger).await {
            return;
        }
    }
}

/// Whether something came.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>, ledger: &Ledger) -> bool {
    let mut piece = vec![0; 16 * 1024];
    match stream.read(&mut piece).await {
        Ok(0) | Err(_) => false,
        Ok(read) => {
            ledger.received(&piece[..read]);
            buffer.extend_from_slice(&piece[..read]);
            true
        }
    }
}

/// Whether the connection is to be used again.
async fn answer(stream: &mut TcpStream, reply: Reply, ledger: &Ledger) -> bool {
    let Reply { steps, end } = reply;
    for step in steps {
        let sent = match step {
            Step::Send(bytes) => stream.write_all(&bytes).await,
            // A peer that goes meanwhile is noticed when something is sent.
            Step::Pause(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Step::Wait(gate) => {
                gate.passed().await;
                Ok(())
            }
        };
        if sent.is_err() {
            return false;
        }
    }
    match end {
        End::Next => true,
        End::Close => false,
        End::Hang => {
            let mut ignored = Vec::new();
            while receive(stream, &mut ignored, ledger).await {}
            false
        }
    }
}

/// The first request of `bytes` and its length, when it is complete.
fn parse(bytes: &[u8]) -> Option<(SeenRequest, usize)> {
    let head_end = find(bytes, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let start = head_end + 4;
    let request = SeenRequest {
        head,
        body: Vec::new(),
    };
    let is_chunked = request.header("transfer-encoding").is_some();
    let length = request
        .header("content-length")
        .and_then(|length| length.parse().ok());
    let (body, used) = match (is_chunked, length) {
        (true, _) => unchunk(&bytes[start..])?,
        (false, length) => {
            let length = length.unwrap_or(0);
            (bytes.get(start..start + length)?.to_vec(), length)
        }
    };
    Some((SeenRequest { body, ..request }, start + used))
}

/// A chunked body without trailers, and how long it was.
fn unchunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        at += line + 2;
        let chunk = bytes.get(at..at + size)?;
        bytes.get(at + size..at + size + 2)?;
        body.extend_from_slice(chunk);
        at += size + 2;
        if size == 0 {
            return Some((body, at));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cut_where_they_end() {
        let two = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\n\r\n";
        let (first, used) = parse(two).unwrap();
        assert_eq!((first.path(), &*first.body), ("/a", &b"hi"[..]));
        let (second, rest) = parse(&two[used..]).unwrap();
        assert_eq!((second.method(), second.path()), ("GET", "/b"));
        assert_eq!(used + rest, two.len());
        for cut in 0..used {
            assert!(parse(&two[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn chunks_are_put_together() {
        let request = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        let (seen, used) = parse(request).unwrap();
        assert_eq!(seen.body, b"hi0123456789");
        assert_eq!(used, request.len());
        for cut in 0..request.len() {
            assert!(parse(&request[..cut]).is_none(), "{cut}");
        }
    }
}
