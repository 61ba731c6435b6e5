//! Events: what a person should know, where `kubectl describe` shows it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::chain::Chain;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tracing::debug;

/// What the API server takes, in bytes.
const MAX_NOTE: usize = 1000;
/// Notes that are remembered; then they are forgotten all at once.
const MAX_REMEMBERED: usize = 1000;
/// Events that wait; more are lost.
const MAX_POSTED: usize = 1024;
/// Events that are published at a time.
const PUBLISHERS: usize = 4;

/// Who the events are from.
pub(crate) const CONTROLLER: &str = "sidegate-operator";

/// Publishes events.
///
/// `kube`'s recorder counts an event that is like an earlier one instead of
/// publishing it, and the note is not part of the comparison: another note
/// would never be seen. So each note has a recorder of its own.
pub(crate) struct Events {
    client: Client,
    reporter: Reporter,
    remembered: Mutex<HashMap<Topic, (String, Recorder)>>,
    posted_tx: mpsc::Sender<(ObjectReference, Notice)>,
    posted: tokio::sync::Mutex<mpsc::Receiver<(ObjectReference, Notice)>>,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Topic {
    uid: String,
    reason: String,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Whether it asks for somebody's attention.
    pub(crate) warning: bool,
    /// The reason of the condition that it is about.
    pub(crate) reason: String,
    /// In a sentence.
    pub(crate) note: String,
}

// === impl Events ===

impl Events {
    pub(crate) fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: CONTROLLER.to_owned(),
            instance: Some(instance.chars().take(128).collect()),
        };
        let (posted_tx, posted) = mpsc::channel(MAX_POSTED);
        Self {
            client,
            reporter,
            remembered: Mutex::default(),
            posted_tx,
            posted: tokio::sync::Mutex::new(posted),
        }
    }

    /// Has a notice published by [`Events::publish_posted`], so that nobody
    /// waits for it. When too many wait, it is lost.
    pub(crate) fn post(&self, object: &ObjectReference, notice: Notice) {
        if self.posted_tx.try_send((object.clone(), notice)).is_err() {
            debug!("too many events wait; one is lost");
        }
    }

    /// Publishes what is posted, until it is dropped.
    pub(crate) async fn publish_posted(&self) {
        let publishers = (0..PUBLISHERS).map(|_| async {
            loop {
                let next = self.posted.lock().await.recv().await;
                // The sender is here: there is always a next one.
                let Some((object, notice)) = next else { return };
                self.publish(&object, notice).await;
            }
        });
        futures_util::future::join_all(publishers).await;
    }

    /// Publishes a notice about an object. An event that is lost is only
    /// logged: the status says the same.
    pub(crate) async fn publish(&self, object: &ObjectReference, notice: Notice) {
        let Notice {
            warning,
            reason,
            note,
        } = notice;
        // With a version in it, no two events would be about the same object.
        let object = ObjectReference {
            resource_version: None,
            ..object.clone()
        };
        let topic = Topic {
            uid: object.uid.clone().unwrap_or_default(),
            reason: reason.clone(),
        };
        let note = shortened(note);
        let recorder = self.recorder(topic, &note);
        let event = Event {
            type_: if warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason,
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &object).await {
            debug!(error = %Chain(&error), "an event was not published");
        }
    }

    fn recorder(&self, topic: Topic, note: &str) -> Recorder {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match remembered.get(&topic) {
            Some((before, recorder)) if before == note => recorder.clone(),
            Some(_) | None => {
                if remembered.len() >= MAX_REMEMBERED {
                    remembered.clear();
                }
                let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
                remembered.insert(topic, (note.to_owned(), recorder.clone()));
                recorder
            }
        }
    }
}

/// Cut to what the API server takes.
fn shortened(mut note: String) -> String {
    const MARK: &str = " …";
    if note.len() > MAX_NOTE {
        note.truncate(note.floor_char_boundary(MAX_NOTE - MARK.len()));
        note.push_str(MARK);
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_between_characters() {
        for length in [MAX_NOTE - 1, MAX_NOTE] {
            assert_eq!(shortened("x".repeat(length)).len(), length);
        }
        for text in ["x".repeat(MAX_NOTE + 1), "ä".repeat(MAX_NOTE)] {
            let short = shortened(text);
            assert!(short.len() <= MAX_NOTE && short.ends_with(" …"));
        }
    }
}
