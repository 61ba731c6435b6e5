//! What pods confirm is what statuses say, and nothing more.
//!
//! There are no sidecars here: a test writes into the conditions of pods what
//! the replica that holds their streams would.

use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cluster::{Cluster, get, spec, until_metric_above};
use crate::leadership::{replica, until_leads};

impl Cluster {
    /// A condition that a replica of the operator writes for a sidecar.
    async fn condition(
        &self,
        pod: &str,
        kind: &str,
        (status, reason): (&str, &str),
        message: &str,
    ) {
        let uid = self.get("Pod", pod).await.metadata.uid.expect("a uid");
        let condition = json!({
            "type": format!("sidegate.dev/{kind}"),
            "status": status, "reason": reason, "message": message,
        });
        let written = self.try_condition(pod, &uid, &condition);
        written.await.expect("the condition is written");
    }

    /// As the operator writes it.
    async fn try_condition(
        &self,
        pod: &str,
        uid: &str,
        condition: &Value,
    ) -> kube::Result<DynamicObject> {
        let body = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
        let params = PatchParams::default();
        let patch = Patch::Strategic(body);
        self.api("Pod").patch_status(pod, &params, &patch).await
    }

    async fn confirmed(&self, pod: &str, hash: &str) {
        self.condition(pod, "Programmed", ("True", "Programmed"), hash)
            .await;
    }

    /// The hash of what there is to enforce; another one than `before`.
    async fn version(&self, gateway: &str, before: &str) -> String {
        let hash = |status: &Value| {
            let hash = status["dataPlane"]["configVersion"].as_str();
            hash.filter(|hash| *hash != before).map(str::to_owned)
        };
        self.until_status(gateway, |status| hash(status).is_some())
            .await;
        let object = self.get("McpGateway", gateway).await;
        hash(&object.data["status"]).expect("a version")
    }

