//! Cases IDP-*: a real key server on loopback, a clock that is moved by hand.

use serde_json::json;
use tokio::task::JoinSet;

use crate::settings::AuthnSettings;
use crate::testing::{
    Answer, ISSUER, KeyServer, TestKey, World, bearer, issuer, jwks, resources, rsa_issuer,
    rsa_key, settings,
};
use crate::{Authenticator, AuthnError, IssuerSettings};

use super::*;

const UNKNOWN_KEY: AuthnError = AuthnError::Invalid("unknown_key");

/// An issuer behind a key server, with one Ed25519 key per id.
struct Idp {
    server: KeyServer,
    keys: Vec<(&'static str, TestKey)>,
}

impl Idp {
    async fn start(ids: &[&'static str]) -> Self {
        let server = KeyServer::start(Answer::Silence).await;
        let keys = ids.iter().map(|&id| (id, TestKey::ed25519())).collect();
        let idp = Self { server, keys };
        idp.publish(ids);
        idp
    }

    fn set(&self, ids: &[&str]) -> String {
        let published = self.keys.iter().filter(|(id, _)| ids.contains(id));
        jwks(
            &published
                .map(|(id, key)| key.jwk(&json!({"kid": id})))
                .collect::<Vec<_>>(),
        )
    }

    fn publish(&self, ids: &[&str]) {
        self.server.answer_with(Answer::Keys(self.set(ids)));
    }

    fn token(&self, id: &str) -> String {
        let (_, key) = self
            .keys
            .iter()
            .find(|(known, _)| *known == id)
            .expect("a key");
        key.token(&json!({"alg": "EdDSA", "kid": id}), &json!({}))
    }

    fn issuer(&self) -> IssuerSettings {
        issuer(
            ISSUER,
            KeySource::Remote {
                uri: self.server.url(),
                ca_pem: None,
            },
        )
    }
}

async fn ready(authenticator: &Authenticator) {
    let ready = async {
        while !authenticator.ready() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), ready)
        .await
        .expect("ready in time");
}

async fn check(authenticator: &Authenticator, token: &str) -> Result<(), AuthnError> {
    authenticator
        .authenticate(&bearer(token), &resources())
        .await
        .map(|claims| {
            assert!(claims.is_some());
        })
}

fn made_up(id: &str) -> String {
    rsa_key().token(&json!({"kid": id}), &json!({}))
}

#[tokio::test]
async fn idp_001_a_flood_of_unknown_keys_causes_two_fetches_in_a_cooldown() {
    let idp = Idp::start(&["k1"]).await;
    let world = World::new();
    let authenticator = Arc::new(world.authenticator(vec![idp.issuer()]));
    ready(&authenticator).await;
    for round in 0..3 {
        let before = idp.server.requests();
        let mut flood = JoinSet::new();
        for number in 0..500 {
            let authenticator = Arc::clone(&authenticator);
            let token = made_up(&format!("{round}-{number}"));
            flood.spawn(async move { check(&authenticator, &token).await });
        }
        while let Some(outcome) = flood.join_next().await {
            assert_eq!(outcome.expect("no panic"), Err(UNKNOWN_KEY));
        }
        let caused = idp.server.requests() - before;
        assert!((1..=2).contains(&caused), "{caused} in round {round}");
        assert_eq!(check(&authenticator, &idp.token("k1")).await, Ok(()));
        world.clock.advance(Duration::from_secs(30));
    }
}

#[tokio::test]
async fn one_unknown_key_causes_one_fetch_and_the_next_is_held_to_the_cooldown() {
    let idp = Idp::start(&["k1"]).await;
    let world = World::new();
    let authenticator = world.authenticator(vec![idp.issuer()]);
    ready(&authenticator).await;
    let mut seen = Vec::new();
    for (number, step) in [0, 40, 1, 1, 27, 1].into_iter().enumerate() {
        world.clock.advance(Duration::from_secs(step));
        let token = made_up(&number.to_string());
        assert_eq!(check(&authenticator, &token).await, Err(UNKNOWN_KEY));
        seen.push(idp.server.requests());
    }
    // At 0 (with the first load: two), 40, 41, not at 42 and 69, at 70.
    assert_eq!(seen, [2, 3, 4, 4, 4, 5]);
}

#[tokio::test]
async fn idp_017_the_first_token_of_a_new_key_is_believed() {
    let idp = Idp::start(&["k1", "k2"]).await;
    idp.publish(&["k1"]);
    let world = World::new();
    let authenticator = world.authenticator(vec![idp.issuer()]);
    ready(&authenticator).await;
    assert_eq!(check(&authenticator, &idp.token("k1")).await, Ok(()));
    idp.publish(&["k1", "k2"]);
    assert_eq!(check(&authenticator, &idp.token("k2")).await, Ok(()));
    assert_eq!(idp.server.requests(), 2);
    assert_eq!(check(&authenticator, &idp.token("k1")).await, Ok(()));
}

#[tokio::test]
async fn requests_with_the_same_new_key_wait_for_one_fetch() {
    let idp = Idp::start(&["k1", "k2"]).await;
    idp.publish(&["k1"]);
    let world = World::new();
    let authenticator = Arc::new(world.authenticator(vec![idp.issuer()]));
    ready(&authenticator).await;
    let both = idp.set(&["k1", "k2"]);
    idp.server
        .answer_with(Answer::Slow(Duration::from_millis(200), both));
    let token = idp.token("k2");
    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        let (authenticator, token) = (Arc::clone(&authenticator), token.clone());
        waiting.spawn(async move { check(&authenticator, &token).await });
    }
    while let Some(outcome) = waiting.join_next().await {
        assert_eq!(outcome.expect("no panic"), Ok(()));
    }
    assert_eq!(idp.server.requests(), 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_the_fetch() {
    let idp = Idp::start(&["k1", "k2"]).await;
    idp.publish(&["k1"]);
    let world = World::new();
    let authenticator = world.authenticator(vec![idp.issuer()]);
    ready(&authenticator).await;
    let both = idp.set(&["k1", "k2"]);
    idp.server
        .answer_with(Answer::Slow(Duration::from_millis(100), both));
    let token = idp.token("k2");
    let gone = timeout(Duration::from_millis(20), check(&authenticator, &token)).await;
    assert!(gone.is_err(), "still waiting");
    assert_eq!(check(&authenticator, &token).await, Ok(()));
    assert_eq!(idp.server.requests(), 2);
}

#[tokio::test]
async fn idp_002_without_keys_nothing_is_believed_until_they_are_there() {
    let idp = Idp::start(&["k1"]).await;
    idp.server.answer_with(Answer::Status("503 Later"));
    let world = World::new();
    let authenticator = world.authenticator(vec![idp.issuer()]);
    assert!(!authenticator.ready());
    let good = idp.token("k1");
    assert_eq!(
        check(&authenticator, &good).await,
        Err(AuthnError::KeysUnavailable)
    );
    assert_eq!(
        check(&authenticator, &made_up("x")).await,
        Err(AuthnError::KeysUnavailable)
    );
    let elsewhere = rsa_key().token(&json!({}), &json!({"iss": "https://other.test"}));
    let refused = check(&authenticator, &elsewhere).await;
    assert_eq!(
        refused,
        Err(AuthnError::Invalid("unknown_issuer")),
        "keys would not help"
    );
    let garbage = check(&authenticator, "a.b.c").await;
    assert_eq!(garbage, Err(AuthnError::Invalid("token_malformed")));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        idp.server.requests(),
        1,
        "tokens cause no fetches while there are no keys"
    );
    idp.publish(&["k1"]);
    ready(&authenticator).await;
    assert_eq!(check(&authenticator, &good).await, Ok(()));
}

#[tokio::test]
async fn idp_003_keys_stay_until_they_are_stale_when_fetches_fail() {
    let idp = Idp::start(&["k1"]).await;
    let world = World::new();
    let authenticator = world.authenticator(vec![idp.issuer()]);
    ready(&authenticator).await;
    let long_lived = |key: &TestKey| {
        let claims = json!({"exp": crate::testing::NOW + 20_000});
        key.token(&json!({"alg": "EdDSA", "kid": "k1"}), &claims)
    };
    let token = long_lived(&idp.keys[0].1);
    let too_many: Vec<_> = (0..101)
        .map(|_| TestKey::ed25519().jwk(&json!({"kid": "n"})))
        .collect();
    for answer in [
        Answer::Status("500 Error"),
        Answer::Status("404 Not Found"),
        Answer::Keys("{\"keys\":[]}".to_owned()),
        Answer::Keys("not JSON".to_owned()),
        Answer::Keys(jwks(&too_many)),
        Answer::Redirect("http://169.254.169.254/".to_owned()),
        Answer::BreaksOff,
    ] {
        world.clock.advance(Duration::from_secs(60));
        let before = idp.server.requests();
        idp.server.answer_with(answer.clone());
        assert_eq!(
            check(&authenticator, &made_up("n")).await,
            Err(UNKNOWN_KEY),
            "{answer:?}"
        );
        assert_eq!(idp.server.requests(), before + 1);
        assert_eq!(check(&authenticator, &token).await, Ok(()), "{answer:?}");
    }
    world.clock.advance(Duration::from_secs(3600 - 7 * 60));
    assert!(authenticator.ready(), "exactly the limit");
    assert_eq!(check(&authenticator, &token).await, Ok(()));
    world.clock.advance(Duration::from_millis(1));
    assert!(!authenticator.ready());
    let remembered = check(&authenticator, &token).await;
    assert_eq!(
        remembered,
        Err(AuthnError::KeysUnavailable),
        "a remembered token too"
    );
}

#[tokio::test]
async fn keys_that_an_issuer_withdraws_are_not_believed_after_the_next_fetch() {
    let idp = Idp::start(&["k1", "k2"]).await;
    let world = World::new();
    let mut settings = settings();
    settings.jwks.refresh = Duration::from_millis(20);
    settings.jwks.cooldown = Duration::from_secs(30);
    let authenticator = world
        .build(settings, vec![idp.issuer()], None)
        .expect("valid");
    ready(&authenticator).await;
    let (one, two) = (idp.token("k1"), idp.token("k2"));
    assert_eq!(check(&authenticator, &one).await, Ok(()));
    assert_eq!(check(&authenticator, &two).await, Ok(()));
    idp.publish(&["k2"]);
    let withdrawn = async {
        while check(&authenticator, &one).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), withdrawn)
        .await
        .expect("refused in time");
    assert_eq!(check(&authenticator, &one).await, Err(UNKNOWN_KEY));
    assert_eq!(check(&authenticator, &two).await, Ok(()));
}

