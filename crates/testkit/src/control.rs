//! An operator that says what it is told to, over real TLS, and remembers what
//! sidecars said. Good by default: it welcomes everybody, signs certificates
//! and repeats its last word to everybody who comes.

mod config;
mod ledger;
mod serve;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sidegate_config::control::frame::encode;
use sidegate_config::control::{Authorities, FromOperator, FromSidecar, MAX_TO_SIDECAR, Refusal};
use sidegate_dev::certificates::{Issued, KeyPem};
use sidegate_policy::clock::{Clock as _, SystemClock};
use sidegate_tls::{Authority, Subject, Usages};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use self::config::{config, snapshot, version, withdrawn};
pub use self::ledger::SeenStream;
use self::ledger::{Ledger, Place};
use crate::certificates::TestAuthority;
use crate::poll::until;

/// As long as real ones.
const LIFETIME: Duration = Duration::from_secs(48 * 3600);

/// An operator on a port of 127.0.0.1, until it is dropped.
#[derive(Debug)]
pub struct TestOperator {
    address: SocketAddr,
    /// Whom sidecars trust for it.
    endpoint: TestAuthority,
    ledger: Arc<Ledger>,
    script: Arc<Mutex<Script>>,
    accepting: Option<JoinHandle<()>>,
}

/// What it does.
#[derive(Debug)]
pub(crate) struct Script {
    greeting: Greeting,
    /// After each welcome.
    opening: Vec<FromOperator>,
    /// Who signs, first the one that does now; all are trusted.
    authorities: Vec<Arc<Authority>>,
    lifetime: Duration,
    signs: bool,
    heartbeats: bool,
    live: Vec<mpsc::UnboundedSender<Say>>,
}

/// How a greeting is answered.
#[derive(Debug, Clone)]
pub enum Greeting {
    /// Welcome.
    Welcome,
    /// With a refusal.
    Refuse(Refusal),
    /// With these bytes.
    Raw(Vec<u8>),
    /// Not at all.
    Silence,
}

#[derive(Debug, Clone)]
pub(crate) enum Say {
    Bytes(Vec<u8>),
    HangUp,
}

// === impl TestOperator ===

