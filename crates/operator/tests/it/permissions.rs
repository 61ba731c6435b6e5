//! The operator with exactly the permissions of the shipped manifests.

use http::{HeaderName, HeaderValue};
use kube::Client;
use serde_json::json;
use sidegate_operator::leader::{LeaseSettings, LeaseTimings};
use sidegate_operator::manifests::{self, Images, NAME, NAMESPACE};
use sidegate_operator::run::{Operator, Settings};
use sidegate_operator::to_yaml;
use sidegate_testkit::apiserver::ApiServer;

use crate::authority::until;
use crate::cluster::{Cluster, config, install_crds, settings, spec};

/// A client that is the shipped service account to the API server.
async fn shipped(server: &ApiServer) -> Client {
    let images = Images {
        operator: "operator".to_owned(),
        sidecar: "sidecar".to_owned(),
    };
    let objects = to_yaml(&manifests::objects(&images)).expect("YAML");
    let apply = ["apply", "--server-side", "-f", "-"];
    let _ = server.kubectl(&apply, &objects).succeeded();
    let mut config = config(server.kubeconfig()).await;
    let impersonate = [
        (
            "impersonate-user",
            format!("system:serviceaccount:{NAMESPACE}:{NAME}"),
        ),
        ("impersonate-group", "system:serviceaccounts".to_owned()),
        (
            "impersonate-group",
            format!("system:serviceaccounts:{NAMESPACE}"),
        ),
        ("impersonate-group", "system:authenticated".to_owned()),
    ];
    for (header, value) in impersonate {
        let value = HeaderValue::from_str(&value).expect("a value");
        config
            .headers
            .push((HeaderName::from_static(header), value));
    }
    Client::try_from(config).expect("a client")
}

/// OPR-026.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_in_the_status_is_all_that_a_secret_needs() {
    // It is about every namespace, so nothing else may be there.
    let cluster = Cluster::alone("forbidden").await;
    install_crds(cluster.server);
    let client = shipped(cluster.server).await;
    // Of every namespace and with a Lease, as the manifests run it.
    let all = Settings {
        namespace: None,
        lease: Some(LeaseSettings {
            namespace: NAMESPACE.to_owned(),
            name: NAME.to_owned(),
            identity: "one".to_owned(),
            timings: LeaseTimings::default(),
        }),
        ..settings(NAMESPACE)
    };
    let operator = Operator::start(client, all).await.expect("it starts");
    let mut with_keys = spec("support");
    with_keys["tls"] = json!({"mode": "Server", "certificateRef": {"name": "tls"}});
    with_keys["authentication"]["jwt"][0]["jwks"] =
        json!({"configMapKeyRef": {"name": "keys", "key": "k"}});
    cluster.gateway("support", &with_keys).await;
    let forbidden = ("False", "Forbidden");
    let message = cluster.until("support", "ResolvedRefs", forbidden).await;
    assert!(message.contains("Secret forbidden/tls"), "{message}");
    assert!(
        message.contains("there is no ConfigMap forbidden/keys"),
        "{message}"
    );

    let command = message.split('`').nth(1).expect("a command");
    for part in command.split(" && ") {
        let arguments: Vec<_> = part.split_whitespace().collect();
        assert_eq!(arguments[0], "kubectl", "{command}");
        let _ = cluster.server.kubectl(&arguments[1..], "").succeeded();
    }
    cluster
        .until("support", "ResolvedRefs", ("False", "SecretNotFound"))
        .await;
    // So for a provider.
    cluster
        .apply(json!({
            "apiVersion": "sidegate.dev/v1alpha1",
            "kind": "LlmProvider",
            "metadata": {"name": "openai"},
            "spec": {
                "type": "OpenAI",
                "credentials": {"secretKeyRef": {"name": "openai", "key": "key"}},
            },
        }))
        .await;
    let until = |words| cluster.until_of("LlmProvider", "openai", "ResolvedRefs", words);
    let message = until(forbidden).await;
    let command = message.split('`').nth(1).expect("a command");
    for part in command.split(" && ") {
        let arguments: Vec<_> = part.split_whitespace().collect();
        let _ = cluster.server.kubectl(&arguments[1..], "").succeeded();
    }
    until(("False", "SecretNotFound")).await;
    let events = cluster.events("support").await;
    assert!(
        events.iter().any(|(reason, _)| reason == "Forbidden"),
        "{events:?}"
    );
    operator.stop().await.expect("it stops");
}