    async fn until_event(&self, name: &str, reason: &str) -> String {
        let end = tokio::time::Instant::now() + crate::cluster::PATIENCE;
        loop {
            let events = self.events(name).await;
            if let Some((_, note)) = events.iter().find(|(it, _)| it == reason) {
                return note.clone();
            }
            assert!(tokio::time::Instant::now() < end, "{events:?}");
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
    }
}

fn changed(app: &str) -> Value {
    let mut spec = spec(app);
    spec["authorization"]["rules"][0]["tools"] = json!(["get_*", "list_*"]);
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_ready_while_every_ready_pod_has_confirmed_it() {
    let cluster = Cluster::new("confirmed").await;
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    cluster.pod("one", "support", true, true).await;
    cluster.pod("two", "support", true, true).await;
    let first = cluster.version("support", "").await;
    cluster.confirmed("one", &first).await;
    cluster
        .until("support", "Programmed", ("False", "PartiallyProgrammed"))
        .await;
    cluster
        .until("support", "Ready", ("False", "PartiallyProgrammed"))
        .await;
    cluster.confirmed("two", &first).await;
    let server = cluster.server;
    let waited = tokio::task::spawn_blocking(|| {
        let wait = [
            "wait",
            "-n",
            "confirmed",
            "--for=condition=Ready",
            "--timeout=40s",
        ];
        server.kubectl(&[&wait[..], &["mcpgw/support"]].concat(), "")
    });
    let _ = waited.await.expect("kubectl runs").succeeded();
    cluster
        .until_status("support", |status| status["dataPlane"]["summary"] == "2/2")
        .await;
    cluster.until_event("support", "Programmed").await;

    // What was confirmed before is not this.
    cluster.gateway("support", &changed("support")).await;
    cluster
        .until("support", "Ready", ("False", "Pending"))
        .await;
    let second = cluster.version("support", &first).await;
    cluster.confirmed("one", &second).await;
    cluster.confirmed("two", &second).await;
    cluster.until("support", "Ready", ("True", "Ready")).await;

    // And back: nobody has confirmed it since.
    cluster.gateway("support", &spec("support")).await;
    assert_eq!(cluster.version("support", &second).await, first);
    cluster
        .until("support", "Ready", ("False", "Pending"))
        .await;
    cluster.confirmed("one", &first).await;
    cluster.confirmed("two", &first).await;
    cluster.until("support", "Ready", ("True", "Ready")).await;

    // One that is not ready gets no requests and is not waited for.
    cluster.pod("three", "support", true, false).await;
    cluster
        .until("support", "Programmed", ("False", "PartiallyProgrammed"))
        .await;
    cluster.until("support", "Ready", ("True", "Ready")).await;
    cluster.pod("three", "support", true, true).await;
    cluster
        .until("support", "Ready", ("False", "PartiallyProgrammed"))
        .await;

    // A successor of the same name starts with nothing.
    cluster.delete("Pod", "three").await;
    cluster.until("support", "Ready", ("True", "Ready")).await;
    cluster.delete("Pod", "two").await;
    cluster.pod("two", "support", true, true).await;
    cluster
        .until("support", "Ready", ("False", "PartiallyProgrammed"))
        .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_rejects_or_is_too_old_is_named() {
    let cluster = Cluster::new("rejected").await;
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    cluster.pod("good", "support", true, true).await;
    cluster.pod("bad", "support", true, true).await;
    let hash = cluster.version("support", "").await;
    cluster.confirmed("good", &hash).await;
    let rejected = ("False", "DataPlaneRejected");
    let words = format!("{hash}: port 8080 is taken");
    cluster
        .condition("bad", "Programmed", rejected, &words)
        .await;
    let message = cluster.until("support", "Programmed", rejected).await;
    assert_eq!(message, "pod bad rejects it: port 8080 is taken");
    cluster.until("support", "Ready", rejected).await;
    cluster
        .until_status("support", |status| {
            status["failing"][0]["pod"] == "bad"
                && status["failing"][0]["reason"] == "DataPlaneRejected"
                && status["dataPlane"]["programmed"] == 1
        })
        .await;
    assert_eq!(
        cluster.until_event("support", "DataPlaneRejected").await,
        message
    );
    let outdated = ("False", "SidecarOutdated");
    let words = format!("{hash}: restart the pod");
    cluster
        .condition("bad", "Programmed", outdated, &words)
        .await;
    cluster.until("support", "Programmed", outdated).await;
    cluster.confirmed("bad", &hash).await;
    cluster.until("support", "Ready", ("True", "Ready")).await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_beside_the_sidecar_makes_it_not_ready_unless_accepted() {
    let cluster = Cluster::new("listeners").await;
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    cluster.pod("p", "support", true, true).await;
    let hash = cluster.version("support", "").await;
    cluster.confirmed("p", &hash).await;
    cluster.until("support", "Ready", ("True", "Ready")).await;
    let found = ("False", "ListenerFound");
    let text = "[::]:8080/1000 10.0.0.1:22/0";
    cluster.condition("p", "Listeners", found, text).await;
    let message = cluster.until("support", "Ready", found).await;
    assert!(message.contains("[::]:8080"), "{message}");
    cluster
        .until("support", "BypassPossible", ("True", "ListenerFound"))
        .await;
    cluster
        .until_status("support", |status| {
            status["dataPlane"]["otherListeners"] == json!(["10.0.0.1:22"])
        })
        .await;
    cluster.until_event("support", "BypassPossible").await;
    let mut accepted = spec("support");
    accepted["acceptBypass"] = json!(true);
    cluster.gateway("support", &accepted).await;
    cluster.until("support", "Ready", ("True", "Ready")).await;
    cluster
        .until("support", "BypassPossible", ("True", "ListenerFound"))
        .await;
    let none = ("True", "NoListenerFound");
    cluster.condition("p", "Listeners", none, "").await;
    cluster
        .until_status("support", |status| {
            let conditions = status["conditions"].as_array().expect("conditions");
            conditions.iter().all(|it| it["type"] != "BypassPossible")
        })
        .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_beside_its_sidecar_is_found() {
    let cluster = Cluster::new("dialled").await;
    let operator = cluster.operator().await;
    let open = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = open.local_addr().expect("an address").port();
    let with_port = |app: &str, port: u16| {
        let mut spec = spec(app);
        let server = &mut spec["servers"][0];
        server["port"] = json!(port);
        server["exposure"] = json!("SeparatePort");
        server["listenPort"] = json!(if port == 9000 { 9001 } else { 9000 });
        spec
    };
    cluster.gateway("open", &with_port("open", port)).await;
    cluster.pod("p", "open", true, true).await;
    let hash = cluster.version("open", "").await;
    cluster.confirmed("p", &hash).await;
    cluster
        .until("open", "BypassPossible", ("Unknown", "Unknown"))
        .await;
    cluster.until("open", "Ready", ("True", "Ready")).await;
    let address = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    let pods = cluster.api("Pod");
    pods.patch_status("p", &PatchParams::default(), &Patch::Merge(address))
        .await
        .expect("its address is written");
    let message = cluster
        .until("open", "BypassPossible", ("True", "ServerAnswered"))
        .await;
    assert!(message.contains(&format!("127.0.0.1:{port}")), "{message}");
    cluster
        .until("open", "Ready", ("False", "ServerAnswered"))
        .await;
    operator.stop().await.expect("it stops");
}

/// The second replica builds and counts all the time; only its writes wait.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_leads_next_knows_what_pods_enforce() {
    let cluster = Cluster::new("successor").await;
    let first = replica(&cluster, "first").await;
    until_leads(&first, true).await;
    let second = replica(&cluster, "second").await;
    cluster.gateway("support", &spec("support")).await;
    cluster.pod("p", "support", true, true).await;
    let before = cluster.version("support", "").await;
    cluster.confirmed("p", &before).await;
    cluster.until("support", "Ready", ("True", "Ready")).await;
    let built = r#"sidegate_operator_builds_total{result="built"}"#;
    until_metric_above(&second, built, 0).await;
    // Without a goodbye, like a process that is killed.
    drop(first);
    cluster.gateway("support", &changed("support")).await;
    until_leads(&second, true).await;
    let now = cluster.version("support", &before).await;
    cluster
        .until("support", "Ready", ("False", "Pending"))
        .await;
    cluster.confirmed("p", &now).await;
    cluster.until("support", "Ready", ("True", "Ready")).await;
    let (_, metrics) = get(&second, "/metrics").await;
    let ready = r#"sidegate_operator_gateways{condition="Ready",status="True"} 1"#;
    assert!(metrics.contains(ready), "{metrics}");
    cluster.delete("McpGateway", "support").await;
    let none = r#"sidegate_operator_gateways{condition="Ready",status="True"} 0"#;
    let end = tokio::time::Instant::now() + crate::cluster::PATIENCE;
    while !get(&second, "/metrics").await.1.contains(none) {
        assert!(tokio::time::Instant::now() < end, "it is still counted");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    second.stop().await.expect("it stops");
}

/// What the operator writes about a pod is refused when another one has its
/// name meanwhile, and leaves alone what others wrote.
#[tokio::test]
async fn a_condition_is_about_one_pod_and_one_condition() {
    let cluster = Cluster::new("predecessor").await;
    cluster.pod("a", "support", true, true).await;
    let predecessor = cluster.get("Pod", "a").await.metadata.uid.expect("a uid");
    cluster.delete("Pod", "a").await;
    cluster.pod("a", "support", true, true).await;
    let types = async || {
        let pod = cluster.get("Pod", "a").await;
        let conditions = pod.data["status"]["conditions"].as_array().cloned();
        let types = conditions.expect("conditions").into_iter();
        let mut types: Vec<_> = types.map(|it| it["type"].to_string()).collect();
        types.sort();
        types
    };
    let condition = json!({
        "type": "sidegate.dev/Programmed",
        "status": "True", "reason": "Programmed", "message": "abc",
    });
    let refused = cluster.try_condition("a", &predecessor, &condition).await;
    let error = refused.expect_err("it is another pod");
    assert!(error.to_string().contains("uid"), "{error}");
    assert_eq!(types().await, [r#""Ready""#]);
    for _ in 0..2 {
        cluster.confirmed("a", "abc").await;
        assert_eq!(
            types().await,
            [r#""Ready""#, r#""sidegate.dev/Programmed""#]
        );
    }
}