fn refreshing(period: Duration) -> AuthnSettings {
    let mut settings = settings();
    settings.jwks.refresh = period;
    settings.jwks.cooldown = period;
    settings
}

#[tokio::test]
async fn the_same_set_again_keeps_its_generation_and_grows_younger() {
    let idp = Idp::start(&["k1"]).await;
    let world = World::new();
    let authenticator = world.authenticator(vec![idp.issuer()]);
    ready(&authenticator).await;
    let store = KeyOrigin {
        issuer: ISSUER.to_owned(),
        source: idp.issuer().keys,
        jwks: settings().jwks,
        allow_loopback: true,
    };
    let clock: Arc<dyn Clock> = Arc::<_>::clone(&world.clock) as _;
    let store = KeyStore::start(store, &clock, &world.metrics).expect("valid");
    store
        .shared
        .ended
        .subscribe()
        .wait_for(|ended| *ended == 1)
        .await
        .expect("alive");
    let first = store.believed().expect("loaded");
    world.clock.advance(Duration::from_secs(100));
    assert_eq!(store.refetch().await, Refetch::BegunAfter);
    let second = store.believed().expect("loaded");
    assert_eq!(first.generation(), second.generation());
    assert_eq!(
        (first.fetched, second.fetched),
        (Some(Duration::ZERO), Some(Duration::from_secs(100)),)
    );
    idp.publish(&[]);
    assert_eq!(store.refetch().await, Refetch::BegunAfter);
    assert_eq!(store.refetch().await, Refetch::NotAllowed);
    assert_eq!(
        store.generation(),
        Some(first.generation()),
        "an empty set is no set"
    );
}

