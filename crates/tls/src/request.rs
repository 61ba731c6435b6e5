//! Asking an authority for a certificate.

use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::authority::AuthorityError;
use crate::material::PrivateKeyPem;

/// A fresh key, and the request for a certificate for it.
#[derive(Debug, Clone)]
pub struct KeyAndRequest {
    /// The key. It stays where it was made.
    pub key_pem: PrivateKeyPem,
    /// The request (PKCS #10). It asks for no names: the authority knows them.
    pub request_pem: String,
}

/// Makes an ECDSA P-256 key and a request for it.
///
/// # Errors
/// [`AuthorityError`] when the cryptographic library fails.
pub fn new_key_and_request() -> Result<KeyAndRequest, AuthorityError> {
    let key = KeyPair::generate().map_err(AuthorityError::Library)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(AuthorityError::Library)?;
    Ok(KeyAndRequest {
        key_pem: PrivateKeyPem::from(key.serialize_pem().into_bytes()),
        request_pem: request,
    })
}
