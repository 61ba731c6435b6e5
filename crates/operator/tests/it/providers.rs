//! Providers: checked, told the truth, and no way to a Secret that has not
//! consented.

use kube::Client;
use serde_json::{Value, json};
use sidegate_testkit::apiserver::ApiServer;
use sidegate_testkit::certificates::TestAuthority;

use crate::cluster::{Cluster, condition_of, config, install_crds, spec};

const KIND: &str = "LlmProvider";
const CANARY: &str = "sk-canary-5b1f";
const RESOLVED: (&str, &str) = ("True", "ResolvedRefs");
const MISSING: (&str, &str) = ("False", "SecretNotFound");
const NOT_OPTED_IN: (&str, &str) = ("False", "SecretNotOptedIn");
const NOT_SERVED: (&str, &str) = ("False", "UnsupportedValue");

fn provider(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": KIND,
        "metadata": {"name": name},
        "spec": spec,
    })
}

fn openai(secret: &str) -> Value {
    json!({"type": "OpenAI", "credentials": {"secretKeyRef": {"name": secret, "key": "key"}}})
}

fn secret(name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": data,
    })
}

fn with_key(name: &str) -> Value {
    secret(name, &json!({"key": CANARY}))
}

async fn until(cluster: &Cluster, name: &str, condition: &str, words: (&str, &str)) -> String {
    cluster.until_of(KIND, name, condition, words).await
}

