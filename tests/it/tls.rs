//! Callers with certificates: who gets in, who they are then, and what happens
//! when certificates change.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use sidegate_dev::certificates::Issued;
use sidegate_testkit::certificates::{AGENT, LEAD, TestAuthority, secret};
use sidegate_testkit::client::{Client, raw};
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp::{self, McpRequest};
use sidegate_testkit::sidecar::TestSidecar;
use sidegate_testkit::upstream::Upstream;

use crate::support::{METADATA, RESOURCE, SESSION, assert_refused, bare, gateway, obliging};

/// The same name in another trust domain.
const FOREIGN: &str = "spiffe://elsewhere.example/ns/crm/sa/agent";

pub(crate) struct Stage {
    pub(crate) issuer: TestIssuer,
    pub(crate) upstream: Upstream,
    pub(crate) authority: TestAuthority,
    gateway: Value,
    pub(crate) sidecar: TestSidecar,
}

fn call() -> McpRequest {
    mcp::call("get_customer", json!({}))
}

fn documents(gateway: &Value, secret: &str) -> String {
    format!("{gateway}\n---\n{secret}")
}

impl Stage {
    pub(crate) async fn start(mode: &str, change: impl FnOnce(&mut Value)) -> Self {
        let (issuer, upstream) = (TestIssuer::start().await, Upstream::start(obliging).await);
        let authority = TestAuthority::new();
        let mut gateway = gateway(&issuer, &upstream);
        gateway["spec"]["tls"] = json!({"mode": mode, "certificateRef": {"name": "tls"}});
        change(&mut gateway["spec"]);
        let secret = authority.secret("crm", "tls", &authority.server());
        let sidecar = TestSidecar::start(&documents(&gateway, &secret)).await;
        Self {
            issuer,
            upstream,
            authority,
            gateway,
            sidecar,
        }
    }

    /// A client without a certificate.
    pub(crate) fn stranger(&self) -> Client {
        self.trusting(self.authority.pem())
    }

    fn trusting(&self, authority_pem: &str) -> Client {
        Client::tls(self.sidecar.address("support"), authority_pem).host("localhost")
    }

    pub(crate) fn client(&self, spiffe_id: &str) -> Client {
        self.stranger().identity(&self.authority.client(spiffe_id))
    }

    pub(crate) fn token(&self, scope: &str) -> String {
        self.issuer.token(RESOURCE).scope(scope).sign()
    }

    pub(crate) fn secret(&self, server: &Issued, authority: &TestAuthority) -> String {
        documents(
            &self.gateway,
            &secret("crm", "tls", server, Some(authority.pem())),
        )
    }
}