impl TestOperator {
    /// Starts it.
    ///
    /// # Panics
    /// There is no port.
    pub async fn start() -> Self {
        let mut operator = Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            endpoint: TestAuthority::new(),
            ledger: Arc::default(),
            script: Arc::new(Mutex::new(Script::new())),
            accepting: None,
        };
        operator.bring_up().await;
        operator
    }

    /// Listens again, where it did before.
    ///
    /// # Panics
    /// Somebody else has its port.
    pub async fn bring_up(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("a port");
        self.address = listener.local_addr().expect("an address");
        let server = self.endpoint.server();
        let (script, ledger) = (Arc::clone(&self.script), Arc::clone(&self.ledger));
        let accepting = serve::accept(listener, server, script, ledger);
        self.accepting = Some(tokio::spawn(accepting));
    }

    /// Neither listens nor talks any more.
    pub async fn take_down(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // The port is free when the task has ended.
            let _ = accepting.await;
        }
        self.hang_up();
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Whom to trust for it: `endpoints.crt`.
    #[must_use]
    pub fn trust_pem(&self) -> &str {
        self.endpoint.pem()
    }

    /// The authority that signs for workloads.
    #[must_use]
    pub fn workloads_pem(&self) -> String {
        self.script().authorities[0].certificate_pem().to_owned()
    }

    /// A certificate of the workload authority for somebody who calls.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn client(&self, spiffe_id: &str) -> Issued {
        let authority = Arc::clone(&self.script().authorities[0]);
        let subject = Subject {
            common_name: "caller".to_owned(),
            spiffe_id: Some(spiffe_id.parse().expect("a SPIFFE id")),
            dns_names: Vec::new(),
            usages: Usages::Client,
        };
        let (certificate_pem, key) = authority
            .issue(&subject, now(), LIFETIME)
            .expect("a certificate");
        let key = String::from_utf8(key.expose().to_vec()).expect("PEM");
        Issued {
            certificate_pem,
            key_pem: KeyPem::from(key),
        }
    }

    /// How it answers greetings from now on.
    pub fn greet(&self, greeting: Greeting) {
        self.script().greeting = greeting;
    }

    /// How long the certificates live that it signs from now on.
    pub fn certificates_live(&self, lifetime: Duration) {
        self.script().lifetime = lifetime;
    }

    /// Whether it answers requests for certificates.
    pub fn signs(&self, signs: bool) {
        self.script().signs = signs;
    }

    /// Whether it is heard of when there is nothing new.
    pub fn heartbeats(&self, heartbeats: bool) {
        self.script().heartbeats = heartbeats;
    }

    /// Says something now, and to everybody who comes later in place of what it
    /// said to them before.
    ///
    /// # Panics
    /// It is too large.
    pub fn say(&self, message: &FromOperator) {
        self.script().opening = vec![message.clone()];
        self.say_once(message);
    }

    /// Says something to those who are there.
    ///
    /// # Panics
    /// It is too large.
    pub fn say_once(&self, message: &FromOperator) {
        self.say_raw(encode(message, MAX_TO_SIDECAR).expect("fits"));
    }

    /// Sends bytes to those who are there.
    pub fn say_raw(&self, bytes: Vec<u8>) {
        self.to_all(&Say::Bytes(bytes));
    }

    /// Ends the connections that there are.
    pub fn hang_up(&self) {
        self.to_all(&Say::HangUp);
        self.script().live.clear();
    }

    /// Signs with another authority from now on, and tells so. The one of
    /// before is trusted as well, or not any more.
    pub fn rotate(&self, keep: bool) {
        let authorities_pem = {
            let mut script = self.script();
            if !keep {
                script.authorities.clear();
            }
            script.authorities.insert(0, authority());
            script.authorities_pem()
        };
        self.say_once(&FromOperator::Authorities(Authorities { authorities_pem }));
    }

    /// Forgets every authority but the one that signs, and tells so.
    pub fn forget_old_authorities(&self) {
        let authorities_pem = {
            let mut script = self.script();
            script.authorities.truncate(1);
            script.authorities_pem()
        };
        self.say_once(&FromOperator::Authorities(Authorities { authorities_pem }));
    }

    /// Every connection so far, the latest last.
    #[must_use]
    pub fn streams(&self) -> Vec<SeenStream> {
        self.ledger.streams()
    }

    /// Everything that was said on all streams.
    #[must_use]
    pub fn said(&self) -> Vec<FromSidecar> {
        let streams = self.streams();
        streams.into_iter().flat_map(|stream| stream.said).collect()
    }

    /// Waits until a sidecar has said something that `look` finds.
    ///
    /// # Panics
    /// It does not.
    pub async fn until_said<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&FromSidecar) -> Option<T>,
    ) -> T {
        until(what, || self.said().iter().find_map(&mut look)).await
    }

    /// Waits until there were this many connections.
    ///
    /// # Panics
    /// They do not come.
    pub async fn until_streams(&self, count: usize) {
        let what = format!("{count} streams were opened");
        until(&what, || (self.streams().len() >= count).then_some(())).await;
    }

    fn to_all(&self, say: &Say) {
        // Those that are gone do not listen.
        self.script()
            .live
            .retain(|live| live.send(say.clone()).is_ok());
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }
}

impl Drop for TestOperator {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
        self.hang_up();
    }
}

// === impl Script ===

impl Script {
    fn new() -> Self {
        Self {
            greeting: Greeting::Welcome,
            opening: Vec::new(),
            authorities: vec![authority()],
            lifetime: LIFETIME,
            signs: true,
            heartbeats: true,
            live: Vec::new(),
        }
    }

    fn authorities_pem(&self) -> String {
        let all = self.authorities.iter();
        all.map(|authority| authority.certificate_pem()).collect()
    }
}

fn authority() -> Arc<Authority> {
    let lifetime = Duration::from_secs(10 * 24 * 3600);
    let authority = Authority::create("Sidegate test workloads", now(), lifetime);
    Arc::new(authority.expect("an authority"))
}

fn now() -> i64 {
    SystemClock.unix_seconds()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
