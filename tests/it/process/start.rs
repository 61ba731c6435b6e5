//! Flags, refusals to start, and where lines go.

use std::fs;

use serde_json::{Value, json};
use sidegate_testkit::client::Client;
use sidegate_testkit::poll::until;
use sidegate_testkit::process::{SidegateProcess, free_ports};

use super::{Desk, FILE, sidegate};

/// A loopback address that nothing else uses, so that a fixed port is free.
const OWN_ADDRESS: &str = "127.0.0.77";

fn named(mut gateway: Value, name: &str) -> String {
    gateway["metadata"]["name"] = name.into();
    gateway.to_string()
}

#[tokio::test]
async fn every_flag_of_run_is_obeyed() {
    let desk = Desk::new().await;
    let [port] = free_ports();
    let mut gateway = desk.gateway();
    gateway["spec"]["servers"][0]["exposure"] = "SeparatePort".into();
    gateway["spec"]["servers"][0]["listenPort"] = port.into();
    let second = json!({"name": "second", "port": 9, "resources": ["https://second.example/mcp"]});
    gateway["spec"]["servers"]
        .as_array_mut()
        .unwrap()
        .push(second);
    desk.write(FILE, &gateway.to_string());
    desk.write("other.yaml", &named(desk.gateway(), "other"));

    let mut sidecar = SidegateProcess::start(
        desk.path(),
        &[
            "--gateway",
            "crm/support",
            "--bind",
            OWN_ADDRESS,
            "--listen",
            "second=127.0.0.1:0",
            "--trust-domain",
            "example.org",
            "--log-level",
            "debug",
        ],
    );
    sidecar.until_ready().await;

    let address = sidecar.address("support").await;
    assert_eq!(address.to_string(), format!("{OWN_ADDRESS}:{port}"));
    let second = sidecar.address("second").await;
    assert!(second.ip().is_loopback() && second.port() != 0);
    let answer = desk.call(address, "get_customer").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let admin = Client::plaintext(sidecar.admin().await);
    assert_eq!(admin.get("/log-level").await.unwrap().text(), "debug");
    let config = admin.get("/config").await.unwrap().json();
    assert_eq!(config["config"]["gateway"], "crm/support");
    assert_eq!(config["config"]["policy"]["trustDomain"], "example.org");
    assert!(sidecar.process().terminate().await.success());
}

#[tokio::test]
async fn a_first_configuration_that_cannot_be_served_ends_it_with_2() {
    let desk = Desk::new().await;
    let dir = |name: &str, files: &[(&str, String)]| {
        let dir = desk.path().join(name);
        fs::create_dir(&dir).unwrap();
        for (file, text) in files {
            fs::write(dir.join(file), text).unwrap();
        }
        dir.display().to_string()
    };
    let mut without_certificate = desk.gateway();
    without_certificate["spec"]["tls"]["mode"] = "Mutual".into();
    let two_mistakes = "apiVersion: sidegate.dev/v1alpha1\n\
        kind: McpGateway\n\
        metadata: {name: support, namespace: crm}\n\
        spec:\n\
        \x20 selector: {matchLabels: {}}\n\
        \x20 servers:\n\
        \x20 - {name: support, port: 0, resources: [\"https://localhost/mcp\"]}\n\
        \x20 tls: {mode: Plaintext}\n\
        \x20 authentication: {requireToken: false}\n";
    let good = dir("good", &[(FILE, desk.gateway().to_string())]);
    let server = format!("127.0.0.1:{}", desk.upstream.port());
    let cases = [
        (
            dir("mistakes", &[(FILE, two_mistakes.to_owned())]),
            vec!["--bind", OWN_ADDRESS],
            vec![
                "gateway.yaml:5: McpGateway crm/support: spec.selector",
                "gateway.yaml:7: McpGateway crm/support: spec.servers[0].port",
            ],
        ),
        (
            dir("no-certificate", &[(FILE, without_certificate.to_string())]),
            vec!["--listen", "support=127.0.0.1:0"],
            vec!["spec.tls.certificateRef: must name a Secret"],
        ),
        (
            good.clone(),
            vec!["--bind", "127.0.0.1"],
            vec![
                &*server,
                "is the server's own address",
                "--listen support=ADDRESS:PORT",
            ],
        ),
        (
            good.clone(),
            vec!["--listen", "typo=127.0.0.1:0"],
            vec!["`--listen typo=…` names no server"],
        ),
        (
            good,
            vec!["--admin", "0.0.0.0:0"],
            vec!["the admin port is for this machine only"],
        ),
        (
            desk.path().join("nowhere").display().to_string(),
            vec![],
            vec!["is not a directory"],
        ),
        (dir("empty", &[]), vec![], vec!["there is no McpGateway"]),
        (
            dir(
                "two",
                &[
                    ("a.yaml", named(desk.gateway(), "a")),
                    ("b.yaml", named(desk.gateway(), "b")),
                ],
            ),
            vec![],
            vec!["choose one of crm/a, crm/b with --gateway NAMESPACE/NAME"],
        ),
    ];
    for (dir, arguments, wanted) in cases {
        let service_ports = ["--admin", "127.0.0.1:0", "--health", "127.0.0.1:0"];
        let service_ports: &[_] = if arguments.contains(&"--admin") {
            &service_ports[2..]
        } else {
            &service_ports
        };
        let all = [&["run", "--config", &dir], service_ports, &arguments].concat();
        let ended = sidegate(&all, desk.path()).await;
        assert_eq!(ended.code, Some(2), "{all:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{all:?}");
        let said: Vec<_> = ended
            .stderr
            .lines()
            .filter(|line| !line.starts_with('{'))
            .collect();
        let said = said.join("\n");
        for wanted in wanted {
            assert_eq!(said.matches(wanted).count(), 1, "{wanted}: {said}");
        }
    }
    desk.upstream.assert_untouched();
}

