//! Stopping without a failed request.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sidegate_testkit::client::{Answer, Client};
use sidegate_testkit::process::{Process, SidegateProcess};
use sidegate_testkit::upstream::{Gate, Reply};
use tokio::task::JoinHandle;

use super::{Desk, client, sidegate, until_answer};

/// A sidecar with a call in progress that ends when the gate is opened.
struct Busy {
    desk: Desk,
    sidecar: SidegateProcess,
    gate: Gate,
    slow: JoinHandle<anyhow::Result<Answer>>,
    address: SocketAddr,
    health: Client,
}

impl Busy {
    async fn start() -> Self {
        let gate = Gate::default();
        let at = gate.clone();
        let desk = Desk::answering(move |request| {
            let reply = Reply::result(request, json!({"done": true}));
            match request.tool().as_deref() {
                Some("get_slow") => reply.gated_after(0, &at),
                _ => reply,
            }
        })
        .await;
        let mut sidecar = desk.ready(&[]).await;
        let address = sidecar.address("support").await;
        let health = Client::plaintext(sidecar.health().await);
        let call = sidegate_testkit::mcp::call("get_slow", json!({})).token(&desk.token());
        let slow = tokio::spawn(async move { client(address).send(call).await });
        desk.upstream.until_requests(1).await;
        Self {
            desk,
            sidecar,
            gate,
            slow,
            address,
            health,
        }
    }

    /// Not ready any more, while requests are still served: callers need the
    /// time to notice.
    async fn assert_leaving(&mut self) {
        until_answer(&self.health, "/readyz", |answer| answer.status == 503).await;
        assert!(
            !self.slow.is_finished(),
            "{}",
            self.sidecar.process().stderr()
        );
        let answer = self.desk.call(self.address, "get_quick").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("connection"), "close");
        assert!(self.sidecar.process().ended().is_none());
    }

    /// Ends the call in progress, which must be answered, and the process.
    async fn assert_ends_well(mut self) {
        self.gate.open();
        let answer = self.slow.await.unwrap().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["result"], json!({"done": true}));
        let process = self.sidecar.process();
        assert_eq!(process.until_ended().await.code(), Some(0));
        let log = process.stderr();
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&last["message"], &last["ended"]),
            (&json!("drained"), &json!("Complete")),
            "{log}"
        );
        assert_eq!(process.stdout().lines().count(), 2, "{}", process.stdout());
    }
}

#[tokio::test]
async fn sigterm_answers_what_is_in_progress() {
    let mut busy = Busy::start().await;
    busy.sidecar.process().signal("TERM");
    busy.assert_leaving().await;
    busy.assert_ends_well().await;
}

#[tokio::test]
async fn the_drain_command_returns_when_the_sidecar_has_stopped() {
    let mut busy = Busy::start().await;
    let admin = busy.sidecar.admin().await.to_string();
    let mut drain = Process::start("sidegate", &["drain", "--admin", &admin], busy.desk.path());
    busy.assert_leaving().await;
    assert!(drain.ended().is_none(), "{}", drain.stdout());
    busy.assert_ends_well().await;
    assert_eq!(
        drain.until_ended().await.code(),
        Some(0),
        "{}",
        drain.stderr()
    );
    assert_eq!(drain.stdout(), "drained\n");
}

#[tokio::test]
async fn the_drain_command_says_when_it_waits_in_vain() {
    let mut busy = Busy::start().await;
    let admin = busy.sidecar.admin().await.to_string();
    let arguments = ["drain", "--admin", &admin, "--timeout", "0"];
    let ended = sidegate(&arguments, busy.desk.path()).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("still drains after 0 s"), "{ended:?}");
    busy.assert_leaving().await;
    busy.assert_ends_well().await;

    let ended = sidegate(&["drain", "--admin", &admin], &std::env::temp_dir()).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let wanted = format!("no sidecar at {admin}; name its admin port with --admin");
    assert!(ended.stderr.contains(&wanted), "{ended:?}");
}

#[tokio::test]
async fn a_second_signal_ends_the_drain() {
    let mut busy = Busy::start().await;
    let process = busy.sidecar.process();
    process.signal("TERM");
    until_answer(&busy.health, "/readyz", |answer| answer.status == 503).await;
    let process = busy.sidecar.process();
    process.signal("TERM");
    assert!(process.until_ended().await.success());
    assert!(process.stderr().contains("stopped by a second signal"));
    busy.slow.await.unwrap().unwrap_err();
}
