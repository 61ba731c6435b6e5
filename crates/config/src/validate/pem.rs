//! Certificates and keys in PEM.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Checks that `bytes` are certificates in PEM and nothing secret, and returns
/// them as text.
///
/// # Errors
/// What is wrong.
pub(crate) fn certificates(bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is no PEM: it is not text".to_owned())?;
    // Certificates are shown to people; a key among them would be, too.
    if text.contains("PRIVATE KEY") {
        return Err(
            "has a private key among the certificates: keep it in `tls.key` only".to_owned(),
        );
    }
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        let certificate = certificate.map_err(|error| format!("is no PEM: {error}"))?;
        count += 1;
        let parsed = x509_parser::parse_x509_certificate(&certificate);
        if !parsed.is_ok_and(|(rest, _)| rest.is_empty()) {
            return Err(format!("certificate {count} cannot be read"));
        }
    }
    if count == 0 {
        return Err("has no certificate: put in PEM (`-----BEGIN CERTIFICATE-----`)".to_owned());
    }
    Ok(text.to_owned())
}

/// Checks that `bytes` are certificates in PEM, of which at least one is that
/// of an authority.
///
/// # Errors
/// What is wrong.
pub(crate) fn authorities(bytes: &[u8]) -> Result<String, String> {
    let text = certificates(bytes)?;
    let is_authority = |certificate: CertificateDer<'_>| {
        x509_parser::parse_x509_certificate(&certificate).is_ok_and(|(_, parsed)| parsed.is_ca())
    };
    if CertificateDer::pem_slice_iter(bytes)
        .flatten()
        .any(is_authority)
    {
        return Ok(text);
    }
    Err(
        "has no certificate of an authority (CA:TRUE): put in that of the one that signs the \
         server's certificate"
            .to_owned(),
    )
}

/// Checks that `bytes` are a private key in PEM.
///
/// # Errors
/// What is wrong. The key is not quoted.
pub(crate) fn check_private_key(bytes: &[u8]) -> Result<(), String> {
    if std::str::from_utf8(bytes).is_err() {
        return Err("is no PEM: it is not text".to_owned());
    }
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(
            "has no private key that can be used: put in one in PEM, not encrypted \
                       (PKCS #8, PKCS #1 or SEC1)"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let pair = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).expect("a certificate");
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    }

    #[test]
    fn certificates_and_keys_are_recognized() {
        let (certificate, key) = pair();
        assert_eq!(
            certificates(certificate.as_bytes()),
            Ok(certificate.clone())
        );
        let two = format!("{certificate}{certificate}");
        assert_eq!(certificates(two.as_bytes()), Ok(two));
        assert_eq!(check_private_key(key.as_bytes()), Ok(()));
    }

    #[test]
    fn an_authority_is_told_from_a_server() {
        let (server, _) = pair();
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("a certificate").pem();
        let both = format!("{server}{authority}");
        for good in [&authority, &both] {
            assert_eq!(authorities(good.as_bytes()), Ok(good.clone()));
        }
        let refused = authorities(server.as_bytes()).expect_err("of a server");
        assert!(refused.contains("CA:TRUE"), "{refused}");
        assert!(authorities(b"").is_err());
    }

    #[test]
    fn everything_else_is_refused() {
        let (certificate, key) = pair();
        let cut = certificate.replace("-----END", "----END");
        let wrong = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "x", &key, &format!("{certificate}{key}"), &cut, wrong] {
            assert!(certificates(text.as_bytes()).is_err(), "{text}");
        }
        for text in ["", "x", &certificate] {
            assert!(check_private_key(text.as_bytes()).is_err(), "{text}");
        }
        assert!(certificates(b"\xff").is_err() && check_private_key(b"\xff").is_err());
    }
}
