//! The log: JSON lines on standard error.
//!
//! The level applies to the product's own crates; dependencies log warnings
//! and errors at any level. That is not only less noise: at `trace`, HTTP and
//! TLS libraries write the headers and bytes that pass through them, bearer
//! tokens included. Secrets are kept out of the product's own events by their
//! types, whose `Debug` output is redacted; there is no filter that would look
//! for them here.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use thiserror::Error;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

use crate::escape::push_json;

/// The product's crates: targets are matched by their beginning.
const OWN_TARGETS: &str = "sidegate";

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// What needs a person.
    Error,
    /// What may need a person soon.
    Warn,
    /// What happens seldom and is good to know, and every refused request.
    Info,
    /// What helps to understand one request.
    Debug,
    /// Everything.
    Trace,
}

/// A text that names no level.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a log level: use one of error, warn, info, debug, trace")]
pub struct InvalidLevel(String);

/// Reads and changes the level of the log.
#[derive(Debug, Clone)]
pub struct LogHandle {
    level: Arc<AtomicU8>,
    filter: reload::Handle<Targets, Registry>,
}

/// Begins to log to standard error. A process has one log: a later call only
/// sets the level and returns a handle of the same log. Where another part of
/// the process already took the events (a test may), the handle still works
/// but nothing is written.
pub fn init(level: Level) -> LogHandle {
    static LOG: OnceLock<LogHandle> = OnceLock::new();
    let handle = LOG.get_or_init(|| {
        let (filter, handle) = reload::Layer::new(targets(level));
        let subscriber = tracing_subscriber::registry()
            .with(filter)
            .with(lines(io::stderr));
        // An error says that there is a subscriber already.
        let _taken = subscriber.try_init().is_err();
        LogHandle {
            level: Arc::new(AtomicU8::new(level as u8)),
            filter: handle,
        }
    });
    handle.set(level);
    handle.clone()
}

// === impl LogHandle ===

impl LogHandle {
    /// The level in force.
    #[must_use]
    pub fn level(&self) -> Level {
        let level = self.level.load(Ordering::Relaxed);
        Level::ALL
            .into_iter()
            .find(|known| *known as u8 == level)
            .unwrap_or(Level::Info)
    }

    /// Changes the level, at once and for all threads.
    pub fn set(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
        // It fails only where the filter is not in use; then nothing is logged.
        let _unused = self.filter.reload(targets(level)).is_err();
    }
}

fn targets(level: Level) -> Targets {
    let of_others = level.min(Level::Warn);
    Targets::new()
        .with_default(of_others.filter())
        .with_target(OWN_TARGETS, level.filter())
}

/// How an event becomes a line.
fn lines<S, W>(writer: fn() -> W) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: Write + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_ansi(false)
        .with_writer(move || Escaping(writer()))
}

/// Escapes what the JSON formatter leaves as it is: JSON allows raw C1, delete
/// and bidirectional controls in strings. Each call gets one whole line.
struct Escaping<W>(W);

// === impl Escaping ===

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut safe = Vec::with_capacity(line.len());
        push_json(&mut safe, text.trim_end_matches('\n'));
        safe.push(b'\n');
        self.0.write_all(&safe)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

// === impl Level ===

impl Level {
    const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl FromStr for Level {
    type Err = InvalidLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| InvalidLevel(text.to_owned()))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::Value;
    use tracing::{debug, error, info, warn};

    use super::*;

    thread_local! {
        static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    struct Memory;

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            WRITTEN.with_borrow_mut(|written| written.extend_from_slice(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: Level, events: impl FnOnce()) -> Vec<Value> {
        let subscriber = Registry::default()
            .with(targets(level))
            .with(lines(|| Memory));
        WRITTEN.take();
        tracing::subscriber::with_default(subscriber, events);
        let written = String::from_utf8(WRITTEN.take()).expect("UTF-8");
        written
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    #[test]
    fn levels_are_read_as_they_are_printed() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(level.to_string().to_uppercase().parse(), Ok(level));
        }
        let error = "loud".parse::<Level>().expect_err("no level");
        assert!(
            error
                .to_string()
                .contains("error, warn, info, debug, trace"),
            "{error}"
        );
    }

    #[test]
    fn dependencies_log_warnings_only() {
        let lines = logged(Level::Trace, || {
            debug!(target: "hyper::proto", "headers with a token");
            warn!(target: "rustls", "odd");
            debug!(target: "sidegate_proxy::run", "ours");
        });
        let targets: Vec<_> = lines.iter().map(|line| line["target"].as_str()).collect();
        assert_eq!(targets, [Some("rustls"), Some("sidegate_proxy::run")]);
    }

    #[test]
    fn at_error_nobody_warns() {
        let lines = logged(Level::Error, || {
            warn!(target: "rustls", "odd");
            warn!("odd");
            error!("bad");
        });
        assert_eq!(lines.len(), 1);
    }

    #[test]
    fn log_003_log_004_one_event_is_one_line_and_harmless() {
        let odd = "a\n{\"level\":\"INFO\"}\x1b[2J\u{202e}\u{9b}\u{2028}";
        let lines = logged(Level::Info, || info!(name = odd, "called {odd}"));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["name"], odd);
        assert_eq!(lines[0]["message"], format!("called {odd}"));
        logged(Level::Info, || {
            info!(name = odd, "again");
            let written =
                WRITTEN.with_borrow(|written| String::from_utf8_lossy(written).into_owned());
            assert!(
                !written
                    .trim_end()
                    .contains(|c: char| c.is_control() || c == '\u{202e}')
            );
        });
    }

    #[test]
    fn a_second_call_gives_a_handle_of_the_same_log() {
        let first = init(Level::Warn);
        assert_eq!(first.level(), Level::Warn);
        let second = init(Level::Info);
        assert_eq!((first.level(), second.level()), (Level::Info, Level::Info));
        first.set(Level::Debug);
        assert_eq!(second.level(), Level::Debug);
    }
}
