//! The writers of pod conditions.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use sidegate_policy::clock::Clock;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::said::Said;
use super::{PodConditions, Writing, certificate};
use crate::board::Board;
use crate::chain::Chain;
use crate::queue::Ended;

/// Conditions that are written at a time.
const WRITERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
/// Whose writes these are, for people.
const FIELD_MANAGER: &str = "sidegate-operator-pods";

/// Why a condition is written again later.
#[derive(Debug, Error)]
enum WriteError {
    #[error("the condition is refused: {0}")]
    Api(#[source] kube::Error),
    #[error("the API server does not answer")]
    Timeout,
}

/// Writes what sidecars report, until it is dropped. It ends only when it
/// breaks.
pub(crate) async fn write(
    client: Client,
    board: Arc<Board>,
    conditions: Arc<PodConditions>,
    clock: Arc<dyn Clock>,
) {
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let writer = Writer {
            client: client.clone(),
            board: Arc::clone(&board),
            conditions: Arc::clone(&conditions),
            clock: Arc::clone(&clock),
        };
        writers.spawn(writer.run());
    }
    writers.join_next().await;
}

struct Writer {
    client: Client,
    board: Arc<Board>,
    conditions: Arc<PodConditions>,
    clock: Arc<dyn Clock>,
}

// === impl Writer ===

impl Writer {
    async fn run(self) {
        loop {
            let writing = self.conditions.queue.next().await.request;
            let ended = match self.write(&writing).await {
                Ok(()) => Ended::Done,
                Err(error) => {
                    let pod = &writing.pod.key;
                    warn!(%pod, error = %Chain(&error), "a pod's condition was not written");
                    Ended::Failed
                }
            };
            self.conditions.queue.end(&writing, ended);
        }
    }

    async fn write(&self, writing: &Writing) -> Result<(), WriteError> {
        // It may have been written already, or be about a pod that is gone.
        let Some(said) = self.conditions.said(writing) else {
            return Ok(());
        };
        self.write_said(writing, &said).await?;
        self.conditions.written(writing, said);
        Ok(())
    }

    async fn write_said(&self, writing: &Writing, said: &Said) -> Result<(), WriteError> {
        let Some(known) = self.board.conditions_of(&writing.pod) else {
            return Ok(());
        };
        let before = known.of(writing.kind);
        if said.is_told_by(before) || certificate::adds_nothing(said, before) {
            return Ok(());
        }
        let since = before
            .filter(|before| before.holds == said.holds)
            .and_then(|before| before.since.clone())
            .unwrap_or_else(|| self.now());
        let body = body(writing, said, &since);
        let key = &writing.pod.key;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Strategic(&body);
        let patched = timeout(PATIENCE, api.patch_status(&key.name, &params, &patch));
        match patched.await {
            Ok(Ok(_)) => {
                debug!(pod = %key, condition = writing.kind.condition_type(), holds = said.holds,
                    reason = said.reason, "condition written");
                Ok(())
            }
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(()),
            Ok(Err(error)) => Err(WriteError::Api(error)),
            Err(_) => Err(WriteError::Timeout),
        }
    }

    fn now(&self) -> Time {
        Time(Timestamp::from_second(self.clock.unix_seconds()).unwrap_or_default())
    }
}

/// A strategic merge, as kubelets write: it touches this one condition. The API
/// server works a third less on it than on a server-side apply, of which it
/// compares all fields with all managers, and there is one of these for each pod
/// after each change.
fn body(writing: &Writing, said: &Said, since: &Time) -> Value {
    json!({
        // Another pod of the same name is refused.
        "metadata": {"uid": writing.pod.uid},
        "status": {
            "conditions": [{
                "type": writing.kind.condition_type(),
                "status": if said.holds { "True" } else { "False" },
                "reason": said.reason,
                "message": said.message,
                "lastTransitionTime": since,
            }],
        },
    })
}
