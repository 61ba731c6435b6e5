//! Who is recognized, and what it costs the API server.

use serde_json::json;
use sidegate_api::names::reason;
use sidegate_config::control::RefusalReason;
use sidegate_tls::PeerCertificate;

use super::*;
use crate::world::PodCondition;

const PATIENT: ReviewLimits = ReviewLimits {
    per_source: Rate {
        burst: 5,
        every: Duration::from_secs(10),
    },
    per_pod: Rate {
        burst: 3,
        every: Duration::from_secs(10),
    },
    in_all: Rate {
        burst: 1_000,
        every: Duration::from_millis(1),
    },
    at_a_time: 10,
};

fn certificate(spiffe_id: &str, common_name: &str) -> PeerCertificate {
    PeerCertificate {
        spiffe_id: spiffe_id.parse().ok(),
        dns_names: Vec::new(),
        common_name: Some(common_name.to_owned()),
        not_after_unix: now() + 1_000,
        authority_key_id: None,
    }
}

const OWN: &str = "spiffe://cluster.local/ns/crm/sa/support";

// === impl Replica ===

impl Replica {
    async fn recognize(
        &self,
        token: &SecretText,
        certificate: Option<&PeerCertificate>,
    ) -> Result<PodRef, RefusalReason> {
        self.recognize_from(token, certificate, SOURCE).await
    }

    async fn recognize_from(
        &self,
        token: &SecretText,
        certificate: Option<&PeerCertificate>,
        source: std::net::IpAddr,
    ) -> Result<PodRef, RefusalReason> {
        let authentication = &self.shared.authentication;
        let begun = authentication.begin(token, certificate, source).await;
        begun.map(|it| it.pod).map_err(|refused| refused.reason)
    }

