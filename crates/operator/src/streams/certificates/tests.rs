use std::time::Duration;

use sidegate_tls::Authority;

use super::*;

fn authority() -> Authority {
    let lifetime = Duration::from_secs(3600);
    Authority::create("test", 1_800_000_000, lifetime).expect("an authority")
}

/// What is trusted, and certificates of it.
struct Desk {
    certificates: Certificates,
    authority: Authority,
}

// === impl Desk ===

impl Desk {
    fn new() -> Self {
        Self::with(CAPACITY)
    }

    fn with(capacity: usize) -> Self {
        let (certificates, authority) = (Certificates::new(capacity), authority());
        certificates.trust(authority.certificate_pem());
        Self {
            certificates,
            authority,
        }
    }

    fn certificate(&self, until_unix: i64) -> ShownCertificate {
        let mut key_ids = key_ids(self.authority.certificate_pem());
        ShownCertificate {
            until_unix,
            authority: key_ids.pop().expect("an identifier"),
            sandbox_unix: Some(7),
        }
    }

    fn shown(&self, uid: &str, until_unix: i64, now_unix: i64) {
        let shown = self.certificate(until_unix);
        self.certificates.shown(&uid.into(), shown, now_unix);
    }

    fn is_held(&self, uid: &str, now_unix: i64) -> bool {
        self.certificates.is_held(&pod(uid), now_unix)
    }
}

/// A pod of which only this replica could know that it has a certificate.
fn pod(uid: &str) -> KnownPod {
    KnownPod {
        uid: uid.into(),
        service_account: "support".into(),
        sandbox_unix: Some(7),
        certificate: None,
    }
}

#[test]
fn a_certificate_is_asked_for_while_it_lasts() {
    let desk = Desk::new();
    assert!(!desk.is_held("u1", 100));
    desk.shown("u1", 200, 100);
    assert!(desk.is_held("u1", 199));
    assert!(!desk.is_held("u1", 200));
    assert!(!desk.is_held("u2", 100));
    // An older one that is shown does not shorten a newer one.
    desk.shown("u1", 150, 100);
    assert!(desk.is_held("u1", 199));
    desk.certificates.forget("u1");
    assert!(!desk.is_held("u1", 100));
}

#[test]
fn what_another_replica_saw_counts_as_well() {
    let desk = Desk::new();
    let known = |certificate| KnownPod {
        certificate: Some(certificate),
        ..pod("u1")
    };
    let is_held = |pod: &KnownPod, now| desk.certificates.is_held(pod, now);
    let good = known(desk.certificate(200));
    assert!(is_held(&good, 199) && !is_held(&good, 200));
    let of_another_authority = known(ShownCertificate {
        authority: "0a".to_owned(),
        ..desk.certificate(200)
    });
    assert!(!is_held(&of_another_authority, 100));
    // One that was shown here lasts longer.
    desk.shown("u1", 300, 100);
    assert!(is_held(&good, 299) && is_held(&of_another_authority, 299));
}

/// The node was started again: what was in the pod's memory volume is gone.
#[test]
fn in_another_sandbox_it_is_not_asked_for() {
    let desk = Desk::new();
    desk.shown("u1", 200, 100);
    for sandbox_unix in [Some(6), Some(8), None] {
        let pod = KnownPod {
            sandbox_unix,
            certificate: Some(desk.certificate(200)),
            ..pod("u1")
        };
        assert!(!desk.certificates.is_held(&pod, 100), "{sandbox_unix:?}");
    }
    desk.certificates.in_sandbox("u1", Some(8));
    let now = KnownPod {
        sandbox_unix: Some(8),
        ..pod("u1")
    };
    assert!(desk.certificates.is_held(&now, 100));
    assert!(!desk.is_held("u1", 100));
}

#[test]
fn an_authority_that_went_takes_its_certificates_with_it() {
    let desk = Desk::new();
    let (old, new) = (desk.authority.certificate_pem(), authority());
    let new = new.certificate_pem();
    desk.shown("u1", 200, 100);
    desk.certificates.trust(&format!("{old}{new}"));
    assert!(desk.is_held("u1", 100), "one came, none went");
    desk.certificates.trust(new);
    assert!(!desk.is_held("u1", 100));
    desk.certificates.trust("");
    assert!(!desk.is_held("u1", 100));
    // Somebody restores it: meanwhile the pod got another one.
    desk.certificates.trust(desk.authority.certificate_pem());
    assert!(!desk.is_held("u1", 100));
}

#[test]
fn the_memory_is_bounded() {
    let desk = Desk::with(2);
    desk.shown("u1", 150, 100);
    desk.shown("u2", 200, 100);
    desk.shown("u3", 200, 100);
    assert!(!desk.is_held("u3", 100), "there is no room");
    desk.shown("u3", 200, 150);
    assert!(desk.is_held("u3", 150));
    assert_eq!(desk.certificates.lock().pods.len(), 2);
}
