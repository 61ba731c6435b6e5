//! Probes of other containers that the sidecar runs on loopback, with real
//! servers behind: `/app-health/…` on the health port of a process.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sidegate_testkit::certificates::TestAuthority;
use sidegate_testkit::client::{Answer, Client};
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::process::{SidegateProcess, free_ports};
use sidegate_testkit::upstream::{Reply, Upstream};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::support::gateway;

/// A sidecar with probes, and the server that it guards.
struct Pod {
    sidecar: SidegateProcess,
    upstream: Upstream,
    health: Client,
    _issuer: TestIssuer,
    _config: TempDir,
}

/// What the server says to probes; a client of the health port never sees it.
const CANARY: &str = "canary-of-the-server";

impl Pod {
    /// `probes` are given the port of the server.
    async fn start(probes: impl FnOnce(u16) -> Value) -> Self {
        let issuer = TestIssuer::start().await;
        let upstream = Upstream::start(|request| match request.path() {
            "/good" => Reply::status(200, &[("X-Canary", CANARY)], CANARY.as_bytes()),
            "/moved" => Reply::status(307, &[("Location", "/bad")], b""),
            _ => Reply::status(500, &[("X-Canary", CANARY)], CANARY.as_bytes()),
        })
        .await;
        let config = tempfile::tempdir().unwrap();
        let text = gateway(&issuer, &upstream).to_string();
        std::fs::write(config.path().join("gateway.yaml"), text).unwrap();
        let variable = probes(upstream.port()).to_string();
        let mut sidecar = with_variable(&variable, &config);
        sidecar.until_ready().await;
        let health = Client::plaintext(sidecar.health().await);
        Self {
            sidecar,
            upstream,
            health,
            _issuer: issuer,
            _config: config,
        }
    }

    async fn ask(&self, path: &str) -> (u16, String) {
        let answer = self.health.get(&format!("/app-health/{path}")).await;
        shown(&answer.unwrap())
    }

    async fn send(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Bytes::new()).unwrap();
        self.health.send(request).await.unwrap()
    }
}

fn with_variable(variable: &str, config: &TempDir) -> SidegateProcess {
    let script = format!("export SIDEGATE_PROBES='{variable}'; exec \"$@\"");
    let listen = ["--listen", "support=127.0.0.1:0"];
    SidegateProcess::start_in_shell(&script, config.path(), &listen)
}

fn shown(answer: &Answer) -> (u16, String) {
    let text = answer.text();
    let head = format!("{answer:?}");
    assert!(!text.contains(CANARY) && !head.contains(CANARY), "{head}");
    (answer.status.as_u16(), text)
}

fn failed(why: &str) -> (u16, String) {
    (503, format!("failed: {why}"))
}

fn good() -> (u16, String) {
    (200, "ok".to_owned())
}

fn http(port: u16, path: &str) -> Value {
    json!({"target": {"http": {"port": port, "path": path}}, "timeoutSeconds": 5, "periodSeconds": 3600})
}

#[tokio::test]
async fn probes_say_whether_the_server_is_well_and_nothing_else() {
    let [nobody] = free_ports();
    let pod = Pod::start(|port| {
        json!({
            "app": {
                "livez": http(port, "/good"),
                "readyz": http(port, "/bad"),
                "startupz": http(port, "/moved"),
            },
            "tcp": {
                "livez": {"target": {"tcp": {"port": port}}},
                "readyz": {"target": {"tcp": {"port": nobody}}},
            },
            "gone": {"livez": http(nobody, "/good")},
        })
    })
    .await;
    assert_eq!(pod.ask("app/livez").await, good());
    assert_eq!(pod.ask("app/readyz").await, failed("status 500"));
    assert_eq!(pod.ask("app/startupz").await, failed("status 500"));
    assert_eq!(pod.ask("tcp/livez").await, good());
    assert_eq!(pod.ask("tcp/readyz").await, failed("connection refused"));
    assert_eq!(pod.ask("gone/livez").await, failed("connection refused"));
    for path in ["app", "app/prestop", "other/livez", "app/livez/x", ""] {
        assert_eq!(pod.ask(path).await.0, 404, "{path}");
    }
    let seen = pod.upstream.requests();
    let paths: Vec<_> = seen.iter().map(|request| request.path()).collect();
    assert_eq!(paths, ["/good", "/bad", "/moved", "/bad"]);
    assert!(seen.iter().all(|request| request.method() == "GET"));
}

#[tokio::test]
async fn only_reading_is_answered() {
    let pod = Pod::start(|port| json!({"app": {"livez": http(port, "/good")}})).await;
    let path = "/app-health/app/livez";
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = pod.send(method, path).await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
    assert_eq!(pod.upstream.requests().len(), 0);
    let answer = pod.send(Method::HEAD, path).await;
    assert_eq!((answer.status.as_u16(), &*answer.text()), (200, ""));
    assert_eq!(pod.ask("app/livez?x=/bad").await, good());
    assert_eq!(pod.upstream.requests().len(), 1);
}

#[tokio::test]
async fn whoever_reaches_the_health_port_cannot_hammer_the_server() {
    let pod = Pod::start(|port| {
        json!({"app": {
            "livez": http(port, "/good"),
            "poststart": {"target": {"http": {"port": port, "path": "/good"}}},
        }})
    })
    .await;
    for check in ["app/livez", "app/poststart"] {
        pod.upstream.forget();
        let asking: Vec<_> = (0..10)
            .map(|_| {
                let (health, path) = (pod.health.clone(), format!("/app-health/{check}"));
                tokio::spawn(async move {
                    for _ in 0..20 {
                        assert_eq!(shown(&health.get(&path).await.unwrap()), good());
                    }
                })
            })
            .collect();
        for task in asking {
            task.await.unwrap();
        }
        assert_eq!(pod.upstream.requests().len(), 1, "{check}");
    }
}

