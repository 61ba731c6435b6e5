//! The program itself.

use std::process::Command;

use crate::cluster::Cluster;

fn output(arguments: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_sidegate-operator");
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn it_says_its_version() {
    let expected = concat!("sidegate-operator ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(output(&["version"]), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_is_what_the_api_server_takes() {
    // With its webhook, no test beside it could create a pod.
    let cluster = Cluster::alone("printed").await;
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let crds = cluster.server.kubectl(&apply, &output(&["crd"]));
    assert!(crds.succeeded().contains("mcpgateways.sidegate.dev"));
    let images = [
        "--image",
        "example/operator:1",
        "--sidecar-image",
        "example/sidegate:1",
    ];
    let objects = output(&[&["manifests"], &images[..]].concat());
    assert!(objects.contains("image: example/operator:1"));
    assert!(objects.contains("--sidecar-image=example/sidegate:1"));
    let applied = cluster.server.kubectl(&apply, &objects);
    // Where Pod Security is `restricted`, a pod that is not would be warned of.
    assert!(!applied.stderr.contains("Warning"), "{}", applied.stderr);
    assert!(
        applied
            .succeeded()
            .contains("deployment.apps/sidegate-operator")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_from_a_kubeconfig_and_ends_with_a_signal() {
    use std::io::{BufRead as _, BufReader};

    let cluster = Cluster::new("binary").await;
    let dir = tempfile::tempdir().expect("a directory");
    let kubeconfig = dir.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.server.kubeconfig()).expect("a file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_sidegate-operator"))
        .args(["run", "--namespace", "binary", "--leader-elect"])
        .args(["--lease-namespace", "binary", "--health", "127.0.0.1:0"])
        .env("KUBECONFIG", &kubeconfig)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let log = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut lines = log.lines();
    cluster
        .gateway("support", &crate::cluster::spec("support"))
        .await;
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    let kill = format!("kill -TERM {}", child.id());
    let sent = Command::new("sh").args(["-c", &kill]).status();
    assert!(sent.expect("a shell").success());
    let gave_up = lines.any(|line| line.expect("text").contains("gave the Lease up"));
    assert!(gave_up);
    assert!(child.wait().expect("it ends").success());
}
