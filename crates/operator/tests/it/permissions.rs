//! The operator with exactly the permissions of the shipped manifests.

use http::{HeaderName, HeaderValue};
use kube::Client;
use serde_json::json;
use sidegate_operator::leader::{LeaseSettings, LeaseTimings};
use sidegate_operator::manifests::{self, NAME, NAMESPACE};
use sidegate_operator::run::{Operator, Settings};
use sidegate_operator::to_yaml;
use sidegate_testkit::apiserver::ApiServer;

use crate::cluster::{Cluster, config, install_crds, settings, spec};

/// A client that is the shipped service account to the API server.
async fn shipped(server: &ApiServer) -> Client {
    let objects = to_yaml(&manifests::objects("operator")).expect("YAML");
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
        ..settings("")
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
    let events = cluster.events("support").await;
    assert!(
        events.iter().any(|(reason, _)| reason == "Forbidden"),
        "{events:?}"
    );
    operator.stop().await.expect("it stops");
}

/// A watch of all Secrets, or of another one, stays out of reach.
#[tokio::test(flavor = "multi_thread")]
async fn other_secrets_stay_forbidden() {
    let cluster = Cluster::new("other-secrets").await;
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
