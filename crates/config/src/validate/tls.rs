//! `spec.tls`.

use sidegate_api::gateway::TlsMode;

use super::{Check, pem};
use crate::documents::SecretDocument;
use crate::sidecar_config::TlsConfig;
use crate::violations::Cause;

const TLS_SECRET: &str = "kubernetes.io/tls";

/// The TLS settings; none when something is wrong with them.
pub(super) fn check(check: &mut Check<'_>) -> Option<TlsConfig> {
    let tls = &check.spec.tls;
    let mode = tls.mode;
    match mode {
        TlsMode::Mutual => {}
        TlsMode::Server => check.warn(
            "spec.tls.mode",
            "Server: callers show no certificate, so whoever has a token can use it",
        ),
        TlsMode::Plaintext => check.warn(
            "spec.tls.mode",
            "Plaintext: tokens and calls can be read and changed on the way",
        ),
    }
    match (mode, &tls.certificate_ref) {
        (TlsMode::Plaintext, None) => Some(TlsConfig::Plaintext),
        (TlsMode::Plaintext, Some(_)) => {
            let message = "is not used with mode Plaintext: remove it, or choose another mode";
            check.refuse("spec.tls.certificateRef", message);
            None
        }
        (TlsMode::Mutual | TlsMode::Server, None) if check.options.built_in_ca => {
            Some(TlsConfig::BuiltIn {
                mutual: mode == TlsMode::Mutual,
            })
        }
        (TlsMode::Mutual | TlsMode::Server, None) => {
            let message = "must name a Secret with a certificate: the built-in certificate \
                           authority exists only in a cluster";
            check.refuse("spec.tls.certificateRef", message);
            None
        }
        (TlsMode::Mutual | TlsMode::Server, Some(reference)) => {
            let secret = secret(check, &reference.name)?;
            material(check, mode, secret)
        }
    }
}

const NAME: &str = "spec.tls.certificateRef.name";

fn secret<'a>(check: &mut Check<'a>, name: &str) -> Option<&'a SecretDocument> {
    let namespace = check.namespace;
    let Some(secret) = check.documents.secret(namespace, name) else {
        let message = format!("there is no Secret {namespace}/{name}: add it to the documents");
        check.refuse_because(Cause::SecretNotFound, NAME, message);
        return None;
    };
    if secret.secret_type != TLS_SECRET {
        let message = format!(
            "Secret {namespace}/{name} has type `{}`: it must have type {TLS_SECRET}, by which \
             its owner consents to this use; a type stays as it is, so its owner makes another one",
            secret.secret_type
        );
        let command = format!(
            "kubectl create secret generic {name}-tls -n {namespace} --type={TLS_SECRET} \
             --from-file=tls.crt --from-file=tls.key --from-file=ca.crt"
        );
        check.refuse_with(Cause::SecretNotOptedIn, NAME, message, &command);
        return None;
    }
    Some(secret)
}

fn material(check: &mut Check<'_>, mode: TlsMode, secret: &SecretDocument) -> Option<TlsConfig> {
    let certificate = value(check, secret, "tls.crt", pem::certificates);
    let key = value(check, secret, "tls.key", pem::check_private_key);
    let client_ca = match mode {
        TlsMode::Mutual => Some(value(check, secret, "ca.crt", pem::certificates)?),
        TlsMode::Server | TlsMode::Plaintext => None,
    };
    key?;
    let certificate_pem = certificate?;
    let key_pem = secret.data.get("tls.key")?.clone();
    Some(match client_ca {
        Some(client_ca_pem) => TlsConfig::Mutual {
            certificate_pem,
            key_pem,
            client_ca_pem,
        },
        None => TlsConfig::Server {
            certificate_pem,
            key_pem,
        },
    })
}

fn value<T>(
    check: &mut Check<'_>,
    secret: &SecretDocument,
    key: &str,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Option<T> {
    let of = format!("Secret {}/{}", secret.namespace, secret.name);
    let Some(value) = secret.data.get(key) else {
        let message = if key == "ca.crt" {
            format!(
                "{of} has no key `ca.crt`: mode Mutual needs the authorities of callers' \
                 certificates"
            )
        } else {
            format!("{of} has no key `{key}`")
        };
        check.refuse_because(Cause::SecretNotFound, NAME, message);
        return None;
    };
    let result = read(value.expose()).map_err(|message| format!("`{key}` of {of} {message}"));
    check.refuse_err_because(Cause::InvalidCertificate, NAME, result)
}
