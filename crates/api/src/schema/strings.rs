//! Shapes of single fields.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::rules::{port_rules, url_rules};

const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const DNS_SUBDOMAIN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const QUALIFIED_NAME: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
     ([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$";
const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
/// RFC 6749 section 3.3.
const SCOPE: &str = r"^[\x21\x23-\x5B\x5D-\x7E]+$";
/// Exact, or with a trailing star; a star elsewhere would read as a wildcard
/// that it is not.
const RULE_NAME: &str = "^([^*]+[*]?|[*])$";
/// A name or address with an optional port; neither user nor path.
const HOST: &str = r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?";
const LOOPBACK: &str = r"(localhost|127[.]0[.]0[.]1|\[::1\])(:[0-9]{1,5})?";

const URL_BYTES: u32 = 2048;

// === shapes ===

fn text(min: u32, max: u32, pattern: &str) -> Value {
    json!({ "type": "string", "minLength": min, "maxLength": max, "pattern": pattern })
}

fn url(pattern: &str, message: &str) -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": URL_BYTES,
        "x-kubernetes-validations": url_rules(pattern, message),
    })
}

/// A list whose values are there once, in an order that decides nothing.
fn set(min: u32, max: u32, items: &Value) -> Value {
    json!({
        "type": "array",
        "minItems": min,
        "maxItems": max,
        "items": items,
        "x-kubernetes-list-type": "set",
    })
}

/// A list that is replaced as a whole.
fn atomic(min: u32, max: u32, items: &Value) -> Value {
    json!({
        "type": "array",
        "minItems": min,
        "maxItems": max,
        "items": items,
        "x-kubernetes-list-type": "atomic",
    })
}

fn map(min: u32, max: u32, values: &Value) -> Value {
    json!({
        "type": "object",
        "minProperties": min,
        "maxProperties": max,
        "additionalProperties": values,
    })
}

/// Makes functions of the form that `schema_with` calls.
macro_rules! shapes {
    ($($name:ident => $value:expr;)*) => {$(
        pub(crate) fn $name(_: &mut SchemaGenerator) -> Schema {
            Schema::try_from($value).unwrap_or_else(|_| json_schema!(false))
        }
    )*};
}

shapes! {
    // Kubernetes
    object_name => text(1, 253, DNS_SUBDOMAIN);
    dns_label => text(1, 63, DNS_LABEL);
    data_key => text(1, 253, "^[-._a-zA-Z0-9]+$");
    label_key => text(1, 316, QUALIFIED_NAME);
    label_values => set(0, 64, &text(0, 63, LABEL_VALUE));
    labels => map(0, 32, &text(0, 63, LABEL_VALUE));
    condition_type => text(1, 316, QUALIFIED_NAME);
    reason => text(1, 1024, "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$");
    time => json!({ "type": "string", "format": "date-time", "maxLength": 64 });
    other_listeners => set(0, 64, &text(1, 64, r"^[0-9A-Fa-f.:\[\]]+:[0-9]{1,5}$"));

    // servers
    port => json!({
        "type": "integer",
        "minimum": 1,
        "maximum": 65535,
        "x-kubernetes-validations": port_rules(),
    });
    path => text(1, 1024, r"^/[^?#\s]*$");
    resource => resource_value();
    resources => atomic(1, 8, &resource_value());
    hosts => set(0, 32, &text(1, 261, &format!("^{HOST}$")));
    origins => set(0, 32, &text(1, 270, &format!("^https?://{HOST}$")));
    variables => set(0, 16, &text(1, 128, "^[A-Za-z_][A-Za-z0-9_]*$"));
    header_name => text(1, 64, "^[A-Za-z][A-Za-z0-9-]*$");

    // authentication
    identity_url => url(
        &format!("^(https://{HOST}|http://{LOOPBACK})([/?][^#\\s]*)?$"),
        "must be an https:// URL without user and fragment (http:// for loopback hosts only)",
    );
    audiences => set(0, 32, &json!({ "type": "string", "minLength": 1, "maxLength": URL_BYTES }));
    scope_claims => set(1, 8, &text(1, 128, r"^\S+$"));
    scopes => set(0, 256, &text(1, 256, SCOPE));

    // authorization
    issuer_name => text(1, URL_BYTES, r"^https?://[^#\s@]+$");
    required_scopes => set(0, 32, &text(1, 256, SCOPE));
    scope_hierarchy => map(0, 256, &set(0, 64, &text(1, 256, SCOPE)));
    server_names => set(1, 32, &text(1, 63, DNS_LABEL));
    rule_names => set(1, 256, &text(1, 256, RULE_NAME));
    rule_methods => set(1, 32, &text(1, 128, RULE_NAME));
    rule_uris => set(1, 64, &text(1, URL_BYTES, RULE_NAME));
    principal_names => set(1, 64, &text(1, 512, r"^[^\x00-\x1F]+$"));
    claims => map(1, 16, &set(1, 64, &text(1, 512, r"^[^\x00-\x1F]+$")));
    service_accounts => set(1, 64, &text(
        3,
        317,
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
    ));
    spiffe_ids => set(1, 64, &text(10, URL_BYTES, "^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$"));

    // models
    model_name => text(1, 256, r"^\S+$");
    model_names => set(1, 64, &text(1, 256, RULE_NAME));
    base_url => text(1, URL_BYTES, &format!("^https?://{HOST}(/[^?#\\s]*)?$"));
    cost => text(1, 16, "^[0-9]{1,9}([.][0-9]{1,6})?$");

    // remote servers
    remote_url => url(
        &format!("^(https://{HOST}|http://{LOOPBACK})(/[^#\\s]*)?$"),
        "must be an https:// URL without user and fragment (http:// for loopback hosts only)",
    );
}

fn resource_value() -> Value {
    url(
        &format!("^https?://{HOST}(/[^#\\s]*)?$"),
        "must be a URL with https:// or http://, without user and fragment, \
         as clients name the server (RFC 8707)",
    )
}
