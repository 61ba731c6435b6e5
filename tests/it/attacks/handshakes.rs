//! TLS towards the traffic port, spoken by hand: old versions, hellos in
//! pieces, names that are none. Whatever a client does, the rule about its
//! certificate is the same.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sidegate_dev::certificates::Issued;
use sidegate_testkit::certificates::{AGENT, TestAuthority};
use sidegate_testkit::client::raw::{self, End};
use sidegate_testkit::poll::PATIENCE;

use crate::support;
use crate::tls::Stage;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
/// What a sidecar answers to a hello: a handshake goes on, or an alert.
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
/// A fatal alert: `protocol_version`.
const OLD_VERSION: [u8; 2] = [2, 70];

/// How a hello gets to the sidecar.
type Sending = fn(&mut TcpStream, &[u8]);

/// How one client goes about its handshake.
#[derive(Clone, Copy)]
struct Manner<'a> {
    identity: Option<&'a Issued>,
    version: &'static SupportedProtocolVersion,
    name: &'static str,
    sends_name: bool,
    send: Sending,
}

/// A client that takes any server certificate, for names that it is not for.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

// === impl Credulous ===

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = self.0.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

// === impl Manner ===

impl<'a> Manner<'a> {
    fn plain(identity: Option<&'a Issued>, version: &'static SupportedProtocolVersion) -> Self {
        Self {
            identity,
            version,
            name: "localhost",
            sends_name: true,
            send: |socket, hello| socket.write_all(hello).unwrap(),
        }
    }

    fn config(&self) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Credulous(Arc::clone(&provider)));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(identity.key_pem.expose().as_bytes());
                builder.with_client_auth_cert(chain, key.unwrap()).unwrap()
            }
        };
        config.enable_sni = self.sends_name;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    /// Whether the sidecar lets the client in; if not, by which alert it says
    /// so.
    async fn meets(self, address: SocketAddr) -> Result<(), Option<AlertDescription>> {
        let (config, send) = (Arc::new(self.config()), self.send);
        let name = ServerName::try_from(self.name).unwrap();
        let meeting = tokio::task::spawn_blocking(move || {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.set_nodelay(true).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut session = ClientConnection::new(config, name).unwrap();
            let mut hello = Vec::new();
            session.write_tls(&mut hello).unwrap();
            send(&mut socket, &hello);
            let mut stream = rustls::Stream::new(&mut session, &mut socket);
            // In TLS 1.3 a certificate is refused after the client believes to
            // be connected: only an answer says that it was taken.
            let said = stream.write_all(b"nonsense\r\n\r\n");
            said.and_then(|()| stream.read_exact(&mut [0]))
        });
        let met = meeting.await.unwrap();
        met.map_err(|error| {
            if let Error::AlertReceived(alert) = error.get_ref()?.downcast_ref()? {
                Some(*alert)
            } else {
                None
            }
        })
    }
}

async fn mutual() -> Stage {
    Stage::start("Mutual", |_| {}).await
}

/// TLS-001, TLS-002, TLS-003, TLS-004.
#[tokio::test]
async fn a_client_is_told_what_is_wrong_with_its_certificate() {
    let stage = mutual().await;
    let other = TestAuthority::new();
    let (expired, future, foreign) = (
        stage.authority.expired_client(AGENT),
        stage.authority.future_client(AGENT),
        other.client(AGENT),
    );
    let good = stage.authority.client(AGENT);
    let address = stage.sidecar.address("support");
    for version in VERSIONS {
        for (identity, alert) in [
            (None, AlertDescription::CertificateRequired),
            (Some(&expired), AlertDescription::CertificateExpired),
            (Some(&future), AlertDescription::CertificateExpired),
            // The impostor's authority has the same name, and another key.
            (Some(&foreign), AlertDescription::DecryptError),
        ] {
            let met = Manner::plain(identity, version).meets(address).await;
            assert_eq!(met, Err(Some(alert)), "{version:?}");
        }
        assert_eq!(
            Manner::plain(Some(&good), version).meets(address).await,
            Ok(())
        );
    }
    stage.upstream.assert_untouched();
}

/// A hello of this version, by hand: no library speaks the old ones any more.
/// But for the version there is nothing wrong with it.
fn hello(minor: u8) -> Vec<u8> {
    let extensions = [
        &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4][..], // signature algorithms
        &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23],   // groups
        &[0, 11, 0, 2, 1, 0],                 // point formats
        &[0, 23, 0, 0],                       // extended master secret
    ]
    .concat();
    let length = |length: usize| u8::try_from(length).unwrap();
    let body = [
        &[3, minor][..],
        &[7; 32],
        &[0],                            // no session
        &[0, 4, 0xc0, 0x2b, 0xc0, 0x09], // ECDHE-ECDSA, new and old
        &[1, 0],                         // no compression
        &[0, length(extensions.len())],
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0, 0, length(body.len())][..], &body].concat();
    [&[22, 3, 1, 0, length(handshake.len())][..], &handshake].concat()
}

