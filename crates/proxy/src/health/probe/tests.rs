use sidegate_config::probes::{HttpHeader, Scheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers connections one after the other from a list; what was asked is
/// returned at the end.
async fn server(answers: Vec<String>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            asked.push(String::from_utf8(head).unwrap());
            // One who has read enough may be gone.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        asked
    });
    (port, asked)
}

fn answer(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
}

async fn get(port: u16, path: &str) -> Outcome {
    probe(&Target::Http {
        port,
        path: path.to_owned(),
        scheme: Scheme::Http,
        headers: vec![HttpHeader {
            name: "X-Probe".to_owned(),
            value: "1".to_owned(),
        }],
    })
    .await
}

async fn outcome(reply: &str) -> Outcome {
    let (port, _asked) = server(vec![reply.to_owned()]).await;
    get(port, "/").await
}

#[tokio::test]
async fn statuses_from_200_to_399_are_good() {
    for (status, expected) in [
        ("199 x", Err(Failure::NoAnswer)),
        ("200 x", Ok(())),
        ("204 x", Ok(())),
        ("304 x", Ok(())),
        ("399 x", Ok(())),
        ("400 x", Err(Failure::Status(400))),
        ("401 x", Err(Failure::Status(401))),
        ("503 x", Err(Failure::Status(503))),
    ] {
        assert_eq!(outcome(&answer(status)).await, expected, "{status}");
    }
}

#[tokio::test]
async fn what_is_no_answer_fails() {
    for reply in [
        "",
        "220 mail ready\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal",
    ] {
        assert_eq!(outcome(reply).await, Err(Failure::NoAnswer), "{reply}");
    }
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1024 * 1024));
    assert_eq!(
        outcome(&head).await,
        Err(Failure::NoAnswer),
        "a head without end"
    );
    let body = "x".repeat(64 * 1024);
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{body}");
    assert_eq!(outcome(&long).await, Ok(()), "enough was read");
}

#[tokio::test]
async fn the_request_is_that_of_a_kubelet() {
    let (port, asked) = server(vec![answer("200 OK")]).await;
    assert_eq!(get(port, "/ready?full=1").await, Ok(()));
    let head = asked.await.unwrap().remove(0).to_lowercase();
    let (line, fields) = head.split_once("\r\n").unwrap();
    assert_eq!(line, "get /ready?full=1 http/1.1");
    for field in [
        &format!("host: 127.0.0.1:{port}\r\n"),
        "user-agent: kube-probe/",
        "x-probe: 1\r\n",
        "connection: close\r\n",
    ] {
        assert!(fields.contains(field), "{fields}");
    }
}

fn moved(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

#[tokio::test]
async fn redirects_within_the_server_are_followed_and_others_are_good() {
    let (port, asked) = server(vec![moved("/up/?x"), answer("500 x")]).await;
    assert_eq!(get(port, "/up").await, Err(Failure::Status(500)));
    assert!(asked.await.unwrap()[1].starts_with("GET /up/?x HTTP/1.1\r\n"));
    let elsewhere = moved("http://127.0.0.1:15020/config");
    assert_eq!(outcome(&elsewhere).await, Ok(()));
}

#[tokio::test]
async fn redirects_have_a_bound_on_both_sides() {
    let redirects = |count| vec![moved("/again"); count];
    let (port, _) = server([redirects(10), vec![answer("200 OK")]].concat()).await;
    assert_eq!(get(port, "/").await, Ok(()));
    let (port, _) = server(redirects(11)).await;
    assert_eq!(get(port, "/").await, Err(Failure::Redirects));
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(probe(&Target::Tcp { port }).await, Ok(()));
    drop(listener);
    assert_eq!(probe(&Target::Tcp { port }).await, Err(Failure::Refused));
}

#[tokio::test]
async fn a_server_on_ipv6_is_found() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
        // No IPv6 here, so no server on it either.
        return;
    };
    let port = listener.local_addr().unwrap().port();
    assert_eq!(probe(&Target::Tcp { port }).await, Ok(()));
}

#[test]
fn failures_are_worded_without_the_server() {
    let worded = |failure: Failure| failure.to_string();
    assert_eq!(worded(Failure::Refused), "connection refused");
    assert_eq!(worded(Failure::Status(500)), "status 500");
    assert_eq!(worded(Failure::Grpc(12)), "grpc status 12");
}
