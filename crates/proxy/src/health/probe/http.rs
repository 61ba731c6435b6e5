//! `httpGet`.

use bytes::Bytes;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, LOCATION, TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use sidegate_config::probes::{HttpHeader, Scheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use url::Url;

use super::{Driven, Failure, Outcome, connect, tls};

/// Servers know the kubelet's probes by the beginning of this name, and leave
/// them out of their logs.
const AGENT: &str = "kube-probe/sidegate";
/// As many as the kubelet follows.
const MAX_REDIRECTS: usize = 10;
/// As much of an answer as the kubelet reads.
const MAX_BODY: usize = 10 * 1024;
const MAX_HEAD: usize = 64 * 1024;

/// Good are the statuses from 200 to 399. Redirects within the same server are
/// followed; one to elsewhere is an answer.
pub(super) async fn get(port: u16, path: &str, scheme: Scheme, headers: &[HttpHeader]) -> Outcome {
    let mut url = target(port, path, scheme)?;
    let headers = all_headers(port, headers)?;
    for _ in 0..=MAX_REDIRECTS {
        let answer = ask(port, &url, scheme, &headers).await?;
        let status = answer.status().as_u16();
        match status {
            301 | 302 | 303 | 307 | 308 => match redirect(&url, answer.headers()) {
                Some(next) => url = next,
                None => return Ok(()),
            },
            200..=399 => return Ok(()),
            _ => return Err(Failure::Status(status)),
        }
    }
    Err(Failure::Redirects)
}

/// Where a redirect leads within the same server.
fn redirect(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let next = from.join(location).ok()?;
    (next.origin() == from.origin()).then_some(next)
}

/// The path is escaped where it has to be, and never names another host.
fn target(port: u16, path: &str, scheme: Scheme) -> Result<Url, Failure> {
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let mut url =
        Url::parse(&format!("{scheme}://127.0.0.1:{port}/")).map_err(|_| Failure::Unsendable)?;
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    url.set_path(path);
    url.set_query(query);
    Ok(url)
}

fn all_headers(port: u16, written: &[HttpHeader]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for header in written {
        let name = HeaderName::try_from(&header.name).map_err(|_| Failure::Unsendable)?;
        let value = HeaderValue::try_from(&header.value).map_err(|_| Failure::Unsendable)?;
        // How a message is delimited is not for its author to say.
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
            headers.append(name, value);
        }
    }
    let host = HeaderValue::try_from(format!("127.0.0.1:{port}"));
    headers
        .entry(HOST)
        .or_insert(host.map_err(|_| Failure::Unsendable)?);
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(AGENT));
    headers
        .entry(ACCEPT)
        .or_insert(HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(headers)
}

async fn ask(
    port: u16,
    url: &Url,
    scheme: Scheme,
    headers: &HeaderMap,
) -> Result<Response<()>, Failure> {
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::get(path)
        .body(Empty::new())
        .map_err(|_| Failure::Unsendable)?;
    request.headers_mut().clone_from(headers);
    let stream = connect(port).await?;
    match scheme {
        Scheme::Http => exchange(stream, request).await,
        Scheme::Https => {
            let connector = TlsConnector::from(tls::client_config()?);
            let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
            let stream = connector.connect(name, stream).await;
            exchange(stream.map_err(|_| Failure::Tls)?, request).await
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<()>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::NoAnswer)?;
    let _driven = Driven::start(connection);
    let answer = sender.send_request(request).await;
    let (head, body) = answer.map_err(|_| Failure::NoAnswer)?.into_parts();
    read(body).await?;
    Ok(Response::from_parts(head, ()))
}

/// Reads what the kubelet would read: a server should not find its answers cut.
async fn read(mut body: Incoming) -> Outcome {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::NoAnswer)?;
        read += frame.data_ref().map_or(0, Bytes::len);
        if read >= MAX_BODY {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(written: &str) -> String {
        let url = target(8080, written, Scheme::Http).unwrap();
        url.as_str()
            .strip_prefix("http://127.0.0.1:8080")
            .unwrap()
            .to_owned()
    }

    #[test]
    fn paths_are_sent_as_they_are_meant() {
        for (written, sent) in [
            ("/healthz", "/healthz"),
            ("/ready?full=1&x=a b", "/ready?full=1&x=a%20b"),
            ("/a%2Fb c#top", "/a%2Fb%20c"),
            ("//elsewhere/x", "//elsewhere/x"),
            ("/a?b?c", "/a?b?c"),
        ] {
            assert_eq!(path(written), sent);
        }
    }

    #[test]
    fn only_redirects_within_the_server_are_followed() {
        let from = target(8080, "/health", Scheme::Http).unwrap();
        let to = |location: &str| {
            let location = HeaderValue::from_str(location).unwrap();
            redirect(&from, &HeaderMap::from_iter([(LOCATION, location)])).map(|it| it.to_string())
        };
        assert_eq!(
            to("/health/").as_deref(),
            Some("http://127.0.0.1:8080/health/")
        );
        assert_eq!(to("x?y").as_deref(), Some("http://127.0.0.1:8080/x?y"));
        for elsewhere in [
            "http://127.0.0.1:15020/config",
            "https://127.0.0.1:8080/",
            "http://localhost:8080/",
            "//127.0.0.2:8080/",
            "http://[",
        ] {
            assert_eq!(to(elsewhere), None, "{elsewhere}");
        }
        assert_eq!(redirect(&from, &HeaderMap::new()), None);
    }

    fn header(name: &str, value: &str) -> HttpHeader {
        HttpHeader {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn the_author_of_a_probe_chooses_its_headers_but_not_its_framing() {
        let written = [
            header("host", "demo.example"),
            header("X-Many", "1"),
            header("x-many", "2"),
            header("Transfer-Encoding", "chunked"),
            header("Connection", "keep-alive"),
        ];
        let headers = all_headers(8080, &written).unwrap();
        assert_eq!(headers[HOST], "demo.example");
        assert_eq!(headers.get_all("x-many").iter().count(), 2);
        assert_eq!(headers[CONNECTION], "close");
        assert!(!headers.contains_key(TRANSFER_ENCODING));
        let own = all_headers(8080, &[]).unwrap();
        assert_eq!(own[HOST], "127.0.0.1:8080");
        assert_eq!(own[USER_AGENT], AGENT);
        let bad = all_headers(8080, &[header("x", "a\r\nb: c")]);
        assert_eq!(bad.unwrap_err(), Failure::Unsendable);
    }

    proptest! {
        #[test]
        fn no_path_leads_elsewhere(written in any::<String>(), port in 1..=u16::MAX) {
            let url = target(port, &written, Scheme::Http).unwrap();
            prop_assert_eq!(url.host_str(), Some("127.0.0.1"));
            prop_assert_eq!(url.port_or_known_default(), Some(port));
            prop_assert!(url.path().starts_with('/'));
            prop_assert!(url.username().is_empty());
        }
    }
}
