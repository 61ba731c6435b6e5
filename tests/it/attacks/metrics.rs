//! Metrics that callers would like to fill, break or falsify.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use serde_json::json;
use sidegate_testkit::client::Client;
use sidegate_testkit::mcp::{self, LEGACY};
use sidegate_testkit::poll::until;
use tokio::task::JoinSet;

use super::exposition::{Sample, read};
use crate::support::{Stage, obliging};

const REQUESTS: &str = "sidegate_requests_total";
/// Requests at a time.
const WORKERS: usize = 4;

/// Every label that a series of this sidecar may have.
const LABELS: [&str; 12] = [
    "decision", "issuer", "le", "listener", "method", "reason", "result", "server", "source",
    "status", "tool", "version",
];

fn samples(stage: &Stage) -> Vec<Sample> {
    read(&stage.sidecar.metrics())
}

fn requests(stage: &Stage) -> Vec<Sample> {
    let all = samples(stage).into_iter();
    all.filter(|sample| sample.name == REQUESTS).collect()
}

fn counted(stage: &Stage) -> u64 {
    requests(stage).iter().map(|sample| sample.count()).sum()
}

async fn until_counted(stage: &Stage, wanted: usize) {
    let what = format!("{wanted} requests are counted");
    until(&what, || {
        let counted = usize::try_from(counted(stage)).unwrap();
        assert!(counted <= wanted, "{counted} of {wanted}");
        (counted == wanted).then_some(())
    })
    .await;
}

/// Sends `count` requests over a few connections, half of them HTTP/2. Returns
/// how often each status was the answer.
async fn send(
    client: Client,
    count: usize,
    make: impl Fn(usize) -> Request<Bytes> + Send + Sync + 'static,
) -> BTreeMap<u16, u64> {
    let (next, make) = (Arc::new(AtomicUsize::new(0)), Arc::new(make));
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let client = if worker % 2 == 0 {
            client.clone()
        } else {
            client.clone().http2()
        };
        let (next, make) = (Arc::clone(&next), Arc::clone(&make));
        workers.spawn(async move {
            let mut connection = client.connect().await.unwrap();
            let mut statuses = BTreeMap::<u16, u64>::new();
            loop {
                let index = next.fetch_add(1, Ordering::SeqCst);
                if index >= count {
                    return statuses;
                }
                if connection.is_closed() {
                    connection = client.connect().await.unwrap();
                }
                let answer = connection.send(make(index)).await.unwrap();
                *statuses.entry(answer.status.as_u16()).or_default() += 1;
                if answer.header("connection") == "close" {
                    connection = client.connect().await.unwrap();
                }
            }
        });
    }
    let mut all = BTreeMap::<u16, u64>::new();
    for statuses in workers.join_all().await {
        for (status, count) in statuses {
            *all.entry(status).or_default() += count;
        }
    }
    all
}

/// A number that does not tell the next, for names.
fn scattered(index: usize) -> u64 {
    // SplitMix64.
    let mut mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// ADM-001. Tools that a rule names are named; `get_*` names none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tools_are_one_series() {
    const NAMES: usize = 10_000;
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read ticket:create");
    let configured = ["create_ticket", "drop_table"];
    let known = token.clone();
    let sent = send(stage.client(), configured.len(), move |index| {
        mcp::call(configured[index], json!({}))
            .token(&known)
            .request()
    });
    sent.await;
    let sent = send(stage.client(), NAMES, move |index| {
        let allowed = if index % 2 == 0 { "get_" } else { "no_" };
        let tool = format!("{allowed}{:x}", scattered(index));
        mcp::call(&tool, json!({})).token(&token).request()
    });
    let statuses = sent.await;
    let half = NAMES as u64 / 2;
    assert_eq!(statuses, BTreeMap::from([(200, half), (403, half)]));
    until_counted(&stage, NAMES + configured.len()).await;
    let requests = requests(&stage);
    let tools: BTreeSet<_> = requests.iter().map(|it| it.label("tool")).collect();
    assert_eq!(
        tools,
        BTreeSet::from(["create_ticket", "drop_table", "other"])
    );
    // Those of no name: allowed, and denied.
    assert_eq!(requests.len(), configured.len() + 2, "{requests:?}");
}

