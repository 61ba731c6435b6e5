//! Reads HTTP/1.1 answers off a connection, as little of HTTP as that takes.

use anyhow::{Context as _, bail, ensure};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// A longer head is no answer of ours.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The bytes of one answer at a time: there is no pipelining.
#[derive(Debug, Default)]
pub(crate) struct AnswerReader {
    buffer: Vec<u8>,
    filled: usize,
    head: Option<Head>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

// === impl AnswerReader ===

impl AnswerReader {
    /// Where the next bytes go.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let least = self.filled + READ_BYTES;
        if self.buffer.len() < least {
            self.buffer.resize(least, 0);
        }
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// Takes bytes that were read, and says whether the answer is complete.
    pub(crate) fn advance(&mut self, read: usize) -> anyhow::Result<bool> {
        ensure!(read > 0, "the connection was closed before the answer");
        self.filled += read;
        if self.head.is_none() {
            self.head = head(self.buffer.get(..self.filled).unwrap_or_default())?;
        }
        let Some(head) = self.head else {
            ensure!(
                self.filled <= MAX_HEAD_BYTES,
                "the head of the answer does not end"
            );
            return Ok(false);
        };
        let whole = head.bytes + head.body_bytes;
        ensure!(self.filled <= whole, "there are bytes after the answer");
        Ok(self.filled == whole)
    }

    /// Takes the answer that is complete; the next one begins after it.
    pub(crate) fn take(&mut self) -> anyhow::Result<Answer<'_>> {
        let head = self.head.take().context("there is no answer")?;
        let body = self.buffer.get(head.bytes..self.filled);
        self.filled = 0;
        let status = head.status;
        let body = body.context("there is no answer")?;
        Ok(Answer { status, body })
    }
}

fn head(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.with_context(|| format!("`{line}` is no status line"))?;
    let mut body_bytes = None;
    for line in lines {
        let (name, value) = line.split_once(':').context("a header without a colon")?;
        if name.eq_ignore_ascii_case("content-length") {
            body_bytes = Some(value.trim().parse()?);
        }
        if name.eq_ignore_ascii_case("connection") && value.trim() == "close" {
            bail!("status {status}: the connection is being closed");
        }
    }
    let body_bytes = body_bytes.with_context(|| format!("status {status}: no content-length"))?;
    Ok(Some(Head {
        status,
        bytes: end + 4,
        body_bytes,
    }))
}
