//! Callers without certificates: mode `Server`, with a certificate of the
//! cluster's own authority and with one of a Secret.

use serde_json::json;
use sidegate_testkit::certificates::TestAuthority;
use sidegate_testkit::client::Client;
use sidegate_testkit::mcp;
use sidegate_testkit::plane::{PATIENCE, Wishes};
use tokio::time::{Duration, Instant, sleep};

use super::references::{call, grant, load, until_shown, write};
use super::{NAMESPACE, STEADY, Stage, path};

const SERVER: &str = "Server";
const BUNDLE: &str = "/api/v1/namespaces/crm/configmaps/sidegate-trust";
const SERVICE: &str = "/api/v1/namespaces/crm/services/support";
const SERVICE_NAME: &str = "support.crm.svc.cluster.local";
const ELSEWHERE: &str = "elsewhere.example.com";
const REPLACEMENTS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn the_clusters_own_certificate_is_enough_for_callers_without_one() {
    let stage = Stage::with(Wishes::default(), |spec| {
        spec["tls"] = json!({"mode": SERVER});
    })
    .await;
    stage.until_ready().await;
    let caller = Client::tls(stage.address, &bundle(&stage).await).host("localhost");
    let load = load(&stage, &caller);
    only_a_token_counts(&stage, &caller).await;
    only_its_names_are_believed(&stage, &caller).await;
    // Pods of a Service are called by its name.
    let by_service = caller.clone().server_name(SERVICE_NAME);
    assert!(by_service.handshake().await.is_err(), "there is none yet");
    has_service(&stage).await;
    until_believed(&by_service).await;
    call(&stage, &by_service, STEADY, 200).await;
    stage.until_ready().await;
    let seen = load.end();
    println!(
        "mode Server, built in: {} requests over TLS without a certificate, none failed",
        seen.answered
    );
}

/// TLS-026.
/// OPR-023.
#[tokio::test(flavor = "multi_thread")]
async fn tls_026_a_certificate_of_a_secret_is_replaced_under_load() {
    let stage = Stage::new().await;
    let authority = TestAuthority::new();
    grant(&stage, SERVER).await;
    // Whom callers are to be believed by, it need not say.
    write(&stage, None, &authority.server()).await;
    stage.until_ready().await;
    let caller = Client::tls(stage.address, authority.pem()).host("localhost");
    let load = load(&stage, &caller);
    only_a_token_counts(&stage, &caller).await;
    only_its_names_are_believed(&stage, &caller).await;
    let mut longest = Duration::ZERO;
    for _ in 0..REPLACEMENTS {
        let next = authority.server();
        write(&stage, None, &next).await;
        longest = longest.max(until_shown(&caller, &next).await);
        stage.until_ready().await;
    }
    load.until_answered(20).await;
    let seen = load.end();
    println!(
        "mode Server, {REPLACEMENTS} certificates of a Secret: each served within {longest:?}; \
         {} requests over TLS without a certificate, none failed",
        seen.answered
    );

    // It is called as its certificate says, and not otherwise.
    let renamed = authority.server_for(&[ELSEWHERE]);
    write(&stage, None, &renamed).await;
    let renamed = caller.clone().server_name(ELSEWHERE);
    until_believed(&renamed).await;
    call(&stage, &renamed, STEADY, 200).await;
    assert!(caller.handshake().await.is_err());
    stage.until_ready().await;

    // OPR-023. Its key goes with the gateway. Who trusts the cluster's own
    // authority is told that nothing is there.
    has_service(&stage).await;
    stage.plane.api.delete(&path()).await;
    let caller = Client::tls(stage.address, &bundle(&stage).await)
        .host("localhost")
        .server_name(SERVICE_NAME);
    until_believed(&caller).await;
    call(&stage, &caller, STEADY, 503).await;
    assert!(renamed.handshake().await.is_err(), "the key is still there");
}

async fn has_service(stage: &Stage) {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "support", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "support"}, "ports": [{"port": 80}]},
    });
    stage.plane.api.apply(SERVICE, &service).await;
}

/// What any pod of the namespace can mount.
async fn bundle(stage: &Stage) -> String {
    let bundle = stage.plane.api.get(BUNDLE).await;
    bundle["data"]["ca.crt"].as_str().unwrap().to_owned()
}

/// Who has a token is let through by the rules, whatever protocol they speak;
/// who has none, or no TLS, is not.
async fn only_a_token_counts(stage: &Stage, caller: &Client) {
    for caller in [caller.clone(), caller.clone().http2()] {
        call(stage, &caller, STEADY, 200).await;
        call(stage, &caller, "other", 403).await;
        let nobody = mcp::call(STEADY, json!({}));
        let answer = caller.send(nobody).await.unwrap();
        assert_eq!(answer.status, 401, "{}", answer.text());
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("Bearer "), "{challenge}");
    }
    let plain = stage.call(STEADY).await;
    assert!(!plain.is_ok_and(|answer| answer.status == 200), "plaintext");
}

/// The certificate is for the name that callers use, and of the authority that
/// they trust.
async fn only_its_names_are_believed(stage: &Stage, caller: &Client) {
    caller.handshake().await.unwrap();
    let elsewhere = caller.clone().server_name(ELSEWHERE);
    let told = elsewhere.handshake().await.unwrap_err().to_string();
    assert!(told.contains("not valid for name"), "{told}");
    let another = TestAuthority::new();
    let stranger = Client::tls(stage.address, another.pem());
    let told = stranger.handshake().await.unwrap_err().to_string();
    assert!(told.contains("invalid peer certificate"), "{told}");
}

async fn until_believed(caller: &Client) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = caller.handshake().await {
        assert!(Instant::now() < end, "{error}");
        sleep(Duration::from_millis(10)).await;
    }
}
