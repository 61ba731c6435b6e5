//! The audit log: one JSON line per decision, denials included.
//!
//! [`AuditLog::record`] never waits for whoever reads the lines. It writes into
//! a buffer; a thread of its own passes the buffer on, at the latest after
//! 100 ms, which is what a `SIGKILL` can lose. When lines are not read, more
//! than 4 MiB of them do not wait: later ones are dropped and counted, and a
//! line says how many. A flood of like refusals from one peer becomes one
//! counted line per second.
//!
//! No secret comes here; arguments of calls only as the gateway says.

mod flood;
mod line;
mod output;
mod queue;

use std::io::Write;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tracing::error;

use self::output::Output;
use self::queue::Queue;
use crate::metrics::{DecisionLabel, Metrics};

/// The audit log of a process. Dropping it writes what waits.
#[derive(Debug)]
pub struct AuditLog {
    queue: Arc<Queue>,
    /// None when the thread could not be started.
    writer: Option<JoinHandle<()>>,
}

/// What is recorded of one decision. Empty texts are left out of the line.
#[derive(Debug, Clone, Copy)]
pub struct AuditEvent<'a> {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// Namespace and name of the gateway.
    pub gateway: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
    /// Name of the MCP server.
    pub server: &'a str,
    /// IP address of the peer.
    pub peer: &'a str,
    /// Who asked, as far as it was verified.
    pub principal: Option<AuditPrincipal<'a>>,
    /// The method that was asked for.
    pub method: &'a str,
    /// What it was asked of.
    pub target: Option<AuditTarget<'a>>,
    /// What was decided.
    pub decision: DecisionLabel,
    /// Why, in one word.
    pub reason: &'a str,
    /// The rule that decided.
    pub rule: Option<&'a str>,
    /// Scopes that were missing, with spaces between them.
    pub missing_scopes: &'a str,
    /// HTTP status of the answer.
    pub status: u16,
    /// What came of the request, in one word.
    pub outcome: &'a str,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The id of the request.
    pub request_id: &'a str,
    /// The id of the trace that it belongs to.
    pub trace_id: &'a str,
    /// Version of the configuration that decided.
    pub config_version: &'a str,
    /// The arguments of the call, where the gateway wants them.
    pub arguments: Option<AuditArguments<'a>>,
}

/// Who asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditPrincipal<'a> {
    /// `iss` of the token.
    pub issuer: Option<&'a str>,
    /// `sub` of the token.
    pub subject: Option<&'a str>,
    /// The client that the token was issued to.
    pub client: Option<&'a str>,
    /// The SPIFFE id of the client certificate.
    pub spiffe_id: Option<&'a str>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct AuditTarget<'a> {
    /// Its kind, such as `tool`.
    pub kind: &'a str,
    /// Its name or URI.
    pub name: &'a str,
}

/// The arguments of a call.
#[derive(Debug, Clone, Copy)]
pub enum AuditArguments<'a> {
    /// Their SHA-256, in hexadecimal digits.
    Hash(&'a str),
    /// Themselves, as JSON that was checked to be strict.
    Include(&'a str),
}

// === impl AuditLog ===

impl AuditLog {
    /// Begins to write lines to `writer`, on a thread of its own. Should the
    /// thread not start, every line is counted as dropped.
    #[must_use]
    pub fn start(writer: Box<dyn Write + Send>, metrics: Arc<Metrics>) -> Self {
        let queue = Arc::new(Queue::new(metrics));
        let written = Arc::clone(&queue);
        let mut output = Output::new(writer);
        let spawned = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || written.write_to(&mut output));
        let writer = match spawned {
            Ok(writer) => Some(writer),
            Err(error) => {
                error!(%error, "the audit log cannot be written");
                queue.close();
                None
            }
        };
        Self { queue, writer }
    }

    /// Records a decision. Does not wait for the writer.
    pub fn record(&self, event: &AuditEvent<'_>) {
        self.queue.record(event);
    }

    /// Waits until everything recorded so far is written, counted lines
    /// included; gives up after two seconds when it is not read.
    pub fn flush(&self) {
        self.queue.flush();
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        self.queue.close();
        // A thread that is stuck in a write ends with the process.
        if self.queue.wait_for_end() {
            let _panicked = writer.join().is_err();
        }
    }
}

#[cfg(test)]
mod tests;
