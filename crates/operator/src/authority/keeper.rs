//! Keeps the authority: every replica reads its Secret, the leader writes it.
//!
//! The first Secret is created, never applied, and every change carries the
//! version that was read: of two that believe to lead, one writes. A Secret
//! that cannot be used is left as it is, whatever is wrong with it, and the
//! last good one stays in force.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client, Resource as _};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::purpose::Purpose;
use super::roots::{RootSet, StepError};
use super::rotation::Step;
use super::settings::AuthoritySettings;
use super::stored::{InvalidSecret, Requests, Stored};
use super::{Trust, TrustReceiver};
use crate::chain::Chain;
use crate::events::{CONTROLLER, Events, Notice};
use crate::metrics::Metrics;
use crate::names::AUTHORITY_SECRET;
use crate::one_object::{self, Told};

const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure, at most.
const RETRY: Duration = Duration::from_secs(2);

/// The authority of one replica.
pub(crate) struct Keeper {
    client: Client,
    settings: AuthoritySettings,
    metrics: Arc<Metrics>,
    events: Events,
    trust: watch::Sender<Option<Arc<Trust>>>,
    seen: watch::Sender<Seen>,
}

/// What the watch told last.
#[derive(Clone)]
enum Seen {
    /// Nothing yet.
    Awaited,
    /// There is no Secret.
    Absent,
    /// There is one.
    Good(Arc<Stored>),
    /// There is one that cannot be used.
    Bad(Arc<Bad>),
}

struct Bad {
    reference: ObjectReference,
    why: InvalidSecret,
}

