//! A directory that changes under load, is damaged, or goes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sidegate_dev::certificates::Issued;
use sidegate_testkit::certificates::{AGENT, TestAuthority};
use sidegate_testkit::client::Client;
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp;
use sidegate_testkit::plane::Load;
use sidegate_testkit::poll::{PATIENCE, until};
use sidegate_testkit::process::SidegateProcess;
use sidegate_testkit::sidecar::TestSidecar;
use sidegate_testkit::upstream::{Reply, Upstream};
use tokio::time::{Instant, sleep};

use crate::support::{RESOURCE, Stage, gateway, obliging};

const REFUSED: &str = "sidegate_config_reloads_total{result=\"refused\"}";
/// Requests in a second, each over a connection of its own. The tests run a
/// debug build beside each other; `make bench` measures the real rates.
const RATE: u32 = 100;
/// How soon a new handshake sees a new certificate.
const SOON: Duration = Duration::from_secs(5);

fn documents(gateway: &Value, secret: &str) -> String {
    format!("{gateway}\n---\n{secret}")
}

/// A directory as the kubelet lays it out: a link to the current version.
struct Mounted<'a> {
    dir: &'a Path,
    version: usize,
}

// === impl Mounted ===

impl Mounted<'_> {
    fn swap(&mut self, text: &str) {
        let old = format!("..{}", self.version);
        self.version += 1;
        let new = format!("..{}", self.version);
        fs::create_dir(self.dir.join(&new)).unwrap();
        fs::write(self.dir.join(&new).join("gateway.yaml"), text).unwrap();
        symlink(&new, self.dir.join("..data_tmp")).unwrap();
        fs::rename(self.dir.join("..data_tmp"), self.dir.join("..data")).unwrap();
        let _first = fs::remove_dir_all(self.dir.join(old));
    }
}

async fn until_shown(client: &Client, issued: &Issued) -> Duration {
    use rustls_pki_types::pem::PemObject as _;
    let pem = issued.certificate_pem.as_bytes();
    let wanted = rustls_pki_types::CertificateDer::from_pem_slice(pem).unwrap();
    let began = Instant::now();
    while client.shown_certificate().await.unwrap() != wanted.as_ref() {
        assert!(began.elapsed() < SOON, "the old one is still shown");
        sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

/// TLS-026.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_swapped_under_load_fail_no_request() {
    const ROTATIONS: usize = 10;
    let (issuer, upstream) = (TestIssuer::start().await, Upstream::start(obliging).await);
    let authority = TestAuthority::new();
    let mut gateway = gateway(&issuer, &upstream);
    gateway["spec"]["tls"] = json!({"mode": "Mutual", "certificateRef": {"name": "tls"}});
    let text = |server: &Issued| documents(&gateway, &authority.secret("crm", "tls", server));
    let dir = tempfile::tempdir().unwrap();
    let mut mounted = Mounted {
        dir: dir.path(),
        version: 0,
    };
    mounted.swap(&text(&authority.server()));
    let link = dir.path().join("gateway.yaml");
    symlink(Path::new("..data").join("gateway.yaml"), link).unwrap();
    let listen = ["--listen", "support=127.0.0.1:0"];
    let mut sidecar = SidegateProcess::start(dir.path(), &listen);
    sidecar.until_ready().await;

    let client = Client::tls(sidecar.address("support").await, authority.pem());
    let client = client.identity(&authority.client(AGENT)).host("localhost");
    let token = issuer.token(RESOURCE).scope("customer:read").sign();
    let mut kept = client.connect().await.unwrap();
    let (caller, signed) = (client.clone(), token.clone());
    let load = Load::start(RATE, move || {
        let (client, token) = (caller.clone(), signed.clone());
        async move {
            let call = mcp::call("get_customer", json!({})).token(&token);
            client.send(call).await
        }
    });
    let mut slowest = Duration::ZERO;
    for _ in 0..ROTATIONS {
        let server = authority.server();
        mounted.swap(&text(&server));
        slowest = slowest.max(until_shown(&client, &server).await);
        // A connection of before goes on.
        let call = mcp::call("get_customer", json!({})).token(&token);
        assert_eq!(kept.send(call).await.unwrap().status, 200);
    }
    let seen = load.end();
    println!(
        "{ROTATIONS} certificates swapped, shown after {slowest:?} at most; {} requests, none \
         failed, the slowest {:?}",
        seen.answered, seen.slowest
    );
    assert!(sidecar.process().terminate().await.success());
}

/// CFG-007: a file that goes, and then its directory.
#[tokio::test]
async fn a_configuration_that_is_taken_away_stays_in_force() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let before = stage.sidecar.config().await;
    let file = stage.sidecar.dir().join("gateway.yaml");
    fs::remove_file(&file).unwrap();
    until("the loss is told", || {
        (stage.sidecar.metric(REFUSED) == 1).then_some(())
    })
    .await;
    let after = stage.sidecar.config().await;
    assert_eq!(after["version"], before["version"]);
    assert_eq!(after["config"], before["config"]);
    assert_eq!(after["ready"], true);
    let error = after["lastError"].as_str().unwrap();
    assert!(error.contains("there is no McpGateway"), "{error}");
    assert_eq!(stage.sidecar.health("/readyz").await.status, 200);
    // It enforces as before: what was denied is denied.
    let status = async |tool: &str, token: &str| {
        let call = mcp::call(tool, json!({})).token(token);
        stage.client().send(call).await.unwrap().status.as_u16()
    };
    assert_eq!(status("get_customer", &token).await, 200);
    stage.upstream.forget();
    assert_eq!(status("drop_table", &token).await, 403);
    assert_eq!(status("get_customer", "none").await, 401);
    stage.upstream.assert_untouched();

    // The same again is no change: it only is not missing any more.
    stage.sidecar.write(&stage.documents(|_| {}));
    let end = Instant::now() + PATIENCE;
    while stage.sidecar.config().await["lastError"] != Value::Null {
        assert!(Instant::now() < end, "it is still said to be missing");
        sleep(Duration::from_millis(5)).await;
    }
    fs::remove_dir_all(stage.sidecar.dir()).unwrap();
    for _ in 0..20 {
        assert_eq!(status("get_customer", &token).await, 200);
        assert_eq!(status("drop_table", &token).await, 403);
    }
    assert_eq!(stage.sidecar.health("/readyz").await.status, 200);
}