/// ADM-002: everything else that a caller may choose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_caller_chooses_is_a_label() {
    const EACH: usize = 500;
    const KINDS: usize = 9;
    let stage = Stage::start(obliging).await;
    let tokens: Vec<_> = (0..EACH)
        .map(|index| {
            let token = stage.issuer.token(crate::support::RESOURCE);
            let of = |what: &str| format!("canary-{what}-{:x}", scattered(index));
            token
                .claim("sub", of("subject"))
                .claim("client_id", of("client"))
                .claim("azp", of("party"))
                .scope(&format!("customer:read {}", of("scope")))
                .sign()
        })
        .collect();
    let issuers: Vec<_> = (0..EACH)
        .map(|index| {
            let token = stage.issuer.token(crate::support::RESOURCE);
            let issuer = format!("https://canary-{:x}.example/", scattered(index));
            token.claim("iss", issuer).sign()
        })
        .collect();
    let token = stage.token("customer:read");
    let make = move |index: usize| {
        let (kind, index) = (index % KINDS, index / KINDS);
        let canary = format!("canary-{:x}", scattered(index));
        let call = || mcp::call("get_customer", json!({}));
        let request = match kind {
            0 => call().token(&tokens[index]),
            1 => call().token(&issuers[index]),
            2 => call().token(&token).path(&format!("/{canary}")),
            3 => call().token(&token).path(&format!("/mcp?{canary}")),
            4 => call()
                .token(&token)
                .header("origin", &format!("https://{canary}.example")),
            5 => mcp::modern(&format!("{canary}/list"), json!({})).token(&token),
            6 => mcp::modern(
                "resources/read",
                json!({"uri": format!("crm://customers/{canary}")}),
            )
            .token(&token),
            7 => call()
                .token(&token)
                .header("mcp-session-id", &canary)
                .header("user-agent", &canary)
                .header("traceparent", &canary),
            _ => {
                let mut request = call().token(&token).request();
                let method = canary.to_ascii_uppercase().into_bytes();
                *request.method_mut() = http::Method::from_bytes(&method).unwrap();
                return request;
            }
        };
        request.request()
    };
    let make = Arc::new(make);
    let few = Arc::clone(&make);
    let _warm = send(stage.client(), KINDS, move |index| few(index)).await;
    until_counted(&stage, KINDS).await;
    let before = samples(&stage).len();
    let rest = KINDS * (EACH - 1);
    let statuses = send(stage.client(), rest, move |index| make(index + KINDS)).await;
    assert_eq!(statuses.values().sum::<u64>(), rest as u64);
    until_counted(&stage, KINDS * EACH).await;
    let after = samples(&stage);
    assert_eq!(after.len(), before, "{after:#?}");
    for sample in after {
        for (name, value) in &sample.labels {
            assert!(LABELS.contains(&&**name), "{name}");
            assert!(!value.to_ascii_lowercase().contains("canary"), "{sample:?}");
        }
    }
}

/// ADM-003. In a session a name is in the body only, so it can be any text.
#[tokio::test]
async fn odd_names_leave_the_exposition_readable() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let session = stage.session(&token).await;
    let odd = [
        "get_\"quote",
        "get_\\backslash",
        "get_\nline",
        "get_\"} 1\nsidegate_forged_total 7\n",
        "get_\u{2028}\u{202e}\u{0}\u{7f}",
        "get_ü{}=,",
        "",
    ];
    for name in odd {
        let call = mcp::legacy("tools/call", json!({"name": name}), Some(&session));
        let answer = stage.client().send(call.token(&token)).await.unwrap();
        assert!(answer.status.is_success() || answer.status.is_client_error());
        let method = mcp::legacy(name, json!({}), Some(&session)).token(&token);
        let _refused = stage.client().send(method).await.unwrap();
    }
    until_counted(&stage, 1 + 2 * odd.len()).await;
    // Read strictly: names, escapes, values, no series twice.
    let after = samples(&stage);
    assert!(!after.iter().any(|it| it.name.contains("forged")));
    let tools: BTreeSet<_> = requests(&stage)
        .iter()
        .map(|it| it.label("tool").to_owned())
        .collect();
    assert!(
        tools.iter().all(|tool| tool.is_empty() || tool == "other"),
        "{tools:?}"
    );
    let series = requests(&stage).len();
    assert!(series <= 8, "{series}");
    let health = stage.sidecar.health("/metrics").await;
    assert_eq!(health.status, 200);
    assert!(!read(&health.text()).is_empty());
}

