//! Serves a key set, or fails to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use sidegate_dev::loopback::{Loopback, bind};

/// What a key server says.
#[derive(Debug, Clone)]
pub enum Serving {
    /// This key set.
    Keys(Value),
    /// This key set, after a while.
    Late(Duration, Value),
    /// Nothing but a status.
    Status(u16),
    /// These bytes, as JSON or not.
    Raw(Bytes),
}

#[derive(Debug)]
pub(super) struct KeyServer {
    address: SocketAddr,
    state: Arc<State>,
    server: Option<Loopback>,
}

#[derive(Debug)]
struct State {
    serving: Mutex<Serving>,
    fetches: AtomicU64,
}

// === impl KeyServer ===

impl KeyServer {
    pub(super) async fn start() -> Self {
        let serving = Mutex::new(Serving::Status(503));
        let state = Arc::new(State {
            serving,
            fetches: AtomicU64::new(0),
        });
        let server = listen(0, &state).await;
        Self {
            address: server.address(),
            state,
            server: Some(server),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn serve(&self, serving: Serving) {
        *self
            .state
            .serving
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = serving;
    }

    pub(super) fn fetches(&self) -> u64 {
        self.state.fetches.load(Ordering::SeqCst)
    }

    pub(super) fn take_down(&mut self) {
        self.server = None;
    }

    pub(super) async fn bring_up(&mut self) {
        self.server = None;
        self.server = Some(listen(self.address.port(), &self.state).await);
    }
}

async fn listen(port: u16, state: &Arc<State>) -> Loopback {
    // The task of a server that was taken down may still be ending.
    let mut listener = bind(port, "the key server", "").await;
    for _ in 0..100 {
        if listener.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        listener = bind(port, "the key server", "").await;
    }
    let state = Arc::clone(state);
    Loopback::start(listener.expect("a port"), move |_| {
        let state = Arc::clone(&state);
        async move { state.answer().await }
    })
    .expect("an address")
}

// === impl State ===

impl State {
    async fn answer(&self) -> Response<Full<Bytes>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let serving = self
            .serving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (status, body) = match serving {
            Serving::Keys(keys) => (200, Bytes::from(keys.to_string())),
            Serving::Late(delay, keys) => {
                tokio::time::sleep(delay).await;
                (200, Bytes::from(keys.to_string()))
            }
            Serving::Status(status) => (status, Bytes::new()),
            Serving::Raw(bytes) => (200, bytes),
        };
        let mut answer = Response::new(Full::new(body));
        *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
        answer
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }
}
