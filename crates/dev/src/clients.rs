//! The clients of the development authorization server. Their secrets are
//! known to everyone, which is why it listens on loopback only.

use std::collections::BTreeSet;

use crate::authority::Client;

/// A client that every desk has.
#[derive(Debug, Clone, Copy)]
pub struct DevClient {
    /// Its id.
    pub id: &'static str,
    /// Its secret; no secret, in fact.
    pub secret: &'static str,
    /// Scopes that it may have.
    pub scopes: &'static [&'static str],
    /// The client certificate that it goes with.
    pub certificate: &'static str,
}

/// The client that may have every scope that the gateways know.
const DEVELOPER: &str = "developer";

/// All of them, from the least to the most.
pub const CLIENTS: [DevClient; 4] = [
    DevClient {
        id: "agent",
        secret: "agent-secret",
        scopes: &["customer:read"],
        certificate: "agent",
    },
    DevClient {
        id: "lead",
        secret: "lead-secret",
        scopes: &["customer:read", "ticket:create", "support:lead"],
        certificate: "lead",
    },
    DevClient {
        id: "admin",
        secret: "admin-secret",
        scopes: &["support:admin"],
        certificate: "lead",
    },
    DevClient {
        id: DEVELOPER,
        secret: "developer-secret",
        scopes: &[],
        certificate: "agent",
    },
];

/// Names of the client certificates that every desk has.
pub const CERTIFICATES: [&str; 2] = ["agent", "lead"];

/// The client of that id.
#[must_use]
pub fn find(id: &str) -> Option<&'static DevClient> {
    CLIENTS.iter().find(|client| client.id == id)
}

/// All of them, as the authorization server knows them. `scopes` are those that
/// the gateways know.
#[must_use]
pub fn with_scopes(scopes: &BTreeSet<String>) -> Vec<Client> {
    let known: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let scopes = |client: &DevClient| match client.id {
        DEVELOPER => Client::new(client.id, client.secret, &known),
        _ => Client::new(client.id, client.secret, client.scopes),
    };
    CLIENTS.iter().map(scopes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_developer_takes_what_the_gateways_know() {
        let scopes = BTreeSet::from(["a:b".to_owned(), "c:d".to_owned()]);
        for client in with_scopes(&scopes) {
            assert_eq!(
                client.allowed_scopes == scopes,
                client.id == DEVELOPER,
                "{}",
                client.id
            );
        }
        assert!(
            CLIENTS
                .iter()
                .all(|client| CERTIFICATES.contains(&client.certificate))
        );
        assert_eq!(
            find("lead").map(|client| client.secret),
            Some("lead-secret")
        );
        assert!(find("nobody").is_none());
    }
}
