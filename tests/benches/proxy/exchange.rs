//! A request as bytes, and the only right answer to it.

use std::sync::Arc;

use anyhow::ensure;
use http::header::CONTENT_LENGTH;
use sidegate_testkit::mcp::McpRequest;

use crate::answer::Answer;

/// The `Host` of every request: that of the gateway's resource.
pub(crate) const HOST: &str = "localhost:18080";

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Arc<[u8]>,
    pub(crate) body: Arc<[u8]>,
}

// === impl Exchange ===

impl Exchange {
    /// A request that is answered with 200 and this body.
    pub(crate) fn new(request: &[u8], body: &[u8]) -> Self {
        Self {
            request: Arc::from(request),
            body: Arc::from(body),
        }
    }

    /// Compares an answer with the right one, byte for byte.
    pub(crate) fn check(&self, answer: &Answer<'_>) -> anyhow::Result<()> {
        let Answer { status, body } = answer;
        ensure!(
            *status == 200,
            "status {status} instead of 200: {}",
            String::from_utf8_lossy(body.get(..200).unwrap_or(body))
        );
        ensure!(
            body.len() == self.body.len(),
            "{} bytes of body instead of {}",
            body.len(),
            self.body.len()
        );
        ensure!(
            **body == *self.body,
            "the body has the right length and differs"
        );
        Ok(())
    }
}

/// The bytes of a request on an HTTP/1.1 connection.
pub(crate) fn bytes(request: McpRequest) -> Vec<u8> {
    let (head, body) = http::Request::<bytes::Bytes>::from(request).into_parts();
    let mut bytes =
        format!("{} {} HTTP/1.1\r\nhost: {HOST}\r\n", head.method, head.uri).into_bytes();
    for (name, value) in head
        .headers
        .iter()
        .filter(|(name, _)| *name != CONTENT_LENGTH)
    {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(&body);
    bytes
}
