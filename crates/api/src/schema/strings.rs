//! Shapes of single fields.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::rules::{
    label_key_rules, port_rules, quoted, resource_list_rules, scope_name_rules, taken_header_rule,
    text_rules,
};

const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const DNS_SUBDOMAIN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const QUALIFIED_NAME: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
     ([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$";
const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
/// RFC 6749 section 3.3.
const SCOPE: &str = r"^[\x21\x23-\x5B\x5D-\x7E]{1,256}$";
/// Exact, or with a trailing star; a star elsewhere would read as a wildcard
/// that it is not.
const RULE_NAME: &str = "^([^*]+[*]?|[*])$";
/// The last part of a name has more than digits: with digits only, some would
/// read the whole as an address.
const NAME: &str = "([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?[.])*\
     ([0-9]*[a-z_]([a-z0-9_-]*[a-z0-9_])?|[0-9]+-[a-z0-9_-]*[a-z0-9_])";
const BYTE: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const IPV6: &str = r"\[[0-9a-f.]*:[0-9a-f:.]*:[0-9a-f:.]*\]";
/// 1 to 65535, without zeros in front.
const PORT: &str = "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|\
     6553[0-5]))?";
/// A part of a path that no reader takes for another: no escapes, and not one
/// or two dots.
const SEGMENT: &str =
    "([A-Za-z0-9._~!$&'()*+,=:@-]*[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*|[.]{3,})";
const SPIFFE_SEGMENT: &str = "([A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*|[.]{3,})";
/// The port that a scheme has anyway, stated.
const DEFAULT_PORT: &str = "^(https://[^/]*:443|http://[^/]*:80)(/|$)";
/// A part of a name that DNS does not have.
const LONG_LABEL: &str = "^([a-z]+://)?([^/?:]*[.])?[^./?:]{64}";

const URL_BYTES: u32 = 2048;

// === shapes ===

fn text(min: u32, max: u32, pattern: &str) -> Value {
    json!({ "type": "string", "minLength": min, "maxLength": max, "pattern": pattern })
}

/// A name or address in small letters, with an optional port; neither user nor
/// path.
fn host() -> String {
    format!("({NAME}|({BYTE}[.]){{3}}{BYTE}|{IPV6}){PORT}")
}

/// The same in any letters.
fn any_host() -> String {
    format!("(?i:{})", host())
}

fn loopback() -> String {
    format!(r"(localhost|127([.]{BYTE}){{3}}|\[::1\]){PORT}")
}

/// A text that rules describe, so that what is refused comes with a reason.
fn described(max: u32, rules: &[(String, &str)]) -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": max,
        "x-kubernetes-validations": text_rules(rules),
    })
}

fn url(pattern: &str, message: &str) -> Value {
    described(URL_BYTES, &[matching(pattern, message), short_labels()])
}

fn matching<'a>(pattern: &str, message: &'a str) -> (String, &'a str) {
    (format!("self.matches({})", quoted(pattern)), message)
}

fn not_matching<'a>(pattern: &str, message: &'a str) -> (String, &'a str) {
    (format!("!self.matches({})", quoted(pattern)), message)
}

fn short_labels() -> (String, &'static str) {
    let message = "has a part between dots that is longer than 63 characters, which no name has";
    not_matching(LONG_LABEL, message)
}

