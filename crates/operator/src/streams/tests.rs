//! Streams without a cluster: the API server's answers, the time and what a
//! pod is assigned are the test's.

mod certificates;
mod recognize;
mod session;
mod times;

use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use serde_json::value::RawValue;
use sidegate_config::control::frame::{Decoder, encode};
use sidegate_config::control::{
    FromOperator, FromSidecar, Hello, MAX_TO_OPERATOR, MAX_TO_SIDECAR, Purpose, Refusal,
    SnapshotVersion,
};
use sidegate_config::sidecar_config::SecretText;
use sidegate_policy::clock::{ManualClock, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;

use super::authenticate::{Authenticated, Shown};
use super::session::{Beginning, Ended, Session};
use super::token::tests::{payload_of, token_of};
use super::token_review::tests::answer_for;
use super::token_review::{ReviewError, Reviewing};
use super::*;
use crate::authority::Trust;
use crate::authority::tests::trust;
use crate::board::{Assigned, Assignment, Naming, PodRef, Program};
use crate::key::Key;
use crate::pod_condition::{PodConditions, ShownCertificate};
use crate::world::PodFacts;

const SOURCE: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// The time at which tests begin: certificates are made with that of the system.
fn now() -> i64 {
    static NOW: LazyLock<i64> = LazyLock::new(|| SystemClock.unix_seconds());
    *NOW
}

/// Stands for the API server; tokens that it does not know are nobody's.
#[derive(Default)]
struct FakeApiServer {
    answers: Mutex<HashMap<Vec<u8>, Value>>,
    asked: AtomicUsize,
    is_down: std::sync::atomic::AtomicBool,
    /// While it is there, answers wait for it.
    held: Mutex<Option<Arc<Notify>>>,
}

impl TokenReviewer for FakeApiServer {
    fn review(&self, token: SecretText) -> Reviewing {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let known = self
            .answers
            .lock()
            .expect("lock")
            .get(token.expose())
            .cloned();
        let answer = known.unwrap_or_else(|| serde_json::json!({"authenticated": false}));
        let is_down = self.is_down.load(Ordering::Relaxed);
        let held = self.held.lock().expect("lock").clone();
        Box::pin(async move {
            if let Some(held) = held {
                held.notified().await;
            }
            match is_down {
                true => Err(ReviewError::TooSlow),
                false => Ok(serde_json::from_value(answer).expect("an answer")),
            }
        })
    }
}

/// A replica whose neighbours are the test's.
struct Replica {
    shared: Arc<Shared>,
    api: Arc<FakeApiServer>,
    conditions: Arc<PodConditions>,
    clock: Arc<ManualClock>,
    trust: watch::Sender<Option<Arc<Trust>>>,
    stopping: watch::Sender<bool>,
}

// === impl Replica ===

impl Replica {
    fn new() -> Self {
        Self::with(ReviewLimits::default())
    }

    fn with(reviews: ReviewLimits) -> Self {
        let clock = Arc::new(ManualClock::new(now()));
        let naming = Naming {
            cluster_domain: "cluster.local".to_owned(),
        };
        let conditions = Arc::<PodConditions>::default();
        let board = Arc::new(Board::new(naming, Arc::clone(&conditions)));
        board.everything_is_known();
        let (trust_tx, trust) = watch::channel(Some(trust()));
        let (stopping_tx, stopping) = watch::channel(false);
        let api = Arc::new(FakeApiServer::default());
        let settings = StreamSettings {
            trust_domain: "cluster.local".to_owned(),
            limits: StreamLimits {
                reviews,
                ..StreamLimits::default()
            },
        };
        let neighbours = Neighbours {
            board,
            trust,
            metrics: Arc::new(Metrics::new(Arc::clone(&clock) as _)),
            clock: Arc::clone(&clock) as _,
            stopping,
        };
        let shared = Shared::new(settings, Arc::clone(&api) as _, neighbours);
        Self {
            shared: Arc::new(shared),
            api,
            conditions,
            clock,
            trust: trust_tx,
            stopping: stopping_tx,
        }
    }

    /// The watches tell a pod `crm/NAME`.
    fn pod(&self, name: &str, uid: &str) {
        self.pod_with(name, uid, |_| {});
    }

    fn pod_with(&self, name: &str, uid: &str, change: impl FnOnce(&mut PodFacts)) {
        let mut facts = PodFacts {
            uid: uid.into(),
            service_account: "support".into(),
            counted: true,
            ..PodFacts::default()
        };
        change(&mut facts);
        self.shared.board().set_pod(&Key::new("crm", name), facts);
    }

    /// Whether a pod has to show a certificate.
    fn has_to_show(&self, name: &str) -> bool {
        let known = self.shared.board().known(&Key::new("crm", name));
        let certificates = self.shared.certificates();
        certificates.is_held(&known.expect("a pod"), now())
    }

    /// A certificate that a pod has.
    fn shown(&self, dns_names: &[&str]) -> Shown {
        Shown {
            certificate: ShownCertificate {
                until_unix: now() + 100,
                authority: self.authority(),
                sandbox_unix: None,
            },
            dns_names: dns_names.iter().map(|it| (*it).to_owned()).collect(),
            is_of_this_domain: true,
        }
    }

    /// As it does before it looks at a hello.
    fn trusts_its_own(&self) {
        let trust = self.shared.trust.borrow().clone().expect("trust");
        let certificates = self.shared.certificates();
        certificates.trust(trust.workload_roots_pem());
    }

    /// The key identifier of the authority that signs for workloads.
    fn authority(&self) -> String {
        let trust = self.shared.trust.borrow().clone().expect("trust");
        let mut ids = sidegate_tls::key_ids(trust.workload_roots_pem());
        ids.pop().expect("an identifier")
    }

    /// A token for which the API server answers this.
    fn token_with(&self, name: &str, uid: &str, ends_unix: i64, answer: Value) -> SecretText {
        let token = token_of(&payload_of(name, uid, ends_unix));
        let mut answers = self.api.answers.lock().expect("lock");
        answers.insert(token.clone().into_bytes(), answer);
        SecretText::from(token)
    }

    /// A good token of a pod, for another hour.
    fn token(&self, name: &str, uid: &str) -> SecretText {
        self.token_with(name, uid, now() + 3600, answer_for(name, uid))
    }

    fn asked(&self) -> usize {
        self.api.asked.load(Ordering::Relaxed)
    }

    /// A stream of a pod that was recognized, with its first messages read.
    async fn stream(&self, stream: Wanted) -> Standing {
        let (near, far) = duplex(stream.room);
        let (reader, writer) = split(near);
        let (assignment_tx, assignment) = watch::channel(stream.assignment);
        let trust = self.shared.trust.borrow().clone().expect("trust");
        let session = Session::new(Beginning {
            shared: Arc::clone(&self.shared),
            source: SOURCE,
            reader,
            writer,
            hello: Hello {
                token: SecretText::from(String::new()),
                purpose: stream.purpose,
                schema_versions: vec![1],
                program: "test".to_owned(),
                in_force: stream.in_force,
            },
            authenticated: Authenticated {
                pod: PodRef {
                    key: Key::new("crm", "a"),
                    uid: stream.uid.into(),
                },
                service_account: "support".into(),
                token_ends_unix: now() + 3600,
                shown: stream.shown,
                assignment: stream.follows.unwrap_or(assignment),
            },
            trust,
        });
        let running = session.run();
        // With its buffers, and without those of TLS: there are thousands.
        let size = size_of_val(&running);
        assert!(size < 12 * 1024, "{size}");
        let mut standing = Standing {
            far,
            decoder: Decoder::new(MAX_TO_SIDECAR),
            assignment: assignment_tx,
            ended: tokio::spawn(running),
        };
        if stream.reads_welcome {
            let welcome = standing.next().await;
            assert!(matches!(welcome, FromOperator::Welcome(it) if it.pod == "crm/a"));
            assert!(matches!(
                standing.next().await,
                FromOperator::Authorities(_)
            ));
        }
        standing
    }
}

/// What a stream begins with.
struct Wanted {
    uid: String,
    assignment: Assignment,
    purpose: Purpose,
    in_force: Option<SnapshotVersion>,
    shown: Option<Shown>,
    /// The assignment is the board's.
    follows: Option<watch::Receiver<Assignment>>,
    /// Bytes that fit into the connection.
    room: usize,
    reads_welcome: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            uid: "u1".to_owned(),
            assignment: assigned(Assigned::Waiting, 1),
            purpose: Purpose::Enforce,
            in_force: None,
            shown: None,
            follows: None,
            room: 256 * 1024,
            reads_welcome: true,
        }
    }
}

