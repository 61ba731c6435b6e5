//! Rules in CEL that the API server evaluates, each with what to do.
//!
//! Only functions of the CEL specification are used, so that the tests evaluate
//! the rules as the API server does. Lists are compared by name of the field
//! and not through variables: the API server knows bounds of fields only.

use serde_json::{Value, json};

use crate::names::RESERVED_PORTS;

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
            "!has(self.credentials) || !has(self.credentials.awsSigV4) || self.type == 'Bedrock'",
            "awsSigV4 is for type Bedrock",
        ),
        (
            "!has(self.credentials) || !has(self.baseUrl) || self.baseUrl.matches(\
             '^(https://|http://(localhost|127[.]0[.]0[.]1|\\\\[::1\\\\])([:/]|$))')",
            "credentials are not sent over plain HTTP: baseUrl must start with https://",
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

pub(super) fn url_rules(pattern: &str, message: &str) -> Value {
    validations(&[(
        &format!("self.matches('{}')", pattern.replace('\\', "\\\\")),
        message,
    )])
}
