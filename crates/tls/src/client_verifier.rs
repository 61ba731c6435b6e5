//! Which client certificates are accepted.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use crate::identity::spiffe_id_of;
use crate::invalid_tls::InvalidTls;
use crate::provider::provider;
use crate::roots::{InvalidRoots, trusted_roots};

/// Who shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Every client.
    Always,
    /// Those who want to. What is shown is verified all the same.
    ByChoice,
}

/// Accepts certificates of the given authorities that name at most one
/// identity. The chain is verified by webpki; the identity is checked inside
/// the handshake too, so that a refused client gets an alert and never a
/// connection.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    shown: Shown,
}

// === impl ClientVerifier ===

impl ClientVerifier {
    /// Trusts the authorities of a PEM text and no others.
    pub(crate) fn new(
        ca_pem: Option<&[u8]>,
        shown: Shown,
        now_unix: i64,
    ) -> Result<Arc<Self>, InvalidTls> {
        let ca_pem = ca_pem.ok_or(InvalidTls::NoClientCa)?;
        let roots = trusted_roots(ca_pem, now_unix).map_err(of_clients)?;
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|_| InvalidTls::NoClientCa)?;
        Ok(Arc::new(Self { chain, shown }))
    }
}

/// The same in the words of the Secret that they come from.
fn of_clients(invalid: InvalidRoots) -> InvalidTls {
    match invalid {
        InvalidRoots::Pem(fault) => InvalidTls::ClientCa(fault),
        InvalidRoots::TooMany => InvalidTls::TooManyClientCas,
        InvalidRoots::Unreadable { position } => InvalidTls::ClientCaUnreadable { position },
        InvalidRoots::NoAuthority { position } => InvalidTls::ClientCaIsNone { position },
        InvalidRoots::Expired => InvalidTls::ClientCaExpired,
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.shown == Shown::Always
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        match spiffe_id_of(end_entity) {
            Ok(_named) => Ok(verified),
            Err(invalid) => Err(Error::InvalidCertificate(CertificateError::Other(
                OtherError(Arc::new(invalid)),
            ))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
