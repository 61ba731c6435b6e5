//! What a server said.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An answer that is still coming in. Dropping it resets the stream of HTTP/2
/// and ends the connection of HTTP/1.1.
#[derive(Debug)]
pub struct Streaming {
    /// Its status.
    pub status: StatusCode,
    /// Its header.
    pub headers: HeaderMap,
    body: Incoming,
}

// === impl Answer ===

impl Answer {
    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The message in the body: JSON, or the data of the last event. `null`
    /// when there is none.
    #[must_use]
    pub fn json(&self) -> Value {
        let text = self.text();
        let event = text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .next_back();
        serde_json::from_str(event.unwrap_or(&text)).unwrap_or_default()
    }

    /// A header as text; empty when it is not there.
    ///
    /// # Panics
    /// It is there more than once.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values
            .next()
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        assert!(values.next().is_none(), "`{name}` is there more than once");
        value
    }
}

// === impl Streaming ===

impl Streaming {
    pub(super) fn new(answer: Response<Incoming>) -> Self {
        let (head, body) = answer.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// The next piece of the body; none at its end.
    ///
    /// # Errors
    /// The stream breaks, or nothing comes for `patience`.
    pub async fn next(&mut self, patience: Duration) -> anyhow::Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(patience, self.body.frame()).await;
            let Some(frame) = frame.context("nothing came")? else {
                return Ok(None);
            };
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// Reads until a text came.
    ///
    /// # Errors
    /// The stream ends or breaks before, or nothing comes for `patience`.
    pub async fn until(&mut self, text: &str, patience: Duration) -> anyhow::Result<String> {
        let mut seen = Vec::new();
        loop {
            let piece = self.next(patience).await?;
            let piece = piece.with_context(|| {
                format!("ended before `{text}`: {}", String::from_utf8_lossy(&seen))
            })?;
            seen.extend_from_slice(&piece);
            let so_far = String::from_utf8_lossy(&seen);
            if so_far.contains(text) {
                return Ok(so_far.into_owned());
            }
        }
    }

    /// Reads the rest.
    ///
    /// # Errors
    /// The stream breaks.
    pub async fn finish(self) -> anyhow::Result<Answer> {
        let Self {
            status,
            headers,
            body,
        } = self;
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}
