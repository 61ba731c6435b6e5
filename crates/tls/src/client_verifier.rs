//! Which client certificates are accepted.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::certificate::{Facts, certificates, facts};
use crate::identity::identity_of;
use crate::server::{InvalidTls, provider};

/// Most certificate authorities of clients. Their names go into every
/// handshake, in a list that must not exceed 64 KiB (RFC 8446, section 4.2.4).
pub(crate) const MAX_CLIENT_CAS: usize = 100;

/// Accepts certificates of the given authorities that name at most one
/// identity. The chain is verified by webpki; the identity is checked inside
/// the handshake too, so that a refused client gets an alert and never a
/// connection.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
}

// === impl ClientVerifier ===

impl ClientVerifier {
    /// Trusts the authorities of a PEM text and no others.
    pub(crate) fn new(ca_pem: Option<&[u8]>, now_unix: i64) -> Result<Arc<Self>, InvalidTls> {
        let roots = trusted(ca_pem.ok_or(InvalidTls::NoClientCa)?, now_unix)?;
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|_| InvalidTls::NoClientCa)?;
        Ok(Arc::new(Self { chain }))
    }
}

/// The authorities that are valid now. Path building does not look at the
/// validity of an anchor, so expired ones must be left out here. A bundle may
/// hold them, during a rotation for example.
fn trusted(ca_pem: &[u8], now_unix: i64) -> Result<RootCertStore, InvalidTls> {
    let found = certificates(ca_pem).map_err(InvalidTls::ClientCa)?;
    if found.len() > MAX_CLIENT_CAS {
        return Err(InvalidTls::TooManyClientCas);
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in found.into_iter().enumerate() {
        let position = index + 1;
        let unreadable = InvalidTls::ClientCaUnreadable { position };
        let Some(Facts {
            not_after_unix,
            is_ca,
            ..
        }) = facts(&certificate)
        else {
            return Err(unreadable);
        };
        if !is_ca {
            return Err(InvalidTls::ClientCaIsNone { position });
        }
        if not_after_unix >= now_unix {
            roots.add(certificate).map_err(|_| unreadable)?;
        } else {
            tracing::warn!(position, "an expired client CA is not trusted");
        }
    }
    if roots.is_empty() {
        Err(InvalidTls::ClientCaExpired)
    } else {
        Ok(roots)
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
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
        match identity_of(end_entity) {
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
