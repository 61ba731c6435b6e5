//! The built `sidegate identity`: files for a caller without a gateway.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sidegate_config::control::{FromSidecar, Purpose};
use sidegate_testkit::client::Client;
use sidegate_testkit::control::TestOperator;
use sidegate_testkit::poll::until;
use sidegate_testkit::process::Process;
use sidegate_tls::{PrivateKeyPem, client_config, validity};
use tempfile::TempDir;

const NAMES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// A caller's pod and its operator.
struct Caller {
    operator: TestOperator,
    dir: TempDir,
}

// === impl Caller ===

impl Caller {
    async fn new() -> Self {
        let caller = Self {
            operator: TestOperator::start().await,
            dir: tempfile::tempdir().unwrap(),
        };
        for name in ["trust", "files"] {
            fs::create_dir(caller.path(name)).unwrap();
        }
        fs::write(caller.path("token"), "header.canary.signature").unwrap();
        let trust = caller.path("trust/endpoints.crt");
        fs::write(trust, caller.operator.trust_pem()).unwrap();
        caller
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> Process {
        let url = self.operator.url();
        let [token, trust, files] =
            ["token", "trust", "files"].map(|name| self.path(name).display().to_string());
        let arguments = [
            "identity",
            "--control-plane",
            &url,
            "--token-file",
            &token,
            "--trust-dir",
            &trust,
            "--files",
            &files,
            "--health",
            "127.0.0.1:0",
        ];
        Process::start("sidegate", &arguments, self.dir.path())
    }

    /// What the programs of the pod read.
    fn files(&self) -> Option<[String; 3]> {
        let read = NAMES.map(|name| fs::read_to_string(self.path("files").join(name)).ok());
        let [Some(certificate), Some(key), Some(authorities)] = read else {
            return None;
        };
        Some([certificate, key, authorities])
    }

    /// They belong together: else no client could be made of them.
    fn assert_usable([certificate, key, authorities]: &[String; 3]) {
        let key = PrivateKeyPem::from(key.clone().into_bytes());
        let identity = Some((certificate.as_bytes(), &key));
        client_config(authorities.as_bytes(), identity, &[b"h2"]).unwrap();
    }
}

async fn health(process: &Process) -> SocketAddr {
    until("the health port is open", || {
        let log = process.stderr();
        let line = log
            .lines()
            .find(|line| line.contains("service port open"))?;
        let (_, address) = line.split_once("127.0.0.1:")?;
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        format!("127.0.0.1:{port}").parse().ok()
    })
    .await
}

async fn status(health: SocketAddr, path: &str) -> u16 {
    let answer = Client::plaintext(health).get(path).await.unwrap();
    answer.status.as_u16()
}

#[tokio::test]
async fn files_come_before_it_is_ready_and_are_renewed_together() {
    let caller = Caller::new().await;
    caller.operator.signs(false);
    let process = caller.start();
    let health = health(&process).await;
    let asks =
        |said: &FromSidecar| matches!(said, FromSidecar::CertificateRequest(_)).then_some(());
    caller.operator.until_said("it asks", asks).await;
    assert_eq!(status(health, "/healthz").await, 200);
    assert_eq!(status(health, "/readyz").await, 503);
    assert!(caller.files().is_none());
    let mut said = caller.operator.said().into_iter();
    let hello = said.find_map(|said| {
        let FromSidecar::Hello(hello) = said else {
            return None;
        };
        Some(hello)
    });
    assert_eq!(hello.unwrap().purpose, Purpose::Identity);

    // Half of eight seconds later there are others.
    caller.operator.certificates_live(Duration::from_secs(8));
    caller.operator.signs(true);
    caller.operator.hang_up();
    let first = until("there are files", || caller.files()).await;
    Caller::assert_usable(&first);
    assert_eq!(status(health, "/readyz").await, 200);
    let second = until("they are renewed", || {
        let files = caller.files()?;
        (files[0] != first[0] && files[1] != first[1]).then_some(files)
    })
    .await;
    Caller::assert_usable(&second);
    let ends = |files: &[String; 3]| validity(&files[0]).unwrap().not_after_unix;
    assert!(ends(&second) > ends(&first));
    assert_eq!(status(health, "/readyz").await, 200);
    assert!(!process.stderr().contains("canary"), "{}", process.stderr());
    assert!(!process.stderr().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn new_authorities_are_told_and_a_restart_needs_no_operator() {
    let mut caller = Caller::new().await;
    let mut process = caller.start();
    let first = until("there are files", || caller.files()).await;
    caller.operator.rotate(true);
    let both = until("both authorities are trusted", || {
        let files = caller.files()?;
        files[2].contains(first[2].trim()).then_some(())?;
        (files[2] != first[2]).then_some(files)
    })
    .await;
    assert_eq!(both[0], first[0]);
    Caller::assert_usable(&both);
    // The one that signed ours goes: its certificate is no good any more.
    caller.operator.forget_old_authorities();
    let last = until("there is another certificate", || {
        let files = caller.files()?;
        (files[0] != first[0] && !files[2].contains(first[2].trim())).then_some(files)
    })
    .await;
    Caller::assert_usable(&last);

    caller.operator.take_down().await;
    assert!(process.terminate().await.success());
    let again = caller.start();
    let health = health(&again).await;
    until("it is ready", || {
        again.stderr().contains("files of before").then_some(())
    })
    .await;
    assert_eq!(status(health, "/readyz").await, 200);
    assert_eq!(caller.files(), Some(last));
}