fn default_port() -> (String, &'static str) {
    let message = "states the port that its scheme has anyway: remove it";
    not_matching(DEFAULT_PORT, message)
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
    labels => with_rules(
        map(0, 32, &text(0, 63, LABEL_VALUE)),
        label_key_rules(QUALIFIED_NAME),
    );
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
    path => described(1024, &[
        matching(
            &format!("^/({SEGMENT}/)*{SEGMENT}?$"),
            "must begin with /, have letters, digits and -._~!$&'()*+,=:@ only, \
             and no part that is empty, one dot or two",
        ),
        not_matching(
            "^/[.]well-known(/|$)",
            "must not be below /.well-known, where the sidecar answers itself",
        ),
    ]);
    resource => resource_value();
    resources => with_rules(atomic(1, 8, &resource_value()), resource_list_rules());
    hosts => set(0, 32, &described(261, &[
        matching(
            &format!("^{}$", any_host()),
            "must be a name or address with an optional port, without scheme, path and wildcard, \
             such as mcp.example.com:8443",
        ),
        short_labels(),
    ]));
    origins => set(0, 32, &described(270, &[
        matching(
            &format!("^https?://{}$", host()),
            "must be an origin as browsers send it: scheme, host in small letters and port only, \
             such as https://app.example.com",
        ),
        default_port(),
        short_labels(),
    ]));
    variables => set(0, 16, &text(1, 128, "^[A-Za-z_][A-Za-z0-9_]*$"));
    header_name => described(64, &[
        matching(
            "^[A-Za-z][A-Za-z0-9-]*$",
            "must be 1 to 64 letters, digits and -, and begin with a letter",
        ),
        taken_header_rule(),
    ]);

    // authentication
    identity_url => url(
        &format!(r"^(https://{}|http://{})([/?][^#\s\\\x00-\x1F\x7F]*)?$", any_host(), loopback()),
        "must be an https:// URL without user and fragment (http:// for loopback hosts only)",
    );
    audiences => set(0, 32, &json!({ "type": "string", "minLength": 1, "maxLength": URL_BYTES }));
    scope_claims => set(1, 8, &text(1, 128, r"^\S+$"));
    scopes => set(0, 256, &text(1, 256, SCOPE));

    // authorization
    issuer_name => text(1, URL_BYTES, r"^https?://[^#\s@]+$");
    required_scopes => set(0, 32, &text(1, 256, SCOPE));
    scope_hierarchy => with_rules(
        map(0, 256, &set(0, 64, &text(1, 256, SCOPE))),
        scope_name_rules(SCOPE),
    );
    server_names => set(1, 32, &text(1, 63, DNS_LABEL));
    rule_names => set(1, 256, &text(1, 256, RULE_NAME));
    rule_methods => set(1, 32, &text(1, 128, RULE_NAME));
    rule_uris => set(1, 64, &text(1, URL_BYTES, RULE_NAME));
    principal_names => set(1, 64, &text(1, 512, r"^[^\x00-\x1F]+$"));
    claims => map(1, 16, &set(1, 64, &text(1, 512, r"^[^\x00-\x1F]+$")));
    service_accounts => set(1, 64, &text(
        3,
        317,
        "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/\
         [a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ));
    spiffe_ids => set(1, 64, &text(
        10,
        URL_BYTES,
        &format!("^spiffe://[a-z0-9._-]{{1,255}}(/{SPIFFE_SEGMENT})+$"),
    ));

    // models
    model_name => text(1, 256, r"^\S+$");
    model_names => set(1, 64, &text(1, 256, RULE_NAME));
    base_url => url(
        &format!(r"^(https://{}|http://{})(/[^?#\s\\\x00-\x1F\x7F]*)?$", any_host(), loopback()),
        "must be an https:// URL without user, query and fragment (http:// for loopback hosts only)",
    );
    aws_region => text(1, 63, "^[a-z]{2,4}(-[a-z]+){1,3}-[1-9][0-9]?$");
    cost => text(1, 16, "^[0-9]{1,9}([.][0-9]{1,6})?$");

    // remote servers
    remote_url => url(
        &format!(r"^(https://{}|http://{})(/[^#\s\\\x00-\x1F\x7F]*)?$", any_host(), loopback()),
        "must be an https:// URL without user and fragment (http:// for loopback hosts only)",
    );
}

fn with_rules(mut schema: Value, rules: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("x-kubernetes-validations".to_owned(), rules);
    }
    schema
}

/// One spelling only: it is compared with the audience of tokens byte by byte.
/// In several rules, for the API server bounds what one may cost.
fn resource_value() -> Value {
    described(
        URL_BYTES,
        &[
            matching(
                &format!("^https?://{}(/[A-Za-z0-9._~!$&'()*+,=:@/-]*)?$", host()),
                "must be a URL as clients name the server (RFC 8707): https:// or http://, the \
                 host in small letters, a plain path, and neither user, query nor fragment",
            ),
            not_matching(
                "^https?://.*//|/[.]{1,2}(/|$)",
                "must not have parts of its path that are empty, one dot or two",
            ),
            default_port(),
            short_labels(),
        ],
    )
}
