//! A clock for one process that runs faster than everybody else's.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::pod::replace;

/// The variable by which `make test` says where the library is.
const VARIABLE: &str = "SIDEGATE_TEST_FAKETIME";

/// What the processes of one pod see when they look at a clock, whether that
/// of the wall or one for timeouts, and how long their timeouts take.
///
/// It is never behind everybody else's, and never goes back: what it is set to
/// is counted from when a process was asked for, a moment before it looks at
/// the clock for the first time.
#[derive(Debug)]
pub struct FastClock {
    library: PathBuf,
    file: PathBuf,
    pace: u32,
    /// How far ahead it was when the process that runs was started.
    ahead: Duration,
    started: Option<Instant>,
}

// === impl FastClock ===

impl FastClock {
    /// A clock that runs `pace` times as fast as others, for what is started
    /// with it from now on.
    ///
    /// # Panics
    /// The library that does it is missing.
    #[must_use]
    pub(super) fn new(dir: &Path, pace: u32) -> Self {
        let library = std::env::var_os(VARIABLE).map(PathBuf::from);
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
        let built = tools.join("faketime/libfaketimeMT.so.1");
        Self {
            library: installed(library.unwrap_or(built)),
            file: dir.join("clock"),
            pace,
            ahead: Duration::ZERO,
            started: None,
        }
    }

    /// A process is about to be started: what it needs in its environment. It
    /// goes on where the one before it was.
    pub(super) fn starts(&mut self) -> Vec<(&'static str, OsString)> {
        self.ahead = self.ahead();
        self.started = Some(Instant::now());
        self.say();
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            // It is looked into each time, so a change is seen at once.
            ("FAKETIME_NO_CACHE", "1".into()),
        ]
    }

    /// How far it is ahead of others, at most.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        let ran = self.started.map(|started| started.elapsed());
        let gained = ran.unwrap_or_default() * self.pace.saturating_sub(1);
        self.ahead + gained
    }

    /// From now on it stays as far ahead as it is.
    pub fn runs_as_others_do(&mut self) {
        // It goes on until the process sees the change.
        self.ahead = self.ahead() + Duration::from_secs(1);
        self.pace = 1;
        self.say();
    }

    fn say(&self) {
        let (ahead, pace) = (self.ahead.as_secs_f64(), self.pace);
        // The pace of before would stay if this did not name one.
        replace(&self.file, &format!("+{ahead:.3} x{pace}\n"));
    }
}

#[track_caller]
fn installed(library: PathBuf) -> PathBuf {
    assert!(
        library.is_file(),
        "`{}` is missing: run `make test-tools`",
        library.display()
    );
    // What is started has another working directory.
    fs::canonicalize(library).expect("a path")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[should_panic(expected = "`nowhere/clock.so` is missing: run `make test-tools`")]
    fn a_library_that_is_missing_is_explained() {
        let _ = installed("nowhere/clock.so".into());
    }

    fn seconds(clock: &mut FastClock, script: &str) -> Vec<f64> {
        let output = Command::new("sh")
            .args(["-c", script])
            .envs(clock.starts())
            .output()
            .expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let read = |line: &str| line.parse().expect("seconds");
        text.lines().map(read).collect()
    }

    #[test]
    fn waits_are_shorter_and_the_next_process_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut clock = FastClock::new(dir.path(), 100);
        let began = Instant::now();
        let first = seconds(&mut clock, "date +%s.%N; sleep 60; date +%s.%N");
        assert!(began.elapsed() < Duration::from_secs(30));
        // Each `date` begins anew with the clock of others.
        assert!(clock.ahead() >= Duration::from_secs(58));
        let second = seconds(&mut clock, "date +%s.%N");
        assert!(second[0] - first[0] >= 58.0, "{first:?} {second:?}");
    }
}
