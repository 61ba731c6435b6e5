//! Rules in CEL that the API server evaluates, each with what to do.
//!
//! Only functions of the CEL specification are used, so that the tests evaluate
//! the rules as the API server does. Lists are compared by name of the field
//! and not through variables: the API server knows bounds of fields only.

use serde_json::{Value, json};

use crate::names::{RESERVED_PORTS, TAKEN_HEADER_PREFIXES, TAKEN_HEADERS};

/// Methods that are decided by what they name; those of tasks as well.
const NAMING_METHODS: &str = "'tools/call', 'prompts/get', 'resources/read', 'resources/subscribe', \
     'resources/unsubscribe', 'subscriptions/listen', 'completion/complete'";

/// `x-kubernetes-validations` of pairs of a rule and its message.
fn validations(rules: &[(&str, &str)]) -> Value {
    let rule = |(rule, message): &(&str, &str)| json!({ "rule": rule, "message": message });
    rules.iter().map(rule).collect()
}

pub(crate) fn gateway_rules() -> Value {
    validations(&[
        (
            "(has(self.servers) && size(self.servers) > 0) || has(self.llm) \
             || (has(self.remoteServers) && size(self.remoteServers) > 0)",
            "a gateway guards something: set at least one of servers, llm and remoteServers",
        ),
        (
            "!self.authentication.requireToken \
             || (has(self.authentication.jwt) && size(self.authentication.jwt) > 0)",
            "requireToken is true and no token could be accepted: \
             add an issuer to authentication.jwt",
        ),
        (
            "self.authentication.requireToken || self.tls.mode == 'Mutual'",
            "requireToken false leaves only the caller's certificate: \
             it needs tls.mode Mutual",
        ),
        (
            "!has(self.servers) || self.servers.all(s, \
             self.servers.all(t, s.name == t.name || s.port != t.port) \
             && (!has(s.listenPort) || self.servers.all(t, s.listenPort != t.port \
             && (s.name == t.name || !has(t.listenPort) || s.listenPort != t.listenPort))))",
            "ports are used once: port and listenPort of servers must all differ",
        ),
        (
            "!has(self.llm) || !has(self.servers) || self.servers.all(s, \
             s.port != self.llm.port && (!has(s.listenPort) || s.listenPort != self.llm.port))",
            "ports are used once: llm.port must differ from the ports of servers",
        ),
        (
            "!has(self.remoteServers) || self.remoteServers.all(r, \
             (!has(self.llm) || r.listenPort != self.llm.port) \
             && self.remoteServers.all(q, r.name == q.name || r.listenPort != q.listenPort) \
             && (!has(self.servers) || self.servers.all(s, r.listenPort != s.port \
             && (!has(s.listenPort) || r.listenPort != s.listenPort))))",
            "ports are used once: listenPort of remoteServers must differ from each other, \
             from the ports of servers and from llm.port",
        ),
        (
            "!has(self.servers) || !has(self.remoteServers) || self.remoteServers.all(r, \
             self.servers.all(s, r.name != s.name))",
            "names are used once: remoteServers must not have a name of servers",
        ),
        (
            "!has(self.servers) || self.servers.all(s, self.servers.all(t, s.name == t.name \
             || s.resources.all(r, !(r in t.resources))))",
            "a token for a resource must not open two servers: give each its own resources",
        ),
        (
            "self.tls.mode == 'Plaintext' || !has(self.servers) || self.servers.all(s, \
             s.resources.all(r, !r.startsWith('http://') \
             || r.matches('^http://(localhost|127[.][0-9.]+|\\\\[::1\\\\])([:/]|$)')))",
            "callers connect by TLS, so resources must begin with https:// \
             (http:// for loopback hosts only)",
        ),
    ])
}

pub(crate) fn gateway_selector_rules() -> Value {
    validations(&[
        (
            "(has(self.matchLabels) && size(self.matchLabels) > 0) \
             || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
            "an empty selector would take every pod of the namespace: name a label",
        ),
        (
            "self == oldSelf",
            "the selector cannot be changed: create another gateway and delete this one",
        ),
    ])
}

pub(crate) fn server_rules() -> Value {
    validations(&[(
        "has(self.listenPort) == (self.exposure == 'SeparatePort')",
        "listenPort goes with exposure SeparatePort, and only with it",
    )])
}

pub(crate) fn jwks_rules() -> Value {
    validations(&[
        (
            "[has(self.uri), has(self.configMapKeyRef), has(self.inline)]\
             .filter(given, given).size() == 1",
            "keys come from one place: set exactly one of uri, configMapKeyRef and inline",
        ),
        (
            "!has(self.caRef) || has(self.uri)",
            "caRef verifies the host of uri: set uri, or remove caRef",
        ),
    ])
}

