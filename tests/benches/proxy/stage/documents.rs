//! The documents of the sidecar.

/// The only resource; the audience of the token.
pub(super) const RESOURCE: &str = "http://localhost:18080/mcp";

/// Which rules are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Those of every measurement.
    Usual,
    /// Another condition, which the calls satisfy as well.
    Other,
    /// The tool that is called is denied.
    Denied,
}

/// What the documents say beside the rules.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) upstream_port: u16,
    pub(super) issuer: String,
    pub(super) jwks_uri: String,
    /// A Secret with the server's certificate; none is plaintext.
    pub(super) secret: Option<String>,
}

// === impl Gateway ===

impl Gateway {
    pub(super) fn document(&self, variant: Variant) -> String {
        let Self {
            upstream_port,
            issuer,
            jwks_uri,
            secret,
        } = self;
        let tls = match secret {
            None => "{mode: Plaintext}",
            Some(_) => "{mode: Mutual, certificateRef: {name: bench-tls}}",
        };
        let priority = match variant {
            Variant::Usual | Variant::Denied => "urgent",
            Variant::Other => "immediate",
        };
        let deny = match variant {
            Variant::Usual | Variant::Other => "drop_table",
            Variant::Denied => "create_ticket",
        };
        let secret = secret
            .as_deref()
            .map(|text| format!("---\n{text}"))
            .unwrap_or_default();
        format!(
            r#"apiVersion: sidegate.dev/v1alpha1
kind: McpGateway
metadata: {{name: bench, namespace: bench}}
spec:
  selector: {{matchLabels: {{app: bench}}}}
  servers:
  - name: bench
    port: {upstream_port}
    resources: ["{RESOURCE}"]
  tls: {tls}
  authentication:
    jwt:
    - issuer: {issuer}
      jwks: {{uri: "{jwks_uri}"}}
  authorization:
    scopeHierarchy: {{"support:admin": ["customer:read", "ticket:create", "support:lead"]}}
    rules:
    - {{name: read, tools: ["get_*"], requiredScopes: ["customer:read"]}}
    - name: tickets
      tools: [create_ticket]
      requiredScopes: ["ticket:create"]
      when: "!has(args.priority) || args.priority != '{priority}' || 'support:lead' in scopes"
    - {{name: never, effect: Deny, tools: [{deny}]}}
  limits:
    maxConnections: 12000
{secret}"#
        )
    }
}
