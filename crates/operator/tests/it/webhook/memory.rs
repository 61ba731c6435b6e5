//! What a caller who sends too much costs the operator.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use sidegate_tls::{ClientTls, client_config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::authority::until;
use crate::cluster::Cluster;

const MIB: u64 = 1024 * 1024;
/// Beyond a refused body, and what the allocator keeps.
const MOST: u64 = 8 * MIB;

/// The program, with ports of its own.
struct Program {
    child: Child,
    webhook: SocketAddr,
}

// === impl Program ===

impl Program {
    async fn start(cluster: &Cluster) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let kubeconfig = dir.path().join("kubeconfig");
        fs::write(&kubeconfig, cluster.server.kubeconfig()).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_sidegate-operator"))
            .args(["run", "--namespace", &cluster.namespace])
            .args(["--own-namespace", &cluster.namespace])
            .args(["--health", "127.0.0.1:0", "--webhook", "127.0.0.1:0"])
            .args(["--control-plane", "127.0.0.1:0"])
            .env("KUBECONFIG", &kubeconfig)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let (address_tx, address) = mpsc::channel();
        // It goes on reading: a full pipe would stop the program.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let webhook = line.contains("service port open") && line.contains("webhook");
                if let (true, Some(address)) = (webhook, address_in(&line)) {
                    let _ = address_tx.send(address);
                }
            }
        });
        let patience = Duration::from_secs(30);
        let webhook = tokio::task::spawn_blocking(move || address.recv_timeout(patience));
        let webhook = webhook.await.expect("a thread").expect("an address");
        // The file is read by now, and the directory may go.
        drop(dir);
        Self { child, webhook }
    }

    /// Its memory that is neither swapped out nor a file's.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a process");
        let line = status.lines().find_map(|it| it.strip_prefix("RssAnon:"));
        let kibibytes = line.and_then(|it| it.trim().strip_suffix(" kB"));
        kibibytes.expect("a size").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let words = line.split(|it: char| !(it.is_ascii_digit() || ".:".contains(it)));
    words
        .filter_map(|it| it.trim_matches(':').parse().ok())
        .next()
}

/// Sends a request whose body has this many bytes, as far as it is taken.
/// Returns the first line of the answer.
async fn post(webhook: SocketAddr, tls: &ClientTls, name: &str, length: u64, head: &str) -> String {
    let stream = TcpStream::connect(webhook).await.expect("a connection");
    let stream = tls.connect(stream, name).await.expect("a handshake");
    let (mut answer, mut request) = tokio::io::split(stream);
    let head = format!(
        "POST /inject HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}\r\n\r\n"
    );
    let chunked = head.contains("chunked");
    let sending = async {
        let mut piece = vec![b' '; 64 * 1024];
        if chunked {
            piece = [b"10000\r\n".to_vec(), piece, b"\r\n".to_vec()].concat();
        }
        request.write_all(head.as_bytes()).await?;
        for _ in 0..length.div_ceil(64 * 1024) {
            request.write_all(&piece).await?;
        }
        request.flush().await
    };
    let mut text = Vec::new();
    let reading = async {
        let mut buffer = [0; 1024];
        while !text.contains(&b'\r') {
            match answer.read(&mut buffer).await {
                Ok(read) if read > 0 => text.extend_from_slice(&buffer[..read]),
                _ => break,
            }
        }
    };
    // It hangs up on who goes on sending.
    let (_hung_up, ()) = tokio::join!(sending, reading);
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

/// WHK-004.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_hundred_mebibytes_costs_next_to_nothing() {
    let cluster = Cluster::new("webhook-memory").await;
    let program = Program::start(&cluster).await;
    let name = "sidegate-operator.webhook-memory.svc";
    let roots = until("the roots", || async {
        let map = cluster.api("ConfigMap").get_opt("sidegate-trust").await;
        let map = map.expect("an answer")?;
        map.data["data"]["endpoints.crt"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    let tls = client_config(roots.as_bytes(), None, &[b"http/1.1"]).expect("a client");
    let declared = |length: u64| format!("Content-Length: {length}");
    let chunked = "Transfer-Encoding: chunked".to_owned();
    // One of everything, so that what is there for good is there before.
    for head in [declared(3 * MIB), chunked.clone()] {
        let _ = post(program.webhook, &tls, name, 3 * MIB, &head).await;
    }
    let before = program.memory();
    for head in [declared(100 * MIB), chunked] {
        for _ in 0..3 {
            let status = post(program.webhook, &tls, name, 100 * MIB, &head).await;
            // The answer may be lost when the connection ends meanwhile.
            assert!(status.is_empty() || status.contains("413"), "{status}");
        }
    }
    let grown = program.memory().saturating_sub(before);
    println!("six bodies of 100 MiB: {} KiB more", grown / 1024);
    assert!(grown < MOST, "{grown} bytes");
}