/// Does what a message tells, to the letter.
fn obey(cluster: &Cluster, message: &str) {
    let mut quoted = message.split('`');
    let command = quoted.find(|it| it.starts_with("kubectl "));
    let command = command.expect("a command");
    let arguments: Vec<_> = command.split_whitespace().skip(1).collect();
    let _ = cluster.server.kubectl(&arguments, "").succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_appears_consents_breaks_and_is_mended() {
    let cluster = Cluster::new("consent").await;
    let operator = cluster.operator().await;
    let mut own = openai("own");
    own["baseUrl"] = json!("https://gw.example.com:8443/v1");
    cluster.apply(provider("own", &own)).await;
    let message = until(&cluster, "own", "ResolvedRefs", MISSING).await;
    assert_eq!(
        message,
        "spec.credentials.secretKeyRef: there is no Secret consent/own: create it"
    );
    until(&cluster, "own", "Accepted", ("True", "Accepted")).await;
    let message = until(&cluster, "own", "Ready", NOT_SERVED).await;
    assert!(message.contains("does not send requests"), "{message}");

    cluster.apply(with_key("own")).await;
    let message = until(&cluster, "own", "ResolvedRefs", NOT_OPTED_IN).await;
    assert!(
        message.contains(
            "`kubectl annotate secret own -n consent \
             sidegate.dev/allowed-hosts=gw.example.com:8443 --overwrite`"
        ),
        "{message}"
    );
    obey(&cluster, &message);
    until(&cluster, "own", "ResolvedRefs", RESOLVED).await;
    // Another place, and what was allowed before stays.
    own["baseUrl"] = json!("https://other.example.com/v1");
    cluster.apply(provider("own", &own)).await;
    let message = until(&cluster, "own", "ResolvedRefs", NOT_OPTED_IN).await;
    obey(&cluster, &message);
    until(&cluster, "own", "ResolvedRefs", RESOLVED).await;
    let annotations = cluster.get("Secret", "own").await.metadata.annotations;
    let hosts = annotations.unwrap_or_default()["sidegate.dev/allowed-hosts"].clone();
    assert_eq!(hosts, "other.example.com,gw.example.com:8443");

    cluster
        .apply(secret("own", &json!({"key": format!("{CANARY}\n")})))
        .await;
    let message = until(&cluster, "own", "ResolvedRefs", MISSING).await;
    assert!(message.contains("has a line end"), "{message}");
    cluster.delete("Secret", "own").await;
    cluster
        .apply(secret("own", &json!({"other": CANARY})))
        .await;
    until(&cluster, "own", "ResolvedRefs", NOT_OPTED_IN).await;
    cluster.delete("Secret", "own").await;
    let mut mended = with_key("own");
    mended["metadata"]["annotations"] = json!({"sidegate.dev/allowed-hosts": "other.example.com"});
    cluster.apply(mended.clone()).await;
    until(&cluster, "own", "ResolvedRefs", RESOLVED).await;
    mended["metadata"]["annotations"] = json!({"sidegate.dev/allowed-hosts": "*.example.com"});
    cluster.apply(mended).await;
    let message = until(&cluster, "own", "ResolvedRefs", NOT_OPTED_IN).await;
    assert!(message.contains("there are no wildcards"), "{message}");
    obey(&cluster, &message);
    until(&cluster, "own", "ResolvedRefs", RESOLVED).await;

    // It was never said to be ready, and nothing says the key.
    until(&cluster, "own", "Ready", NOT_SERVED).await;
    let object = cluster.get(KIND, "own").await;
    let events = cluster.events("own").await;
    assert!(
        events
            .iter()
            .any(|(reason, _)| reason == "SecretNotOptedIn"),
        "{events:?}"
    );
    let said = format!("{} {events:?}", object.data["status"]);
    assert!(!said.contains(CANARY), "{said}");
    operator.stop().await.expect("it stops");
}

/// OPR-004, and what else a provider can be told.
#[tokio::test(flavor = "multi_thread")]
async fn each_provider_is_told_what_is_wrong_with_it() {
    let cluster = Cluster::new("providers").await;
    let operator = cluster.operator().await;
    let accepted = ("True", "Accepted");
    let mut token = secret("token", &json!({"key": CANARY}));
    token["type"] = json!("kubernetes.io/service-account-token");
    token["metadata"]["annotations"] = json!({
        "kubernetes.io/service-account.name": "default",
        // Consent to a host does not make it a credential.
        "sidegate.dev/allowed-hosts": "api.openai.com",
    });
    cluster.apply(token).await;
    cluster.apply(with_key("openai")).await;

    // At the provider's own host a Secret needs no annotation.
    cluster.apply(provider("openai", &openai("openai"))).await;
    until(&cluster, "openai", "ResolvedRefs", RESOLVED).await;
    until(&cluster, "openai", "Accepted", accepted).await;
    until(&cluster, "openai", "Ready", NOT_SERVED).await;

    cluster.apply(provider("token", &openai("token"))).await;
    let message = until(&cluster, "token", "ResolvedRefs", NOT_OPTED_IN).await;
    assert!(message.contains("service-account-token"), "{message}");
    until(&cluster, "token", "Accepted", accepted).await;

    let mut preset = openai("openai");
    preset["type"] = json!("OpenAICompatible");
    preset["preset"] = json!("groq");
    cluster.apply(provider("preset", &preset)).await;
    let message = until(&cluster, "preset", "Accepted", NOT_SERVED).await;
    assert!(message.contains("spec.preset: `groq`"), "{message}");
    until(&cluster, "preset", "ResolvedRefs", RESOLVED).await;

    let metadata = json!({"type": "OpenAICompatible", "baseUrl": "https://169.254.169.254/v1"});
    cluster.apply(provider("metadata", &metadata)).await;
    until(&cluster, "metadata", "Accepted", ("False", "Invalid")).await;

    let mut private = openai("openai");
    private["tls"] = json!({"caRef": {"name": "ca"}});
    cluster.apply(provider("private", &private)).await;
    let missing = ("False", "ConfigMapNotFound");
    until(&cluster, "private", "ResolvedRefs", missing).await;
    let authority = TestAuthority::new();
    let ca = |pem: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": pem}});
    let server = authority.server().certificate_pem;
    cluster.apply(ca(&server)).await;
    let invalid = ("False", "InvalidCertificate");
    let message = until(&cluster, "private", "ResolvedRefs", invalid).await;
    assert!(message.contains("CA:TRUE"), "{message}");
    cluster.apply(ca(authority.pem())).await;
    until(&cluster, "private", "ResolvedRefs", RESOLVED).await;

    // A provider that went and came again is read again.
    cluster.delete(KIND, "private").await;
    cluster.delete("ConfigMap", "ca").await;
    cluster.apply(provider("private", &private)).await;
    until(&cluster, "private", "ResolvedRefs", missing).await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_says_who_uses_it() {
    let cluster = Cluster::new("provider-users").await;
    let operator = cluster.operator().await;
    cluster.apply(with_key("openai")).await;
    cluster.apply(provider("openai", &openai("openai"))).await;
    until(&cluster, "openai", "ResolvedRefs", RESOLVED).await;
    let mut with_models = spec("support");
    with_models["llm"] = json!({
        "port": 15_080,
        "resource": "https://llm.example.com",
        "routes": [{
            "name": "fast",
            "models": ["fast"],
            "targets": [{"provider": {"name": "openai"}, "model": "gpt-5-mini"}],
        }],
    });
    cluster.gateway("support", &with_models).await;
    // It does not serve models either, and says so.
    cluster.until("support", "Accepted", NOT_SERVED).await;
    let used_by = |expected: Value| {
        let cluster = &cluster;
        async move {
            let end = tokio::time::Instant::now() + crate::cluster::PATIENCE;
            loop {
                let status = cluster.get(KIND, "openai").await.data["status"].clone();
                if status["usedBy"] == expected {
                    return;
                }
                assert!(tokio::time::Instant::now() < end, "{status}");
                tokio::time::sleep(crate::cluster::STEP).await;
            }
        }
    };
    used_by(json!([{"namespace": "provider-users", "name": "support"}])).await;
    cluster.delete("McpGateway", "support").await;
    used_by(Value::Null).await;
    let object = cluster.get(KIND, "openai").await;
    assert_eq!(condition_of(&object, "ResolvedRefs")["status"], "True");
    operator.stop().await.expect("it stops");
}

/// OPR-001, OPR-002 and OPR-026: a provider cannot name what is elsewhere, and
/// nobody asks for it; a Secret of the same name elsewhere is another one.
#[tokio::test(flavor = "multi_thread")]
async fn no_reference_leaves_the_namespace() {
    const HOME: &str = "team-a";
    const USER: &str = "system:serviceaccount:team-a:operator";
    let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start_auditing(USER)));
    install_crds(server);
    let admin = Client::try_from(config(server.kubeconfig()).await).expect("a client");
    let cluster = Cluster {
        server,
        client: admin,
        namespace: HOME.to_owned(),
    };
    cluster.label_namespace("enabled").await;
    let other = cluster.beside("team-b");
    other.label_namespace("enabled").await;
    other.apply(with_key("llm-key")).await;
    for reference in [
        json!({"name": "llm-key", "key": "key", "namespace": "team-b"}),
        json!({"name": "team-b/llm-key", "key": "key"}),
        json!({"name": "../team-b/llm-key", "key": "key"}),
        json!({"name": "..%2fteam-b%2fllm-key", "key": "key"}),
        json!({"name": "llm-key", "key": "../key"}),
    ] {
        let mut object = provider("thief", &openai("llm-key"));
        object["metadata"]["namespace"] = json!(HOME);
        object["spec"]["credentials"]["secretKeyRef"] = reference.clone();
        let apply = ["apply", "--server-side", "-f", "-"];
        let refused = server.kubectl(&apply, &object.to_string()).failed();
        assert!(refused.contains("secretKeyRef"), "{reference}: {refused}");
        object["spec"]["credentials"] = openai("llm-key")["credentials"].clone();
        object["spec"]["tls"] = json!({"caRef": reference});
        let refused = server.kubectl(&apply, &object.to_string()).failed();
        assert!(refused.contains("caRef"), "{reference}: {refused}");
    }

    let operator = cluster.operator_as(service_account(server).await).await;
    cluster.apply(provider("own", &openai("llm-key"))).await;
    until(&cluster, "own", "ResolvedRefs", MISSING).await;
    let asked: Vec<_> = server
        .audit()
        .into_iter()
        .map(|event| event["objectRef"].clone())
        .filter(|object| object["resource"] == "secrets" || object["resource"] == "configmaps")
        .collect();
    assert!(
        asked
            .iter()
            .any(|object| object["namespace"] == HOME && object["name"] == "llm-key"),
        "{asked:?}"
    );
    for object in &asked {
        assert_ne!(object["namespace"], "team-b", "{object}");
    }
    operator.stop().await.expect("it stops");
}

/// An operator that is somebody else than the test.
async fn service_account(server: &ApiServer) -> Client {
    for command in [
        "create serviceaccount operator -n team-a",
        "create clusterrolebinding operator --clusterrole=cluster-admin \
         --serviceaccount=team-a:operator",
    ] {
        let arguments: Vec<_> = command.split_whitespace().collect();
        let _ = server.kubectl(&arguments, "").succeeded();
    }
    let create = ["create", "token", "operator", "-n", "team-a"];
    let token = server.kubectl(&create, "").succeeded();
    let mut config = config(server.kubeconfig()).await;
    config.auth_info.token = Some(token.trim().to_owned().into());
    Client::try_from(config).expect("a client")
}
