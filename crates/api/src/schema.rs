//! The shapes of strings, numbers and lists in the schema, and its rules.
//!
//! Everything is bounded: the API server refuses a definition whose rules could
//! be costly, and it takes a list or string without a bound for a huge one.
//! What is inside the rules of `authorization` exists thirty thousand times and
//! is therefore checked by patterns, which cost nothing there.

mod rules;
mod strings;

pub(crate) use rules::{
    allowed_namespaces_rules, credentials_rules, gateway_rules, gateway_selector_rules,
    identity_headers_rules, jwks_rules, label_requirement_rules, limits_rules, principal_rules,
    provider_rules, rate_limit_rules, rule_rules, server_rules, time_rules, tls_rules,
};
pub(crate) use strings::{
    audiences, aws_region, base_url, claims, condition_type, cost, data_key, dns_label,
    header_name, hosts, identity_url, issuer_name, label_key, label_values, labels, model_name,
    model_names, object_name, origins, other_listeners, path, port, principal_names, reason,
    remote_url, required_scopes, resource, resources, rule_methods, rule_names, rule_uris,
    scope_claims, scope_hierarchy, scopes, server_names, service_accounts, spiffe_ids, time,
    variables,
};