pub(crate) fn rule_rules() -> Value {
    validations(&[
        (
            "has(self.tools) || has(self.prompts) || has(self.resources) || has(self.models) \
             || has(self.methods)",
            "a rule is about something: name at least one of tools, prompts, resources, models \
             and methods; [\"*\"] is all of them",
        ),
        (
            "self.effect != 'Deny' || !has(self.requiredScopes) \
             || size(self.requiredScopes) == 0",
            "a Deny rule has no requiredScopes: it would stop denying callers that lack them",
        ),
        (
            "self.effect == 'Deny' || !has(self.methods) \
             || self.methods.all(m, !m.endsWith('*'))",
            "an Allow rule names methods exactly: write each one without *",
        ),
        (
            &format!(
                "self.effect == 'Deny' || !has(self.methods) || self.methods.all(m, \
                 !(m in [{NAMING_METHODS}]) && !m.startsWith('tasks/'))"
            ),
            "an Allow rule names tools, prompts and resources in the fields of that name, and \
             not the methods that use them",
        ),
        (
            "!has(self.servers) || !has(self.models)",
            "models are not behind a server: put them into a rule without servers",
        ),
    ])
}

pub(crate) fn principal_rules() -> Value {
    validations(&[(
        "has(self.issuer) || has(self.subjects) || has(self.clients) || has(self.claims) \
         || has(self.serviceAccounts) || has(self.spiffeIds)",
        "an entry without a field would match every caller: set one, \
         or remove principals from the rule",
    )])
}

pub(crate) fn rate_limit_rules() -> Value {
    validations(&[(
        "[has(self.requests), has(self.tokens), has(self.cost)]\
         .filter(given, given).size() == 1",
        "a limit counts one thing: set exactly one of requests, tokens and cost",
    )])
}

pub(crate) fn label_requirement_rules() -> Value {
    validations(&[(
        "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
        "In and NotIn need values; Exists and DoesNotExist have none",
    )])
}

pub(crate) fn provider_rules() -> Value {
    validations(&[
        (
            "self.type != 'OpenAICompatible' || has(self.preset) || has(self.baseUrl)",
            "type OpenAICompatible needs to know where: set preset or baseUrl",
        ),
        (
            "self.type != 'AzureOpenAI' || has(self.baseUrl)",
            "type AzureOpenAI needs baseUrl: the endpoint of your resource",
        ),
        (
            "self.type != 'Bedrock' || has(self.baseUrl) \
             || (has(self.credentials) && has(self.credentials.awsSigV4))",
            "type Bedrock needs to know its region: set credentials.awsSigV4 or baseUrl",
        ),
        (
            "!has(self.preset) || self.type == 'OpenAICompatible'",
            "preset is for type OpenAICompatible: remove it, or choose this type",
        ),
        (
            "has(self.credentials) || has(self.baseUrl) || self.type == 'OpenAICompatible'",
            "the provider's own host refuses requests without a key: set credentials, \
             or the baseUrl of a host that needs none",
        ),
        (
            "!has(self.credentials) || !has(self.credentials.awsSigV4) || self.type == 'Bedrock'",
            "awsSigV4 is for type Bedrock",
        ),
        (
            "!has(self.credentials) || !has(self.credentials.clientCredentials) \
             || has(self.baseUrl) || self.type == 'OpenAICompatible'",
            "the provider's own host takes keys only: set secretKeyRef, \
             or the baseUrl of a host that takes tokens of clientCredentials",
        ),
    ])
}

pub(crate) fn credentials_rules() -> Value {
    validations(&[(
        "[has(self.secretKeyRef), has(self.awsSigV4), has(self.clientCredentials)]\
         .filter(given, given).size() == 1",
        "set exactly one of secretKeyRef, awsSigV4 and clientCredentials",
    )])
}

pub(crate) fn allowed_namespaces_rules() -> Value {
    validations(&[
        (
            "has(self.selector) == (self.from == 'Selector')",
            "selector goes with from Selector, and only with it",
        ),
        (
            "!has(self.selector) \
             || (has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0) \
             || (has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0)",
            "an empty selector is every namespace: name a label, or say from All",
        ),
    ])
}

pub(super) fn port_rules() -> Value {
    let [admin, health] = RESERVED_PORTS;
    validations(&[(
        &format!("self != {admin} && self != {health}"),
        &format!("ports {admin} and {health} are the sidecar's own: choose another"),
    )])
}

/// A text in CEL.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

