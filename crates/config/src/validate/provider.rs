//! Everything that can be wrong with a provider, found at once.
//!
//! What this version does not do with one is for its status to say; here is
//! whether it contradicts itself, whether what it refers to is there, and
//! whether its Secrets consent to where they would go.

mod hosts;

use sidegate_api::LlmProviderSpec;
use sidegate_api::provider::{
    AllowedNamespaces, AwsSigV4, Credentials, NamespacesFrom, ProviderClientCredentials,
    ProviderType,
};
use sidegate_api::reference::SecretKeyRef;
use sidegate_policy::scope::Scope;
use url::Url;

use super::consent::{self, Credential, Destination};
use super::uris::{self, Http};
use super::{Bounds, Check, Options, names, pem, selector};
use crate::documents::{Documents, ProviderDocument};
use crate::violations::{Cause, Violations};

const CREDENTIALS: &str = "spec.credentials";
const BASE_URL: &str = "spec.baseUrl";
const SCOPES: Bounds = Bounds {
    items: 0..=32,
    chars: 256,
};
const EMPTY_SELECTOR: &str =
    "is empty, and an empty selector is every namespace: name a label, or say from All";

/// A provider in which nothing is wrong. Only [`validate_provider`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedProvider {
    host: String,
}

/// Checks one provider, and what it refers to among the documents.
///
/// # Errors
/// Everything that is wrong with them.
pub fn validate_provider(
    documents: &Documents,
    provider: &ProviderDocument,
    options: &Options,
) -> Result<ValidatedProvider, Violations> {
    let mut check = Check {
        namespace: &provider.namespace,
        object: provider.object(),
        origin: &provider.origin,
        spec: &provider.spec,
        documents,
        options,
        violations: Vec::new(),
        warnings: Vec::new(),
    };
    let LlmProviderSpec {
        provider_type,
        preset,
        base_url: _,
        credentials,
        tls,
        allowed_namespaces,
    } = check.spec;
    check_preset(&mut check, *provider_type, preset.as_deref());
    let host = destination(&mut check);
    match credentials {
        Some(credentials) => check_credentials(&mut check, credentials, host.as_ref()),
        None => check_without_credentials(&mut check),
    }
    if let Some(tls) = tls {
        let field = "spec.tls.caRef";
        let ca = check.config_map_value(field, &tls.ca_ref.name, &tls.ca_ref.key);
        if let Some(ca) = ca {
            check.refuse_err_because(Cause::InvalidCertificate, field, pem::authorities(&ca));
        }
    }
    check_namespaces(&mut check, allowed_namespaces);
    let violations: Violations = check.violations.into_iter().collect();
    match (host, violations.is_empty()) {
        (Some(host), true) => Ok(ValidatedProvider {
            host: host.to_string(),
        }),
        (_, _) => Err(violations),
    }
}

fn check_preset(
    check: &mut Check<'_, LlmProviderSpec>,
    provider_type: ProviderType,
    preset: Option<&str>,
) {
    let Some(preset) = preset else {
        return;
    };
    let field = "spec.preset";
    if !names::is_dns_label(preset) {
        check.refuse(field, names::DNS_LABEL);
    }
    if provider_type != ProviderType::OpenAICompatible {
        let message = "is for type OpenAICompatible: remove it, or choose this type";
        check.refuse(field, message);
    } else if check.spec.base_url.is_none() {
        let message = format!(
            "`{preset}`: this version has no catalogue yet that knows where it is: set baseUrl \
             as well, and let the Secret of its key name the host"
        );
        check.refuse_because(Cause::Unserved, field, message);
    }
}

/// Where the provider's requests go; none when that is not known.
fn destination(check: &mut Check<'_, LlmProviderSpec>) -> Option<Destination> {
    use ProviderType::{Anthropic, AzureOpenAI, Bedrock, Cohere, Gemini, OpenAI, OpenAICompatible};

    let spec = check.spec;
    if let Some(text) = &spec.base_url {
        let url = base_url(text, check.options);
        return Destination::of(&check.refuse_err(BASE_URL, url)?);
    }
    let missing = match spec.provider_type {
        OpenAI | Anthropic | Cohere | Gemini => return hosts::own(spec.provider_type),
        Bedrock => match sig_v4(spec) {
            Some(keys) => return hosts::bedrock(&keys.region),
            None => {
                "must be there, such as https://bedrock-runtime.eu-central-1.amazonaws.com: \
                     type Bedrock needs its region from here or from credentials.awsSigV4"
            }
        },
        AzureOpenAI => {
            "must be there: the endpoint of your resource, such as \
             https://RESOURCE.openai.azure.com"
        }
        // The preset was refused by itself.
        OpenAICompatible if spec.preset.is_some() => return None,
        OpenAICompatible => "must be there: type OpenAICompatible can be anywhere",
    };
    check.refuse(BASE_URL, missing);
    None
}

fn sig_v4(spec: &LlmProviderSpec) -> Option<&AwsSigV4> {
    spec.credentials.as_ref()?.aws_sig_v4.as_ref()
}

fn base_url(text: &str, options: &Options) -> Result<Url, String> {
    let url = identity(text, options)?;
    if text.contains('?') {
        return Err("must not have a query".to_owned());
    }
    Ok(url)
}

/// What goes there is secret, so `http` is for loopback. Loopback is for the
/// desk: in a pod it is whatever else runs there.
fn identity(text: &str, options: &Options) -> Result<Url, String> {
    let http = match options.allow_loopback {
        true => Http::Loopback,
        false => Http::Never,
    };
    let url = uris::identity(text, http)?;
    if !options.allow_loopback && url.host_str().is_some_and(uris::is_loopback) {
        return Err("must not be the machine itself: in a pod that is no provider".to_owned());
    }
    Ok(url)
}

