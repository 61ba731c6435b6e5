//! What a server does about a request.

use std::time::Duration;

use serde_json::{Value, json};

use super::gate::Gate;
use super::request::SeenRequest;

/// An answer, or what stands for it: pieces, one after the other.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub(super) steps: Vec<Step>,
    pub(super) end: End,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    Wait(Gate),
}

/// What happens after the last piece.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum End {
    /// The next request is read.
    #[default]
    Next,
    /// The connection is closed.
    Close,
    /// Nothing more comes, until the peer goes.
    Hang,
}

// === impl Reply ===

impl Reply {
    /// Bytes as they are. The connection stays open.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            steps: vec![Step::Send(bytes.into())],
            end: End::Next,
        }
    }

    /// A status with headers and a body with its length.
    #[must_use]
    pub fn status(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = head(status, headers);
        bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        bytes.extend_from_slice(body);
        Self::raw(bytes)
    }

    /// JSON.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        let body = body.to_string();
        Self::status(
            status,
            &[("Content-Type", "application/json")],
            body.as_bytes(),
        )
    }

    /// The result of a request, as JSON with its id. A notification gets 202.
    #[must_use]
    pub fn result(request: &SeenRequest, result: Value) -> Self {
        match message(request, result) {
            Some(message) => Self::json(200, &message),
            None => Self::status(202, &[], b""),
        }
    }

    /// The result of a request, as the only event of a stream.
    #[must_use]
    pub fn sse_result(request: &SeenRequest, result: Value) -> Self {
        match message(request, result) {
            Some(message) => Self::sse(&[&format!("data: {message}\n\n")]),
            None => Self::status(202, &[], b""),
        }
    }

    /// An event stream with this text, a chunk for every piece. It ends in
    /// order unless told otherwise.
    #[must_use]
    pub fn sse(pieces: &[&str]) -> Self {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        Self::chunked(200, &[("Content-Type", "text/event-stream")], &pieces)
    }

    /// An event stream that stays open after these pieces.
    #[must_use]
    pub fn open_sse(pieces: &[&str]) -> Self {
        let mut reply = Self::sse(pieces);
        // Without the chunk that ends it.
        reply.steps.pop();
        reply.end = End::Hang;
        reply
    }

    /// A body in chunks.
    #[must_use]
    pub fn chunked(status: u16, headers: &[(&str, &str)], pieces: &[&[u8]]) -> Self {
        let mut start = head(status, headers);
        start.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        let mut steps = vec![Step::Send(start)];
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend_from_slice(piece);
            chunk.extend_from_slice(b"\r\n");
            steps.push(Step::Send(chunk));
        }
        steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        Self {
            steps,
            end: End::Next,
        }
    }

    /// JSON in gzip, though nobody asked for it.
    #[must_use]
    pub fn gzip(body: &Value) -> Self {
        let headers = [
            ("Content-Type", "application/json"),
            ("Content-Encoding", "gzip"),
        ];
        Self::status(200, &headers, &gzip(body.to_string().as_bytes()))
    }

    /// No answer; the connection stays open.
    #[must_use]
    pub fn hang() -> Self {
        Self {
            steps: Vec::new(),
            end: End::Hang,
        }
    }

    /// No answer; the connection is closed.
    #[must_use]
    pub fn close() -> Self {
        Self {
            steps: Vec::new(),
            end: End::Close,
        }
    }

    /// Waits before every piece.
    #[must_use]
    pub fn slowly(mut self, pause: Duration) -> Self {
        let pieces = std::mem::take(&mut self.steps);
        self.steps = pieces
            .into_iter()
            .flat_map(|piece| [Step::Pause(pause), piece])
            .collect();
        self
    }

    /// Waits for the gate after this many pieces; the head is the first.
    ///
    /// # Panics
    /// There are not so many pieces.
    #[must_use]
    pub fn gated_after(mut self, pieces: usize, gate: &Gate) -> Self {
        self.steps.insert(pieces, Step::Wait(gate.clone()));
        self
    }

    /// Breaks off after this many pieces and closes the connection.
    #[must_use]
    pub fn broken_after(mut self, pieces: usize) -> Self {
        self.steps.truncate(pieces);
        self.then_close()
    }

    /// Closes the connection afterwards.
    #[must_use]
    pub fn then_close(mut self) -> Self {
        self.end = End::Close;
        self
    }

    /// Adds a header to the answer.
    ///
    /// # Panics
    /// The reply has no head.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let Some(Step::Send(bytes)) = self.steps.first_mut() else {
            panic!("no head")
        };
        let end = bytes
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .expect("a status line")
            + 2;
        let line = format!("{name}: {value}\r\n");
        bytes.splice(end..end, line.bytes());
        self
    }
}

fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.into_bytes()
}

fn message(request: &SeenRequest, result: Value) -> Option<Value> {
    let id = request.json().get("id").cloned()?;
    let mut message = json!({"jsonrpc": "2.0", "id": id});
    message["result"] = result;
    Some(message)
}

/// RFC 1952 around stored blocks (RFC 1951, section 3.2.4): valid, without
/// compressing anything.
fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = body.chunks(usize::from(u16::MAX)).peekable();
    if blocks.peek().is_none() {
        out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&crc32(body).to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0xedb8_8320
        } else {
            crc >> 1
        }
    };
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_gzip() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(
            &gzip(b"a")[10..],
            [
                1, 1, 0, 0xfe, 0xff, b'a', 0x43, 0xbe, 0xb7, 0xe8, 1, 0, 0, 0
            ]
        );
        assert_eq!(gzip(b"").len(), 23);
    }
}