pub(super) fn text_rules(rules: &[(String, &str)]) -> Value {
    let pairs: Vec<_> = rules
        .iter()
        .map(|(rule, message)| (rule.as_str(), *message))
        .collect();
    validations(&pairs)
}

pub(crate) fn tls_rules() -> Value {
    validations(&[(
        "self.mode != 'Plaintext' || !has(self.certificateRef)",
        "mode Plaintext has no certificate: remove certificateRef, or choose another mode",
    )])
}

pub(super) fn resource_list_rules() -> Value {
    validations(&[(
        "self.all(r, self.exists_one(t, t == r))",
        "names a resource twice: remove one",
    )])
}

pub(super) fn label_key_rules(pattern: &str) -> Value {
    validations(&[(
        &format!("self.all(key, key.matches({}))", quoted(pattern)),
        "a label's key has up to 63 letters, digits, -, _ and ., and perhaps a prefix and /",
    )])
}

/// The values of a map are checked by their patterns, its keys only here.
pub(super) fn scope_name_rules(pattern: &str) -> Value {
    validations(&[(
        &format!("self.all(scope, scope.matches({}))", quoted(pattern)),
        "a scope has printable ASCII characters without space, quotation mark and backslash",
    )])
}

pub(super) fn taken_header_rule() -> (String, &'static str) {
    let taken = format!(
        "(?i)^(({})$|{})",
        TAKEN_HEADERS.join("|"),
        TAKEN_HEADER_PREFIXES.join("|")
    );
    (
        format!("!self.matches({})", quoted(&taken)),
        "has a meaning already: use a header of your own, such as X-User",
    )
}

pub(crate) fn identity_headers_rules() -> Value {
    let names = ["subject", "issuer", "clientId", "scopes", "spiffeId"]
        .map(|it| format!("has(self.{it}) ? self.{it}.lowerAscii() : ''"))
        .join(", ");
    validations(&[(
        &format!("[{names}].all(name, name == '' || [{names}].exists_one(it, it == name))"),
        "every header carries one fact: give each its own name, also without regard to case",
    )])
}

/// The same bounds as `sidegate check` has.
pub(crate) fn time_rules(least: Option<&str>, most: &str) -> Value {
    let below = format!("duration(self) <= duration('{most}')");
    match least {
        None => validations(&[(&below, &format!("must be from 0s to {most}; it may be 0s"))]),
        Some(least) => validations(&[(
            &format!("duration(self) >= duration('{least}') && {below}"),
            &format!("must be from {least} to {most}"),
        )]),
    }
}

/// Limits that would make one another void. A limit that is not set has its
/// default, or follows the one that bounds it.
pub(crate) fn limits_rules() -> Value {
    validations(&[
        (
            "!has(self.maxBodyBytes) || self.maxBodyBytes \
             <= (has(self.maxBufferedBytes) ? self.maxBufferedBytes : 67108864)",
            "maxBodyBytes must not be above maxBufferedBytes (64 MiB unless set), \
             or such a body could never be read",
        ),
        (
            "!has(self.maxHeaderValueBytes) || self.maxHeaderValueBytes \
             <= (has(self.maxHeaderBytes) ? self.maxHeaderBytes : 32768)",
            "maxHeaderValueBytes must not be above maxHeaderBytes (32 KiB unless set)",
        ),
        (
            "!has(self.maxTokenBytes) || self.maxTokenBytes <= (has(self.maxHeaderValueBytes) \
             ? self.maxHeaderValueBytes : (has(self.maxHeaderBytes) && self.maxHeaderBytes < 8192 \
             ? self.maxHeaderBytes : 8192))",
            "maxTokenBytes must not be above maxHeaderValueBytes (8 KiB unless set): \
             tokens come in a header",
        ),
        (
            "!has(self.maxSessionsPerPrincipal) || self.maxSessionsPerPrincipal \
             <= (has(self.maxSessions) ? self.maxSessions : 10000)",
            "maxSessionsPerPrincipal must not be above maxSessions (10000 unless set)",
        ),
        (
            "!has(self.streamKeepAlive) || duration(self.streamKeepAlive) \
             < duration(has(self.streamIdleTimeout) ? self.streamIdleTimeout : '5m')",
            "streamKeepAlive must be below streamIdleTimeout (5m unless set)",
        ),
        (
            "duration(has(self.jwksRefreshInterval) ? self.jwksRefreshInterval : '5m') \
             < duration(has(self.jwksStaleAfter) ? self.jwksStaleAfter : '1h')",
            "jwksStaleAfter (1h unless set) must be above jwksRefreshInterval (5m unless set), \
             or keys would be given up before they are fetched again",
        ),
    ])
}