fn check_without_credentials(check: &mut Check<'_, LlmProviderSpec>) {
    let spec = check.spec;
    let anywhere = spec.provider_type == ProviderType::OpenAICompatible;
    if spec.base_url.is_none() && !anywhere {
        let message = "must be there: the provider's own host refuses requests without a key; \
                       only the baseUrl of a host that needs none does without";
        check.refuse(CREDENTIALS, message);
    }
}

fn check_credentials(
    check: &mut Check<'_, LlmProviderSpec>,
    credentials: &Credentials,
    host: Option<&Destination>,
) {
    // What is not built in needs the Secret's word.
    let provider_type = check.spec.provider_type;
    let foreign: Vec<_> = host
        .filter(|host| !hosts::is_own(provider_type, host))
        .cloned()
        .into_iter()
        .collect();
    match credentials {
        Credentials {
            secret_key_ref: Some(key),
            aws_sig_v4: None,
            client_credentials: None,
        } => {
            let key = credential("secretKeyRef", key);
            consent::check(check, &[key], &foreign);
        }
        Credentials {
            secret_key_ref: None,
            aws_sig_v4: Some(keys),
            client_credentials: None,
        } => check_sig_v4(check, keys, &foreign),
        Credentials {
            secret_key_ref: None,
            aws_sig_v4: None,
            client_credentials: Some(client),
        } => check_client(check, client, foreign),
        _ => {
            let message = "must have exactly one of secretKeyRef, awsSigV4 and clientCredentials";
            check.refuse(CREDENTIALS, message);
        }
    }
}

fn credential<'a>(field: &str, reference: &'a SecretKeyRef) -> Credential<'a> {
    Credential {
        field: format!("{CREDENTIALS}.{field}"),
        reference,
    }
}

/// The secret key signs and stays, but the session token goes along, and what
/// is signed is worth as much for a while.
fn check_sig_v4(check: &mut Check<'_, LlmProviderSpec>, keys: &AwsSigV4, foreign: &[Destination]) {
    let AwsSigV4 {
        region,
        access_key_id_ref,
        secret_access_key_ref,
        session_token_ref,
    } = keys;
    if check.spec.provider_type != ProviderType::Bedrock {
        let message = "is for type Bedrock: use secretKeyRef";
        check.refuse(&format!("{CREDENTIALS}.awsSigV4"), message);
    }
    if !hosts::is_region(region) {
        let message = "is no region of AWS, such as eu-central-1";
        check.refuse(&format!("{CREDENTIALS}.awsSigV4.region"), message);
    }
    let mut credentials = vec![
        credential("awsSigV4.accessKeyIdRef", access_key_id_ref),
        credential("awsSigV4.secretAccessKeyRef", secret_access_key_ref),
    ];
    let token = session_token_ref.as_ref();
    credentials.extend(token.map(|token| credential("awsSigV4.sessionTokenRef", token)));
    consent::check(check, &credentials, foreign);
}

/// The client's secret goes to the token endpoint, and the token that comes of
/// it to the provider: the Secret answers for both.
fn check_client(
    check: &mut Check<'_, LlmProviderSpec>,
    client: &ProviderClientCredentials,
    foreign: Vec<Destination>,
) {
    let ProviderClientCredentials {
        token_url,
        client_id_ref,
        client_secret_ref,
        scopes,
    } = client;
    let field = format!("{CREDENTIALS}.clientCredentials");
    let spec = check.spec;
    if spec.base_url.is_none() && spec.provider_type != ProviderType::OpenAICompatible {
        let message = "is not what the provider's own host takes, which is keys only: use \
                       secretKeyRef, or set the baseUrl of a host that takes tokens";
        check.refuse(&field, message);
    }
    let url = identity(token_url, check.options);
    let url = check.refuse_err(&format!("{field}.tokenUrl"), url);
    let mut hosts: Vec<_> = url.as_ref().and_then(Destination::of).into_iter().collect();
    hosts.extend(foreign);
    hosts.dedup();
    let credentials = [
        credential("clientCredentials.clientIdRef", client_id_ref),
        credential("clientCredentials.clientSecretRef", client_secret_ref),
    ];
    consent::check(check, &credentials, &hosts);
    check.texts(&format!("{field}.scopes"), scopes, &SCOPES, |scope| {
        let scope = scope.parse::<Scope>();
        scope.map(drop).map_err(|error| error.to_string())
    });
}

fn check_namespaces(check: &mut Check<'_, LlmProviderSpec>, allowed: &AllowedNamespaces) {
    let field = "spec.allowedNamespaces.selector";
    match (allowed.from, &allowed.selector) {
        (NamespacesFrom::Selector, Some(selector)) => {
            selector::check(check, field, selector, EMPTY_SELECTOR);
        }
        (NamespacesFrom::Selector, None) => {
            check.refuse(field, "must be there: from is Selector");
        }
        (NamespacesFrom::Same | NamespacesFrom::All, Some(_)) => {
            check.refuse(field, "goes with from Selector only: remove it");
        }
        (NamespacesFrom::Same | NamespacesFrom::All, None) => {}
    }
}

// === impl ValidatedProvider ===

impl ValidatedProvider {
    /// Where its requests go, with their credentials: a host, and the port
    /// unless it is that of the scheme.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

#[cfg(test)]
mod tests;
