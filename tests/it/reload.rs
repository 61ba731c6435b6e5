//! Changes of the configuration, and what is written about every decision.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sidegate_testkit::certificates::{AGENT, TestAuthority};
use sidegate_testkit::client::Client;
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp::{self, McpRequest};
use sidegate_testkit::poll::until;
use sidegate_testkit::sidecar::TestSidecar;
use sidegate_testkit::upstream::{Reply, Upstream};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{RESOURCE, Stage, assert_refused, gateway, obliging};

fn call() -> McpRequest {
    mcp::call("get_customer", json!({}))
}

fn deny(spec: &mut Value) {
    let rules = spec["authorization"]["rules"].as_array_mut().unwrap();
    rules.push(json!({"name": "stop", "effect": "Deny", "tools": ["get_customer"]}));
}

#[tokio::test]
async fn a_changed_rule_is_enforced_on_the_next_request() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    for client in [stage.client(), stage.client().http2()] {
        let mut connection = client.connect().await.unwrap();
        for _ in 0..3 {
            let answer = connection.send(call().token(&token)).await.unwrap();
            assert_eq!(answer.status, 200);
            stage.upstream.forget();
            stage.sidecar.change(&stage.documents(deny)).await;
            let answer = connection.send(call().token(&token)).await.unwrap();
            assert_refused(&answer, 403, 4030);
            stage.upstream.assert_untouched();
            stage.sidecar.change(&stage.documents(|_| {})).await;
        }
    }
}

/// CFG-004, CFG-006.
#[tokio::test]
async fn a_bad_change_leaves_the_last_good_one() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let before = stage.sidecar.config().await;
    assert_eq!(before["lastError"], Value::Null);
    let good = stage.documents(|_| {});
    let (half, _) = good.split_at(good.len() / 2);
    let bad = [
        ("half of it", half.to_owned()),
        ("nothing", String::new()),
        (
            "an unknown field",
            stage.documents(|spec| spec["allowAll"] = true.into()),
        ),
        (
            "an unknown mode",
            stage.documents(|spec| spec["tls"]["mode"] = "Off".into()),
        ),
        (
            "a rule that does not compile",
            stage.documents(|spec| spec["authorization"]["rules"][0]["when"] = "args.".into()),
        ),
        (
            "plain HTTP to an issuer elsewhere",
            stage.documents(|spec| {
                spec["authentication"]["jwt"][0]["jwks"]["uri"] = "http://idp.example/jwks".into();
            }),
        ),
    ];
    let refused = "sidegate_config_reloads_total{result=\"refused\"}";
    for (index, (case, documents)) in bad.into_iter().enumerate() {
        stage.sidecar.change_refused(&documents).await;
        assert_eq!(stage.sidecar.metric(refused), index as u64 + 1, "{case}");
        let config = stage.sidecar.config().await;
        assert_eq!(config["version"], before["version"], "{case}");
        assert_eq!(config["config"], before["config"], "{case}");
        assert_eq!(config["ready"], true, "{case}");
        let error = config["lastError"].as_str().unwrap_or_default();
        assert!(!error.is_empty(), "{case}");
        let answer = stage.client().send(call().token(&token)).await.unwrap();
        assert_eq!(answer.status, 200, "{case}");
    }
    assert_eq!(stage.sidecar.health("/readyz").await.status, 200);
    stage.sidecar.change(&stage.documents(deny)).await;
    let config = stage.sidecar.config().await;
    assert_eq!(config["lastError"], Value::Null);
    assert_ne!(config["version"], before["version"]);
}

/// CFG-008.
#[tokio::test]
async fn a_hundred_changes_fail_no_request() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let stop = Arc::new(AtomicBool::new(false));
    let callers = [false, false, true, true].map(|http2| {
        let (stop, token) = (Arc::clone(&stop), token.clone());
        let client = stage.client();
        let client = if http2 { client.http2() } else { client };
        tokio::spawn(async move {
            let mut connection = client.connect().await.unwrap();
            let mut answers = 0;
            while !stop.load(Ordering::SeqCst) {
                let body = call().request().into_body();
                let body = String::from_utf8(body.to_vec()).unwrap();
                let body = body.replace("\"id\":1", &format!("\"id\":{answers}"));
                let answer = connection.send(call().body(body).token(&token)).await;
                let answer = answer.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.json()["id"], answers, "an answer of its own");
                answers += 1;
            }
            answers
        })
    });
    for change in 0..100 {
        let name = format!("other-{change}");
        let documents = stage.documents(|spec| {
            let rules = spec["authorization"]["rules"].as_array_mut().unwrap();
            rules.push(json!({"name": name, "tools": [name]}));
        });
        stage.sidecar.change(&documents).await;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
    let accepted = "sidegate_config_reloads_total{result=\"accepted\"}";
    assert_eq!(stage.sidecar.metric(accepted), 101);
}

