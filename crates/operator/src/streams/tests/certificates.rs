//! Certificates that a stream brings, and names in them.

use sidegate_api::names::reason;
use sidegate_config::control::{CertificateRequest, RefusalReason};
use sidegate_tls::{new_key_and_request, validity};

use super::*;
use crate::world::PodCondition;

pub(super) fn request() -> FromSidecar {
    FromSidecar::CertificateRequest(CertificateRequest {
        request_pem: new_key_and_request().expect("a key").request_pem,
    })
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_signed_for_the_pod() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    stream.say(&request()).await;
    let FromOperator::Certificate(signed) = stream.next().await else {
        panic!("a certificate")
    };
    assert!(validity(&signed.certificate_pem).is_ok());
    let trust = replica.shared.trust.borrow().clone().expect("trust");
    assert_eq!(signed.authorities_pem, trust.workload_roots_pem());
}

/// It may have been lost on the way, or thrown away, however long the sidecar
/// goes on to talk.
#[tokio::test(start_paused = true)]
async fn a_certificate_that_was_not_shown_is_not_asked_for() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    stream.say(&request()).await;
    assert!(matches!(stream.next().await, FromOperator::Certificate(_)));
    for revision in 5..10 {
        assert!(matches!(stream.next().await, FromOperator::Heartbeat));
        stream.say(&FromSidecar::Heartbeat).await;
        stream.assign(program(&format!("a{revision}")), revision);
        stream.snapshot().await;
    }
    assert_eq!(stream.end().await, "hung_up");
    replica.pod("a", "u1");
    assert!(!replica.has_to_show("a"));
}

/// The watch tells late which sandbox the pod has; or the node was started
/// again, and the stream is what it left behind.
#[tokio::test(start_paused = true)]
async fn a_certificate_is_there_in_the_sandbox_in_which_its_sidecar_speaks() {
    let replica = Replica::new();
    replica.pod("a", "u1");
    replica.trusts_its_own();
    let shown = replica.shown(&[]);
    let certificates = replica.shared.certificates();
    certificates.shown(&"u1".into(), shown.certificate.clone(), now());
    let mut stream = replica
        .stream(Wanted {
            shown: Some(shown),
            ..Wanted::default()
        })
        .await;
    assert!(replica.has_to_show("a"));
    let told = || {
        let pod = PodRef {
            key: Key::new("crm", "a"),
            uid: "u1".into(),
        };
        replica.conditions.certificate_of(&pod)
    };
    assert!(told().is_some_and(|it| it.ends_with("sandbox of unknown")));
    replica.pod_with("a", "u1", |pod| pod.sandbox_unix = Some(1_800_000_000));
    assert!(!replica.has_to_show("a"), "nobody spoke since");
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    stream.say(&FromSidecar::Heartbeat).await;
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    assert!(replica.has_to_show("a"));
    assert!(told().is_some_and(|it| it.ends_with("sandbox of 2027-01-15T08:00:00Z")));
}

#[tokio::test(start_paused = true)]
async fn certificates_are_signed_at_a_bounded_rate() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    for _ in 0..3 {
        stream.say(&request()).await;
        assert!(matches!(stream.next().await, FromOperator::Certificate(_)));
    }
    // The fourth has to wait, also on another stream of the pod.
    drop(stream);
    let mut stream = replica.stream(Wanted::default()).await;
    let before = tokio::time::Instant::now();
    stream.say(&request()).await;
    stream.say(&request()).await;
    let mut heartbeats = 0;
    loop {
        let next = stream.next().await;
        if matches!(next, FromOperator::Certificate(_)) {
            break;
        }
        assert!(matches!(next, FromOperator::Heartbeat), "{next:?}");
        heartbeats += 1;
        stream.say(&FromSidecar::Heartbeat).await;
    }
    let waited = before.elapsed();
    assert!(waited >= Duration::from_secs(30), "{waited:?}");
    assert!(heartbeats >= 2);
}

