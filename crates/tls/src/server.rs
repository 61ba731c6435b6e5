//! From PEM texts to the configuration of a TLS server.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, ServerConfig};
use sidegate_policy::clock::{Clock, SystemClock};
use thiserror::Error as ThisError;

use crate::certificate::{PemFault, certificates, facts, private_key};
use crate::client_verifier::{ClientVerifier, MAX_CLIENT_CAS};
use crate::material::{ServerMaterial, TlsMode};

/// What clients may speak, in order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// So much in the future a certificate may begin: clocks differ.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// The configuration of a TLS server.
#[derive(Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    mode: TlsMode,
    not_after_unix: i64,
}

/// Why a TLS server cannot be made of what was given.
#[derive(Debug, Clone, PartialEq, ThisError)]
pub enum InvalidTls {
    /// The certificate is missing or broken.
    #[error("the certificate (tls.crt) {0}")]
    Certificate(PemFault),
    /// The leaf is not a certificate.
    #[error("the certificate (tls.crt) cannot be read: issue it anew")]
    CertificateUnreadable,
    /// The leaf is not valid any more.
    #[error("the certificate (tls.crt) has expired, {days} days ago: renew it")]
    Expired {
        /// Whole days since then.
        days: i64,
    },
    /// The leaf is not valid yet.
    #[error(
        "the certificate (tls.crt) is not valid yet: check the clocks of the issuer and of this node"
    )]
    NotYetValid,
    /// The key is missing or broken.
    #[error("the private key (tls.key) {0}")]
    Key(PemFault),
    /// The key is of a kind that cannot sign.
    #[error(
        "the private key (tls.key) is not supported: use ECDSA P-256 or P-384, Ed25519, or RSA with at least 2048 bits"
    )]
    KeyUnsupported,
    /// The key belongs to no certificate here.
    #[error(
        "the private key (tls.key) does not belong to the certificate (tls.crt): replace both together"
    )]
    KeyMismatch,
    /// The key belongs to a certificate that is not the first one.
    #[error(
        "the private key (tls.key) belongs to certificate {position} of tls.crt: put that one first, then those of its issuers"
    )]
    Order {
        /// Counted from 1.
        position: usize,
    },
    /// Mode Mutual, and nobody to trust.
    #[error("mode Mutual needs the CA of the clients (ca.crt)")]
    NoClientCa,
    /// The client CA is missing or broken.
    #[error("the CA of the clients (ca.crt) {0}")]
    ClientCa(PemFault),
    /// One client CA is not a certificate.
    #[error("certificate {position} of the CA of the clients (ca.crt) cannot be read")]
    ClientCaUnreadable {
        /// Counted from 1.
        position: usize,
    },
    /// One client CA is no authority.
    #[error(
        "certificate {position} of the CA of the clients (ca.crt) is not a CA (basic constraints): give the certificate of the issuer"
    )]
    ClientCaIsNone {
        /// Counted from 1.
        position: usize,
    },
    /// No client CA is valid any more.
    #[error("the CA of the clients (ca.crt) has expired: renew it")]
    ClientCaExpired,
    /// The names of all would not fit into a handshake.
    #[error(
        "the CA of the clients (ca.crt) has more than {MAX_CLIENT_CAS} certificates: give only those of the issuers of clients"
    )]
    TooManyClientCas,
    /// The TLS library refuses it all the same.
    #[error("TLS cannot be set up: {0}")]
    Refused(Error),
}

/// Makes the configuration of a TLS server: TLS 1.2 and 1.3, HTTP/2 and
/// HTTP/1.1 by ALPN, one certificate whatever server name is asked for.
///
/// In mode `Mutual` every handshake verifies the client's certificate anew,
/// against the given authorities only. Sessions cannot be resumed there: a
/// resumed session would carry an identity past the end of its certificate,
/// or past the removal of its authority. Early data, which can be replayed, is
/// not taken in any mode.
///
/// # Errors
/// [`InvalidTls`] says what is wrong and what to do.
pub fn server_config(mode: TlsMode, material: &ServerMaterial) -> Result<ServerTls, InvalidTls> {
    server_config_at(mode, material, SystemClock.unix_seconds())
}

/// [`server_config`] at a given time.
pub(crate) fn server_config_at(
    mode: TlsMode,
    material: &ServerMaterial,
    now_unix: i64,
) -> Result<ServerTls, InvalidTls> {
    let ServerMaterial {
        certificate_pem,
        key_pem,
        client_ca_pem,
    } = material;
    let chain = certificates(certificate_pem).map_err(InvalidTls::Certificate)?;
    let key = private_key(key_pem.expose()).map_err(InvalidTls::Key)?;
    let not_after_unix = check_validity(&chain, now_unix)?;
    let certified = certified_key(chain, key)?;

    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(InvalidTls::Refused)?;
    let builder = match mode {
        TlsMode::Server => builder.with_no_client_auth(),
        TlsMode::Mutual => builder
            .with_client_cert_verifier(ClientVerifier::new(client_ca_pem.as_deref(), now_unix)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    config.max_early_data_size = 0;
    // RUSTSEC-2026-0348: a compressed certificate can unpack to a gibibyte.
    config.cert_decompressors = Vec::new();
    if mode == TlsMode::Mutual {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(ServerTls {
        config: Arc::new(config),
        mode,
        not_after_unix,
    })
}

/// The one crypto provider, named here so that no other crate of the process
/// can choose it.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// When the leaf expires, if it is valid now.
fn check_validity(chain: &[CertificateDer<'_>], now_unix: i64) -> Result<i64, InvalidTls> {
    const DAY: i64 = 24 * 60 * 60;
    let facts = chain
        .first()
        .and_then(facts)
        .ok_or(InvalidTls::CertificateUnreadable)?;
    let late = now_unix.saturating_sub(facts.not_after_unix);
    if late > 0 {
        return Err(InvalidTls::Expired { days: late / DAY });
    }
    if facts.not_before_unix.saturating_sub(now_unix) > CLOCK_SKEW_SECONDS {
        return Err(InvalidTls::NotYetValid);
    }
    Ok(facts.not_after_unix)
}

/// The certificate with its key, if they belong together.
fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, InvalidTls> {
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| InvalidTls::KeyUnsupported)?;
    let mut certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => return Ok(certified),
        Err(error) if error == InconsistentKeys::KeyMismatch.into() => {}
        Err(error) if error == InconsistentKeys::Unknown.into() => {
            return Err(InvalidTls::KeyUnsupported);
        }
        Err(_) => return Err(InvalidTls::CertificateUnreadable),
    }
    // Which one does the key belong to, if any?
    let chain = std::mem::take(&mut certified.cert);
    for (index, certificate) in chain.into_iter().enumerate() {
        certified.cert = vec![certificate];
        if certified.keys_match().is_ok() {
            return Err(InvalidTls::Order {
                position: index + 1,
            });
        }
    }
    Err(InvalidTls::KeyMismatch)
}

// === impl ServerTls ===

impl ServerTls {
    /// When the certificate expires, in seconds since 1970.
    #[must_use]
    pub fn not_after_unix(&self) -> i64 {
        self.not_after_unix
    }

    /// Whether clients show a certificate.
    pub(crate) fn is_mutual(&self) -> bool {
        self.mode == TlsMode::Mutual
    }
}

/// Without the configuration, which holds the key.
impl fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            config: _,
            mode,
            not_after_unix,
        } = self;
        formatter
            .debug_struct("ServerTls")
            .field("mode", mode)
            .field("not_after_unix", not_after_unix)
            .finish_non_exhaustive()
    }
}
