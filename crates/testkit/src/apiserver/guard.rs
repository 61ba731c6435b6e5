//! Programs that end with the test, also when the test is killed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::poll::PATIENCE;

const SCRIPT: &str = include_str!("guard.sh");

/// A program that runs until this is dropped, or until the process ends.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Child,
    #[cfg(test)]
    program: u32,
    log: PathBuf,
}

impl Guarded {
    /// Starts a program. What it writes goes to `NAME.log` in the directory,
    /// which is removed at the end.
    pub(super) fn start<A: AsRef<OsStr>>(dir: &Path, program: &Path, arguments: &[A]) -> Self {
        let name = program.file_name().expect("a program").to_string_lossy();
        let log = dir.join(format!("{name}.log"));
        // Whoever looks before the shell has made it finds it empty.
        File::create(&log).expect("a log");
        let mut guard = Command::new("sh")
            .args(["-c", SCRIPT, "guard.sh"])
            .args([dir, &log, program])
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let stdout = guard.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the shell says the process id");
        Self {
            #[cfg(test)]
            program: line.trim().parse().expect("a process id"),
            guard,
            log,
        }
    }

    /// The process id of the program.
    #[cfg(test)]
    fn program(&self) -> u32 {
        self.program
    }

    /// Kills the program and starts it again. One that was stopped is started.
    pub(super) fn restart(&self) {
        self.wish("start");
    }

    /// Kills the program.
    pub(super) fn stop(&self) {
        self.wish("stop");
    }

    fn wish(&self, wish: &str) {
        let done = self.log.with_added_extension("done");
        let mut stdin = self.guard.stdin.as_ref().expect("a pipe");
        writeln!(stdin, "{wish}").expect("the shell reads");
        let end = Instant::now() + PATIENCE;
        while std::fs::remove_file(&done).is_err() {
            assert!(
                Instant::now() < end,
                "the guard does not {wish} the program"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the program wrote so far.
    pub(super) fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // The program has ended when its guard has.
        let _ = self.guard.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::until;

    fn is_running(program: u32) -> bool {
        let ask = format!("kill -0 {program} 2>/dev/null");
        Command::new("sh")
            .args(["-c", &ask])
            .status()
            .expect("a shell")
            .success()
    }

    fn sleep(dir: &Path) -> Guarded {
        let guarded = Guarded::start(dir, Path::new("/bin/sleep"), &["1000"]);
        assert!(is_running(guarded.program()));
        guarded
    }

    #[test]
    fn a_program_ends_with_its_guard() {
        let dir = tempfile::tempdir().expect("a directory");
        let guarded = sleep(dir.path());
        let program = guarded.program();
        drop(guarded);
        assert!(!is_running(program));
        assert!(!dir.path().exists());
    }

    /// The system closes the pipe of a process that was killed: nobody waits
    /// and nobody asks.
    #[tokio::test]
    async fn a_program_ends_when_its_test_is_killed() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut guarded = sleep(dir.path());
        drop(guarded.guard.stdin.take());
        until("the program is gone", || {
            (!is_running(guarded.program())).then_some(())
        })
        .await;
        until("the directory is gone", || {
            (!dir.path().exists()).then_some(())
        })
        .await;
    }

    /// Ctrl-C goes to the whole group, and tests may catch it.
    #[tokio::test]
    async fn a_guard_outlives_signals() {
        let dir = tempfile::tempdir().expect("a directory");
        let guarded = sleep(dir.path());
        for signal in ["INT", "TERM", "HUP"] {
            let send = format!("kill -{signal} {}", guarded.guard.id());
            let sent = Command::new("sh").args(["-c", &send]).status();
            assert!(sent.expect("a shell").success());
        }
        let program = guarded.program();
        assert!(is_running(program));
        drop(guarded);
        assert!(!is_running(program));
    }

    #[tokio::test]
    async fn a_program_is_started_again_and_ends_with_its_guard() {
        let dir = tempfile::tempdir().expect("a directory");
        let script = ["-c", "echo $$; exec sleep 1000"];
        let guarded = Guarded::start(dir.path(), Path::new("/bin/sh"), &script);
        let written = |count: usize| {
            let log = guarded.log();
            let ids: Vec<u32> = log.lines().filter_map(|line| line.parse().ok()).collect();
            (ids.len() == count).then_some(ids)
        };
        // Killed before that, the first one would never have written.
        until("the first has written", || written(1)).await;
        guarded.restart();
        let programs = until("both have written", || written(2)).await;
        assert!(!is_running(programs[0]) && is_running(programs[1]));
        guarded.stop();
        assert!(!is_running(programs[1]));
        guarded.restart();
        let programs = until("it writes again", || written(3)).await;
        drop(guarded);
        assert!(!is_running(programs[2]));
    }

    #[tokio::test]
    async fn what_a_program_writes_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let guarded = Guarded::start(dir.path(), Path::new("/bin/echo"), &["hello"]);
        until("it is written", || {
            (guarded.log() == "hello\n").then_some(())
        })
        .await;
    }
}
