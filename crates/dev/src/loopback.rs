//! A small HTTP/1.1 server that only this machine can reach.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::Authority as HttpAuthority;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tracing::debug;

/// For a head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept, which is most often one file too many.
const BACKOFF: Duration = Duration::from_millis(50);

/// Why a port of this machine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has it.
    #[error("{what}: port {port} of 127.0.0.1 is in use: stop the process that has it ({advice})")]
    InUse {
        /// What wanted it.
        what: String,
        /// The port.
        port: u16,
        /// What else can be done.
        advice: &'static str,
    },
    /// The system says no.
    #[error("{what}: cannot listen on port {port} of 127.0.0.1: {source}")]
    Refused {
        /// What wanted it.
        what: String,
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
}

/// A server that answers until it is dropped; then its connections end too.
#[derive(Debug)]
pub struct Loopback {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// Takes a port of 127.0.0.1; 0 lets the system choose. `what` and `advice` are
/// for the error.
///
/// # Errors
/// [`BindError`] says what to do.
pub async fn bind(port: u16, what: &str, advice: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|source| {
            let what = what.to_owned();
            if source.kind() == io::ErrorKind::AddrInUse {
                BindError::InUse { what, port, advice }
            } else {
                BindError::Refused { what, port, source }
            }
        })
}

/// Whether a request was addressed to this machine by a name that only this
/// machine has. A page of a web site can make a browser send requests here
/// under the site's own name (DNS rebinding).
#[must_use]
pub fn is_addressed_here<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let host = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<HttpAuthority>().ok());
    let Some(host) = host else { return false };
    let name = host.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
}

// === impl Loopback ===

impl Loopback {
    /// Answers on `listener` with `answer`.
    ///
    /// # Errors
    /// The listener does not know its own address.
    pub fn start<A, F, B>(listener: TcpListener, answer: A) -> io::Result<Self>
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, answer));
        Ok(Self { address, task })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        // The connections live in the task and end with it.
        self.task.abort();
    }
}

async fn accept<A, F, B>(listener: TcpListener, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, answer.clone()));
                }
                Err(_) => tokio::time::sleep(BACKOFF).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<A, F, B>(stream: TcpStream, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addressed(hosts: &[&str]) -> bool {
        let request = hosts.iter().fold(Request::builder(), |request, host| {
            request.header(HOST, *host)
        });
        is_addressed_here(&request.body(()).unwrap())
    }

    #[test]
    fn only_names_of_this_machine_are_accepted() {
        for here in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:15090",
            "127.9.9.9",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(addressed(&[here]), "{here}");
        }
        for elsewhere in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]",
            "",
            "127.0.0.1.nip.io",
            "a b",
        ] {
            assert!(!addressed(&[elsewhere]), "{elsewhere}");
        }
        assert!(!addressed(&[]));
        assert!(!addressed(&["localhost", "localhost"]));
    }

    #[tokio::test]
    async fn a_port_in_use_says_so() {
        let taken = bind(0, "first", "").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind(port, "the demo server", "or choose another")
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            format!(
                "the demo server: port {port} of 127.0.0.1 is in use: stop the process that has it \
                 (or choose another)"
            )
        );
    }

    #[tokio::test]
    async fn a_dropped_server_leaves_the_port_and_its_connections() {
        let listener = bind(0, "test", "").await.unwrap();
        let answer =
            |_| async { Response::new(http_body_util::Full::new(Bytes::from_static(b"hello"))) };
        let server = Loopback::start(listener, answer).unwrap();
        let address = server.address();
        let client = TcpStream::connect(address).await.unwrap();
        client.writable().await.unwrap();
        drop(server);
        let mut byte = [0];
        let read = async {
            loop {
                client.readable().await.unwrap();
                match client.try_read(&mut byte) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    ended => return ended,
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)));
        assert!(TcpStream::connect(address).await.is_err());
    }
}