#[tokio::test]
async fn audit_lines_go_to_stdout_and_the_log_to_stderr() {
    let desk = Desk::new().await;
    let mut sidecar = desk.ready(&["--log-level", "trace"]).await;
    let address = sidecar.address("support").await;
    assert_eq!(desk.call(address, "get_a").await.unwrap().status, 200);
    assert_eq!(desk.call(address, "drop_table").await.unwrap().status, 403);
    let process = sidecar.process();
    until("both decisions are written", || {
        (process.stdout().lines().count() == 2).then_some(())
    })
    .await;
    assert!(process.terminate().await.success());

    let lines = |text: String| -> Vec<Value> {
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    };
    let audit = lines(process.stdout());
    let facts: Vec<_> = audit.iter().map(|line| &line["decision"]).collect();
    assert_eq!(facts, ["allow", "deny"]);
    assert_eq!(audit[1]["rule"], "no-drop");
    for line in lines(process.stderr()) {
        assert!(line["level"].is_string() && line["decision"].is_null());
    }
    let token = desk.token();
    let signature = token.rsplit_once('.').unwrap().1;
    assert!(!process.stdout().contains(signature) && !process.stderr().contains(signature));
}

#[tokio::test]
async fn a_port_is_not_shared_with_a_second_instance() {
    let desk = Desk::new().await;
    let mut first = desk.ready(&[]).await;
    let (traffic, admin, health) = (
        first.address("support").await,
        first.admin().await,
        first.health().await,
    );
    let cases = [
        (
            format!("--listen=support={traffic}"),
            format!("listener `support`: cannot listen on {traffic}"),
            "; another process has this port",
        ),
        (
            format!("--admin={admin}"),
            format!("cannot listen on {admin} (admin port)"),
            "",
        ),
        (
            format!("--health={health}"),
            format!("cannot listen on {health} (health port)"),
            "",
        ),
    ];
    for (flag, wanted, advice) in cases {
        let config = desk.path().display().to_string();
        let mut all = vec!["run", "--config", &config, &flag];
        for other in [
            "--listen=support=127.0.0.1:0",
            "--admin=127.0.0.1:0",
            "--health=127.0.0.1:0",
        ] {
            let (name, _) = other.split_once('=').unwrap();
            if !flag.starts_with(name) {
                all.push(other);
            }
        }
        let ended = sidegate(&all, desk.path()).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        // A line of the log may come after it.
        let mut lines = ended.stderr.lines().rev();
        let said = lines.find(|line| !line.starts_with('{')).unwrap();
        assert_eq!(said.matches(&wanted).count(), 1, "{said}");
        assert_eq!(said.matches("in use").count(), 1, "{said}");
        assert!(said.ends_with(advice), "{said}");
    }
    assert_eq!(desk.call(traffic, "get_a").await.unwrap().status, 200);
    assert!(first.process().terminate().await.success());
}
