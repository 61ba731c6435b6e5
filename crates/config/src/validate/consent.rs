//! Secrets that consent to where they go.
//!
//! Whoever may write a gateway or a provider must not thereby read the Secrets
//! of its namespace. So a Secret is sent to hosts that are built in for its use,
//! and to those that its own annotation names; and only a Secret of the type
//! that is for anything, because every other type has a use of its own.

mod hosts;

use std::collections::BTreeSet;

use sidegate_api::names::ALLOWED_HOSTS_ANNOTATION;
use sidegate_api::reference::SecretKeyRef;

use self::hosts::{AllowedHosts, MAX_HOSTS};
use super::Check;
use crate::documents::SecretDocument;
use crate::violations::Cause;

pub(super) use self::hosts::Destination;

const OPAQUE: &str = "Opaque";
/// Types of our own begin with this.
const OWN_TYPES: &str = "sidegate.dev/";

/// A value of a Secret that is to be sent somewhere, and the field that says
/// so.
pub(super) struct Credential<'a> {
    pub(super) field: String,
    pub(super) reference: &'a SecretKeyRef,
}

/// Checks that every credential is there, and that its Secret may be sent to
/// all of `hosts`, none of which is built in.
pub(super) fn check<S>(
    check: &mut Check<'_, S>,
    credentials: &[Credential<'_>],
    hosts: &[Destination],
) {
    let mut judged = BTreeSet::new();
    for Credential { field, reference } in credentials {
        let SecretKeyRef { name, key } = reference;
        let (documents, namespace) = (check.documents, check.namespace);
        let Some(secret) = documents.secret(namespace, name) else {
            let message = format!("there is no Secret {namespace}/{name}: add it to the documents");
            check.refuse_because(Cause::SecretNotFound, &format!("{field}.name"), message);
            continue;
        };
        // Several values of one Secret need its word once.
        let consents = !judged.insert(name) || consents(check, field, (secret, key), hosts);
        if consents {
            let found = value(secret, key);
            check.refuse_err_because(Cause::SecretNotFound, &format!("{field}.key"), found);
        }
    }
}

/// Whether a value of a Secret may be sent to all of `hosts`; refused, if not.
fn consents<S>(
    check: &mut Check<'_, S>,
    field: &str,
    (secret, key): (&SecretDocument, &str),
    hosts: &[Destination],
) -> bool {
    let field = format!("{field}.name");
    let of = format!("Secret {}/{}", secret.namespace, secret.name);
    let refused = Cause::SecretNotOptedIn;
    if secret.secret_type != OPAQUE && !secret.secret_type.starts_with(OWN_TYPES) {
        let message = format!(
            "{of} has type `{}`, which is for another use: keep credentials in a Secret of type \
             {OPAQUE}, which its owner makes of a file `{key}`",
            secret.secret_type
        );
        let SecretDocument {
            namespace, name, ..
        } = secret;
        let command =
            format!("kubectl create secret generic {name}-key -n {namespace} --from-file={key}");
        check.refuse_with(refused, &field, message, &command);
        return false;
    }
    if hosts.is_empty() {
        return true;
    }
    let text = secret.allowed_hosts.as_deref().unwrap_or_default();
    let (allowed, wrong) = AllowedHosts::read(text);
    let missing: Vec<_> = hosts.iter().filter(|host| !allowed.allow(host)).collect();
    if wrong.is_none() && missing.is_empty() {
        return true;
    }
    let wanted = listed(&missing);
    let message = match wrong {
        Some(wrong) => format!("the annotation {ALLOWED_HOSTS_ANNOTATION} of {of} {wrong}"),
        None => format!("{of} does not say that it may be sent to {wanted}"),
    };
    match allowed.and(&missing) {
        Some(hosts) => {
            let message = format!("{message}; its owner lets it with this command");
            check.refuse_with(refused, &field, message, &command(secret, &hosts));
        }
        None => {
            let message = format!(
                "{message}; its annotation {ALLOWED_HOSTS_ANNOTATION} names as many hosts as it \
                 may ({MAX_HOSTS}): replace one of them"
            );
            check.refuse_because(refused, &field, message);
        }
    }
    false
}

fn listed(hosts: &[&Destination]) -> String {
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    hosts.join(" and ")
}

/// Names of objects and hosts mean nothing to a shell, but for the brackets of
/// an address.
fn command(secret: &SecretDocument, hosts: &str) -> String {
    let SecretDocument {
        namespace, name, ..
    } = secret;
    let annotation = format!("{ALLOWED_HOSTS_ANNOTATION}={hosts}");
    let annotation = match hosts.contains('[') {
        true => format!("'{annotation}'"),
        false => annotation,
    };
    format!("kubectl annotate secret {name} -n {namespace} {annotation} --overwrite")
}

/// Checks a value of a Secret, without a word of it.
fn value(secret: &SecretDocument, key: &str) -> Result<(), String> {
    let of = format!("Secret {}/{}", secret.namespace, secret.name);
    let Some(value) = secret.data.get(key) else {
        return Err(format!("{of} has no key `{key}`"));
    };
    let value = value.expose();
    if value.is_empty() {
        return Err(format!("`{key}` of {of} is empty"));
    }
    let printable = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let spaced = value.starts_with(b" ") || value.ends_with(b" ");
    if !printable || spaced {
        // A header cannot carry it; and neither keys nor certificates in PEM
        // ever go out by mistake.
        return Err(format!(
            "`{key}` of {of} has a line end, or another character that no credential has: store \
             it without, as `kubectl create secret generic --from-literal` does"
        ));
    }
    Ok(())
}