#[tokio::test]
async fn a_pre_stop_hook_reaches_the_server_once_and_only_in_a_drain() {
    let mut pod = Pod::start(
        |port| json!({"app": {"prestop": {"target": {"http": {"port": port, "path": "/good"}}}}}),
    )
    .await;
    let early = pod.ask("app/prestop").await;
    assert_eq!(early, (503, "the pod is not stopping".to_owned()));
    assert_eq!(pod.upstream.requests().len(), 0);
    // Somebody who has to leave: the sidecar does not stop at once.
    let address = pod.sidecar.address("support").await;
    let _caller = TcpStream::connect(address).await.unwrap();
    pod.sidecar.process().signal("TERM");
    for _ in 0..2 {
        assert_eq!(pod.ask("app/prestop").await, good());
    }
    assert_eq!(pod.upstream.requests().len(), 1);
}

#[tokio::test]
async fn probes_over_tls_verify_nothing() {
    // Nobody knows this authority, and the name is another one.
    let issued = TestAuthority::new().server_for(&["elsewhere.example"]);
    let certificates = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.expose().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            let service = service_fn(async |request: Request<Incoming>| {
                assert_eq!(request.uri().path(), "/secure");
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(CANARY))))
            });
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        }
    });
    let https = |port: u16| {
        let target = json!({"http": {"port": port, "path": "/secure", "scheme": "HTTPS"}});
        json!({"target": target, "timeoutSeconds": 5})
    };
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let probes = json!({"app": {"livez": https(port), "readyz": https(plain_port)}});
    let pod = Pod::start(|_| probes).await;
    assert_eq!(pod.ask("app/livez").await, good());
    assert_eq!(pod.ask("app/readyz").await, failed("no TLS"));
}

/// A server of `grpc.health.v1.Health` that knows three services.
async fn grpc_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let serving = http.serve_connection(TokioIo::new(stream), service_fn(check));
                let _ = serving.await;
            });
        }
    });
    port
}

type GrpcBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

async fn check(request: Request<Incoming>) -> Result<Response<GrpcBody>, Infallible> {
    let (head, body) = request.into_parts();
    assert_eq!(head.uri.path(), "/grpc.health.v1.Health/Check");
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert_eq!(head.headers["te"], "trailers");
    let asked = body.collect().await.unwrap().to_bytes();
    let status: u8 = match asked.as_ref() {
        b"\0\0\0\0\0" => 1,
        b"\0\0\0\0\x06\x0a\x04down" => 2,
        _ => {
            // An error without a message is in the head.
            let answer = grpc("5").body(Full::default().boxed_unsync());
            return Ok(answer.unwrap());
        }
    };
    let message = Bytes::from(vec![0, 0, 0, 0, 2, 0x08, status]);
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let body = Full::new(message).with_trailers(async { Some(Ok(trailers)) });
    let mut answer = grpc("0").body(body.boxed_unsync()).unwrap();
    answer.headers_mut().remove("grpc-status");
    Ok(answer)
}

fn grpc(status: &str) -> http::response::Builder {
    let answer = Response::builder().header("content-type", "application/grpc");
    answer
        .header("grpc-status", status)
        .header("grpc-message", CANARY)
}

#[tokio::test]
async fn the_grpc_health_service_is_understood() {
    let port = grpc_server().await;
    let grpc = |port: u16, service: Option<&str>| {
        let target = json!({"grpc": {"port": port, "service": service}});
        json!({"target": target, "timeoutSeconds": 5})
    };
    let pod = Pod::start(|other| {
        json!({
            "app": {"livez": grpc(port, None), "readyz": grpc(port, Some("down"))},
            "more": {"livez": grpc(port, Some("unknown")), "readyz": grpc(other, None)},
        })
    })
    .await;
    assert_eq!(pod.ask("app/livez").await, good());
    assert_eq!(pod.ask("app/readyz").await, failed("not serving"));
    assert_eq!(pod.ask("more/livez").await, failed("grpc status 5"));
    assert_eq!(
        pod.ask("more/readyz").await,
        failed("no answer"),
        "not HTTP/2"
    );
}

#[tokio::test]
async fn a_variable_that_cannot_be_read_ends_the_sidecar() {
    let config = tempfile::tempdir().unwrap();
    let long = format!("{{\"{}\":{{}}}}", "x".repeat(64 * 1024));
    for (variable, reason) in [
        ("", "column 0"),
        ("[]", "column"),
        (
            r#"{"app":{"livez":{"target":{"tcp":{"port":"canary"}}}}}"#,
            "target.tcp.port",
        ),
        (
            r#"{"app":{"livez":{"target":{"tcp":{"port":1}},"canary":1}}}"#,
            "`app.",
        ),
        (long.as_str(), "65536 at most"),
    ] {
        let mut sidecar = with_variable(variable, &config);
        let process = sidecar.process();
        assert_eq!(process.until_ended().await.code(), Some(2));
        let said = process.stderr();
        assert!(
            said.contains("SIDEGATE_PROBES") && said.contains(reason),
            "{said}"
        );
        assert!(!said.contains("canary\""), "{said}");
    }
}
