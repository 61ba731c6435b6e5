//! What comes of a snapshot: it is put in force, waits for the certificate, or
//! is rejected, and then the last good one stays.

use std::sync::Arc;
use std::time::Duration;

use sidegate_config::control::{
    Confirmed, FromSidecar, Outdated, RejectReason, Rejected, Snapshot, SnapshotVersion, Withdrawn,
};
use sidegate_config::sidecar_config::TlsConfig;
use tokio::time::Instant;
use tracing::{info, warn};

use super::readable::{Refusal, read};
use super::state_dir::{Kept, KeptConfig, StateDir};
use crate::run::{Sidecar, Standing};

/// A snapshot that cannot be put in force is tried again: a port may come free.
const AGAIN: Duration = Duration::from_secs(5);
/// Longest reason that is told to the operator.
const MAX_MESSAGE_CHARS: usize = 1024;

/// What this sidecar enforces.
#[derive(Debug)]
pub(super) struct Enforcement {
    sidecar: Arc<Sidecar>,
    state: Arc<StateDir>,
    in_force: Option<Kept>,
    waiting: Option<Waiting>,
}

/// A snapshot that is to be put in force.
#[derive(Debug)]
struct Waiting {
    kept: Kept,
    until: Until,
}

#[derive(Debug)]
enum Until {
    /// There is a certificate of the built-in authority. It is as good as taken.
    Certificate,
    /// It can be put in force, which is tried at that time. It was rejected
    /// with this message.
    Again { at: Instant, message: String },
}

enum Put {
    InForce,
    NeedsCertificate,
}

// === impl Enforcement ===

impl Enforcement {
    pub(super) fn new(sidecar: Arc<Sidecar>, state: Arc<StateDir>) -> Self {
        Self {
            sidecar,
            state,
            in_force: None,
            waiting: None,
        }
    }

    /// The version in force.
    pub(super) fn version(&self) -> Option<&SnapshotVersion> {
        self.in_force.as_ref().map(|kept| &kept.version)
    }

    /// Puts what was in force before a restart in force again, without asking
    /// anybody.
    pub(super) async fn restore(&mut self, kept: Kept) {
        match self.put(&kept).await {
            Ok(Put::InForce) => {
                info!(version = %kept.version, "in force again after a restart");
                self.now_in_force(kept);
            }
            Ok(Put::NeedsCertificate) => self.wait(kept, Until::Certificate),
            Err(Refusal::NotApplicable(error)) => {
                self.sidecar.refuse(error.to_string());
                self.wait(kept, again(error.to_string()));
            }
            Err(error) => warn!(%error, "the snapshot of before is left out"),
        }
    }

    /// Takes a snapshot; says what is to be told, if that is known already.
    pub(super) async fn snapshot(&mut self, snapshot: Snapshot) -> Option<FromSidecar> {
        let Snapshot {
            version,
            config,
            service_hosts,
        } = snapshot;
        if let Some(rejected) = self.reject_older(&version) {
            return Some(rejected);
        }
        if self.confirm_same(&version, &service_hosts) {
            self.keep().await;
            return Some(FromSidecar::Confirmed(Confirmed { version }));
        }
        if self.waits_for(&version) {
            return None;
        }
        let config = KeptConfig {
            hash: version.hash.clone(),
            json: config,
        };
        let kept = Kept {
            version: self.not_forgetting(version),
            service_hosts,
            config: Some(config),
        };
        match self.put(&kept).await {
            Ok(Put::InForce) => {
                self.count("accepted");
                self.now_in_force(kept);
                self.keep().await;
                self.confirmed()
            }
            Ok(Put::NeedsCertificate) => {
                self.count("waiting");
                self.wait(kept, Until::Certificate);
                None
            }
            Err(refusal) => Some(self.refused(kept, &refusal)),
        }
    }

