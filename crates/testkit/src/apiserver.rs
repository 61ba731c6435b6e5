//! A real Kubernetes API server, by itself: etcd and kube-apiserver on
//! loopback, ready in three seconds, without root.
//!
//! It stores, validates and answers like a cluster's, but nothing runs: there
//! are no nodes and no controllers. The programs come from
//! `make api-tools`.

mod audit;
mod guard;
mod token;
mod tools;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use self::guard::Guarded;
use self::tools::Tools;
use crate::certificates::TestAuthority;
use crate::process::free_ports;

/// It starts in three seconds; several at once on a small machine take longer.
const PATIENCE: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_millis(50);
/// Somebody else may take a port between its choice and its use.
const ATTEMPTS: usize = 3;

/// An API server that runs until it is dropped, or until the process ends.
#[derive(Debug)]
pub struct ApiServer {
    tools: Tools,
    url: String,
    token: String,
    kubeconfig: String,
    /// The API server goes before the store that it complains about.
    apiserver: Guarded,
    etcd: Guarded,
    dir: TempDir,
}

/// How a `kubectl` ended.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Whether it reports success.
    pub success: bool,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

// === impl ApiServer ===

impl ApiServer {
    /// The server of this process. Tests that share it use a namespace each.
    ///
    /// # Panics
    /// It does not start; the message says why.
    #[must_use]
    pub fn shared() -> &'static Self {
        // Never dropped: its programs end with the process.
        static SHARED: OnceLock<ApiServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    /// Its programs are not built, or it does not become ready; the message
    /// says what to do.
    #[must_use]
    pub fn start() -> Self {
        Self::start_for(None)
    }

    /// The same, and what `user` asks for is noted: see
    /// [`audit`](Self::audit).
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_auditing(user: &str) -> Self {
        Self::start_for(Some(user))
    }

    fn start_for(audited: Option<&str>) -> Self {
        let tools = tools::find().unwrap_or_else(|missing| panic!("{missing}"));
        let mut attempt = 1;
        loop {
            match Self::try_start(&tools, audited) {
                Ok(server) => return server,
                Err(log) if log.contains("address already in use") && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(log) => panic!("the API server does not become ready:\n{log}"),
            }
        }
    }

    fn try_start(tools: &Tools, audited: Option<&str>) -> Result<Self, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let [client, peer, port] = free_ports();
        let [client, peer] = [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
        let url = format!("https://127.0.0.1:{port}");
        let token = secret();
        let kubeconfig = write_files(dir.path(), &url, &token);
        let etcd = Guarded::start(dir.path(), &tools.etcd, &etcd_arguments(&client, &peer));
        let mut arguments = apiserver_arguments(&client, port);
        arguments.extend(
            audited
                .into_iter()
                .flat_map(|user| audit::arguments(dir.path(), user)),
        );
        let apiserver = Guarded::start(dir.path(), &tools.apiserver, &arguments);
        let server = Self {
            tools: tools.clone(),
            url,
            token,
            kubeconfig,
            apiserver,
            etcd,
            dir,
        };
        server.until_ready().map(|()| server)
    }

