//! Certificates in memory, good and bad ones.

use sidegate_dev::certificates::{CertificateAuthority, Issued, Purpose, Validity, Wish};
use sidegate_policy::clock::{Clock as _, SystemClock};

/// A workload that may call.
pub const AGENT: &str = "spiffe://cluster.local/ns/crm/sa/agent";
/// Another one.
pub const LEAD: &str = "spiffe://cluster.local/ns/crm/sa/lead";
/// The workload that the sidecar stands in front of.
pub const SERVER: &str = "spiffe://cluster.local/ns/crm/sa/support";

const DAYS: i64 = 2;

/// An authority and the certificates that a test needs of it.
#[derive(Debug)]
pub struct TestAuthority {
    authority: CertificateAuthority,
}

impl Default for TestAuthority {
    fn default() -> Self {
        Self::new()
    }
}

impl TestAuthority {
    /// An authority of its own.
    ///
    /// # Panics
    /// There is no key.
    #[must_use]
    pub fn new() -> Self {
        let validity = Validity::days(now(), 10);
        let authority = CertificateAuthority::create("Sidegate test CA", validity);
        Self {
            authority: authority.expect("an authority"),
        }
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// A server's certificate for `localhost` and the loopback addresses.
    #[must_use]
    pub fn server(&self) -> Issued {
        self.server_for(&["localhost", "127.0.0.1", "::1"])
    }

    /// A server's certificate for these hosts.
    #[must_use]
    pub fn server_for(&self, hosts: &[&str]) -> Issued {
        self.issue(&Wish::server(hosts, SERVER, Validity::days(now(), DAYS)))
    }

    /// A client's certificate.
    #[must_use]
    pub fn client(&self, spiffe_id: &str) -> Issued {
        self.client_with(&[spiffe_id])
    }

    /// A client's certificate with these URIs: none, or more than the one that
    /// SPIFFE allows.
    #[must_use]
    pub fn client_with(&self, uris: &[&str]) -> Issued {
        let mut wish = Wish::client(AGENT, Validity::days(now(), DAYS));
        wish.uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
        // Without any name a certificate would be refused for that already.
        wish.hosts = vec!["client.test".to_owned()];
        self.issue(&wish)
    }

    /// A client's certificate that ended an hour ago.
    #[must_use]
    pub fn expired_client(&self, spiffe_id: &str) -> Issued {
        let validity = Validity {
            not_before: now() - 7200,
            not_after: now() - 3600,
        };
        self.issue(&Wish::client(spiffe_id, validity))
    }

    /// A client's certificate that begins in an hour.
    #[must_use]
    pub fn future_client(&self, spiffe_id: &str) -> Issued {
        let validity = Validity {
            not_before: now() + 3600,
            not_after: now() + 7200,
        };
        self.issue(&Wish::client(spiffe_id, validity))
    }

    /// A certificate that only a server may show, with a client's name.
    #[must_use]
    pub fn server_posing_as(&self, spiffe_id: &str) -> Issued {
        let mut wish = Wish::client(spiffe_id, Validity::days(now(), DAYS));
        wish.purpose = Purpose::Server;
        self.issue(&wish)
    }

    /// Whatever is wished for.
    ///
    /// # Panics
    /// No certificate can state it.
    #[must_use]
    pub fn issue(&self, wish: &Wish) -> Issued {
        self.authority.issue(wish).expect("a certificate")
    }

    /// A Secret document for `tls.certificateRef`.
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str, server: &Issued) -> String {
        secret(namespace, name, server, Some(self.pem()))
    }
}

/// A Secret document with a certificate, and with an authority or without.
#[must_use]
pub fn secret(namespace: &str, name: &str, server: &Issued, authority: Option<&str>) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         type: kubernetes.io/tls\nstringData:\n"
    );
    let mut entry = |key: &str, pem: &str| {
        text.push_str(&format!("  {key}: |\n"));
        for line in pem.lines() {
            text.push_str(&format!("    {line}\n"));
        }
    };
    entry("tls.crt", &server.certificate_pem);
    entry("tls.key", server.key_pem.expose());
    if let Some(authority) = authority {
        entry("ca.crt", authority);
    }
    text
}

fn now() -> i64 {
    SystemClock.unix_seconds()
}

#[cfg(test)]
mod tests {
    use sidegate_dev::certificates::Facts;

    use super::*;

    #[test]
    fn bad_certificates_are_bad_in_one_way_each() {
        let authority = TestAuthority::new();
        let facts = |issued: Issued| Facts::read(&issued.certificate_pem).unwrap();
        let good = facts(authority.client(AGENT));
        assert_eq!((good.uris.len(), good.purpose), (1, Some(Purpose::Client)));
        assert!(good.validity.not_before < now() && good.validity.not_after > now());
        assert_eq!(
            facts(authority.client_with(&[AGENT, LEAD])).uris,
            [AGENT, LEAD]
        );
        assert!(facts(authority.client_with(&[])).uris.is_empty());
        assert!(facts(authority.expired_client(AGENT)).validity.not_after < now());
        assert!(facts(authority.future_client(AGENT)).validity.not_before > now());
        assert_eq!(
            facts(authority.server_posing_as(AGENT)).purpose,
            Some(Purpose::Server)
        );
        assert!(!facts(TestAuthority::new().client(AGENT)).is_signed_by(authority.pem()));
    }
}
