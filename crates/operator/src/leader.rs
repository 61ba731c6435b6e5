//! Who of the replicas leads: the holder of a Lease.
//!
//! Every write carries the resourceVersion that was read, so of two that want
//! the Lease the API server lets one have it. Whether a holder is gone is
//! judged by the own clock: its Lease did not change for as long as it lasts.
//! A holder that cannot renew in time steps down before others may take over.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::chain::Chain;

/// The Lease, and by which name this replica holds it.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The name of this replica; no other may have it.
    pub identity: String,
    /// How long things take.
    pub timings: LeaseTimings,
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTimings {
    /// How long a Lease lasts that is not renewed.
    pub duration: Duration,
    /// How long a holder tries to renew before it steps down; shorter than
    /// `duration`.
    pub renew_deadline: Duration,
    /// How often it is renewed, and how often others look.
    pub retry: Duration,
}

/// The election, from the view of one replica.
pub(crate) struct Election {
    leases: Api<Lease>,
    settings: LeaseSettings,
    /// What was seen last, and when it was first seen so.
    seen: Option<(Lease, Instant)>,
}

/// How a try to hold the Lease ended.
#[derive(Debug, PartialEq, Eq)]
enum Tried {
    Held,
    HeldByOther,
}

// === impl LeaseTimings ===

impl Default for LeaseTimings {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

// === impl Election ===

impl Election {
    pub(crate) fn new(client: Client, settings: LeaseSettings) -> Self {
        Self {
            leases: Api::namespaced(client, &settings.namespace),
            settings,
            seen: None,
        }
    }

    /// Says in `leading` whether this replica leads, until `stopping` says
    /// true. It does not give the Lease up: that is for who knows that nothing
    /// is written any more, by [`Election::release`].
    pub(crate) async fn run(
        mut self,
        leading: Arc<watch::Sender<bool>>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let retry = self.settings.timings.retry;
        let mut renewed = Instant::now();
        while !*stopping.borrow() {
            let leads = *leading.borrow();
            let patience = self.settings.timings.renew_deadline;
            let started = Instant::now();
            let until = if leads { renewed } else { started } + patience;
            let tried = timeout_at(until, self.try_hold()).await;
            match tried {
                Ok(Ok(Tried::Held)) => {
                    // What others see is at least as old as this.
                    renewed = started;
                    if !leads {
                        info!(identity = self.settings.identity, "leads");
                        leading.send_replace(true);
                    }
                }
                Ok(Ok(Tried::HeldByOther)) if leads => self.step_down(&leading, "another leads"),
                Ok(Ok(Tried::HeldByOther)) => {}
                Ok(Err(error)) => warn!(error = %Chain(&error), "the Lease cannot be held"),
                Err(_) => debug!("the Lease was not held in time"),
            }
            if *leading.borrow() && Instant::now() >= renewed + patience {
                self.step_down(&leading, "the Lease was not renewed in time");
            }
            tokio::select! {
                () = sleep(retry) => {}
                _changed = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
    }

    /// Gives the Lease up, so that another replica leads at once.
    pub(crate) async fn release(client: Client, settings: LeaseSettings) {
        let deadline = settings.timings.retry;
        let mut election = Self::new(client, settings);
        match timeout(deadline, election.try_release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(error = %Chain(&error), "the Lease was not given up; it will lapse");
            }
            Err(_) => warn!("the Lease was not given up in time; it will lapse"),
        }
    }

    fn step_down(&self, leading: &watch::Sender<bool>, why: &str) {
        warn!(identity = self.settings.identity, why, "leads no more");
        leading.send_replace(false);
    }

    async fn try_hold(&mut self) -> kube::Result<Tried> {
        let Some(lease) = self.leases.get_opt(&self.settings.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.settings.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(None)),
            };
            return conflict_is_other(self.leases.create(&PostParams::default(), &lease).await);
        };
        self.look_at(&lease);
        if !self.may_take(&lease) {
            return Ok(Tried::HeldByOther);
        }
        let wanted = Lease {
            spec: Some(self.spec(lease.spec.as_ref())),
            // With its resourceVersion.
            metadata: lease.metadata,
        };
        let params = PostParams::default();
        let replaced = self.leases.replace(&self.settings.name, &params, &wanted);
        conflict_is_other(replaced.await)
    }

    /// Remembers since when the Lease is as it is.
    fn look_at(&mut self, lease: &Lease) {
        let version = lease.resource_version();
        match &self.seen {
            Some((seen, _)) if seen.resource_version() == version => {}
            Some(_) | None => self.seen = Some((lease.clone(), Instant::now())),
        }
    }

    fn may_take(&self, lease: &Lease) -> bool {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        match holder {
            None | Some("") => true,
            Some(holder) if holder == self.settings.identity => true,
            Some(_) => {
                let lasts = spec
                    .and_then(|spec| spec.lease_duration_seconds)
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map_or(self.settings.timings.duration, Duration::from_secs);
                self.seen
                    .as_ref()
                    .is_some_and(|(_, since)| since.elapsed() >= lasts)
            }
        }
    }

    /// The Lease as this replica holds it.
    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let before = before.cloned().unwrap_or_default();
        let held = before.holder_identity.as_deref() == Some(&self.settings.identity);
        let duration = self.settings.timings.duration.as_secs().max(1);
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: i32::try_from(duration).ok(),
            acquire_time: before
                .acquire_time
                .filter(|_| held)
                .or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(
                before.lease_transitions.unwrap_or_default() + i32::from(!held),
            ),
            preferred_holder: None,
            strategy: None,
        }
    }

    async fn try_release(&mut self) -> kube::Result<()> {
        let Some(lease) = self.leases.get_opt(&self.settings.name).await? else {
            return Ok(());
        };
        let mut spec = lease.spec.unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&self.settings.identity) {
            return Ok(());
        }
        spec.holder_identity = None;
        let free = Lease {
            metadata: lease.metadata,
            spec: Some(spec),
        };
        self.leases
            .replace(&self.settings.name, &PostParams::default(), &free)
            .await?;
        info!(identity = self.settings.identity, "gave the Lease up");
        Ok(())
    }
}

/// A conflict says that another replica was quicker.
fn conflict_is_other(result: kube::Result<Lease>) -> kube::Result<Tried> {
    match result {
        Ok(_) => Ok(Tried::Held),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(Tried::HeldByOther)
        }
        Err(error) => Err(error),
    }
}
