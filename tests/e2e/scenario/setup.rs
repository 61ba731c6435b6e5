//! The operator, and everything around a gateway.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sidegate_testkit::certificates::TestAuthority;

use crate::actors::{CLIENT, IDENTITY};
use crate::cluster::{apply, file, get, kubectl, name, pods, rolled_out, until};

/// From the files that a person applies, unchanged.
pub(crate) fn operator() -> Result<String> {
    for entry in fs::read_dir(file("manifests/crds"))? {
        apply(&fs::read_to_string(entry?.path())?)?;
    }
    kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd",
        "--all",
        "--timeout=30s",
    ])?;
    apply(&fs::read_to_string(file(
        "manifests/operator/operator.yaml",
    ))?)?;
    rolled_out("sidegate-system", "sidegate-operator")?;
    let pods = pods(
        "sidegate-system",
        "app.kubernetes.io/name=sidegate-operator",
    )?;
    ensure!(pods.len() == 2, "{} operators instead of two", pods.len());
    Ok(String::new())
}

/// An issuer with a certificate of its own authority, a namespace for the
/// servers and one for the clients.
pub(crate) fn surroundings() -> Result<String> {
    let authority = TestAuthority::new();
    let issuer = authority.server_for(&["issuer.idp.svc.cluster.local"]);
    apply(include_str!("../manifests/namespaces.yaml"))?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "issuer", "namespace": "idp"},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": issuer.certificate_pem, "tls.key": issuer.key_pem.expose()},
    });
    apply(&secret.to_string())?;
    for namespace in ["crm", "agents"] {
        let bundle = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "issuer-ca", "namespace": namespace},
            "data": {"ca.crt": authority.pem()},
        });
        apply(&bundle.to_string())?;
    }
    apply(include_str!("../manifests/issuer.yaml"))?;
    apply(include_str!("../manifests/provider.yaml"))?;
    rolled_out("idp", "issuer")?;
    Ok(String::new())
}

pub(crate) fn gateway() -> Result<String> {
    apply(include_str!("../manifests/support-gateway.yaml"))?;
    apply(include_str!("../manifests/support.yaml"))?;
    rolled_out("crm", "support")?;
    kubectl(&[
        "wait",
        "-n",
        "crm",
        "--for=condition=Ready",
        "mcpgw/support",
        "--timeout=60s",
    ])?;
    let pods = pods("crm", "app=support-mcp")?;
    ensure!(pods.len() == 2, "{} pods", pods.len());
    for pod in &pods {
        has_sidecar(pod).with_context(|| format!("pod {}", name(pod)))?;
    }
    let gateway = get(&["mcpgw", "-n", "crm", "support"])?;
    let summary = gateway["status"]["dataPlane"]["summary"].clone();
    ensure!(summary == "2/2", "the status says {summary}");
    Ok("Ready, 2/2".to_owned())
}

/// A native sidecar, and a server that is told to listen on loopback.
pub(crate) fn has_sidecar(pod: &Value) -> Result<()> {
    let find = |kind: &str, name: &str| {
        let list = pod["spec"][kind].as_array().cloned().unwrap_or_default();
        let found = list.into_iter().find(|container| container["name"] == name);
        found.with_context(|| format!("no container {name}"))
    };
    for sidecar in ["sidegate-hold", "sidegate"] {
        let policy = find("initContainers", sidecar)?["restartPolicy"].clone();
        ensure!(policy == "Always", "{sidecar} is no native sidecar");
    }
    let server = find("containers", "server")?;
    let told = json!({"name": "HOST", "value": "127.0.0.1"});
    let environment = server["env"].as_array().cloned().unwrap_or_default();
    ensure!(
        environment.contains(&told),
        "the server is told {environment:?}"
    );
    Ok(())
}

pub(crate) fn client() -> Result<String> {
    apply(include_str!("../manifests/client.yaml"))?;
    rolled_out(CLIENT.namespace, "agent")?;
    // The actor reads its files for every connection; they are there before the
    // container starts, or soon after.
    until("the client has its certificate", 20, || {
        let issuer = "https://issuer.idp.svc.cluster.local";
        let arguments = [
            "token",
            &format!("--issuer={issuer}"),
            "--ca=/issuer/ca.crt",
            "--claims={}",
            &format!("--certificate={IDENTITY}"),
        ];
        Ok(CLIENT.run::<String>(&arguments).ok())
    })?;
    Ok(String::new())
}