/// Why the leader could not write.
#[derive(Debug, Error)]
enum WriteError {
    #[error("a new root cannot be made")]
    Step(#[from] StepError),
    #[error("the Secret cannot be put into words")]
    Encode(#[from] serde_json::Error),
    #[error("the Secret cannot be written")]
    Api(#[source] kube::Error),
    #[error("the API server did not answer in time")]
    Timeout,
}

// === impl Keeper ===

impl Keeper {
    pub(crate) fn new(
        client: Client,
        settings: AuthoritySettings,
        identity: &str,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            events: Events::new(client.clone(), identity),
            client,
            settings,
            metrics,
            trust: watch::Sender::new(None),
            seen: watch::Sender::new(Seen::Awaited),
        }
    }

    /// What this replica trusts and signs with.
    pub(crate) fn trust(&self) -> TrustReceiver {
        self.trust.subscribe()
    }

    /// Follows the Secret; it has no end.
    pub(crate) async fn follow(&self) {
        let tell = |told| match told {
            Told::There(secret) => self.take(Some(secret)),
            Told::NotThere => self.take(None),
            Told::Forbidden => warn!(secret = %self.name(), "the authority may not be read"),
        };
        one_object::follow(self.secrets(), AUTHORITY_SECRET, tell).await;
    }

    /// Creates the Secret, and new roots when it is time; for the leader, and
    /// until it is dropped.
    pub(crate) async fn lead(&self) {
        let mut seen = self.seen.subscribe();
        let mut told = None;
        loop {
            let current = seen.borrow_and_update().clone();
            self.tell(&current, &mut told).await;
            if let Err(error) = self.act(&current).await {
                warn!(error = %Chain(&error), "the authority was not written; it is tried again");
                sleep(self.settings.look_every.min(RETRY)).await;
                continue;
            }
            tokio::select! {
                _changed = seen.changed() => {}
                () = sleep(self.settings.look_every) => {}
            }
        }
    }

    fn take(&self, secret: Option<Secret>) {
        let seen = match secret {
            None => Seen::Absent,
            Some(secret) => match Stored::read(&secret) {
                Ok(stored) => {
                    self.publish(&stored);
                    Seen::Good(Arc::new(stored))
                }
                Err(why) => {
                    error!(
                        secret = %self.name(), %why,
                        "the authority cannot be used and is left as it is; the last good one \
                         stays in force. {}", what_to_do(&why)
                    );
                    Seen::Bad(Arc::new(Bad {
                        reference: secret.object_ref(&()),
                        why,
                    }))
                }
            },
        };
        let usable = !matches!(seen, Seen::Bad(_));
        self.metrics.authority.usable(usable);
        self.seen.send_replace(seen);
    }

    fn publish(&self, stored: &Stored) {
        for purpose in Purpose::ALL {
            let signer = &stored.set(purpose).signer().authority;
            let expiry = signer.not_after_unix();
            self.metrics.authority.root_expires(purpose, expiry);
        }
        let trust = Trust::new(stored, &self.settings);
        let is_news = match &*self.trust.borrow() {
            Some(before) => !before.is_like(&trust),
            None => true,
        };
        if !is_news {
            return;
        }
        info!(
            secret = %self.name(), epoch = trust.epoch,
            workload_roots = stored.workload.roots().len(),
            endpoint_roots = stored.endpoints.roots().len(),
            "the authority was read"
        );
        self.trust.send_replace(Some(Arc::new(trust)));
    }

    /// Does what is due for what was seen. A Secret that changed meanwhile is
    /// no failure: the watch tells what it is now.
    async fn act(&self, seen: &Seen) -> Result<(), WriteError> {
        match seen {
            Seen::Awaited | Seen::Bad(_) => Ok(()),
            Seen::Absent => self.create().await,
            Seen::Good(stored) => {
                for purpose in Purpose::ALL {
                    if self.rotate(stored, purpose).await? {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    async fn create(&self) -> Result<(), WriteError> {
        let now = self.settings.clock.unix_seconds();
        let set = |purpose: Purpose| {
            let lifetimes = self.settings.lifetimes(purpose);
            let set = RootSet::create(purpose, lifetimes, now);
            set.map(Arc::new).map_err(StepError::from)
        };
        let epoch = self.trust.borrow().as_ref().map_or(1, |trust| trust.epoch);
        let stored = Stored {
            epoch,
            workload: set(Purpose::Workload)?,
            endpoints: set(Purpose::Endpoints)?,
            requests: Requests::default(),
            metadata: ObjectMeta {
                name: Some(AUTHORITY_SECRET.to_owned()),
                namespace: Some(self.settings.namespace.clone()),
                ..ObjectMeta::default()
            },
        };
        let secret = stored.write()?;
        let secrets = self.secrets();
        let params = post();
        if written(secrets.create(&params, &secret)).await? {
            info!(secret = %self.name(), "the authority was created");
        }
        Ok(())
    }

    /// Goes one step with a set of roots, if one is due; says whether it was.
    async fn rotate(&self, stored: &Stored, purpose: Purpose) -> Result<bool, WriteError> {
        let now = self.settings.clock.unix_seconds();
        let lifetimes = self.settings.lifetimes(purpose);
        let requested = stored.requests.purposes.contains(&purpose);
        let set = stored.set(purpose);
        let step = set.due(lifetimes, requested, now);
        if step == Step::Rest {
            return Ok(false);
        }
        let mut next = stored.clone();
        let after = set.after(step, purpose, lifetimes, now)?;
        *next.set_mut(purpose) = Arc::new(after);
        if matches!(step, Step::Promote { .. }) {
            // What was asked for is done.
            next.requests.purposes.remove(&purpose);
        }
        let secret = next.write()?;
        let secrets = self.secrets();
        let params = post();
        if written(secrets.replace(AUTHORITY_SECRET, &params, &secret)).await? {
            self.went(&secret, purpose, step).await;
        }
        Ok(true)
    }

    async fn went(&self, secret: &Secret, purpose: Purpose, step: Step) {
        let (reason, what) = match step {
            Step::Rest => return,
            Step::Create => ("RootAdded", "a new root is trusted, and signs later"),
            Step::Promote { .. } => {
                self.metrics.authority.rotated(purpose);
                ("RootRotated", "the new root signs")
            }
            Step::Drop { .. } => ("RootDropped", "an old root is not trusted any more"),
        };
        info!(secret = %self.name(), set = purpose.as_str(), reason, "{what}");
        let notice = Notice {
            warning: false,
            reason: reason.to_owned(),
            note: format!("{purpose}: {what}"),
        };
        self.events.publish(&secret.object_ref(&()), notice).await;
    }

    /// Tells people what they have to do, once for each thing.
    async fn tell(&self, seen: &Seen, told: &mut Option<Notice>) {
        let (reference, notice) = match seen {
            Seen::Awaited | Seen::Absent => return,
            Seen::Bad(bad) => (bad.reference.clone(), unusable(bad)),
            Seen::Good(stored) => match remark(stored) {
                Some(notice) => (self.reference(stored), notice),
                None => {
                    *told = None;
                    return;
                }
            },
        };
        if told.as_ref() == Some(&notice) {
            return;
        }
        self.events.publish(&reference, notice.clone()).await;
        *told = Some(notice);
    }

    fn reference(&self, stored: &Stored) -> ObjectReference {
        let secret = Secret {
            metadata: stored.metadata.clone(),
            ..Secret::default()
        };
        secret.object_ref(&())
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    fn name(&self) -> String {
        format!("{}/{AUTHORITY_SECRET}", self.settings.namespace)
    }
}

/// Waits for a write. It says false when somebody else was quicker.
async fn written(write: impl Future<Output = kube::Result<Secret>>) -> Result<bool, WriteError> {
    match timeout(PATIENCE, write).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(kube::Error::Api(status)))
            if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
        {
            Ok(false)
        }
        Ok(Err(error)) => Err(WriteError::Api(error)),
        Err(_) => Err(WriteError::Timeout),
    }
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(CONTROLLER.to_owned()),
        ..PostParams::default()
    }
}

fn unusable(bad: &Bad) -> Notice {
    let why = &bad.why;
    Notice {
        warning: true,
        reason: "AuthorityUnusable".to_owned(),
        note: format!(
            "the operator's certificate authority cannot be used and is left as it is: {why}. \
             {}",
            what_to_do(why)
        ),
    }
}

fn what_to_do(why: &InvalidSecret) -> &'static str {
    match why {
        InvalidSecret::Foreign => {
            "If it is yours, give it another name: the operator needs this one. If it is the \
             operator's, give it the label back"
        }
        InvalidSecret::Type
        | InvalidSecret::Epoch
        | InvalidSecret::Missing(_)
        | InvalidSecret::Unreadable { .. }
        | InvalidSecret::Root { .. }
        | InvalidSecret::Set(..) => {
            "Put back what it held, or delete the Secret to start anew: the operator then makes \
             new roots, and sidecars are not trusted until they have new certificates"
        }
    }
}

/// What its author should know of a request.
fn remark(stored: &Stored) -> Option<Notice> {
    let note = if !stored.requests.unknown.is_empty() {
        "sidegate.dev/rotate names something else than `workload` and `endpoints`: it is ignored"
    } else if Purpose::ALL
        .into_iter()
        .any(|purpose| waits(stored, purpose))
    {
        "sidegate.dev/rotate waits until an earlier rotation is over: there are three roots"
    } else {
        return None;
    };
    Some(Notice {
        warning: true,
        reason: "RotationNotStarted".to_owned(),
        note: note.to_owned(),
    })
}

fn waits(stored: &Stored, purpose: Purpose) -> bool {
    let set = stored.set(purpose);
    stored.requests.purposes.contains(&purpose) && set.is_full() && !set.is_changing()
}
