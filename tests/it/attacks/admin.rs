//! The ports beside the traffic: who reaches them, what they say, and what
//! nobody can do there.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use sidegate_testkit::certificates::{AGENT, TestAuthority, secret};
use sidegate_testkit::client::{Answer, Client};
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp;
use sidegate_testkit::process::SidegateProcess;
use sidegate_testkit::sidecar::TestSidecar;
use sidegate_testkit::upstream::Upstream;
use tempfile::TempDir;

use crate::support::{RESOURCE, gateway, obliging};
use crate::tls::Stage;

/// What an answer of the health port has, beside its one word.
const HEADERS: [&str; 4] = ["cache-control", "content-length", "content-type", "date"];
const ADMIN_PATHS: [&str; 3] = ["/config", "/log-level", "/drain"];

/// A sidecar as a process, and its neighbours.
struct Desk {
    issuer: TestIssuer,
    upstream: Upstream,
    _dir: TempDir,
    sidecar: SidegateProcess,
}

// === impl Desk ===

impl Desk {
    async fn start() -> Self {
        let (issuer, upstream) = (TestIssuer::start().await, Upstream::start(obliging).await);
        let dir = tempfile::tempdir().unwrap();
        let text = gateway(&issuer, &upstream).to_string();
        fs::write(dir.path().join("gateway.yaml"), text).unwrap();
        let listen = ["--listen", "support=127.0.0.1:0"];
        let mut sidecar = SidegateProcess::start(dir.path(), &listen);
        sidecar.until_ready().await;
        Self {
            issuer,
            upstream,
            _dir: dir,
            sidecar,
        }
    }
}

async fn ask(client: &Client, method: Method, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let answer = client
        .send(request.body(Bytes::from("trace")).unwrap())
        .await;
    answer.unwrap()
}

/// The addresses on which a process accepts TCP connections, as the kernel
/// knows them.
fn listening(process: u32) -> BTreeSet<String> {
    let mut sockets = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
        let link = fs::read_link(entry.unwrap().path());
        let link = link.unwrap_or_default().display().to_string();
        if let Some(inode) = link.strip_prefix("socket:[") {
            sockets.insert(inode.trim_end_matches(']').to_owned());
        }
    }
    let mut found = BTreeSet::new();
    for family in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/{process}/net/{family}"));
        for line in table.unwrap_or_default().lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            // 0A is LISTEN.
            if fields[3] == "0A" && sockets.contains(fields[9]) {
                found.insert(fields[1].to_owned());
            }
        }
    }
    found
}

/// An address as the kernel writes it.
fn as_listed(address: SocketAddr) -> String {
    let octets = match address {
        SocketAddr::V4(address) => address.ip().octets(),
        SocketAddr::V6(_) => [0; 4],
    };
    let number = u32::from_le_bytes(octets);
    format!("{number:08X}:{:04X}", address.port())
}

/// ADM-005.
#[tokio::test]
async fn the_admin_port_is_on_loopback_and_what_it_does_is_nowhere_else() {
    let mut desk = Desk::start().await;
    let (admin, health) = (desk.sidecar.admin().await, desk.sidecar.health().await);
    let traffic = desk.sidecar.address("support").await;
    assert!(admin.ip().is_loopback());
    let open = listening(desk.sidecar.process().id());
    let wanted = [admin, health, traffic].map(as_listed);
    assert_eq!(open, BTreeSet::from(wanted), "these and no others");

    let traffic = Client::plaintext(traffic).host("localhost");
    let token = desk.issuer.token(RESOURCE).scope("customer:read").sign();
    for path in ADMIN_PATHS {
        for method in [Method::GET, Method::POST, Method::PUT] {
            for client in [traffic.clone(), traffic.clone().http2()] {
                let answer = ask(&client, method.clone(), path).await;
                assert_eq!(answer.status, 404, "{method} {path}");
            }
            let answer = ask(&Client::plaintext(health), method, path).await;
            assert_eq!(answer.status, 404, "{path} on the health port");
        }
        let signed = mcp::call("get_a", json!({})).token(&token).path(path);
        assert_eq!(traffic.send(signed).await.unwrap().status, 404, "{path}");
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        let answer = traffic.get(path).await.unwrap();
        assert_eq!(answer.status, 404, "{path} on the traffic port");
    }
    desk.upstream.assert_untouched();
    assert!(desk.sidecar.process().terminate().await.success());
}

/// ADM-006. A key is not even hinted at: the version of the configuration
/// changes with it, which is what people compare.
#[tokio::test]
async fn the_configuration_is_shown_without_its_keys() {
    let stage = Stage::start("Mutual", |_| {}).await;
    let token = stage.token("customer:read");
    let call = mcp::call("get_customer", json!({})).token(&token);
    assert_eq!(stage.client(AGENT).send(call).await.unwrap().status, 200);
    let server = stage.authority.server();
    stage
        .sidecar
        .change(&stage.secret(&server, &stage.authority))
        .await;
    let first = stage.sidecar.config().await;
    assert_eq!(first["config"]["tls"]["keyPem"], "<redacted>");
    let text = first.to_string();
    for line in server
        .key_pem
        .expose()
        .lines()
        .filter(|it| !it.starts_with('-'))
    {
        assert!(!text.contains(line), "{text}");
    }
    assert!(!text.contains(token.rsplit('.').next().unwrap()));
    assert!(!text.contains("PRIVATE KEY"));
    let other = stage.authority.server();
    stage
        .sidecar
        .change(&stage.secret(&other, &stage.authority))
        .await;
    assert_ne!(stage.sidecar.config().await["version"], first["version"]);
}