/// CFG-004. A document that ends anywhere but at its end is refused whole.
#[tokio::test]
async fn half_a_document_is_none() {
    let stage = Stage::start(obliging).await;
    let version = stage.sidecar.config().await["version"].clone();
    let whole = stage.documents(|_| {});
    let places = 12;
    for place in 0..places {
        let (half, _) = whole.split_at(whole.len() * place / places);
        stage.sidecar.change_refused(half).await;
        assert_eq!(stage.sidecar.metric(REFUSED), place as u64 + 1);
        assert_eq!(stage.sidecar.config().await["version"], version);
    }
    let token = stage.token("customer:read");
    let call = mcp::call("get_customer", json!({})).token(&token);
    assert_eq!(stage.client().send(call).await.unwrap().status, 200);
}

/// CFG-008: two servers that answer with their own names, and a hundred
/// changes. How much slower requests get meanwhile is measured by `make bench`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_changes_lead_nobody_to_another_server() {
    const CHANGES: usize = 100;
    let issuer = TestIssuer::start().await;
    let named = |name: &'static str| {
        Upstream::start(move |request| Reply::result(request, json!({"server": name})))
    };
    let (one, two) = (named("one").await, named("two").await);
    let document = |change: usize| {
        let mut gateway = gateway(&issuer, &one);
        let server = |name: &str, upstream: &Upstream| {
            json!({
                "name": name, "port": upstream.port(),
                "resources": [format!("https://{name}.example/mcp")],
            })
        };
        let mut servers = [server("one", &one), server("two", &two)];
        if change % 2 == 1 {
            servers.reverse();
        }
        gateway["spec"]["servers"] = json!(servers);
        gateway["spec"]["authorization"] = json!({"rules": [
            {"name": "all", "tools": ["get"]},
            {"name": format!("n{change}"), "tools": [format!("t{change}")]},
        ]});
        gateway.to_string()
    };
    let sidecar = TestSidecar::start(&document(0)).await;
    let loads = ["one", "two"].map(|name| {
        let host = format!("{name}.example");
        let token = issuer.token(&format!("https://{host}/mcp")).sign();
        let client = Client::plaintext(sidecar.address(name)).host(&host);
        Load::start(RATE, move || {
            let (client, token) = (client.clone(), token.clone());
            async move {
                let answer = client
                    .send(mcp::call("get", json!({})).token(&token))
                    .await?;
                let by = answer.json()["result"]["server"].clone();
                anyhow::ensure!(
                    answer.status != 200 || by == name,
                    "{by} answered for {name}"
                );
                Ok(answer)
            }
        })
    });
    for change in 1..=CHANGES {
        sidecar.change(&document(change)).await;
    }
    let seen = loads.map(Load::end);
    println!(
        "{CHANGES} changes: {} requests, none failed or misrouted, the slowest {:?}",
        seen[0].answered + seen[1].answered,
        seen[0].slowest.max(seen[1].slowest)
    );
    assert!(seen.iter().all(|seen| seen.answered > 0));
}
