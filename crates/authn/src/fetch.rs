//! One fetch of a key set.
//!
//! The connection is made by hand so that nothing happens that was not asked
//! for: no proxy, no redirect, no second request, no address that was not
//! checked, and no byte more than the bound is kept.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::address::is_permitted;
use crate::jwks::InvalidJwks;

/// Why a key set was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the host name `{host}` cannot be resolved")]
    Resolve { host: String, source: io::Error },
    #[error("`{host}` resolves to no address that key sets may be fetched from")]
    AddressRefused { host: String },
    #[error("no connection to `{host}`")]
    Connect { host: String, source: io::Error },
    #[error("the TLS handshake with `{host}` failed: {source}")]
    Tls { host: String, source: io::Error },
    #[error("the HTTP exchange failed")]
    Http(#[source] hyper::Error),
    #[error("the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is {0}, not 200; redirects are not followed")]
    Status(StatusCode),
    #[error("the answer is longer than {max} bytes")]
    TooLarge { max: usize },
    #[error("the fetch took longer than {limit:?}")]
    TimedOut { limit: Duration },
    #[error(transparent)]
    Keys(#[from] InvalidJwks),
}

/// Fetches the key set of one issuer.
pub(crate) struct Fetcher {
    host: Target,
    port: u16,
    path: Uri,
    /// The value of `Host`.
    authority: String,
    /// None: plain http, on loopback only.
    tls: Option<Tls>,
    allow_loopback: bool,
    timeout: Duration,
    max_bytes: usize,
}

enum Target {
    Name(String),
    Address(IpAddr),
}

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// The bounds of a fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchLimits {
    pub(crate) timeout: Duration,
    pub(crate) max_bytes: usize,
    pub(crate) allow_loopback: bool,
}

/// Why no fetch can be made as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InvalidSource {
    Uri(&'static str),
    Ca(String),
}

// === impl FetchError ===

impl FetchError {
    /// The word for the metric.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "resolve",
            Self::AddressRefused { .. } => "address_refused",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Http(_) | Self::Body(_) => "http",
            Self::Status(_) => "status",
            Self::TooLarge { .. } => "too_large",
            Self::TimedOut { .. } => "timed_out",
            Self::Keys(_) => "invalid_keys",
        }
    }
}

// === impl Fetcher ===