/// TLS-015.
#[tokio::test]
async fn versions_before_1_2_are_refused() {
    for mode in ["Mutual", "Server"] {
        let stage = Stage::start(mode, |_| {}).await;
        let address = stage.sidecar.address("support");
        // SSL 3.0, TLS 1.0, TLS 1.1.
        for minor in [0, 1, 2] {
            let answer = raw::exchange(address, &hello(minor), PATIENCE).await;
            let answer = answer.unwrap();
            assert_eq!(answer.bytes.first(), Some(&ALERT), "3.{minor}");
            assert!(answer.bytes.ends_with(&OLD_VERSION), "3.{minor}");
            assert_ne!(answer.end, End::Open, "3.{minor}");
        }
        // The version was the only fault.
        let quiet = Duration::from_millis(500);
        let answer = raw::exchange(address, &hello(3), quiet).await.unwrap();
        assert_eq!(answer.bytes.first(), Some(&HANDSHAKE));
        stage.upstream.assert_untouched();
    }
}

/// Each byte of a handshake message in a record of its own.
fn one_byte_records(record: &[u8]) -> Vec<u8> {
    let (head, body) = record.split_at(5);
    let records = body
        .iter()
        .map(|byte| [head[0], head[1], head[2], 0, 1, *byte]);
    records.flatten().collect()
}

/// TLS-018.
#[tokio::test]
async fn a_hello_in_pieces_is_no_way_around_the_certificate() {
    let stage = mutual().await;
    let good = stage.authority.client(AGENT);
    let foreign = TestAuthority::new().client(AGENT);
    let address = stage.sidecar.address("support");
    let in_records: Sending = |socket, hello| socket.write_all(&one_byte_records(hello)).unwrap();
    let in_packets: Sending = |socket, hello| {
        for record in one_byte_records(hello).chunks(6) {
            socket.write_all(record).unwrap();
        }
    };
    for version in VERSIONS {
        for send in [in_records, in_packets] {
            let meets = async |identity| {
                let manner = Manner::plain(identity, version);
                Manner { send, ..manner }.meets(address).await
            };
            let none = AlertDescription::CertificateRequired;
            assert_eq!(meets(None).await, Err(Some(none)));
            let impostor = AlertDescription::DecryptError;
            assert_eq!(meets(Some(&foreign)).await, Err(Some(impostor)));
            assert_eq!(meets(Some(&good)).await, Ok(()));
        }
    }
    stage.upstream.assert_untouched();
    assert_eq!(stage.sidecar.metric("sidegate_panics_total"), 0);
}

/// TLS-019. `localhost` alone is in the certificate. Rustls writes names in
/// lower case, so the upper case is put into the hello behind its back: then
/// no handshake can end well, but what is asked of the client is seen.
#[tokio::test]
async fn the_name_that_a_client_asks_for_changes_nothing() {
    let stage = mutual().await;
    let good = stage.authority.client(AGENT);
    let address = stage.sidecar.address("support");
    let names = [
        ("localhost", true),
        ("localhost", false),
        ("unknown.example", true),
        ("a.localhost", true),
        ("127.0.0.1", true),
    ];
    let refused = Err(Some(AlertDescription::CertificateRequired));
    for version in VERSIONS {
        for (name, sends_name) in names {
            let meets = async |identity| {
                let manner = Manner::plain(identity, version);
                let manner = Manner {
                    name,
                    sends_name,
                    ..manner
                };
                manner.meets(address).await
            };
            assert_eq!(meets(None).await, refused, "{name} {sends_name}");
            assert_eq!(meets(Some(&good)).await, Ok(()), "{name} {sends_name}");
        }
    }
    // In TLS 1.2 a client is told before the two compare what they heard.
    let no_name = Err(Some(AlertDescription::IllegalParameter));
    for (send, expected) in [
        (renamed::<true> as Sending, refused),
        (renamed::<false>, no_name),
    ] {
        let manner = Manner::plain(None, &TLS12);
        let met = Manner { send, ..manner }.meets(address).await;
        assert_eq!(met, expected);
    }
    stage.upstream.assert_untouched();
}

/// Sends a hello that asks for `LOCALHOST`, or for `*ocalhost`.
fn renamed<const UPPER: bool>(socket: &mut TcpStream, hello: &[u8]) {
    let name = b"localhost";
    let at = hello.windows(name.len()).position(|part| part == name);
    let at = at.unwrap();
    let mut hello = hello.to_vec();
    match UPPER {
        true => hello[at..at + name.len()].make_ascii_uppercase(),
        false => hello[at] = b'*',
    }
    socket.write_all(&hello).unwrap();
}

/// TLS-023, both ways.
#[tokio::test]
async fn plaintext_and_tls_do_not_meet() {
    let stage = mutual().await;
    let token = stage.token("customer:read");
    let address = stage.sidecar.address("support");
    let http1 = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    for plaintext in [&*http1, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = raw::exchange(address, plaintext.as_bytes(), PATIENCE).await;
        let answer = answer.unwrap();
        assert_eq!(answer.statuses(), [0; 0], "{}", answer.text());
        assert_ne!(answer.end, End::Open);
    }
    stage.upstream.assert_untouched();

    let stage = support::Stage::start(support::obliging).await;
    let address = stage.sidecar.address("support");
    for version in VERSIONS {
        let met = Manner::plain(None, version).meets(address).await;
        assert_eq!(met, Err(None), "no alert: it speaks no TLS");
    }
    let answer = raw::exchange(address, &hello(3), PATIENCE).await.unwrap();
    assert_ne!(answer.bytes.first(), Some(&HANDSHAKE));
    assert_ne!(answer.end, End::Open);
    stage.upstream.assert_untouched();
}
