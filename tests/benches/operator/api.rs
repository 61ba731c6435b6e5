//! Requests to the API server over connections that stay open, one at a time
//! or thousands.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;
use sidegate_testkit::client::{Client, Connection};
use sidegate_testkit::plane::{Patch, Plane};
use tokio::task::JoinSet;

/// Connections of a crowd of requests; more would only wait in the server.
const AT_A_TIME: usize = 8;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: &'static str,
    path: String,
    media_type: &'static str,
    body: Option<Value>,
}

/// How to reach the API server, as one who may do everything.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    client: Client,
    token: String,
}

/// One connection to it.
#[derive(Debug)]
pub(crate) struct Line {
    connection: Connection,
    token: String,
}

// === impl Ask ===

impl Ask {
    /// Creates an object.
    pub(crate) fn create(path: impl Into<String>, object: Value) -> Self {
        Self {
            method: "POST",
            path: path.into(),
            media_type: "application/json",
            body: Some(object),
        }
    }

    /// Changes an object.
    pub(crate) fn patch(path: impl Into<String>, kind: Patch, patch: Value) -> Self {
        Self {
            method: "PATCH",
            path: path.into(),
            media_type: match kind {
                Patch::Merge => "application/merge-patch+json",
                Patch::Strategic => "application/strategic-merge-patch+json",
            },
            body: Some(patch),
        }
    }

    /// Reads something.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            media_type: "application/json",
            body: None,
        }
    }
}

// === impl Caller ===

impl Caller {
    pub(crate) fn new(plane: &Plane) -> anyhow::Result<Self> {
        let server = plane.api.server();
        let authority = fs::read_to_string(server.ca_file())?;
        let address = server.url().trim_start_matches("https://").parse()?;
        Ok(Self {
            client: Client::tls(address, &authority),
            token: server.token().to_owned(),
        })
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Line> {
        Ok(Line {
            connection: self.client.connect().await?,
            token: self.token.clone(),
        })
    }

    /// Sends many requests; the answers are in their order.
    pub(crate) async fn all(&self, asks: Vec<Ask>) -> anyhow::Result<Vec<Value>> {
        let count = asks.len();
        let waiting = Arc::new(Mutex::new(asks.into_iter().enumerate()));
        let mut workers = JoinSet::new();
        for _ in 0..AT_A_TIME {
            let (caller, waiting) = (self.clone(), Arc::clone(&waiting));
            workers.spawn(async move {
                let mut line = caller.connect().await?;
                let mut answers = Vec::new();
                loop {
                    let next = waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .next();
                    let Some((index, ask)) = next else {
                        return anyhow::Ok(answers);
                    };
                    answers.push((index, line.ask(&ask).await?));
                }
            });
        }
        let mut answers = Vec::with_capacity(count);
        while let Some(done) = workers.join_next().await {
            answers.extend(done??);
        }
        answers.sort_unstable_by_key(|(index, _)| *index);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

// === impl Line ===

impl Line {
    /// Sends a request. A refusal is an error.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> anyhow::Result<Value> {
        let Ask {
            method,
            path,
            media_type,
            body,
        } = ask;
        let body = body.as_ref().map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(*method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, *media_type)
            .body(Bytes::from(body))?;
        let answer = self.connection.send(request).await;
        let answer = answer.with_context(|| format!("{method} {path}"))?;
        ensure!(
            answer.status.is_success(),
            "{method} {path}: {} {}",
            answer.status,
            answer.text()
        );
        serde_json::from_slice(&answer.body).with_context(|| format!("{method} {path}"))
    }
}

/// A text in an answer.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("the answer has no {pointer}"))
}