#[tokio::test]
async fn every_decision_is_one_audit_line() {
    let stage = Stage::start(obliging).await;
    let version = stage.sidecar.config().await["version"].clone();
    let client = stage.client();
    let (reader, other) = (stage.token("customer:read"), stage.token("other"));
    let allowed = client.send(call().token(&reader)).await.unwrap();
    assert_eq!(allowed.status, 200);
    let denied = client.send(call().token(&other)).await.unwrap();
    assert_eq!(denied.status, 403);
    let forbidden = mcp::call("drop_table", json!({"secret": "argument-canary"}));
    assert_eq!(
        client.send(forbidden.token(&reader)).await.unwrap().status,
        403
    );
    assert_eq!(client.send(call()).await.unwrap().status, 401);
    let lines = stage.sidecar.audit_lines(4).await;
    assert_eq!(lines.len(), 4, "{}", stage.sidecar.audit_text());
    let principal = json!({"issuer": stage.issuer.issuer(), "subject": "alice", "client": "app"});
    for line in &lines {
        assert_eq!(line["type"], "decision");
        assert_eq!(line["gateway"], "crm/support");
        assert_eq!(
            (&line["listener"], &line["server"]),
            (&json!("support"), &json!("support"))
        );
        assert_eq!(line["peer"], "127.0.0.1");
        assert_eq!(line["configVersion"], version);
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        assert!(line["durationUs"].is_u64());
        assert_eq!(line["traceId"].as_str().unwrap().len(), 32);
        assert!(!line["requestId"].as_str().unwrap().is_empty());
        assert_eq!(line.get("arguments"), None);
    }
    let told = |line: &Value| {
        [
            "decision",
            "reason",
            "rule",
            "missingScopes",
            "status",
            "outcome",
            "target",
            "method",
        ]
        .map(|member| line[member].clone())
    };
    let customer = json!({"kind": "tool", "name": "get_customer"});
    let table = json!({"kind": "tool", "name": "drop_table"});
    let tool = json!("tools/call");
    let none = Value::Null;
    assert_eq!(
        told(&lines[0]),
        [
            json!("allow"),
            json!("allowed"),
            json!("read"),
            none.clone(),
            json!(200),
            json!("answered"),
            customer.clone(),
            tool.clone()
        ]
    );
    assert_eq!(lines[0]["principal"], principal);
    assert_eq!(
        told(&lines[1]),
        [
            json!("deny"),
            json!("missing_scope"),
            json!("read"),
            json!(["customer:read"]),
            json!(403),
            json!("refused"),
            customer,
            tool.clone()
        ]
    );
    assert_eq!(lines[1]["principal"], principal);
    assert_eq!(
        told(&lines[2]),
        [
            json!("deny"),
            json!("denied_by_rule"),
            json!("no-drop"),
            none.clone(),
            json!(403),
            json!("refused"),
            table,
            tool
        ]
    );
    assert_eq!(
        told(&lines[3]),
        [
            json!("refused"),
            json!("no_token"),
            none.clone(),
            none.clone(),
            json!(401),
            json!("refused"),
            none,
            json!("none")
        ]
    );
    assert_eq!(lines[3].get("principal"), None);
    let ids: std::collections::BTreeSet<_> = lines
        .iter()
        .map(|line| line["requestId"].to_string())
        .collect();
    assert_eq!(ids.len(), 4);
    assert!(!stage.sidecar.audit_text().contains("argument-canary"));
    assert_eq!(requests_counted(&stage.sidecar), 4);
}