    /// There is nothing to enforce any more.
    pub(super) async fn withdrawn(&mut self, withdrawn: Withdrawn) -> FromSidecar {
        let Withdrawn { version } = withdrawn;
        if let Some(rejected) = self.reject_older(&version) {
            return rejected;
        }
        self.count("withdrawn");
        self.sidecar.withdraw().await;
        // Whatever else it may say, this is what it means. In a lagging
        // replica's words, it was withdrawn before.
        let newest = self.not_forgetting(SnapshotVersion {
            hash: String::new(),
            ..version.clone()
        });
        let known = [
            self.in_force.take(),
            self.waiting.take().map(|waiting| waiting.kept),
        ];
        // The keys of the gateway go with it.
        let config = known.into_iter().flatten().find_map(|kept| kept.config);
        let config = config.and_then(|config| config.without_secrets());
        self.now_in_force(Kept {
            version: newest,
            service_hosts: Vec::new(),
            config,
        });
        self.keep().await;
        FromSidecar::Confirmed(Confirmed { version })
    }

    /// This program is too old for what there is to enforce.
    pub(super) fn outdated(&self, outdated: &Outdated) {
        self.count("outdated");
        let schema_version = outdated.schema_version;
        warn!(
            version = %outdated.version,
            schema_version,
            "this sidecar is too old for the gateway as it is now; restart the pod to update it"
        );
        self.sidecar.refuse(format!(
            "format version {schema_version} is not known to this sidecar: restart the pod to \
             update it"
        ));
    }

    /// There is a certificate now.
    pub(super) async fn certified(&mut self) -> Option<FromSidecar> {
        match &self.waiting {
            Some(Waiting {
                until: Until::Certificate,
                ..
            }) => self.try_waiting().await,
            Some(Waiting {
                until: Until::Again { .. },
                ..
            })
            | None => None,
        }
    }

    /// Tries again what could not be put in force, when it is time to.
    pub(super) async fn tick(&mut self, now: Instant) -> Option<FromSidecar> {
        match &self.waiting {
            Some(Waiting {
                until: Until::Again { at, .. },
                ..
            }) if *at <= now => self.try_waiting().await,
            Some(_) | None => None,
        }
    }

    async fn try_waiting(&mut self) -> Option<FromSidecar> {
        let Waiting { kept, until } = self.waiting.take()?;
        match self.put(&kept).await {
            Ok(Put::InForce) => {
                self.count("accepted");
                self.now_in_force(kept);
                self.keep().await;
                self.confirmed()
            }
            Ok(Put::NeedsCertificate) => {
                self.wait(kept, Until::Certificate);
                None
            }
            Err(refusal) => match until {
                // It was said before.
                Until::Again { message, .. } if message == refusal.to_string() => {
                    self.wait(kept, again(message));
                    None
                }
                Until::Again { .. } | Until::Certificate => Some(self.refused(kept, &refusal)),
            },
        }
    }

    /// All of it, or nothing.
    async fn put(&self, kept: &Kept) -> Result<Put, Refusal> {
        let standing = if kept.version.hash.is_empty() {
            Standing::Withdrawn
        } else {
            Standing::Enforced
        };
        let Some(config) = read(kept).await? else {
            // It was withdrawn before it was ever in force.
            return Ok(Put::InForce);
        };
        let needs_certificate = matches!(config.tls, TlsConfig::BuiltIn { .. });
        if needs_certificate && self.sidecar.identity().is_none() {
            return Ok(Put::NeedsCertificate);
        }
        Box::pin(self.sidecar.try_apply(config, standing)).await?;
        Ok(Put::InForce)
    }

    /// Whether this was in force already, or in a lagging replica's words.
    fn confirm_same(&mut self, version: &SnapshotVersion, service_hosts: &[String]) -> bool {
        let Some(in_force) = &mut self.in_force else {
            return false;
        };
        let lags = version.lags_behind(&in_force.version);
        let same = version.hash == in_force.version.hash
            && (lags || in_force.service_hosts == service_hosts);
        if !same {
            return false;
        }
        // It may lag in one thing and be newer in another.
        in_force.version = version.clone().not_forgetting(&in_force.version);
        self.waiting = None;
        self.count("unchanged");
        self.sidecar.confirmed();
        self.show();
        true
    }

    /// Whether this waits for the certificate already, and is only lagging
    /// behind what waits.
    fn waits_for(&self, version: &SnapshotVersion) -> bool {
        matches!(&self.waiting, Some(Waiting { kept, until: Until::Certificate })
            if kept.version.hash == version.hash && version.lags_behind(&kept.version))
    }