    fn until_ready(&self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let asked = self.kubectl(&["get", "--raw", "/readyz"], "");
            if asked.success {
                return Ok(());
            }
            let log = format!(
                "{}\n{}",
                last_lines(&self.etcd),
                last_lines(&self.apiserver)
            );
            let over = Instant::now() > end || log.contains("address already in use");
            if over {
                return Err(format!("{log}\n{}", asked.stderr));
            }
            thread::sleep(STEP);
        }
    }

    /// Kills the API server, starts it again on the same store and port, and
    /// waits until it is ready. Connections are lost.
    ///
    /// # Panics
    /// It does not become ready; the message says why.
    pub fn restart(&self) {
        self.apiserver.restart();
        if let Err(log) = self.until_ready() {
            panic!("the API server does not become ready again:\n{log}");
        }
    }

    /// Kills the API server. What it stores stays.
    pub fn stop(&self) {
        self.apiserver.stop();
    }

    /// Kills etcd. The API server goes on without its store.
    pub fn stop_store(&self) {
        self.etcd.stop();
    }

    /// Starts etcd again, with everything that it stored, and waits until the
    /// API server is ready.
    ///
    /// # Panics
    /// It does not become ready; the message says why.
    pub fn start_store(&self) {
        self.etcd.restart();
        if let Err(log) = self.until_ready() {
            panic!("the API server does not become ready again:\n{log}");
        }
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A token with which everything is allowed.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The text of a kubeconfig with that token. It refers to a file of this
    /// server.
    #[must_use]
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// The file of its certificate's authority, in PEM.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join(CA)
    }

    /// Runs `kubectl` against it, with `stdin` as its standard input.
    ///
    /// # Panics
    /// It cannot be run.
    #[must_use]
    pub fn kubectl(&self, arguments: &[&str], stdin: &str) -> Answer {
        let mut kubectl = Command::new(&self.tools.kubectl)
            .args(arguments)
            .current_dir(self.dir.path())
            // Nothing of the person who runs the tests, whose file may name
            // another cluster.
            .env("HOME", self.dir.path())
            .env("KUBECONFIG", self.dir.path().join(KUBECONFIG))
            .env("KUBECACHEDIR", self.dir.path().join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut pipe = kubectl.stdin.take().expect("a pipe");
        // It may end without having read what it does not need.
        let _ = pipe.write_all(stdin.as_bytes());
        drop(pipe);
        let output = kubectl.wait_with_output().expect("kubectl ends");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Answer {
            success: output.status.success(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Waits until every resource definition that it was given counts.
    ///
    /// # Panics
    /// One does not.
    pub fn until_established(&self) {
        let all = ["wait", "crd", "--all", "--for=condition=Established"];
        let end = Instant::now() + PATIENCE;
        loop {
            let Answer {
                success,
                stdout,
                stderr,
            } = self.kubectl(&all, "");
            if success {
                return;
            }
            // It takes one that has no condition at all yet for a mistake.
            let is_early = format!("{stdout}{stderr}").contains("accessor error");
            assert!(is_early && Instant::now() < end, "{stdout}{stderr}");
            thread::sleep(STEP);
        }
    }

    /// Makes a namespace, unless it is there.
    ///
    /// # Panics
    /// It is refused.
    pub fn namespace(&self, name: &str) {
        let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
        let _ = self
            .kubectl(&["apply", "--server-side", "-f", "-"], &namespace)
            .succeeded();
    }
}

const CA: &str = "ca.crt";
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";
const TOKENS: &str = "tokens.csv";
const KUBECONFIG: &str = "kubeconfig";

/// Everything that the programs read; gives the text of the kubeconfig.
fn write_files(dir: &Path, url: &str, token: &str) -> String {
    let authority = TestAuthority::new();
    let server = authority.server();
    let ca = dir.join(CA).display().to_string();
    let kubeconfig = format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters: [{{name: test, cluster: {{server: '{url}', certificate-authority: '{ca}'}}}}]\n\
         users: [{{name: admin, user: {{token: '{token}'}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]\n\
         current-context: test\n"
    );
    for (name, text) in [
        (CA, authority.pem()),
        (CERTIFICATE, &server.certificate_pem),
        (KEY, server.key_pem.expose()),
        (TOKENS, &format!("{token},admin,admin,system:masters\n")),
        (KUBECONFIG, &kubeconfig),
    ] {
        fs::write(dir.join(name), text).expect("a file");
    }
    kubeconfig
}

fn etcd_arguments(client: &str, peer: &str) -> Vec<String> {
    [
        "--data-dir=etcd-data",
        // What a crash of the machine would lose is of a test.
        "--unsafe-no-fsync",
        &format!("--listen-client-urls={client}"),
        &format!("--advertise-client-urls={client}"),
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--initial-cluster=default={peer}"),
        "--log-level=warn",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn apiserver_arguments(etcd: &str, port: u16) -> Vec<String> {
    [
        &format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        &format!("--secure-port={port}"),
        &format!("--tls-cert-file={CERTIFICATE}"),
        &format!("--tls-private-key-file={KEY}"),
        &format!("--token-auth-file={TOKENS}"),
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=198.19.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        &format!("--service-account-signing-key-file={KEY}"),
        // It takes the public key from a certificate as well.
        &format!("--service-account-key-file={CERTIFICATE}"),
        // Nobody makes the accounts that it would wait for.
        "--disable-admission-plugins=ServiceAccount",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Others on this machine can reach the port.
fn secret() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn last_lines(program: &Guarded) -> String {
    let log = program.log();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

// === impl Answer ===

impl Answer {
    /// What it wrote to standard output.
    ///
    /// # Panics
    /// It reports a failure.
    #[track_caller]
    #[must_use]
    pub fn succeeded(self) -> String {
        assert!(
            self.success,
            "kubectl failed: {}{}",
            self.stdout, self.stderr
        );
        self.stdout
    }

    /// What it wrote to standard error.
    ///
    /// # Panics
    /// It reports success.
    #[track_caller]
    #[must_use]
    pub fn failed(self) -> String {
        assert!(!self.success, "kubectl succeeded: {}", self.stdout);
        self.stderr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stores_what_it_is_given_and_leaves_nothing() {
        let server = ApiServer::start();
        server.namespace("crm");
        let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {b: c}}";
        let apply = ["apply", "--server-side", "-n", "crm", "-f", "-"];
        let _ = server.kubectl(&apply, map).succeeded();
        let read = ["get", "cm", "a", "-n", "crm", "-o", "jsonpath={.data.b}"];
        assert_eq!(server.kubectl(&read, "").succeeded(), "c");
        let failed = server.kubectl(&["get", "cm", "none"], "").failed();
        assert!(failed.contains("not found"), "{failed}");
        let dir = server.dir.path().to_owned();
        drop(server);
        assert!(!dir.exists());
    }
}