/// The sum over all series of requests.
fn requests_counted(sidecar: &TestSidecar) -> u64 {
    let metrics = sidecar.metrics();
    let series = metrics
        .lines()
        .filter(|line| line.starts_with("sidegate_requests_total{"));
    series
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn arguments_are_audited_as_the_gateway_says() {
    for (setting, member) in [("Hash", "argumentsSha256"), ("Include", "arguments")] {
        let stage = Stage::with(obliging, |spec| {
            spec["audit"] = json!({"arguments": setting});
        })
        .await;
        let token = stage.token("customer:read");
        let request = mcp::call("get_customer", json!({"a": "argument-canary"})).token(&token);
        assert_eq!(stage.client().send(request).await.unwrap().status, 200);
        let line = stage.audit_line("allowed").await;
        let text = stage.sidecar.audit_text();
        if setting == "Include" {
            assert_eq!(line[member], json!({"a": "argument-canary"}));
        } else {
            assert_eq!(line[member].as_str().unwrap().len(), 64);
            assert!(!text.contains("argument-canary"));
        }
    }
}

#[tokio::test]
async fn callers_cannot_make_metrics_grow() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let client = stage.client();
    let series = || stage.sidecar.metrics().lines().count();
    let attack = async |round: usize| {
        for index in 0..5 {
            let name = format!("canary_{round}_{index}\\\"\n");
            let tool = mcp::call(&format!("get_canary_{round}_{index}"), json!({}));
            let unknown = mcp::call(name.trim(), json!({}));
            let method = mcp::modern(&format!("canary/{round}/{index}"), json!({}));
            let host = call().header("host", &format!("canary-{round}-{index}"));
            let path = call().path(&format!("/canary/{round}/{index}"));
            for request in [tool, unknown, method, host, path] {
                client.send(request.token(&token)).await.unwrap();
            }
            let subject = stage.token_of(&format!("canary-{round}-{index}"), "customer:read");
            client.send(call().token(&subject)).await.unwrap();
        }
        let counted = (round as u64 + 1) * 30;
        until("every request is counted", || {
            (requests_counted(&stage.sidecar) == counted).then_some(())
        })
        .await;
    };
    attack(0).await;
    let before = series();
    attack(1).await;
    assert_eq!(series(), before);
    let metrics = stage.sidecar.metrics();
    assert!(!metrics.contains("canary"), "{metrics}");
    assert!(metrics.contains("tool=\"other\"") && metrics.contains("method=\"other\""));
}

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// ADM-004.
#[tokio::test]
async fn no_secret_is_written_anywhere() {
    let logged = Logged::default();
    let writer = logged.clone();
    // As the product logs at its loudest: dependencies stay at warnings.
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("sidegate", LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(targets).with(lines);
    let _logging = tracing::subscriber::set_default(subscriber);

    let issuer = TestIssuer::start().await;
    let upstream = Upstream::start(|request| match request.tool().as_deref() {
        Some("get_nothing") => Reply::raw("canary-answer\r\n\r\n").then_close(),
        _ => obliging(request).header("Set-Cookie", "canary-cookie=1"),
    })
    .await;
    let authority = TestAuthority::new();
    let mut gateway = gateway(&issuer, &upstream);
    gateway["spec"]["tls"] = json!({"mode": "Mutual", "certificateRef": {"name": "tls"}});
    let server = authority.server();
    let documents = |gateway: &Value| {
        format!(
            "{gateway}\n---\n{}",
            authority.secret("crm", "tls", &server)
        )
    };
    let sidecar = TestSidecar::start(&documents(&gateway)).await;
    let client = Client::tls(sidecar.address("support"), authority.pem());
    let client = client.host("localhost").identity(&authority.client(AGENT));

    let good = issuer.token(RESOURCE).scope("customer:read").sign();
    let denied = issuer.token(RESOURCE).scope("nothing").sign();
    let expired = issuer.token(RESOURCE).expires_in(-60).sign();
    let forged = issuer.token(RESOURCE).forged();
    let mut answers = String::new();
    for token in [&good, &denied, &expired, &forged, "canary-opaque"] {
        for tool in ["get_customer", "get_nothing"] {
            let request = mcp::call(tool, json!({"password": "canary-argument"}))
                .path("/mcp?access_token=canary-query")
                .header("cookie", "session=canary-cookie")
                .header("x-api-key", "canary-header")
                .token(token);
            let answer = client.send(request).await.unwrap();
            answers.push_str(&format!("{:?}{}", answer.headers, answer.text()));
        }
    }
    let basic = call().header("authorization", "Basic canary-basic");
    client.send(basic).await.unwrap();
    let session = call()
        .header("mcp-session-id", "canary session")
        .token(&good);
    client.send(session).await.unwrap();
    // A configuration with mistakes and secrets in it.
    gateway["spec"]["tls"]["mode"] = "Off".into();
    sidecar.change_refused(&documents(&gateway)).await;
    sidecar.audit_lines(12).await;

    let log = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("no answer from the server"),
        "the log is seen: {log}"
    );
    let written = [
        ("log", log),
        ("audit", sidecar.audit_text()),
        ("metrics", sidecar.metrics()),
        ("health", sidecar.health("/metrics").await.text()),
        ("config", sidecar.config().await.to_string()),
        ("sidecar", format!("{sidecar:?}{:?}", sidecar.sidecar())),
        ("answers", answers),
    ];
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let key = server.key_pem.expose().lines().nth(1).unwrap().to_owned();
    let secrets = [good, denied, expired, forged].map(|token| signature(&token));
    for (place, text) in written {
        assert!(!text.contains("canary"), "{place}: {text}");
        assert!(!text.contains(&key), "{place} shows the private key");
        assert!(!text.contains("PRIVATE KEY"), "{place} shows a private key");
        for secret in &secrets {
            assert!(!text.contains(secret), "{place} shows a token: {text}");
        }
    }
}