/// What is counted, with the status that it has to get.
fn mixed(stage: &Stage) -> Vec<(u16, Request<Bytes>)> {
    let reader = stage.token("customer:read");
    let stranger = stage.token("other");
    let forged = stage.issuer.token(crate::support::RESOURCE).forged();
    let expired = stage
        .issuer
        .token(crate::support::RESOURCE)
        .expires_in(-60)
        .sign();
    let call = || mcp::call("get_customer", json!({}));
    let rows = vec![
        (200, call().token(&reader)),
        (200, mcp::modern("tools/list", json!({})).token(&reader)),
        (403, call().token(&stranger)),
        (403, mcp::call("drop_table", json!({})).token(&reader)),
        (403, mcp::call("unknown", json!({})).token(&reader)),
        (401, call()),
        (401, call().token(&forged)),
        (401, call().token(&expired)),
        (401, call().header("authorization", "Basic YTpi")),
        (
            400,
            mcp::McpRequest::post("{")
                .token(&reader)
                .header("mcp-protocol-version", LEGACY),
        ),
        (404, call().token(&reader).path("/other")),
        (
            403,
            call()
                .token(&reader)
                .header("origin", "https://evil.example"),
        ),
        (415, call().token(&reader).without("content-type")),
        (404, mcp::modern("nobody/knows", json!({})).token(&reader)),
    ];
    let rows = rows.into_iter();
    let mut rows: Vec<_> = rows.map(|(status, it)| (status, it.request())).collect();
    let mut put = call().token(&reader).request();
    *put.method_mut() = http::Method::PUT;
    rows.push((405, put));
    rows
}

/// ADM-012. Metrics and audit lines are made from one value; this compares both
/// with what was sent and what was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_counted_once_by_its_status() {
    const ROUNDS: usize = 400;
    let stage = Stage::start(obliging).await;
    let rows = mixed(&stage);
    let total = rows.len() * ROUNDS;
    let mut expected = BTreeMap::new();
    for (status, _) in &rows {
        *expected.entry(*status).or_default() += ROUNDS as u64;
    }
    let requests_of_rows: Vec<_> = rows.into_iter().map(|(_, request)| request).collect();
    let kinds = requests_of_rows.len();
    let make = move |index: usize| requests_of_rows[index % kinds].clone();
    let answered = send(stage.client(), total, make).await;
    assert_eq!(answered, expected);
    until_counted(&stage, total).await;

    let (mut by_status, mut denied) = (BTreeMap::new(), 0);
    for sample in requests(&stage) {
        let status: u16 = sample.label("status").parse().unwrap();
        *by_status.entry(status).or_default() += sample.count();
        match sample.label("decision") {
            "deny" => denied += sample.count(),
            "allow" => assert_eq!(status, 200, "{sample:?}"),
            other => assert_eq!(other, "refused", "{sample:?}"),
        }
    }
    assert_eq!(by_status, expected);
    // No scope, a rule that denies, no rule, and a method that nobody knows.
    assert_eq!(denied, 4 * ROUNDS as u64);

    // The audit log: a line for each, or a count of like refusals.
    until("everything is in the audit log", || {
        let suppressed = stage
            .sidecar
            .metric("sidegate_audit_lines_suppressed_total");
        let lines = stage.sidecar.audit();
        let decisions = lines
            .iter()
            .filter(|line| line["type"] == "decision")
            .count();
        let written = u64::try_from(decisions).unwrap() + suppressed;
        assert!(written <= total as u64, "{written} of {total}");
        (written == total as u64).then_some(())
    })
    .await;
    assert_eq!(
        stage.sidecar.metric("sidegate_audit_lines_dropped_total"),
        0
    );
    assert_eq!(stage.sidecar.metric("sidegate_panics_total"), 0);
    let allowed = 2 * ROUNDS;
    assert_eq!(stage.upstream.requests().len(), allowed);
}
