//! `sidegate-dev up` as a person uses it: every command that it prints is run
//! as printed.

#![expect(clippy::unwrap_used, reason = "a broken assumption shall end the test")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sidegate_testkit::poll::until;
use sidegate_testkit::process::{Process, binary, free_ports};

const QUICKSTART: &str = include_str!("../../../manifests/quickstart.yaml");
const LAST_LINE: &str = "Ctrl-C stops everything.";

/// The quick start at ports of its own.
struct Desk {
    dir: tempfile::TempDir,
    text: String,
    /// Server, sidecar, authorization server, admin, health.
    ports: [u16; 5],
}

impl Desk {
    fn new() -> Self {
        let (server, sidecar) = server_ports();
        let [issuer, admin, health] = free_ports();
        let text = QUICKSTART
            .replace("18080", &sidecar.to_string())
            .replace("8080", &server.to_string())
            .replace("15090", &issuer.to_string());
        // A name that a shell would split.
        let dir = tempfile::Builder::new()
            .prefix("it's a desk ")
            .tempdir()
            .unwrap();
        let desk = Self {
            dir,
            text,
            ports: [server, sidecar, issuer, admin, health],
        };
        desk.write(&desk.text);
        desk
    }

    fn write(&self, text: &str) {
        fs::write(self.dir.path().join("gateway.yaml"), text).unwrap();
    }

    fn start(&self) -> Process {
        let [_, _, _, admin, health] = self.ports;
        let (admin, health) = (format!("127.0.0.1:{admin}"), format!("127.0.0.1:{health}"));
        let arguments = [
            "up",
            "-f",
            "gateway.yaml",
            "--dir",
            "my dev",
            "--admin",
            &admin,
            "--health",
            &health,
        ];
        Process::start("sidegate-dev", &arguments, self.dir.path())
    }

    async fn ready(&self) -> Process {
        let mut process = self.start();
        let seen = until("everything is ready", || {
            let ready = process.stdout().contains(LAST_LINE);
            (ready || process.ended().is_some()).then_some(ready)
        });
        assert!(seen.await, "{}", process.stderr());
        process
    }
}

/// A free port whose companion is free as well.
fn server_ports() -> (u16, u16) {
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let [seed] = free_ports();
    let candidates = (0..1000).map(|step| 20_000 + (seed % 9_000) + step);
    let server = candidates
        .into_iter()
        .find(|port| free(*port) && free(port + 10_000))
        .unwrap();
    (server, server + 10_000)
}

/// The printed commands, each with the comment above it.
fn commands(printed: &str) -> Vec<(String, String)> {
    let blocks = printed.split("\n\n").filter_map(|block| {
        let (about, command) = block.split_once('\n')?;
        (!command.starts_with('#') && !command.is_empty())
            .then(|| (about.to_owned(), command.trim().to_owned()))
    });
    blocks.collect()
}