/// A stream, from the sidecar's side.
struct Standing {
    far: DuplexStream,
    decoder: Decoder,
    assignment: watch::Sender<Assignment>,
    ended: tokio::task::JoinHandle<Ended>,
}

// === impl Standing ===

impl Standing {
    async fn say(&mut self, message: &FromSidecar) {
        let frame = encode(message, MAX_TO_OPERATOR).expect("a frame");
        self.far.write_all(&frame).await.expect("it is written");
    }

    async fn try_next(&mut self) -> Option<FromOperator> {
        loop {
            if let Some(message) = self.decoder.next_message().expect("a message") {
                return Some(message);
            }
            let mut arrived = [0; 4096];
            match self.far.read(&mut arrived).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.decoder.push(&arrived[..count]),
            }
        }
    }

    /// The next message.
    async fn next(&mut self) -> FromOperator {
        self.try_next().await.expect("it does not hang up")
    }

    async fn refused(&mut self) -> Refusal {
        loop {
            if let FromOperator::Refused(refusal) = self.next().await {
                return refusal;
            }
        }
    }

    /// The hash of the next snapshot, which has to be the next message.
    async fn snapshot(&mut self) -> SnapshotVersion {
        let next = self.next().await;
        let FromOperator::Snapshot(snapshot) = next else {
            panic!("a snapshot: {next:?}")
        };
        snapshot.version
    }

    fn assign(&self, assigned_now: Assigned, revision: u64) {
        self.assignment
            .send_replace(assigned(assigned_now, revision));
    }

    async fn end(self) -> &'static str {
        drop(self.far);
        self.ended.await.expect("it does not panic").word()
    }
}

fn assigned(assigned: Assigned, revision: u64) -> Assignment {
    Assignment {
        assigned,
        revision,
        changed_at: None,
        dns_names: vec!["a.crm.svc".to_owned()],
        service_hosts: Vec::new(),
    }
}

fn program(hash: &str) -> Assigned {
    program_with(hash, 1, "{}")
}

fn program_with(hash: &str, schema_version: u32, config: &str) -> Assigned {
    let config = RawValue::from_string(config.to_owned()).expect("JSON");
    Assigned::Program(Arc::new(Program {
        gateway: Key::new("crm", "support"),
        generation: None,
        references: Default::default(),
        hash: hash.to_owned(),
        schema_version,
        config: config.into(),
    }))
}

fn version(epoch: u64, revision: u64, hash: &str) -> SnapshotVersion {
    SnapshotVersion {
        epoch,
        revision,
        hash: hash.to_owned(),
        references: Default::default(),
    }
}