/// ADM-008.
#[tokio::test]
async fn reading_changes_nothing() {
    let mut desk = Desk::start().await;
    let admin = Client::plaintext(desk.sidecar.admin().await);
    for (method, path, allow) in [
        (Method::GET, "/drain", "POST"),
        (Method::HEAD, "/drain", "POST"),
        (Method::PUT, "/drain", "POST"),
        (Method::GET, "/drain?now", "POST"),
        (Method::POST, "/config", "GET"),
        (Method::DELETE, "/config", "GET"),
        (Method::POST, "/log-level", "GET, PUT"),
        (Method::DELETE, "/log-level", "GET, PUT"),
    ] {
        let answer = ask(&admin, method.clone(), path).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for path in [
        "/quit",
        "/quitquitquit",
        "/shutdown",
        "/debug/pprof",
        "/",
        "/drain/",
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = ask(&admin, method.clone(), path).await;
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    let level = admin.get("/log-level?level=trace").await.unwrap();
    assert_eq!((level.status.as_u16(), &*level.text()), (200, "info"));
    let config = admin.get("/config").await.unwrap().json();
    assert_eq!(config["draining"], false);
    assert_eq!(config["ready"], true);
    // As it should be done, it is.
    let answer = ask(&admin, Method::PUT, "/log-level").await;
    assert_eq!(answer.status, 200);
    assert_eq!(admin.get("/log-level").await.unwrap().text(), "trace");
    assert_eq!(ask(&admin, Method::POST, "/drain").await.status, 202);
    assert!(desk.sidecar.process().until_ended().await.success());
}

/// ADM-010, while it is well, while it has a bad configuration, and for paths
/// that are none.
#[tokio::test]
async fn health_is_one_word() {
    let stage = crate::support::Stage::start(obliging).await;
    let broken = stage.documents(|spec| spec["canary"] = "canary".into());
    for bad in [false, true] {
        if bad {
            stage.sidecar.change_refused(&broken).await;
        }
        for path in [
            "/healthz",
            "/readyz",
            "/healthz?verbose",
            "/readyz?verbose=1",
        ] {
            let answer = stage.sidecar.health(path).await;
            let told = (answer.status.as_u16(), answer.text());
            assert_eq!(told, (200, "ok".to_owned()), "{path}");
            for name in answer.headers.keys() {
                assert!(HEADERS.contains(&name.as_str()), "{name}");
            }
        }
    }
    for path in ["/", "/config", "/healthz/", "/readyz/../config", "/livez"] {
        let answer = stage.sidecar.health(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().len() < 32, "{}", answer.text());
    }
}

/// ADM-010, ADM-013: not ready is two words, whatever the reason is.
#[tokio::test]
async fn what_is_missing_is_not_told() {
    let issuer = TestIssuer::start().await;
    let upstream = Upstream::start(obliging).await;
    let mut gateway = gateway(&issuer, &upstream);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    gateway["spec"]["authentication"]["jwt"][0]["jwks"]["uri"] =
        format!("http://{address}/jwks").into();
    let clock = std::sync::Arc::new(sidegate_policy::clock::SystemClock);
    let sidecar = TestSidecar::try_start(&gateway.to_string(), clock).await;
    let sidecar = sidecar.unwrap();
    let ready = sidecar.health("/readyz").await;
    assert_eq!((ready.status.as_u16(), &*ready.text()), (503, "not ready"));
    let alive = sidecar.health("/healthz").await;
    assert_eq!((alive.status.as_u16(), &*alive.text()), (200, "ok"));
}

/// A directory with a gateway in mode Mutual and a Secret.
fn mutual(dir: &Path, gateway: &Value, secret: &str) {
    let mut gateway = gateway.clone();
    gateway["spec"]["tls"] = json!({"mode": "Mutual", "certificateRef": {"name": "tls"}});
    let text = format!("{gateway}\n---\n{secret}");
    fs::write(dir.join("gateway.yaml"), text).unwrap();
}

/// TLS-024: without somebody to trust it does not start, least of all without
/// asking callers for a certificate.
#[tokio::test]
async fn without_an_authority_it_does_not_start() {
    let (issuer, upstream) = (TestIssuer::start().await, Upstream::start(obliging).await);
    let gateway = gateway(&issuer, &upstream);
    let authority = TestAuthority::new();
    let server = authority.server();
    let key = server.key_pem.expose();
    for (case, trusted) in [
        ("missing", None),
        ("empty", Some("")),
        ("white", Some("\n \n")),
        ("no PEM", Some("trust everybody")),
        ("half", authority.pem().get(..200)),
        ("no authority", Some(&*server.certificate_pem)),
        ("a key", Some(key)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        mutual(
            dir.path(),
            &gateway,
            &secret("crm", "tls", &server, trusted),
        );
        let listen = ["--listen", "support=127.0.0.1:0"];
        let mut sidecar = SidegateProcess::start(dir.path(), &listen);
        let process = sidecar.process();
        let ended = process.until_ended().await;
        let said = process.stderr();
        assert_eq!(ended.code(), Some(2), "{case}: {said}");
        assert!(said.contains("ca.crt"), "{case}: {said}");
        assert!(!said.contains("\"listening\""), "{case}: {said}");
        let line = key.lines().nth(1).unwrap();
        assert!(!said.contains(line), "{case}: {said}");
    }
    upstream.assert_untouched();
}
