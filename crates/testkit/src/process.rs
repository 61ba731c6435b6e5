//! The built `sidegate` and `sidegate-dev` as processes.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::client::Client;
use crate::poll::until;

/// A program of this workspace that runs until it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// A `sidegate run` whose ports the system chooses; its log says which.
#[derive(Debug)]
pub struct SidegateProcess {
    process: Process,
}

/// What a process wrote so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output {
    text: Arc<Mutex<String>>,
    ended: Arc<AtomicBool>,
}

/// Where cargo puts a binary of this workspace.
///
/// # Panics
/// It was not built; the message says how.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    // target/debug/deps/test-hash, or target/debug/examples/…
    let built = test
        .ancestors()
        .skip(1)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    built.unwrap_or_else(|| panic!("`{name}` is not built: run `cargo build --bins` first"))
}

/// Ports of 127.0.0.1 that nobody has at the moment, all different.
///
/// # Panics
/// There are none.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| free_port())
}

/// A port below those that the system gives to connections, so that none of
/// another test has it by chance, and not the one that was given last.
fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 16_000..30_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Other processes begin elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let turn = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + turn % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("a port");
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free")
}

// === impl Process ===

impl Process {
    /// Starts a program of this workspace.
    ///
    /// # Panics
    /// It is not built or does not start.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str], dir: &Path) -> Self {
        Self::spawn(Command::new(binary(name)).args(arguments).current_dir(dir))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (stdout, stderr) = (Output::default(), Output::default());
        stdout.follow(child.stdout.take().expect("a pipe"));
        stderr.follow(child.stderr.take().expect("a pipe"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Its standard error, to be read by somebody who does not have it.
    pub(crate) fn log(&self) -> Output {
        self.stderr.clone()
    }

    /// Waits until it wrote this to standard output.
    ///
    /// # Panics
    /// It does not.
    pub async fn until_stdout(&self, text: &str) -> String {
        until(&format!("`{text}` is printed"), || {
            Some(self.stdout()).filter(|out| out.contains(text))
        })
        .await
    }

    /// Sends a signal, such as `TERM`.
    ///
    /// # Panics
    /// It is gone already.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.id());
        let sent = Command::new("sh")
            .args(["-c", &kill])
            .status()
            .expect("a shell");
        assert!(sent.success(), "the process is gone: {}", self.stderr());
    }

    /// How it ended, if it did.
    ///
    /// # Panics
    /// The system does not know.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until it ends by itself and everything that it wrote was read.
    ///
    /// # Panics
    /// It does not.
    pub async fn until_ended(&mut self) -> ExitStatus {
        let ended = until("the process ends", || self.ended()).await;
        let outputs = [self.stdout.clone(), self.stderr.clone()];
        let read = || outputs.iter().all(Output::has_ended).then_some(());
        until("its output is read", read).await;
        ended
    }

    /// Asks it to stop and waits until it did.
    ///
    /// # Panics
    /// It does not.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.until_ended().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl SidegateProcess ===

impl SidegateProcess {
    /// Starts `sidegate run --config DIR` with its service ports on loopback,
    /// and with further arguments.
    ///
    /// # Panics
    /// It is not built or does not start.
    #[must_use]
    pub fn start(config: &Path, arguments: &[&str]) -> Self {
        Self::start_in_shell("exec \"$@\"", config, arguments)
    }

    /// The same from a shell script that replaces itself with `exec "$@"`.
    ///
    /// # Panics
    /// It is not built or does not start.
    #[must_use]
    pub fn start_in_shell(script: &str, config: &Path, arguments: &[&str]) -> Self {
        let source = config.display().to_string();
        let arguments = [&["--config", &source], arguments].concat();
        Self::run_in_shell(script, config, &arguments, Vec::new())
    }

    /// Starts `sidegate run` in `dir` with its service ports on loopback; the
    /// arguments say what it follows.
    ///
    /// # Panics
    /// It is not built or does not start.
    #[must_use]
    pub fn run(dir: &Path, arguments: &[&str]) -> Self {
        Self::run_with(dir, arguments, Vec::new())
    }

    /// The same with variables in its environment.
    ///
    /// # Panics
    /// It is not built or does not start.
    #[must_use]
    pub fn run_with(
        dir: &Path,
        arguments: &[&str],
        environment: Vec<(&'static str, OsString)>,
    ) -> Self {
        Self::run_in_shell("exec \"$@\"", dir, arguments, environment)
    }

    fn run_in_shell(
        script: &str,
        dir: &Path,
        arguments: &[&str],
        environment: Vec<(&'static str, OsString)>,
    ) -> Self {
        const ANY_PORT: &str = "127.0.0.1:0";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(binary("sidegate"));
        command.arg("run");
        for flag in ["--admin", "--health"] {
            if !arguments.contains(&flag) {
                command.args([flag, ANY_PORT]);
            }
        }
        command.args(arguments).current_dir(dir).envs(environment);
        Self {
            process: Process::spawn(&mut command),
        }
    }

    /// The process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its admin port.
    ///
    /// # Panics
    /// It ends before it opens it.
    pub async fn admin(&mut self) -> SocketAddr {
        self.logged("service port open", "port", "admin").await
    }

    /// Its health port.
    ///
    /// # Panics
    /// It ends before it opens it.
    pub async fn health(&mut self) -> SocketAddr {
        self.logged("service port open", "port", "health").await
    }

    /// Where it listens for a server.
    ///
    /// # Panics
    /// It ends before it listens.
    pub async fn address(&mut self, server: &str) -> SocketAddr {
        self.logged("listening", "listener", server).await
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// It ends, or does not become ready.
    pub async fn until_ready(&mut self) {
        let client = Client::plaintext(self.health().await);
        let end = tokio::time::Instant::now() + crate::poll::PATIENCE;
        loop {
            let answer = client.get("/readyz").await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            self.assert_runs();
            assert!(
                tokio::time::Instant::now() < end,
                "not ready: {}",
                self.process.stderr()
            );
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// The address in the log line with this message and field.
    async fn logged(&mut self, message: &str, field: &str, value: &str) -> SocketAddr {
        let what = format!("the log says `{message}` of `{value}`");
        until(&what, || {
            let found = self.process.log().address(message, field, value);
            if found.is_none() {
                self.assert_runs();
            }
            found
        })
        .await
    }

    fn assert_runs(&mut self) {
        if let Some(ended) = self.process.ended() {
            panic!("sidegate ended ({ended}): {}", self.process.stderr());
        }
    }
}

// === impl Output ===

impl Output {
    fn follow(&self, pipe: impl Read + Send + 'static) {
        let output = self.clone();
        // Ends with the pipe, so with the process.
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                output
                    .text
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&text);
                line.clear();
            }
            output.ended.store(true, Ordering::SeqCst);
        });
    }

    /// The address in the line with this message and field.
    pub(crate) fn address(&self, message: &str, field: &str, value: &str) -> Option<SocketAddr> {
        let log = self.text();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["message"] == message && line[field] == value)
            .find_map(|line| line["address"].as_str()?.parse().ok())
    }

    /// Whether the process closed it, as it does at the latest when it ends.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn text(&self) -> String {
        self.text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let [a, b] = free_ports();
        assert_ne!(a, b);
    }

    #[test]
    #[should_panic(expected = "`no-such-program` is not built: run `cargo build --bins` first")]
    fn a_program_that_is_not_built_is_explained() {
        let _ = binary("no-such-program");
    }
}
