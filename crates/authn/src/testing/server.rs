//! A key server on loopback that counts and misbehaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as TlsKey};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use url::Url;

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Keys(String),
    /// The keys, after a while.
    Slow(Duration, String),
    Status(&'static str),
    Redirect(String),
    /// A body without length that never ends.
    Endless,
    /// Fewer bytes than announced.
    BreaksOff,
    /// Nothing at all.
    Silence,
}

pub(crate) struct KeyServer {
    port: u16,
    scheme: &'static str,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

// === impl KeyServer ===

impl KeyServer {
    pub(crate) async fn start(answer: Answer) -> Self {
        Self::serve(answer, None).await
    }

    /// A server with a certificate for `localhost`, and its authority as PEM.
    pub(crate) async fn start_tls(answer: Answer) -> (Self, Vec<u8>) {
        let (acceptor, ca) = certificate();
        (Self::serve(answer, Some(acceptor)).await, ca)
    }

    async fn serve(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let state = (
            Arc::clone(&answer),
            Arc::clone(&requests),
            Arc::clone(&heads),
        );
        let accepted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (state, tls) = (state.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => respond(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                respond(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            port,
            scheme,
            answer,
            requests,
            connections,
            heads,
            task,
        }
    }

    pub(crate) fn url(&self) -> Url {
        let url = format!("{}://localhost:{}/jwks?a=b", self.scheme, self.port);
        url.parse().expect("a URL")
    }

    pub(crate) fn answer_with(&self, answer: Answer) {
        *self.answer.lock().expect("not poisoned") = answer;
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("not poisoned").clone()
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type State = (
    Arc<Mutex<Answer>>,
    Arc<AtomicUsize>,
    Arc<Mutex<Vec<String>>>,
);

async fn respond<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, state: State) {
    let (answer, requests, heads) = state;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    heads
        .lock()
        .expect("not poisoned")
        .push(String::from_utf8_lossy(&head).into_owned());
    let answer = answer.lock().expect("not poisoned").clone();
    let text = match answer {
        Answer::Keys(keys) => with_body("200 OK", &keys),
        Answer::Slow(wait, keys) => {
            sleep(wait).await;
            with_body("200 OK", &keys)
        }
        Answer::Status(status) => with_body(status, "{\"keys\":[]}"),
        Answer::Redirect(to) => {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Answer::Endless => {
            let start = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"keys\":[";
            let mut sent = stream.write_all(start.as_bytes()).await;
            while sent.is_ok() {
                sent = stream.write_all(&[b' '; 1024]).await;
            }
            return;
        }
        Answer::BreaksOff => "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"keys\":[".to_owned(),
        Answer::Silence => {
            sleep(Duration::from_secs(3600)).await;
            return;
        }
    };
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn with_body(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn certificate() -> (TlsAcceptor, Vec<u8>) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, TlsKey::generate().expect("a key"));
    let ca = ca.expect("an authority");
    let key = TlsKey::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &ca).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a configuration");
    (TlsAcceptor::from(Arc::new(config)), ca.pem().into_bytes())
}
