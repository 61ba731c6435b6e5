//! Objects that fit no type, and an API server that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kube::Client;
use serde_json::{Value, json};
use sidegate_operator::run::{Operator, Settings};
use sidegate_testkit::apiserver::ApiServer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, config, install_crds, settings, spec, until_metric_above};

/// The definition lets through what the type does not know, as after a
/// downgrade of the operator.
fn loosen(server: &ApiServer) {
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/tls/properties\
                /mode/enum";
    let patch = json!([{"op": "remove", "path": path}]).to_string();
    let crd = "mcpgateways.sidegate.dev";
    let patched = server.kubectl(&["patch", "crd", crd, "--type=json", "-p", &patch], "");
    let _ = patched.succeeded();
}

/// WHK-010.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_object_stops_nothing_and_is_told_so() {
    let cluster = Cluster::alone("bad").await;
    install_crds(cluster.server);
    loosen(cluster.server);
    let mut bad = spec("support");
    bad["tls"] = json!({"mode": "Quantum"});
    let end = tokio::time::Instant::now() + crate::cluster::PATIENCE;
    let object = crate::cluster::gateway("bad", &bad);
    loop {
        // The API server takes a changed definition after a while.
        let params = kube::api::PatchParams::apply("test").force();
        let patch = kube::api::Patch::Apply(&object);
        if cluster
            .api("McpGateway")
            .patch("bad", &params, &patch)
            .await
            .is_ok()
        {
            break;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "the bad object is refused"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let operator = cluster.operator().await;
    cluster.gateway("good", &spec("sales")).await;
    cluster
        .until("good", "Accepted", ("True", "Accepted"))
        .await;
    let message = cluster.until("bad", "Accepted", ("False", "Invalid")).await;
    assert!(message.contains("Quantum"), "{message}");
    cluster
        .until("bad", "ResolvedRefs", ("Unknown", "Pending"))
        .await;

    // A second look writes nothing.
    let unchanged = r#"sidegate_operator_reconciles_total{kind="McpGateway",result="unchanged"}"#;
    let before = crate::cluster::metric(&operator, unchanged).await;
    let version = crate::cluster::touch(&cluster.api("McpGateway"), "bad", "one").await;
    until_metric_above(&operator, unchanged, before).await;
    let now = cluster
        .get("McpGateway", "bad")
        .await
        .metadata
        .resource_version;
    assert_eq!(now.as_deref(), Some(&*version));

    cluster.gateway("bad", &spec("support")).await;
    cluster.until("bad", "Accepted", ("True", "Accepted")).await;
    operator.stop().await.expect("it stops");
}

/// A relay in front of the API server that can be cut.
pub(crate) struct Relay {
    address: std::net::SocketAddr,
    open: Arc<AtomicBool>,
    _task: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn to(server: &ApiServer) -> Self {
        let target = server.url().strip_prefix("https://").expect("TLS");
        let target = target.to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let open = Arc::new(AtomicBool::new(true));
        let is_open = Arc::clone(&open);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (mut near, _) = accepted.expect("a connection");
                        if is_open.load(Ordering::SeqCst) {
                            let target = target.clone();
                            connections.spawn(async move {
                                let mut far = TcpStream::connect(target).await.expect("a server");
                                let both = tokio::io::copy_bidirectional(&mut near, &mut far);
                                let _ended = both.await;
                            });
                        }
                    }
                    _ = look.tick() => {
                        if !is_open.load(Ordering::SeqCst) {
                            connections.abort_all();
                        }
                        while connections.try_join_next().is_some() {}
                    }
                }
            }
        });
        Self {
            address,
            open,
            _task: task,
        }
    }

    /// A client whose requests pass through.
    pub(crate) async fn client(&self, server: &ApiServer) -> Client {
        let mut through = config(server.kubeconfig()).await;
        let url = format!("https://{}", self.address);
        through.cluster_url = url.parse().expect("a URL");
        Client::try_from(through).expect("a client")
    }

    /// Ends all connections and lets no new ones through, or lets them again.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
    }
}

/// OPR-017.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_of_the_api_server_nothing_is_missed() {
    let cluster = Cluster::new("outage").await;
    let relay = Relay::to(cluster.server).await;
    let client = relay.client(cluster.server).await;
    let operator = cluster.operator_as(client).await;
    cluster.gateway("changed", &spec("a")).await;
    cluster.gateway("deleted", &spec("b")).await;
    cluster.gateway("rival", &spec("b")).await;
    cluster
        .until("changed", "Accepted", ("True", "Accepted"))
        .await;
    cluster
        .until("rival", "Accepted", ("False", "Conflicted"))
        .await;

    relay.set_open(false);
    let failures = r#"sidegate_operator_watch_failures_total{resource="mcpgateways"}"#;
    until_metric_above(&operator, failures, 0).await;
    let mut broken = spec("a");
    broken["authorization"]["rules"][0]["when"] = json!("args.a ==");
    cluster.gateway("changed", &broken).await;
    cluster.gateway("new", &spec("c")).await;
    cluster.delete("McpGateway", "deleted").await;
    let object = cluster.get("McpGateway", "new").await;
    assert_eq!(object.data["status"], Value::Null);

    relay.set_open(true);
    cluster
        .until("changed", "Accepted", ("False", "Invalid"))
        .await;
    cluster.until("new", "Accepted", ("True", "Accepted")).await;
    cluster
        .until("rival", "Accepted", ("True", "Accepted"))
        .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_api_server_is_followed_and_no_status_written_again() {
    let cluster = Cluster::alone("restart").await;
    install_crds(cluster.server);
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Ready", ("False", "NoReadyPods"))
        .await;
    let version = cluster
        .get("McpGateway", "support")
        .await
        .metadata
        .resource_version;
    let server = cluster.server;
    tokio::task::spawn_blocking(|| server.restart())
        .await
        .expect("it restarts");
    cluster.pod("p", "other", true, true).await;
    cluster.gateway("new", &spec("other")).await;
    cluster.until("new", "Ready", ("False", "Pending")).await;
    let now = cluster
        .get("McpGateway", "support")
        .await
        .metadata
        .resource_version;
    assert_eq!(now, version);
    operator.stop().await.expect("it stops");
}

/// An operator that is started before its definitions waits for them.
#[tokio::test(flavor = "multi_thread")]
async fn definitions_may_come_after_the_operator() {
    let cluster = Cluster::alone("late").await;
    let everywhere = Settings {
        namespace: None,
        ..settings("late")
    };
    let started = Operator::start(cluster.client.clone(), everywhere).await;
    let operator = started.expect("it starts");
    let failures = r#"sidegate_operator_watch_failures_total{resource="mcpgateways"}"#;
    until_metric_above(&operator, failures, 0).await;
    assert_eq!(crate::cluster::get(&operator, "/readyz").await.0, 503);
    install_crds(cluster.server);
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    // The other definitions come by watches of their own.
    crate::authority::until("the replica is ready", || async {
        (crate::cluster::get(&operator, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    operator.stop().await.expect("it stops");
}