    /// Another token of the pod each time, that the API server does not know.
    fn bad_token(&self, number: usize, uid: &str) -> SecretText {
        SecretText::from(token_of(&payload_of("a", uid, now() + 1 + number as i64)))
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_says_counts() {
    let replica = Replica::new();
    replica.pod("a", "u1");
    replica.pod("b", "u2");
    let token = replica.token("a", "u1");
    let pod = replica.recognize(&token, None).await.expect("a pod");
    assert_eq!((&*pod.key.name, &*pod.uid), ("a", "u1"));
    // A token that claims one pod and is another's is nobody's.
    let mixed = replica.token_with("a", "u1", now() + 60, answer_for("b", "u2"));
    let unauthenticated = Err(RefusalReason::Unauthenticated);
    assert_eq!(replica.recognize(&mixed, None).await, unauthenticated);
    let negative = replica.token_with("a", "u1", now() + 61, json!({"authenticated": false}));
    assert_eq!(replica.recognize(&negative, None).await, unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn the_pod_has_to_be_the_one_that_the_watches_told() {
    let replica = Replica::new();
    let token = replica.token("a", "u1");
    let unknown = Err(RefusalReason::UnknownPod);
    assert_eq!(replica.recognize(&token, None).await, unknown);
    replica.pod("a", "u0");
    assert_eq!(replica.recognize(&token, None).await, unknown);
    let facts = PodFacts {
        uid: "u1".into(),
        service_account: "other".into(),
        ..PodFacts::default()
    };
    replica.shared.board().set_pod(&Key::new("crm", "a"), facts);
    assert_eq!(replica.recognize(&token, None).await, unknown);
    replica.pod("a", "u1");
    assert!(replica.recognize(&token, None).await.is_ok());
    assert_eq!(replica.asked(), 1, "the answer is remembered");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_remembered_for_a_moment_and_no_longer_than_the_token_lasts() {
    let replica = Replica::new();
    replica.pod("a", "u1");
    let token = replica.token_with("a", "u1", now() + 90, answer_for("a", "u1"));
    for (after, asked) in [(0, 1), (59, 1), (1, 2)] {
        replica.clock.advance(Duration::from_secs(after));
        assert!(replica.recognize(&token, None).await.is_ok());
        assert_eq!(replica.asked(), asked);
    }
    // Its end is 30 seconds away; the answer would last for 60.
    replica.clock.advance(Duration::from_secs(30));
    let ended = replica.recognize(&token, None).await;
    assert_eq!(ended, Err(RefusalReason::Unauthenticated));
    assert_eq!(replica.asked(), 2);

    let bad = replica.bad_token(5_000, "u1");
    for (after, asked) in [(0, 3), (9, 3), (1, 4)] {
        replica.clock.advance(Duration::from_secs(after));
        let refused = replica.recognize(&bad, None).await;
        assert_eq!(refused, Err(RefusalReason::Unauthenticated));
        assert_eq!(replica.asked(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_tokens_reaches_the_api_server_in_drops() {
    let replica = Replica::with(PATIENT);
    replica.pod("a", "u1");
    let mut busy = 0;
    for number in 0..100 {
        let token = replica.bad_token(number, "u1");
        if replica.recognize(&token, None).await == Err(RefusalReason::Busy) {
            busy += 1;
        }
    }
    assert_eq!((replica.asked(), busy), (3, 97), "three for one pod");
    for number in 0..100 {
        let token = replica.bad_token(number, &format!("v{number}"));
        let _refused = replica.recognize(&token, None).await;
    }
    assert_eq!(replica.asked(), 5, "five for one address");
    // The pod itself comes from another address, and is not kept away.
    let own = std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));
    let token = replica.token("a", "u1");
    assert!(replica.recognize_from(&token, None, own).await.is_ok());
    assert_eq!(replica.shared.metrics.streams.reviews(), 6);
    // Recognized before, it may come from anywhere.
    assert!(replica.recognize(&token, None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn good_tokens_are_not_counted_against_where_they_come_from() {
    let replica = Replica::with(PATIENT);
    for number in 0..50 {
        let (name, uid) = (format!("p{number}"), format!("w{number}"));
        replica.pod(&name, &uid);
        let token = replica.token(&name, &uid);
        assert!(replica.recognize(&token, None).await.is_ok(), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_host_with_many_addresses_is_one_source() {
    let replica = Replica::with(PATIENT);
    for number in 0..20_u16 {
        let token = replica.bad_token(number.into(), &format!("v{number}"));
        let source = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, number).into();
        let _refused = replica.recognize_from(&token, None, source).await;
    }
    assert_eq!(replica.asked(), 5);
    let mapped: std::net::Ipv6Addr = "::ffff:192.0.2.9".parse().expect("an address");
    let token = replica.bad_token(99, "v99");
    let _refused = replica.recognize_from(&token, None, mapped.into()).await;
    assert_eq!(replica.asked(), 6, "an IPv4 host beside it is another one");
}

#[tokio::test(start_paused = true)]
async fn questions_to_the_api_server_are_bounded_in_number_and_rate() {
    let replica = Replica::with(ReviewLimits {
        at_a_time: 2,
        in_all: Rate {
            burst: 4,
            every: Duration::from_secs(100),
        },
        ..PATIENT
    });
    let held = Arc::new(Notify::new());
    *replica.api.held.lock().expect("lock") = Some(Arc::clone(&held));
    let mut attempts = JoinSet::new();
    for number in 0..6 {
        let (name, uid) = (format!("p{number}"), format!("w{number}"));
        replica.pod(&name, &uid);
        let token = replica.token(&name, &uid);
        let shared = Arc::clone(&replica.shared);
        attempts.spawn(async move {
            let begun = shared.authentication.begin(&token, None, SOURCE).await;
            begun.map(|_| ()).map_err(|refused| refused.reason)
        });
    }
    // Two wait for an answer, two for their turn, two are too many; then those
    // that waited in vain go.
    let mut busy = 0;
    while busy < 4 {
        let ended = attempts
            .join_next()
            .await
            .expect("an attempt")
            .expect("no panic");
        assert_eq!(ended, Err(RefusalReason::Busy));
        busy += 1;
    }
    assert_eq!(replica.asked(), 2);
    held.notify_waiters();
    while let Some(ended) = attempts.join_next().await {
        assert_eq!(ended.expect("no panic"), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_down_is_nobodys_fault() {
    let replica = Replica::with(PATIENT);
    replica.pod("a", "u1");
    replica.api.is_down.store(true, Ordering::Relaxed);
    let token = replica.token("a", "u1");
    for _ in 0..20 {
        let refused = replica.recognize(&token, None).await;
        assert_eq!(refused, Err(RefusalReason::Unavailable));
    }
    replica.api.is_down.store(false, Ordering::Relaxed);
    assert!(replica.recognize(&token, None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_has_to_be_the_pods_own() {
    let replica = Replica::new();
    replica.pod("a", "u1");
    let token = replica.token("a", "u1");
    let wrong = Err(RefusalReason::WrongCertificate);
    for (spiffe_id, common_name) in [
        ("spiffe://cluster.local/ns/crm/sa/other", "u1"),
        ("spiffe://cluster.local/ns/other/sa/support", "u1"),
        ("spiffe://other/ns/other/sa/support", "u1"),
        ("spiffe://cluster.local/ns/crm/sa/support/x", "u1"),
        ("", "u1"),
        (OWN, "u2"),
        (OWN, ""),
    ] {
        let shown = certificate(spiffe_id, common_name);
        let refused = replica.recognize(&token, Some(&shown)).await;
        assert_eq!(refused, wrong, "{spiffe_id} {common_name}");
    }
    let nameless = PeerCertificate {
        common_name: None,
        ..certificate(OWN, "u1")
    };
    assert_eq!(replica.recognize(&token, Some(&nameless)).await, wrong);
    // None of these made it one of the pod, or left anything behind.
    assert_eq!(replica.shared.board().count_followed(), 0);
    assert!(replica.recognize(&token, None).await.is_ok());
}

/// The operator was started with another trust domain. The sidecar has only what
/// the one before gave it.
#[tokio::test(start_paused = true)]
async fn a_certificate_of_another_trust_domain_is_the_pods_still() {
    let replica = Replica::new();
    replica.pod("a", "u1");
    let token = replica.token("a", "u1");
    for (spiffe_id, expected) in [(OWN, true), ("spiffe://before/ns/crm/sa/support", false)] {
        let shown = certificate(spiffe_id, "u1");
        let authentication = &replica.shared.authentication;
        let begun = authentication.begin(&token, Some(&shown), SOURCE).await;
        let shown = begun.expect("recognized").shown.expect("shown");
        assert_eq!(shown.is_of_this_domain, expected, "{spiffe_id}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_a_certificate_has_to_show_it_while_it_lasts() {
    let replica = Replica::new();
    replica.trusts_its_own();
    replica.pod("a", "u1");
    let token = replica.token("a", "u1");
    let shown = PeerCertificate {
        authority_key_id: Some(replica.authority()),
        ..certificate(OWN, "u1")
    };
    assert!(replica.recognize(&token, Some(&shown)).await.is_ok());
    let refused = replica.recognize(&token, None).await;
    assert_eq!(refused, Err(RefusalReason::WrongCertificate));
    // It ends; the sidecar could not renew it, and comes back without.
    replica.clock.advance(Duration::from_secs(1_000));
    assert!(replica.recognize(&token, None).await.is_ok());
}

/// As the condition of the pod tells it.
#[tokio::test(start_paused = true)]
async fn what_was_shown_to_another_replica_has_to_be_shown_here() {
    let replica = Replica::new();
    replica.trusts_its_own();
    let token = replica.token("a", "u1");
    let good = ShownCertificate {
        until_unix: now() + 1_000,
        authority: replica.authority(),
        sandbox_unix: Some(now() - 60),
    };
    let told = |shown: &ShownCertificate| {
        let condition = PodCondition {
            holds: true,
            reason: reason::CERTIFICATE_SHOWN.to_owned(),
            message: shown.to_string(),
            since: None,
        };
        replica.pod_with("a", "u1", |pod| {
            pod.sandbox_unix = Some(now() - 60);
            pod.conditions.certificate = Some(Arc::new(condition));
        });
    };
    told(&good);
    let wrong = Err(RefusalReason::WrongCertificate);
    assert_eq!(replica.recognize(&token, None).await, wrong);
    assert!(
        replica
            .recognize(&token, Some(&certificate(OWN, "u1")))
            .await
            .is_ok()
    );
    for worthless in [
        ShownCertificate {
            until_unix: now(),
            ..good.clone()
        },
        ShownCertificate {
            authority: "0a1b".to_owned(),
            ..good.clone()
        },
        ShownCertificate {
            sandbox_unix: Some(now() - 61),
            ..good.clone()
        },
        ShownCertificate {
            sandbox_unix: None,
            ..good
        },
    ] {
        told(&worthless);
        let begun = replica.recognize(&token, None).await;
        assert!(begun.is_ok(), "{worthless}: {begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_cluster_is_read_nobody_is_recognized() {
    let replica = Replica::new();
    let naming = Naming {
        cluster_domain: "cluster.local".to_owned(),
    };
    let authentication = Authentication::new(
        Arc::new(Board::new(naming, Arc::default())),
        Arc::clone(&replica.api) as _,
        "cluster.local",
        Arc::clone(&replica.clock) as _,
        Arc::clone(&replica.shared.metrics),
        PATIENT,
    );
    let token = replica.token("a", "u1");
    let refused = authentication.begin(&token, None, SOURCE).await;
    let refused = refused.expect_err("it is refused");
    assert_eq!(refused.reason, RefusalReason::Unavailable);
    assert_eq!(replica.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_never_repeats_a_token() {
    let replica = Replica::with(PATIENT);
    for token in [
        "canary-canary".to_owned(),
        token_of(&payload_of("a", "canary", now() + 9)),
    ] {
        let secret = SecretText::from(token.clone());
        let refused = replica
            .shared
            .authentication
            .begin(&secret, None, SOURCE)
            .await;
        let told = format!("{:?}", refused.expect_err("it is refused"));
        assert!(!told.contains("canary") && !told.contains(&token), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_cannot_begin_streams_without_end() {
    let replica = Replica::with(PATIENT);
    replica.pod("a", "u1");
    let token = replica.token("a", "u1");
    for _ in 0..20 {
        assert!(replica.recognize(&token, None).await.is_ok());
    }
    let busy = Err(RefusalReason::Busy);
    let shown = certificate(OWN, "u1");
    assert_eq!(replica.recognize(&token, Some(&shown)).await, busy);
    // It was not let in, so it is as if it had shown nothing.
    assert!(!replica.has_to_show("a"));
    replica.clock.advance(Duration::from_secs(1));
    assert!(replica.recognize(&token, None).await.is_ok());
    assert_eq!(replica.recognize(&token, None).await, busy);
}