impl Fetcher {
    /// Checks what is fetched from where.
    ///
    /// # Errors
    /// [`InvalidSource`] when the URL or the authorities cannot be used.
    pub(crate) fn new(
        uri: &Url,
        ca_pem: Option<&[u8]>,
        limits: FetchLimits,
    ) -> Result<Self, InvalidSource> {
        let host = uri.host().ok_or(InvalidSource::Uri("it has no host"))?;
        if !uri.username().is_empty() || uri.password().is_some() || uri.fragment().is_some() {
            return Err(InvalidSource::Uri(
                "remove the user information and the fragment",
            ));
        }
        let path = match uri.query() {
            Some(query) => format!("{}?{query}", uri.path()),
            None => uri.path().to_owned(),
        };
        let tls = match uri.scheme() {
            "https" => Some(Tls {
                connector: tls_connector(ca_pem)?,
                name: server_name(&host)?,
            }),
            "http" if limits.allow_loopback && is_loopback(&host) => None,
            _ => return Err(InvalidSource::Uri("use an https URL")),
        };
        Ok(Self {
            port: uri
                .port_or_known_default()
                .ok_or(InvalidSource::Uri("it has no port"))?,
            path: path
                .parse()
                .map_err(|_| InvalidSource::Uri("its path cannot be requested"))?,
            authority: match uri.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_string(),
            },
            host: match host {
                Host::Domain(name) => Target::Name(name.to_owned()),
                Host::Ipv4(address) => Target::Address(address.into()),
                Host::Ipv6(address) => Target::Address(address.into()),
            },
            tls,
            allow_loopback: limits.allow_loopback,
            timeout: limits.timeout,
            max_bytes: limits.max_bytes,
        })
    }

    /// The body of a 200, within the bounds.
    ///
    /// # Errors
    /// [`FetchError`]; the whole of it is bounded in time.
    pub(crate) async fn fetch(&self) -> Result<Bytes, FetchError> {
        let fetched = timeout(self.timeout, Box::pin(self.fetch_untimed())).await;
        fetched.unwrap_or(Err(FetchError::TimedOut {
            limit: self.timeout,
        }))
    }

    async fn fetch_untimed(&self) -> Result<Bytes, FetchError> {
        let stream = self.connect(self.addresses().await?).await?;
        let Some(Tls { connector, name }) = &self.tls else {
            return self.exchange(TokioIo::new(stream)).await;
        };
        let stream = connector.connect(name.clone(), stream).await;
        let stream = stream.map_err(|source| FetchError::Tls {
            host: self.authority.clone(),
            source,
        })?;
        self.exchange(TokioIo::new(stream)).await
    }

    /// The addresses of the host that may be dialled; at least one.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, FetchError> {
        let host = || self.authority.clone();
        let resolved: Vec<SocketAddr> = match &self.host {
            Target::Address(address) => vec![SocketAddr::new(*address, self.port)],
            Target::Name(name) => lookup_host((name.as_str(), self.port))
                .await
                .map_err(|source| FetchError::Resolve {
                    host: host(),
                    source,
                })?
                .collect(),
        };
        let permitted: Vec<SocketAddr> = resolved
            .into_iter()
            .filter(|address| self.permits(address.ip()))
            .collect();
        if permitted.is_empty() {
            return Err(FetchError::AddressRefused { host: host() });
        }
        Ok(permitted)
    }

    fn permits(&self, address: IpAddr) -> bool {
        // What goes in the clear stays on the machine.
        let in_the_clear = self.tls.is_none();
        is_permitted(address, self.allow_loopback) && (!in_the_clear || address.is_loopback())
    }

    /// Dials one address after the other, each for its share of the time.
    async fn connect(&self, addresses: Vec<SocketAddr>) -> Result<TcpStream, FetchError> {
        let shares = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match timeout(self.timeout / shares, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(FetchError::Connect {
            host: self.authority.clone(),
            source: failure,
        })
    }

    async fn exchange<S>(&self, stream: S) -> Result<Bytes, FetchError>
    where
        S: Read + Write + Unpin,
    {
        let (mut sender, connection) = http1::handshake(stream).await.map_err(FetchError::Http)?;
        let exchange = async {
            let response = sender
                .send_request(self.request())
                .await
                .map_err(FetchError::Http)?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), self.max_bytes)
                .collect()
                .await;
            match body {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge {
                    max: self.max_bytes,
                }),
                Err(error) => Err(FetchError::Body(error)),
            }
        };
        let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
        tokio::select! {
            biased;
            fetched = &mut exchange => return fetched,
            // The server closed; what it sent before is still to be read.
            _ = &mut connection => {}
        }
        exchange.await
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        if let Ok(host) = self.authority.parse() {
            headers.insert(HOST, host);
        }
        headers.insert(USER_AGENT, http::HeaderValue::from_static("sidegate"));
        headers.insert(ACCEPT, http::HeaderValue::from_static(ACCEPTED));
        request
    }
}

const ACCEPTED: &str = "application/jwk-set+json, application/json";

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn server_name(host: &Host<&str>) -> Result<ServerName<'static>, InvalidSource> {
    let unusable = |_| InvalidSource::Uri("its host is no name that a certificate can hold");
    match host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned()).map_err(unusable),
        Host::Ipv4(address) => Ok(ServerName::from(IpAddr::from(*address))),
        Host::Ipv6(address) => Ok(ServerName::from(IpAddr::from(*address))),
    }
}

/// Trusts the given authorities only, or the usual public ones when none are
/// given; never those of the machine, which differ from image to image.
fn tls_connector(ca_pem: Option<&[u8]>) -> Result<TlsConnector, InvalidSource> {
    let roots = match ca_pem {
        Some(pem) => own_roots(pem)?,
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| InvalidSource::Ca(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn own_roots(pem: &[u8]) -> Result<RootCertStore, InvalidSource> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate
            .map_err(|error| InvalidSource::Ca(format!("the PEM cannot be read: {error}")))?;
        roots.add(certificate).map_err(|error| {
            InvalidSource::Ca(format!("a certificate cannot be an authority: {error}"))
        })?;
    }
    if roots.is_empty() {
        return Err(InvalidSource::Ca("the PEM holds no certificate".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
