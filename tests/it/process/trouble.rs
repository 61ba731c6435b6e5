//! Neighbours and limits of the machine that fail.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sidegate_testkit::client::Client;
use sidegate_testkit::mcp;
use sidegate_testkit::poll::{PATIENCE, until};
use sidegate_testkit::process::SidegateProcess;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};

use super::{ANY_LISTENER, Desk, FILE, client, metric, until_answer};

const DROPPED: &str = "sidegate_audit_lines_dropped_total";

/// What waits to be written is bounded (4 MiB, and what a pipe holds): beyond
/// it lines are dropped and counted, and requests go on.
#[tokio::test]
async fn a_stuck_reader_of_the_audit_log_blocks_no_request() {
    let desk = Desk::new().await;
    let mut gateway = desk.gateway();
    gateway["spec"]["audit"]["arguments"] = "Include".into();
    let outside = tempfile::tempdir().unwrap();
    let fifo = outside.path().join("audit");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    // Open for both, so that neither side waits for the other; nobody reads.
    let reader = File::options().read(true).write(true).open(&fifo).unwrap();
    desk.write(FILE, &gateway.to_string());
    let script = format!("exec \"$@\" >'{}'", fifo.display());
    let mut sidecar = SidegateProcess::start_in_shell(&script, desk.path(), &ANY_LISTENER);
    sidecar.until_ready().await;
    let (address, health) = (sidecar.address("support").await, sidecar.health().await);

    let token = desk.token();
    let large = mcp::call("get_a", json!({"text": "x".repeat(256 * 1024)})).token(&token);
    let mut connection = client(address).connect().await.unwrap();
    for _ in 0..32 {
        let answer = connection.send(large.clone()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let dropped = metric(health, DROPPED).await;
    assert!((1..32).contains(&dropped), "{dropped}");

    // The reader comes back: what was kept is whole, and the loss is told.
    let (lines_tx, lines_rx) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            // The test may have seen enough; the pipe has no end, as it is
            // open for writing here too.
            if lines_tx.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    let (mut decisions, mut lost) = (0, 0);
    until("every line is written or told as lost", || {
        for line in lines_rx.try_iter() {
            let line: Value = serde_json::from_str(&line).unwrap();
            match line["type"].as_str().unwrap() {
                "decision" => decisions += 1,
                kind => {
                    assert_eq!(kind, "audit_dropped");
                    lost += line["count"].as_u64().unwrap();
                }
            }
        }
        (decisions + lost == 32).then_some(())
    })
    .await;
    assert_eq!(lost, dropped);
    let answer = connection.send(large.without("x")).await.unwrap();
    assert_eq!(answer.status, 200);
    drop(connection);
    assert!(sidecar.process().terminate().await.success());
    assert_eq!(
        lines_rx
            .iter()
            .next()
            .map(|line| line.contains("\"decision\"")),
        Some(true)
    );
}

#[tokio::test]
async fn a_stuck_reader_of_the_audit_log_does_not_keep_it_from_ending() {
    let desk = Desk::new().await;
    let mut gateway = desk.gateway();
    gateway["spec"]["audit"]["arguments"] = "Include".into();
    desk.write(FILE, &gateway.to_string());
    let outside = tempfile::tempdir().unwrap();
    let fifo = outside.path().join("audit");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let _nobody_reads = File::options().read(true).write(true).open(&fifo).unwrap();
    let script = format!("exec \"$@\" >'{}'", fifo.display());
    let mut sidecar = SidegateProcess::start_in_shell(&script, desk.path(), &ANY_LISTENER);
    sidecar.until_ready().await;
    let address = sidecar.address("support").await;
    let large = mcp::call("get_a", json!({"text": "x".repeat(256 * 1024)}));
    let answer = client(address).send(large.token(&desk.token())).await;
    assert_eq!(answer.unwrap().status, 200);
    assert!(sidecar.process().terminate().await.success());
}

/// ADM-013.
#[tokio::test]
async fn without_keys_it_is_not_ready_until_the_issuer_is_there() {
    let desk = Desk::new().await;
    // A port that refuses connections and that nobody else can take meanwhile.
    let closed = TcpSocket::new_v4().unwrap();
    closed.set_reuseaddr(true).unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut gateway = desk.gateway();
    let uri = format!("http://{}/jwks", closed.local_addr().unwrap());
    gateway["spec"]["authentication"]["jwt"][0]["jwks"]["uri"] = uri.into();
    desk.write(FILE, &gateway.to_string());
    let mut sidecar = desk.start(&[]);
    let (address, health) = (sidecar.address("support").await, sidecar.health().await);

    let health = Client::plaintext(health);
    assert_eq!(health.get("/healthz").await.unwrap().status, 200);
    assert_eq!(health.get("/readyz").await.unwrap().status, 503);
    let refused = desk.call(address, "get_a").await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!(wait > 0);
    assert_eq!(refused.json()["error"]["code"], 5030);
    desk.upstream.assert_untouched();
    assert_eq!(desk.issuer.fetches(), 0);

    let listener = closed.listen(16).unwrap();
    let issuer = desk.issuer.address();
    let forwarding = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut onward = TcpStream::connect(issuer).await.unwrap();
            tokio::spawn(async move {
                // Ends with either side.
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            });
        }
    });
    until_answer(&health, "/readyz", |answer| answer.status == 200).await;
    assert_eq!(desk.call(address, "get_a").await.unwrap().status, 200);
    assert!(sidecar.process().terminate().await.success());
    forwarding.abort();
}

#[tokio::test]
async fn idle_connections_leave_descriptors_for_the_health_port() {
    const REFUSED: &str = "sidegate_connections_refused_total{reason=\"max_connections\"}";
    let desk = Desk::new().await;
    let script = "ulimit -n 64; exec \"$@\"";
    let mut sidecar = SidegateProcess::start_in_shell(script, desk.path(), &ANY_LISTENER);
    sidecar.until_ready().await;
    let address = sidecar.address("support").await;
    let health = Client::plaintext(sidecar.health().await);

    let mut idle = Vec::new();
    for _ in 0..80 {
        // The kernel completes the handshake even of those that are closed.
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    until_answer(&health, "/metrics", |answer| {
        let text = String::from_utf8_lossy(&answer.body);
        text.lines().any(|line| {
            line.strip_prefix(REFUSED)
                .is_some_and(|count| count.trim() != "0")
        })
    })
    .await;
    // A new connection of the kubelet is answered all the same.
    until_answer(&health, "/readyz", |answer| answer.status == 200).await;
    drop(idle);
    // Until it has seen that they are gone, a new one may still be closed.
    let end = Instant::now() + PATIENCE;
    while desk.call(address, "get_a").await.is_err() {
        assert!(Instant::now() < end, "connections are still refused");
        sleep(Duration::from_millis(5)).await;
    }
    until_served(&desk, &mut sidecar).await;
    assert!(sidecar.process().terminate().await.success());
}

async fn until_served(desk: &Desk, sidecar: &mut SidegateProcess) {
    let address = sidecar.address("support").await;
    desk.until_permitted(address, "get_a").await;
}