    /// The version of what is in force or as good as taken.
    fn newest(&self) -> Option<&SnapshotVersion> {
        match &self.waiting {
            Some(Waiting {
                kept,
                until: Until::Certificate,
            }) => Some(&kept.version),
            Some(Waiting {
                until: Until::Again { .. },
                ..
            })
            | None => self.version(),
        }
    }

    /// A version that is taken. What this one does not refer to, a later one may
    /// refer to again: an old value must not come back then.
    fn not_forgetting(&self, version: SnapshotVersion) -> SnapshotVersion {
        match self.newest() {
            Some(newest) => version.not_forgetting(newest),
            None => version,
        }
    }

    fn reject_older(&self, version: &SnapshotVersion) -> Option<FromSidecar> {
        let newest = self.newest()?;
        if !version.is_older_than(newest) {
            return None;
        }
        let is_about_references =
            version.epoch == newest.epoch && version.revision >= newest.revision;
        let message = if is_about_references {
            format!("a Secret or ConfigMap in it is older than in {newest}")
        } else {
            format!("it is older than {newest}")
        };
        warn!(%version, in_force = %newest, "an older snapshot is not taken");
        self.count("older");
        Some(self.rejected(version.clone(), RejectReason::Older, &message))
    }

    fn refused(&mut self, kept: Kept, refusal: &Refusal) -> FromSidecar {
        let message = refusal.to_string();
        let version = kept.version.clone();
        self.sidecar.refuse(message.clone());
        let reason = match refusal {
            Refusal::NotApplicable(_) => {
                self.count("not_applicable");
                self.wait(kept, again(message.clone()));
                RejectReason::NotApplicable
            }
            Refusal::Unreadable(_)
            | Refusal::ServiceHost(_)
            | Refusal::ServiceHosts
            | Refusal::Failed => {
                self.count("unreadable");
                self.waiting = None;
                self.show();
                RejectReason::Unreadable
            }
        };
        self.rejected(version, reason, &message)
    }

    fn rejected(&self, version: SnapshotVersion, reason: RejectReason, why: &str) -> FromSidecar {
        FromSidecar::Rejected(Rejected {
            version,
            reason,
            message: why.chars().take(MAX_MESSAGE_CHARS).collect(),
            in_force: self.version().cloned(),
        })
    }

    fn confirmed(&self) -> Option<FromSidecar> {
        let version = self.version()?.clone();
        Some(FromSidecar::Confirmed(Confirmed { version }))
    }

    fn now_in_force(&mut self, kept: Kept) {
        self.in_force = Some(kept);
        self.waiting = None;
        self.show();
    }

    fn wait(&mut self, kept: Kept, until: Until) {
        self.waiting = Some(Waiting { kept, until });
        self.show();
    }

    /// Keeps what is in force for a restart.
    async fn keep(&self) {
        let Some(kept) = self.in_force.clone() else {
            return;
        };
        let state = Arc::clone(&self.state);
        let keeping = tokio::task::spawn_blocking(move || state.keep_snapshot(&kept));
        match keeping.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the snapshot cannot be kept for a restart"),
            Err(failed) => warn!(error = %failed, "the snapshot cannot be kept for a restart"),
        }
    }

    fn show(&self) {
        if let Some(version) = self.version() {
            self.sidecar.metrics().config_revision(version.revision);
        }
        let snapshot = self.version().map(ToString::to_string);
        let waiting = self.waiting.as_ref().map(|waiting| {
            let version = &waiting.kept.version;
            match &waiting.until {
                Until::Certificate => format!("{version}: waits for a certificate"),
                Until::Again { message, .. } => format!("{version}: {message}"),
            }
        });
        self.sidecar.connection(|connection| {
            connection.snapshot = snapshot;
            connection.waiting = waiting;
        });
    }

    fn count(&self, result: &'static str) {
        self.sidecar.metrics().snapshot(result);
    }
}

fn again(message: String) -> Until {
    Until::Again {
        at: Instant::now() + AGAIN,
        message,
    }
}

#[cfg(test)]
mod tests;
