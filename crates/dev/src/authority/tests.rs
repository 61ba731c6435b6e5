use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use sidegate_policy::clock::ManualClock;

use super::*;
use crate::fetch::{Content, fetch};

const NOW: i64 = 1_800_000_000;
const RESOURCE: &str = "https://support.example/mcp";

async fn started() -> Authority {
    let config = AuthorityConfig {
        clients: vec![Client::new("agent", "agent-secret", &["customer:read"])],
        resources: vec![RESOURCE.to_owned()],
        ..AuthorityConfig::default()
    };
    Authority::start(config, Arc::new(ManualClock::new(NOW)))
        .await
        .unwrap()
}

async fn ask(authority: &Authority, path: &str, form: Option<&str>) -> (Response<Bytes>, Value) {
    let uri = format!("http://{}{path}", authority.address())
        .parse()
        .unwrap();
    let media_type = "application/x-www-form-urlencoded";
    let content = form.map(|body| Content { media_type, body });
    let answer = fetch(&uri, content).await.unwrap();
    let body = serde_json::from_slice(answer.body()).unwrap_or_default();
    (answer, body)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

const GRANT: &str = "grant_type=client_credentials&client_id=agent&client_secret=agent-secret";

#[tokio::test]
async fn a_token_says_what_rfc_9068_asks_for() {
    let authority = started().await;
    let (answer, body) = ask(&authority, "/token", Some(GRANT)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 300);
    assert_eq!(body["scope"], "customer:read");
    let token = body["access_token"].as_str().unwrap();
    let header = part(token, 0);
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(header["alg"], "RS256");
    let (_, jwks) = ask(&authority, "/jwks", None).await;
    assert_eq!(header["kid"], jwks["keys"][0]["kid"]);
    let claims = part(token, 1);
    assert_eq!(claims["iss"], authority.issuer());
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(claims["sub"], "agent");
    assert_eq!(claims["client_id"], "agent");
    assert_eq!(claims["scope"], "customer:read");
    assert_eq!(claims["iat"], NOW);
    assert_eq!(claims["exp"], NOW + 300);
    let (_, other) = ask(&authority, "/token", Some(GRANT)).await;
    assert_ne!(
        claims["jti"],
        part(other["access_token"].as_str().unwrap(), 1)["jti"]
    );
}

#[tokio::test]
async fn metadata_is_the_same_under_both_names_and_counts_are_kept() {
    let authority = started().await;
    let (_, oauth) = ask(&authority, "/.well-known/oauth-authorization-server", None).await;
    let (_, openid) = ask(&authority, "/.well-known/openid-configuration", None).await;
    assert_eq!(oauth, openid);
    assert_eq!(oauth["issuer"], authority.issuer());
    assert_eq!(oauth["jwks_uri"], authority.jwks_uri());
    assert_eq!(
        oauth["token_endpoint"],
        format!("{}/token", authority.issuer())
    );
    // Official clients refuse metadata without this one; nobody signs in there.
    assert_eq!(
        oauth["authorization_endpoint"],
        format!("{}/authorize", authority.issuer())
    );
    let (answer, _) = ask(&authority, "/authorize", None).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    ask(&authority, "/jwks", None).await;
    ask(&authority, "/token", Some(GRANT)).await;
    ask(&authority, "/token", Some("grant_type=x")).await;
    let counts = Counts {
        metadata: 2,
        jwks: 1,
        token_requests: 2,
        tokens_issued: 1,
    };
    assert_eq!(authority.ledger().counts(), counts);
}

#[tokio::test]
async fn refusals_have_the_status_and_words_of_rfc_6749() {
    let authority = started().await;
    let (answer, body) = ask(&authority, "/token", Some("grant_type=client_credentials")).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(answer.headers().contains_key(WWW_AUTHENTICATE));
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(body["error"], "invalid_client");
    let (answer, body) = ask(&authority, "/token", Some(&format!("{GRANT}&scope=admin"))).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(body["error"], "invalid_scope");
    assert!(!answer.headers().contains_key(WWW_AUTHENTICATE));
    let (answer, _) = ask(&authority, "/token", None).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    let (answer, _) = ask(&authority, "/nothing", None).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn clients_and_resources_can_change_while_it_runs() {
    let authority = started().await;
    let clients = vec![Client::new("agent", "agent-secret", &["ticket:create"])];
    authority.know(clients, vec!["https://other.example/mcp".to_owned()]);
    let (_, body) = ask(&authority, "/token", Some(GRANT)).await;
    assert_eq!(body["scope"], "ticket:create");
    let claims = part(body["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["aud"], "https://other.example/mcp");
}

#[tokio::test]
async fn a_token_request_has_a_largest_size() {
    let authority = started().await;
    let padded = |len: usize| format!("{GRANT}&x={}", "a".repeat(len - GRANT.len() - 3));
    let (answer, _) = ask(&authority, "/token", Some(&padded(MAX_REQUEST_BYTES))).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let (answer, body) = ask(&authority, "/token", Some(&padded(MAX_REQUEST_BYTES + 1))).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(body["error"], "invalid_request");
}

#[tokio::test]
async fn rotation_over_http_keeps_the_old_key_unless_it_is_retired() {
    let authority = started().await;
    let kids = async || {
        let (_, jwks) = ask(&authority, "/jwks", None).await;
        jwks["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["kid"].clone())
            .collect::<Vec<_>>()
    };
    let before = kids().await;
    let (_, rotated) = ask(&authority, "/rotate", Some("")).await;
    assert_eq!(kids().await, [rotated["kid"].clone(), before[0].clone()]);
    let (_, rotated) = ask(&authority, "/rotate?retire=true", Some("")).await;
    assert_eq!(kids().await, [rotated["kid"].clone()]);
    let (_, body) = ask(&authority, "/token", Some(GRANT)).await;
    assert_eq!(
        part(body["access_token"].as_str().unwrap(), 0)["kid"],
        rotated["kid"]
    );
}

#[tokio::test]
async fn a_page_that_reaches_loopback_under_its_own_name_gets_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let authority = started().await;
    let mut stream = tokio::net::TcpStream::connect(authority.address())
        .await
        .unwrap();
    let request = "POST /rotate HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    let (_, jwks) = ask(&authority, "/jwks", None).await;
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
}