async fn shell(command: &str, dir: &Path) -> String {
    let (command, dir) = (command.to_owned(), dir.to_owned());
    let run = move || {
        Command::new("sh")
            .args(["-c", &command])
            .current_dir(dir)
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && error.is_empty(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

async fn until_audited(desk: &Desk, text: &str) {
    let file = desk.dir.path().join("my dev/audit.jsonl");
    let twice = || (fs::read_to_string(&file).unwrap().matches(text).count() >= 2).then_some(());
    until("both decisions are written", twice).await;
}

#[tokio::test]
async fn every_printed_command_works_and_shows_what_it_says() {
    let desk = Desk::new();
    let mut process = desk.ready().await;
    let commands = commands(&process.stdout());
    let mut outputs = Vec::new();
    for (about, command) in &commands {
        if about.contains("Every decision") {
            // Lines are written a moment after their answers.
            until_audited(&desk, "create_support_ticket").await;
        }
        outputs.push((about.as_str(), shell(command, desk.dir.path()).await));
    }
    let shown = |words: &str| {
        let found = outputs.iter().find(|(about, _)| about.contains(words));
        &*found
            .unwrap_or_else(|| panic!("no `{words}` in {commands:?}"))
            .1
    };
    assert_eq!(shown("A token").trim().split('.').count(), 3);
    assert!(shown("permitted call").contains("Ada Fischer"));
    let list = shown("may use");
    assert!(
        list.contains("get_customer_info") && !list.contains("create_support_ticket"),
        "{list}"
    );
    let [_, sidecar, issuer, ..] = desk.ports;
    let metadata = format!("https://localhost:{sidecar}/.well-known/oauth-protected-resource/mcp");
    let challenge = shown("Without a token");
    assert!(
        challenge.contains("HTTP/1.1 401") && challenge.contains(&metadata),
        "{challenge}"
    );
    assert!(shown("learns there").contains(&format!("http://127.0.0.1:{issuer}")));
    let forbidden = shown("scopes to ask for (account:read)");
    assert!(forbidden.contains("HTTP/1.1 403") && forbidden.contains("insufficient_scope"));
    assert!(forbidden.contains("account:read"), "{forbidden}");
    assert!(shown("normal priority").contains("T-1"));
    let urgent = shown("urgent one");
    assert!(
        urgent.contains("HTTP/1.1 403") && !urgent.contains("insufficient_scope"),
        "{urgent}"
    );
    let audit = shown("Every decision");
    assert!(
        audit.contains("create_support_ticket") && audit.contains("\"missing_scope\""),
        "{audit}"
    );
    assert!(shown("metrics").contains("sidegate_requests_total"));
    assert_eq!(
        outputs.len(),
        10,
        "every command is looked at above: {commands:?}"
    );
    assert!(process.terminate().await.success(), "{}", process.stderr());
}

#[tokio::test]
async fn a_gateway_without_tls_and_without_a_name_for_this_machine_can_be_tried() {
    let desk = Desk::new();
    let [_, sidecar, ..] = desk.ports;
    let here = format!("        - https://localhost:{sidecar}/mcp\n");
    desk.write(
        &desk
            .text
            .replace(&here, "")
            .replace("mode: Mutual", "mode: Plaintext"),
    );
    let mut process = desk.ready().await;
    let commands = commands(&process.stdout());
    let call = commands
        .iter()
        .find(|(about, _)| about.contains("permitted call"));
    let (_, command) = call.unwrap();
    assert!(command.contains("--connect-to"), "{command}");
    assert!(
        shell(command, desk.dir.path())
            .await
            .contains("Ada Fischer")
    );
    assert!(process.terminate().await.success());
}

#[tokio::test]
async fn changes_of_the_file_are_enforced_or_explained() {
    let desk = Desk::new();
    let mut process = desk.ready().await;
    let all = commands(&process.stdout());
    let forbidden = all.iter().find(|(about, _)| about.contains("account:read"));
    let (_, forbidden) = forbidden.unwrap();
    let dir = desk.dir.path();

    let strict = r#"requiredScopes: ["account:read"]"#;
    let relaxed = desk
        .text
        .replace(strict, r#"requiredScopes: ["customer:read"]"#);
    desk.write(&relaxed);
    process.until_stdout("gateway.yaml changed: in force").await;
    assert!(shell(forbidden, dir).await.contains("HTTP/1.1 200"));

    let renamed = desk.text.replace("account:read", "account:see");
    desk.write(&renamed);
    let twice = || (process.stdout().matches("in force\n").count() == 2).then_some(());
    until("the second change is in force", twice).await;
    let program = binary("sidegate-dev").display().to_string();
    let [_, _, issuer, ..] = desk.ports;
    let ask = format!("{program} token --scope account:see --issuer http://127.0.0.1:{issuer}");
    let token = shell(&ask, dir).await;
    assert_eq!(
        token.split('.').count(),
        3,
        "a scope that only the changed file knows"
    );

    desk.write(&desk.text.replace("path: /mcp", "path: nonsense"));
    process.until_stdout("what was in force stays:").await;
    process.until_stdout("servers[0].path").await;
    desk.write(&desk.text.replace("path: /mcp", "path: /elsewhere"));
    process.until_stdout("start it again").await;
    let still = shell(forbidden, dir).await;
    assert!(
        still.contains("HTTP/1.1 403") && still.contains("account:see"),
        "{still}"
    );
    assert!(process.terminate().await.success());
}

#[tokio::test]
async fn stopping_leaves_nothing_and_certificates_are_kept() {
    let desk = Desk::new();
    let authority = desk.dir.path().join("my dev/ca.crt");
    let mut kept = None;
    for signal in ["TERM", "INT"] {
        let mut process = desk.ready().await;
        let certificate = fs::read(&authority).unwrap();
        assert_eq!(
            kept.get_or_insert_with(|| certificate.clone()),
            &certificate
        );
        process.signal(signal);
        assert!(
            process.until_ended().await.success(),
            "{}",
            process.stderr()
        );
        for port in desk.ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        }
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_named() {
    let desk = Desk::new();
    for (index, what) in [
        (0, "the demo MCP server: port"),
        (1, "cannot listen on"),
        (2, "the development authorization server: port"),
        (4, "--admin and --health"),
    ] {
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, desk.ports[index])).unwrap();
        let mut process = desk.start();
        let ended = tokio::time::timeout(Duration::from_secs(20), process.until_ended()).await;
        assert_eq!(ended.unwrap().code(), Some(2));
        let what_it_said = format!("until `{what}` is said");
        until(&what_it_said, || {
            process.stderr().contains(what).then_some(())
        })
        .await;
        assert!(
            process.stderr().contains(&desk.ports[index].to_string()),
            "{}",
            process.stderr()
        );
        assert_eq!(process.stdout(), "");
    }
    desk.write("kind: McpGateway");
    let mut process = desk.start();
    assert_eq!(process.until_ended().await.code(), Some(2));
    until("the file is named", || {
        process.stderr().contains("gateway.yaml").then_some(())
    })
    .await;
}