#[tokio::test]
async fn a_successor_takes_over_keys_and_the_task_ends_with_the_last() {
    let idp = Idp::start(&["k1"]).await;
    let world = World::new();
    let settings = refreshing(Duration::from_secs(300));
    let first = world
        .build(settings.clone(), vec![idp.issuer()], None)
        .expect("valid");
    ready(&first).await;
    let narrowed = IssuerSettings {
        allowed_scopes: Some(Vec::new()),
        ..idp.issuer()
    };
    let second = world.build(
        settings.clone(),
        vec![narrowed, rsa_named("b")],
        Some(&first),
    );
    let second = second.expect("valid");
    assert!(second.ready(), "at once");
    drop(first);
    assert_eq!(check(&second, &idp.token("k1")).await, Ok(()));
    assert_eq!(
        check(&second, &made_up("n")).await,
        Err(UNKNOWN_KEY),
        "the task lives on"
    );
    assert_eq!(idp.server.requests(), 2);

    let mut changed = settings;
    changed.jwks.max_keys = 50;
    let third = world
        .build(changed, vec![idp.issuer()], Some(&second))
        .expect("valid");
    ready(&third).await;
    assert_eq!(idp.server.requests(), 3, "other bounds: fetched anew");
}

fn rsa_named(name: &str) -> IssuerSettings {
    IssuerSettings {
        issuer: name.to_owned(),
        ..rsa_issuer()
    }
}

#[tokio::test]
async fn keys_are_fetched_on_schedule_until_the_authenticator_is_gone() {
    let idp = Idp::start(&["k1"]).await;
    let world = World::new();
    let mut settings = refreshing(Duration::from_millis(20));
    settings.jwks.cooldown = Duration::from_secs(30);
    let authenticator = world
        .build(settings, vec![idp.issuer()], None)
        .expect("valid");
    let often = async {
        while idp.server.requests() < 4 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), often)
        .await
        .expect("fetched again and again");
    drop(authenticator);
    sleep(Duration::from_millis(50)).await;
    let last = idp.server.requests();
    sleep(Duration::from_millis(150)).await;
    assert_eq!(idp.server.requests(), last);
}

