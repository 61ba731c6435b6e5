use crate::testing::{Answer, KeyServer};

use super::*;

const LIMITS: FetchLimits = FetchLimits {
    timeout: Duration::from_secs(5),
    max_bytes: 1000,
    allow_loopback: true,
};

fn fetcher(url: &Url, ca: Option<&[u8]>, limits: FetchLimits) -> Fetcher {
    Fetcher::new(url, ca, limits).expect("a usable source")
}

async fn fetch(server: &KeyServer, limits: FetchLimits) -> Result<Bytes, FetchError> {
    fetcher(&server.url(), None, limits).fetch().await
}

fn word(outcome: &Result<Bytes, FetchError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(error) => error.as_str(),
    }
}

#[tokio::test]
async fn a_body_is_fetched_with_a_plain_request() {
    let server = KeyServer::start(Answer::Keys("body".to_owned())).await;
    assert_eq!(fetch(&server, LIMITS).await.expect("a body"), "body");
    let port = server.url().port().expect("a port");
    assert_eq!(
        server.heads(),
        [format!(
            "GET /jwks?a=b HTTP/1.1\r\nhost: localhost:{port}\r\nuser-agent: sidegate\r\n\
             accept: application/jwk-set+json, application/json\r\n\r\n"
        )]
    );
}

#[tokio::test]
async fn the_size_is_bounded_on_both_sides() {
    for (length, expected) in [(1000, "ok"), (1001, "too_large")] {
        let server = KeyServer::start(Answer::Keys("x".repeat(length))).await;
        assert_eq!(word(&fetch(&server, LIMITS).await), expected, "{length}");
    }
    let server = KeyServer::start(Answer::Endless).await;
    assert_eq!(
        word(&fetch(&server, LIMITS).await),
        "too_large",
        "without a length too"
    );
}

#[tokio::test]
async fn the_time_is_bounded_as_a_whole() {
    let limits = FetchLimits {
        timeout: Duration::from_millis(100),
        ..LIMITS
    };
    for answer in [
        Answer::Silence,
        Answer::Slow(Duration::from_secs(60), String::new()),
    ] {
        let server = KeyServer::start(answer).await;
        assert_eq!(word(&fetch(&server, limits).await), "timed_out");
    }
    let server = KeyServer::start(Answer::Slow(Duration::from_millis(20), "x".to_owned())).await;
    assert_eq!(word(&fetch(&server, LIMITS).await), "ok");
}

#[tokio::test]
async fn only_a_whole_200_is_an_answer() {
    for status in [
        "204 No Content",
        "206 Partial",
        "404 Not Found",
        "500 Error",
        "503 Later",
    ] {
        let server = KeyServer::start(Answer::Status(status)).await;
        assert_eq!(word(&fetch(&server, LIMITS).await), "status", "{status}");
    }
    let server = KeyServer::start(Answer::BreaksOff).await;
    assert_eq!(word(&fetch(&server, LIMITS).await), "http");
}

#[tokio::test]
async fn idp_010_a_redirect_is_not_followed() {
    let elsewhere = KeyServer::start(Answer::Keys("keys".to_owned())).await;
    let server = KeyServer::start(Answer::Redirect(elsewhere.url().to_string())).await;
    assert_eq!(word(&fetch(&server, LIMITS).await), "status");
    assert_eq!((server.connections(), elsewhere.connections()), (1, 0));
}

#[tokio::test]
async fn idp_022_only_the_given_authority_is_trusted() {
    let (server, ca) = KeyServer::start_tls(Answer::Keys("keys".to_owned())).await;
    let (_, other_ca) = KeyServer::start_tls(Answer::Silence).await;
    let fetched = fetcher(&server.url(), Some(&ca), LIMITS).fetch().await;
    assert_eq!(fetched.expect("trusted"), "keys");
    for untrusted in [Some(other_ca.as_slice()), None] {
        let fetched = fetcher(&server.url(), untrusted, LIMITS).fetch().await;
        assert_eq!(word(&fetched), "tls");
    }
    let mut by_address = server.url();
    by_address.set_host(Some("127.0.0.1")).expect("a host");
    let fetched = fetcher(&by_address, Some(&ca), LIMITS).fetch().await;
    assert_eq!(word(&fetched), "tls", "the certificate is for another name");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn idp_012_denied_addresses_are_never_dialled() {
    let (server, ca) = KeyServer::start_tls(Answer::Keys("keys".to_owned())).await;
    let port = server.url().port().expect("a port");
    let limits = FetchLimits {
        allow_loopback: false,
        ..LIMITS
    };
    for host in [
        "localhost",
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ] {
        let url = format!("https://{host}:{port}/").parse().expect("a URL");
        let fetched = fetcher(&url, Some(&ca), limits).fetch().await;
        assert_eq!(word(&fetched), "address_refused", "{host}");
    }
    assert_eq!(server.connections(), 0);
    for host in [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[64:ff9b::a9fe:a9fe]",
        "0.0.0.0",
    ] {
        let url = format!("https://{host}:{port}/").parse().expect("a URL");
        let fetched = fetcher(&url, None, LIMITS).fetch().await;
        assert_eq!(
            word(&fetched),
            "address_refused",
            "{host}, even on the desk"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_said() {
    let port = KeyServer::start(Answer::Silence)
        .await
        .url()
        .port()
        .expect("a port");
    let url: Url = format!("http://127.0.0.1:{port}/").parse().expect("a URL");
    // The server was dropped; its port is closed once its task is gone.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(word(&fetcher(&url, None, LIMITS).fetch().await), "connect");
    let url = "https://name.invalid/".parse().expect("a URL");
    assert_eq!(word(&fetcher(&url, None, LIMITS).fetch().await), "resolve");
}

#[test]
fn idp_011_only_https_urls_are_sources() {
    let on_the_desk = |url: &str| Fetcher::new(&url.parse().expect("a URL"), None, LIMITS).err();
    let in_a_pod = |url: &str| {
        let limits = FetchLimits {
            allow_loopback: false,
            ..LIMITS
        };
        Fetcher::new(&url.parse().expect("a URL"), None, limits).err()
    };
    for url in [
        "https://idp.test/jwks",
        "https://idp.test:8443/a/b?c=d",
        "https://[2606::1]/",
    ] {
        assert_eq!((in_a_pod(url), on_the_desk(url)), (None, None), "{url}");
    }
    for url in [
        "http://localhost:80/",
        "http://127.0.0.1/",
        "http://[::1]:1/",
    ] {
        assert_eq!(on_the_desk(url), None, "{url}");
        assert!(in_a_pod(url).is_some(), "{url}");
    }
    for url in [
        "http://idp.test/jwks",
        "http://169.254.169.254/",
        "http://localhost.evil.test/",
        "file:///etc/passwd",
        "data:application/json,{}",
        "ftp://idp.test/",
        "https://user@idp.test/",
        "https://user:pass@idp.test/",
        "https://idp.test/#a",
    ] {
        assert!(in_a_pod(url).is_some(), "{url}");
        assert!(on_the_desk(url).is_some(), "{url}");
    }
}

#[test]
fn authorities_must_be_certificates() {
    let url: Url = "https://idp.test/".parse().expect("a URL");
    for pem in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let refused = Fetcher::new(&url, Some(pem.as_bytes()), LIMITS).err();
        assert!(matches!(refused, Some(InvalidSource::Ca(_))), "{pem}");
    }
}