#[tokio::test(start_paused = true)]
async fn other_names_are_a_reason_to_renew() {
    let replica = Replica::new();
    let with_names = |names: &[&str], revision| Assignment {
        dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..assigned(program("a"), revision)
    };
    let mut stream = replica
        .stream(Wanted {
            assignment: with_names(&["a"], 1),
            ..Wanted::default()
        })
        .await;
    stream.snapshot().await;
    // Without a certificate there is nothing to renew.
    stream.assignment.send_replace(with_names(&["a", "b"], 2));
    stream.say(&request()).await;
    assert!(matches!(stream.next().await, FromOperator::Certificate(_)));
    stream
        .assignment
        .send_replace(with_names(&["a", "b", "c"], 3));
    assert!(matches!(stream.next().await, FromOperator::Renew));
    stream.say(&request()).await;
    assert!(matches!(stream.next().await, FromOperator::Certificate(_)));
    // It is said once for the same names.
    stream.assignment.send_replace(with_names(&["d"], 4));
    assert!(matches!(stream.next().await, FromOperator::Renew));
    stream.assign(program("b"), 5);
    let mut renewals = 0;
    loop {
        let next = stream.next().await;
        if matches!(next, FromOperator::Heartbeat) {
            break;
        }
        if matches!(next, FromOperator::Renew) {
            renewals += 1;
        } else {
            assert!(matches!(next, FromOperator::Snapshot(_)), "{next:?}");
        }
    }
    assert_eq!(renewals, 1, "the names are others again");
}

/// Whichever replica signed it: otherwise two replicas would have it renewed in
/// turn.
#[tokio::test(start_paused = true)]
async fn the_names_in_a_certificate_are_those_that_are_shown() {
    let replica = Replica::new();
    let with = |names: &[&str]| Wanted {
        assignment: Assignment {
            dns_names: vec!["a.crm.svc".to_owned(), "b.crm.svc".to_owned()],
            ..assigned(program("a"), 1)
        },
        shown: Some(replica.shown(names)),
        ..Wanted::default()
    };
    let mut stream = replica.stream(with(&["b.crm.svc", "a.crm.svc"])).await;
    assert_eq!(stream.snapshot().await.hash, "a", "in whatever order");
    for names in [&["a.crm.svc"][..], &["a.crm.svc", "c.crm.svc"], &[]] {
        let mut stream = replica.stream(with(names)).await;
        assert!(
            matches!(stream.next().await, FromOperator::Renew),
            "{names:?}"
        );
        assert_eq!(stream.snapshot().await.hash, "a");
    }
    // The same names, and an id that nobody has any more.
    let mut wanted = with(&["a.crm.svc", "b.crm.svc"]);
    wanted.shown.as_mut().expect("shown").is_of_this_domain = false;
    let mut stream = replica.stream(wanted).await;
    assert!(matches!(stream.next().await, FromOperator::Renew));
    assert_eq!(stream.snapshot().await.hash, "a");
    stream.say(&request()).await;
    assert!(matches!(stream.next().await, FromOperator::Certificate(_)));
}

/// Somebody copied the token, and was here before the pod had a certificate.
#[tokio::test(start_paused = true)]
async fn a_stream_without_a_certificate_ends_when_the_pod_has_one() {
    let replica = Replica::new();
    replica.trusts_its_own();
    replica.pod("a", "u1");
    let shown = replica.shown(&["a.crm.svc"]);
    let mut with = replica
        .stream(Wanted {
            purpose: Purpose::Identity,
            shown: Some(shown.clone()),
            ..Wanted::default()
        })
        .await;
    let mut without = replica.stream(Wanted::default()).await;
    without.say(&FromSidecar::Heartbeat).await;
    assert!(matches!(without.next().await, FromOperator::Heartbeat));
    // To another replica: the condition of the pod tells it.
    replica.pod_with("a", "u1", |pod| {
        pod.conditions.certificate = Some(Arc::new(PodCondition {
            holds: true,
            reason: reason::CERTIFICATE_SHOWN.to_owned(),
            message: shown.certificate.to_string(),
            since: None,
        }));
    });
    without.say(&request()).await;
    let refused = without.refused().await;
    assert_eq!(refused.reason, RefusalReason::WrongCertificate);
    with.say(&FromSidecar::Heartbeat).await;
    assert!(matches!(with.next().await, FromOperator::Heartbeat));
}

#[tokio::test(start_paused = true)]
async fn authorities_are_pushed_when_they_change() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    let other = trust();
    let roots = other.workload_roots_pem().to_owned();
    replica.trust.send_replace(Some(other));
    let pushed = stream.next().await;
    assert!(matches!(pushed, FromOperator::Authorities(it) if it.authorities_pem == roots));
}