#[tokio::test]
async fn issuers_do_not_wait_for_each_other() {
    let (idp, silent) = (
        Idp::start(&["k1"]).await,
        KeyServer::start(Answer::Silence).await,
    );
    let world = World::new();
    let other = KeySource::Remote {
        uri: silent.url(),
        ca_pem: None,
    };
    let issuers = vec![idp.issuer(), issuer("https://silent.test", other)];
    let authenticator = world.authenticator(issuers);
    let token = idp.token("k1");
    let believed = async {
        while check(&authenticator, &token).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(3), believed)
        .await
        .expect("believed in time");
    assert!(!authenticator.ready(), "the other issuer has no keys");
}

#[test]
fn a_source_that_cannot_be_used_names_its_issuer() {
    let world = World::new();
    let refused = |keys: KeySource| {
        let refused = world.build(settings(), vec![issuer(ISSUER, keys)], None);
        refused.expect_err("not usable").to_string()
    };
    let remote = |uri: &str, ca_pem: Option<Vec<u8>>| KeySource::Remote {
        uri: uri.parse().expect("a URL"),
        ca_pem,
    };
    assert_eq!(
        refused(remote("http://idp.test/", None)),
        "key set URL of issuer `https://idp.test`: use an https URL"
    );
    assert_eq!(
        refused(remote("https://idp.test/", Some(Vec::new()))),
        "certificate authorities for the keys of issuer `https://idp.test`: the PEM holds no \
         certificate"
    );
    assert!(
        refused(KeySource::Static {
            jwks_json: "{\"keys\":[]}".to_owned()
        })
        .starts_with("keys of issuer `https://idp.test`: the key set holds no usable key")
    );
    assert_eq!(
        refused(remote("https://idp.test/", None)),
        "keys can be fetched only inside a tokio runtime"
    );
}

#[test]
fn retries_double_up_to_half_a_minute_and_jitter_only_shortens() {
    let world = World::new();
    let clock: Arc<dyn Clock> = Arc::<_>::clone(&world.clock) as _;
    let origin = KeyOrigin {
        issuer: ISSUER.to_owned(),
        source: rsa_issuer().keys,
        jwks: settings().jwks,
        allow_loopback: false,
    };
    let store = KeyStore::start(origin, &clock, &world.metrics).expect("valid");
    assert_eq!(
        store.shared.pause(1),
        Duration::from_secs(30),
        "with keys: the cooldown"
    );
    store.shared.keys.store(None);
    let pauses: Vec<u64> = (1..=8)
        .map(|failures| store.shared.pause(failures).as_secs())
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(store.shared.pause(u32::MAX), Duration::from_secs(30));
    for _ in 0..1000 {
        let pause = store.shared.pause(0);
        assert!(
            (Duration::from_secs(270)..=Duration::from_secs(300)).contains(&pause),
            "{pause:?}"
        );
    }
}

#[test]
fn keys_are_fetched_before_they_grow_stale() {
    let world = World::new();
    let clock: Arc<dyn Clock> = Arc::<_>::clone(&world.clock) as _;
    let mut jwks = settings().jwks;
    jwks.stale = Duration::from_secs(10);
    let issuer = ISSUER.to_owned();
    let origin = KeyOrigin {
        issuer,
        source: rsa_issuer().keys,
        jwks,
        allow_loopback: false,
    };
    let store = KeyStore::start(origin, &clock, &world.metrics).expect("valid");
    assert!(store.shared.pause(0) <= Duration::from_secs(5));
    assert_eq!(store.shared.pause(1), Duration::from_secs(5), "with keys");
}

#[tokio::test]
async fn fetches_are_counted_by_issuer_and_result() {
    let idp = Idp::start(&["k1"]).await;
    let world = World::new();
    world.metrics.set_issuers(&[ISSUER.to_owned()]);
    let authenticator = world.authenticator(vec![idp.issuer()]);
    ready(&authenticator).await;
    idp.server.answer_with(Answer::Status("500 Error"));
    assert_eq!(check(&authenticator, &made_up("n")).await, Err(UNKNOWN_KEY));
    let metrics = world.metrics.render();
    for line in [
        "sidegate_jwks_fetches_total{issuer=\"https://idp.test\",result=\"ok\"} 1",
        "sidegate_jwks_fetches_total{issuer=\"https://idp.test\",result=\"status\"} 1",
        "sidegate_jwks_loaded_timestamp_seconds{issuer=\"https://idp.test\"} 1700000000",
    ] {
        assert!(
            metrics.lines().any(|shown| shown == line),
            "{line}\n{metrics}"
        );
    }
}