/// TLS-001, TLS-002, TLS-003, TLS-004.
#[tokio::test]
async fn only_a_good_certificate_gets_in() {
    let stage = Stage::start("Mutual", |_| {}).await;
    let token = stage.token("customer:read");
    let other = TestAuthority::new();
    let bad = [
        ("none", None),
        ("of another authority", Some(other.client(AGENT))),
        ("expired", Some(stage.authority.expired_client(AGENT))),
        ("of tomorrow", Some(stage.authority.future_client(AGENT))),
        ("a server's", Some(stage.authority.server_posing_as(AGENT))),
        (
            "with two names",
            Some(stage.authority.client_with(&[AGENT, LEAD])),
        ),
        (
            "with a malformed name",
            Some(stage.authority.client_with(&["spiffe://"])),
        ),
    ];
    for (case, certificate) in bad {
        let client = match &certificate {
            Some(certificate) => stage.stranger().identity(certificate),
            None => stage.stranger(),
        };
        for client in [client.clone(), client.http2()] {
            assert!(client.handshake().await.is_err(), "{case}");
            let answer = client.send(call().token(&token)).await;
            assert!(answer.is_err(), "{case}: {answer:?}");
        }
    }
    // No way around by plaintext.
    let address = stage.stranger().address();
    let quiet = Duration::from_secs(5);
    let answer = raw::exchange(address, b"POST /mcp HTTP/1.1\r\n\r\n", quiet).await;
    assert_eq!(answer.unwrap().status(), None);
    stage.upstream.assert_untouched();
    assert!(
        stage
            .sidecar
            .metrics()
            .contains("sidegate_handshake_failures_total{")
    );

    for client in [stage.client(AGENT), stage.client(AGENT).http2()] {
        client.handshake().await.unwrap();
        let answer = client.send(call().token(&token)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // The certificate alone is not enough where a token is required.
    let answer = stage.client(AGENT).send(call()).await.unwrap();
    assert_refused(&answer, 401, 4010);
}

#[tokio::test]
async fn in_mode_server_a_token_is_who_somebody_is() {
    let stage = Stage::start("Server", |_| {}).await;
    let token = stage.token("customer:read");
    for client in [stage.stranger(), stage.stranger().http2()] {
        let answer = client.send(call().token(&token)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_refused(&stage.stranger().send(call()).await.unwrap(), 401, 4010);
}

/// TLS-006.
#[tokio::test]
async fn rules_name_workloads() {
    let stage = Stage::start("Mutual", |spec| {
        spec["authorization"]["rules"] = json!([
            {
                "name": "account", "tools": ["get_customer"],
                "principals": [{"serviceAccounts": ["crm/agent"]}],
            },
            {"name": "id", "tools": ["get_order"], "principals": [{"spiffeIds": [LEAD]}]},
            {
                "name": "both", "tools": ["get_both"], "requiredScopes": ["customer:read"],
                "principals": [{"serviceAccounts": ["crm/agent"], "subjects": ["alice"]}],
            },
        ]);
    })
    .await;
    let token = stage.token("customer:read");
    let similar = "spiffe://cluster.local/ns/crm/sa/agent2";
    let nobody = stage.stranger().identity(&stage.authority.client_with(&[]));
    let rows = [
        ("get_customer", stage.client(AGENT), 200),
        ("get_customer", stage.client(LEAD), 403),
        ("get_customer", stage.client(FOREIGN), 403),
        ("get_customer", stage.client(similar), 403),
        ("get_customer", nobody.clone(), 403),
        ("get_order", stage.client(LEAD), 200),
        ("get_order", stage.client(AGENT), 403),
        ("get_order", nobody, 403),
        ("get_both", stage.client(AGENT), 200),
        ("get_both", stage.client(LEAD), 403),
    ];
    for (row, (tool, client, status)) in rows.into_iter().enumerate() {
        let request = mcp::call(tool, json!({})).token(&token);
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status, status, "row {row}: {}", answer.text());
        if status == 403 {
            // No scope would help.
            assert!(
                answer.headers.get("www-authenticate").is_none(),
                "row {row}"
            );
            stage.upstream.assert_untouched();
        }
        stage.upstream.forget();
    }
    let bob = stage.issuer.token(RESOURCE).claim("sub", "bob");
    let bob = bob.scope("customer:read").sign();
    let request = mcp::call("get_both", json!({})).token(&bob);
    assert_refused(&stage.client(AGENT).send(request).await.unwrap(), 403, 4030);
    stage.upstream.assert_untouched();
}

fn without_token(spec: &mut Value) {
    spec["authentication"]["requireToken"] = false.into();
    spec["servers"][0]["identityHeaders"] = json!({"spiffeId": "X-Caller", "subject": "X-Subject"});
    let rules = spec["authorization"]["rules"].as_array_mut().unwrap();
    rules.push(json!({
        "name": "mesh", "tools": ["list_orders"],
        "principals": [{"serviceAccounts": ["crm/agent"]}],
    }));
}

#[tokio::test]
async fn a_certificate_is_enough_where_the_gateway_says_so() {
    let stage = Stage::start("Mutual", without_token).await;
    let list = mcp::call("list_orders", json!({})).header("x-subject", "root");
    let answer = stage.client(AGENT).send(list.clone()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = stage.upstream.request();
    assert_eq!(seen.header("x-caller"), Some(AGENT));
    assert_eq!(seen.header("x-subject"), None);
    stage.upstream.forget();

    let answer = stage.client(LEAD).send(list.clone()).await.unwrap();
    assert_refused(&answer, 403, 4030);
    // Signing in cures what only misses scopes.
    let answer = stage.client(LEAD).send(call()).await.unwrap();
    assert_refused(&answer, 401, 4010);
    let challenge = format!("Bearer resource_metadata=\"{METADATA}\", scope=\"customer:read\"");
    assert_eq!(answer.header("www-authenticate"), challenge);
    assert_eq!(answer.json()["id"], 1);
    // A token that is shown is verified, needed or not.
    let forged = stage.issuer.token(RESOURCE).scope("customer:read").forged();
    for request in [list, call()] {
        let answer = stage.client(AGENT).send(request.token(&forged)).await;
        let answer = answer.unwrap();
        assert_refused(&answer, 401, 4010);
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
    stage.upstream.assert_untouched();
    let request = call().token(&stage.token("customer:read"));
    let answer = stage.client(LEAD).send(request).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn without_issuers_there_is_nothing_to_discover() {
    let stage = Stage::start("Mutual", |spec| {
        without_token(spec);
        spec["authentication"]["jwt"] = json!([]);
    })
    .await;
    let client = stage.client(AGENT);
    let list = mcp::call("list_orders", json!({}));
    assert_eq!(client.send(list.clone()).await.unwrap().status, 200);
    let path = METADATA.strip_prefix("https://localhost").unwrap();
    assert_eq!(client.get(path).await.unwrap().status, 404);
    let signed = list.token(&stage.token("customer:read"));
    assert_refused(&client.send(signed).await.unwrap(), 401, 4010);
}

#[tokio::test]
async fn a_session_belongs_to_token_and_certificate() {
    let stage = Stage::start("Mutual", |_| {}).await;
    let token = stage.token("customer:read");
    let initialize = mcp::initialize().token(&token);
    let answer = stage.client(AGENT).send(initialize).await.unwrap();
    assert_eq!(answer.status, 200);
    stage.upstream.forget();
    let request = bare(Method::DELETE, &token, Some(SESSION));
    let answer = stage.client(LEAD).send(request.clone()).await.unwrap();
    assert_refused(&answer, 404, 4041);
    stage.upstream.assert_untouched();
    assert_eq!(stage.client(AGENT).send(request).await.unwrap().status, 200);
}

#[tokio::test]
async fn certificates_change_under_running_connections() {
    let stage = Stage::start("Mutual", |_| {}).await;
    let token = stage.token("customer:read");
    let mut old = stage.client(AGENT).connect().await.unwrap();
    let answer = old.send(call().token(&token)).await.unwrap();
    assert_eq!(answer.status, 200);

    let next = TestAuthority::new();
    stage
        .sidecar
        .change(&stage.secret(&next.server(), &next))
        .await;
    // What is open goes on.
    let answer = old.send(call().token(&token)).await.unwrap();
    assert_eq!(answer.status, 200);
    // What is new is under the new authority, on both sides.
    let renewed = stage.trusting(next.pem()).identity(&next.client(AGENT));
    assert_eq!(
        renewed.send(call().token(&token)).await.unwrap().status,
        200
    );
    assert!(stage.client(AGENT).handshake().await.is_err());
    let half = stage.trusting(next.pem());
    let half = half.identity(&stage.authority.client(AGENT));
    assert!(half.handshake().await.is_err());
}

/// TLS-026.
#[tokio::test]
async fn rotation_fails_no_handshake() {
    let stage = Stage::start("Mutual", |_| {}).await;
    let token = stage.token("customer:read");
    let client = stage.client(AGENT);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let calling = {
        let (stop, token) = (std::sync::Arc::clone(&stop), token.clone());
        tokio::spawn(async move {
            let mut answers = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let answer = client.send(call().token(&token)).await.unwrap();
                assert_eq!(answer.status, 200);
                answers += 1;
            }
            answers
        })
    };
    for _ in 0..20 {
        let server = stage.authority.server();
        stage
            .sidecar
            .change(&stage.secret(&server, &stage.authority))
            .await;
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(calling.await.unwrap() > 0);
}

/// TLS-027.
#[tokio::test]
async fn half_a_rotation_leaves_the_old_pair() {
    let stage = Stage::start("Mutual", |_| {}).await;
    let token = stage.token("customer:read");
    let expiry = stage
        .sidecar
        .metric("sidegate_certificate_expiry_timestamp_seconds");
    assert!(expiry > 0);
    let (certificate, key) = (stage.authority.server(), stage.authority.server());
    let mixed = Issued {
        certificate_pem: certificate.certificate_pem,
        key_pem: key.key_pem,
    };
    let line = mixed.key_pem.expose().lines().nth(1).unwrap().to_owned();
    let no_authority = documents(
        &stage.gateway,
        &secret("crm", "tls", &stage.authority.server(), None),
    );
    for half in [stage.secret(&mixed, &stage.authority), no_authority] {
        stage.sidecar.change_refused(&half).await;
        let answer = stage
            .client(AGENT)
            .send(call().token(&token))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        assert!(stage.stranger().handshake().await.is_err());
        let config = stage.sidecar.config().await;
        let error = config["lastError"].as_str().unwrap().to_owned();
        assert!(!error.is_empty());
        assert!(!config.to_string().contains(&line), "{error}");
    }
    let whole = stage.secret(&stage.authority.server(), &stage.authority);
    stage.sidecar.change(&whole).await;
    assert_eq!(stage.sidecar.config().await["lastError"], Value::Null);
    stage.client(AGENT).handshake().await.unwrap();
}