/// The authority, the bundles, the webhook's roots and network policies need
/// nothing that is not in the manifests.
#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_are_all_that_the_authority_needs() {
    let cluster = Cluster::alone("allowed").await;
    install_crds(cluster.server);
    let client = shipped(cluster.server).await;
    let all = Settings {
        namespace: None,
        ..settings(NAMESPACE)
    };
    let operator = Operator::start(client, all).await.expect("it starts");
    let mut separate = spec("support");
    separate["servers"][0]["exposure"] = json!("SeparatePort");
    separate["servers"][0]["listenPort"] = json!(9443);
    cluster.gateway("support", &separate).await;
    let home = cluster.beside(NAMESPACE);
    let there = |cluster: &Cluster, kind: &'static str, name: &'static str| {
        let api = cluster.api(kind);
        async move {
            until(kind, || async {
                api.get_opt(name).await.expect("an answer")
            })
            .await
        }
    };
    there(&home, "Secret", "sidegate-authority").await;
    there(&home, "ConfigMap", "sidegate-trust").await;
    there(&cluster, "ConfigMap", "sidegate-trust").await;
    let policy = there(&cluster, "NetworkPolicy", "sidegate-support").await;
    cluster.delete("ConfigMap", "sidegate-trust").await;
    there(&cluster, "ConfigMap", "sidegate-trust").await;
    // Somebody else's with such a name, which is looked at.
    let mut foreign = policy.data.clone();
    foreign["apiVersion"] = json!("networking.k8s.io/v1");
    foreign["kind"] = json!("NetworkPolicy");
    foreign["metadata"] = json!({"name": "sidegate-sales"});
    cluster.apply(foreign).await;
    separate["selector"] = json!({"matchLabels": {"app": "sales"}});
    cluster.gateway("sales", &separate).await;
    cluster
        .until_status("sales", |status| {
            status.to_string().contains("NetworkPolicy")
        })
        .await;
    // One that is not wanted any more.
    cluster.gateway("support", &spec("support")).await;
    until("the policy to go", || async {
        let policies = cluster.api("NetworkPolicy");
        let found = policies
            .get_opt("sidegate-support")
            .await
            .expect("an answer");
        found.is_none().then_some(())
    })
    .await;
    let get = [
        "get",
        "mutatingwebhookconfiguration",
        "sidegate-injector",
        "-o",
    ];
    let path = "jsonpath={.webhooks[0].clientConfig.caBundle}";
    until("the webhook's roots", || async {
        let roots = cluster
            .server
            .kubectl(&[&get[..], &[path]].concat(), "")
            .succeeded();
        (!roots.is_empty()).then_some(())
    })
    .await;
    operator.stop().await.expect("it stops");
}

/// OPR-008. A watch of all Secrets, or of another one, stays out of reach.
#[tokio::test(flavor = "multi_thread")]
async fn other_secrets_stay_forbidden() {
    let cluster = Cluster::alone("other-secrets").await;
    install_crds(cluster.server);
    let client = shipped(cluster.server).await;
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(client, &cluster.namespace);
    for asked in [
        secrets.get("any").await.map(drop),
        secrets.list(&Default::default()).await.map(drop),
    ] {
        let refused = matches!(asked, Err(kube::Error::Api(status)) if status.is_forbidden());
        assert!(refused);
    }
}
