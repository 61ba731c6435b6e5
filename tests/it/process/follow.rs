//! Changes of the directory.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use sidegate_testkit::client::Client;

use super::{Desk, FILE, metric, until_answer};

const REFUSED: &str = "sidegate_config_reloads_total{result=\"refused\"}";

#[tokio::test]
async fn a_renamed_file_is_taken() {
    let desk = Desk::new().await;
    desk.write(FILE, &desk.permitting("one"));
    let mut sidecar = desk.ready(&[]).await;
    let address = sidecar.address("support").await;
    assert_eq!(desk.call(address, "two").await.unwrap().status, 403);
    desk.write(FILE, &desk.permitting("two"));
    desk.until_permitted(address, "two").await;
    assert_eq!(desk.call(address, "one").await.unwrap().status, 403);
    assert_eq!(sidecar.address("support").await, address, "same listener");
    assert!(sidecar.process().terminate().await.success());
}

/// CFG-004.
#[tokio::test]
async fn a_file_written_in_place_is_taken_when_it_is_closed() {
    let desk = Desk::new().await;
    desk.write(FILE, &desk.permitting("one"));
    let mut sidecar = desk.ready(&[]).await;
    let (address, health) = (sidecar.address("support").await, sidecar.health().await);
    let next = desk.permitting("two");
    let (begin, end) = next.split_at(next.len() / 2);
    let mut file = File::create(desk.path().join(FILE)).unwrap();
    file.write_all(begin.as_bytes()).unwrap();
    file.flush().unwrap();
    // Another file that is complete has the directory read; half of this one
    // must not be taken then.
    desk.write(
        "more.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n",
    );
    assert_eq!(desk.call(address, "one").await.unwrap().status, 200);
    file.write_all(end.as_bytes()).unwrap();
    drop(file);
    desk.until_permitted(address, "two").await;
    assert_eq!(metric(health, REFUSED).await, 0);
    assert!(sidecar.process().terminate().await.success());
}

/// As the kubelet lays out a mounted ConfigMap.
#[tokio::test]
async fn a_swapped_link_of_a_mounted_directory_is_taken() {
    let desk = Desk::new().await;
    let dir = desk.path().join("mounted");
    let version = |name: &str, text: &str| {
        fs::create_dir_all(dir.join(name)).unwrap();
        fs::write(dir.join(name).join(FILE), text).unwrap();
    };
    version("..1", &desk.permitting("one"));
    symlink("..1", dir.join("..data")).unwrap();
    symlink(Path::new("..data").join(FILE), dir.join(FILE)).unwrap();
    let mut sidecar = sidegate_testkit::process::SidegateProcess::start(&dir, &super::ANY_LISTENER);
    sidecar.until_ready().await;
    let address = sidecar.address("support").await;
    assert_eq!(desk.call(address, "one").await.unwrap().status, 200);

    version("..2", &desk.permitting("two"));
    symlink("..2", dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    fs::remove_dir_all(dir.join("..1")).unwrap();
    desk.until_permitted(address, "two").await;
    assert_eq!(desk.call(address, "one").await.unwrap().status, 403);
    assert!(sidecar.process().terminate().await.success());
}

#[tokio::test]
async fn a_bad_change_keeps_the_last_good_configuration() {
    let desk = Desk::new().await;
    desk.write(FILE, &desk.permitting("one"));
    let mut sidecar = desk.ready(&[]).await;
    let (address, health) = (sidecar.address("support").await, sidecar.health().await);
    let admin = Client::plaintext(sidecar.admin().await);
    let before = admin.get("/config").await.unwrap().json();
    assert!(before["lastError"].is_null());

    let bad = desk.permitting("two").replace("\"tools\"", "\"toolz\"");
    desk.write(FILE, &bad);
    let shown = until_answer(&admin, "/config", |answer| {
        answer.json()["lastError"].is_string()
    });
    let shown = shown.await.json();
    let error = shown["lastError"].as_str().unwrap();
    assert!(
        error.contains("gateway.yaml:1: McpGateway crm/support: spec.authorization.rules[0].toolz"),
        "{error}"
    );
    assert_eq!(shown["version"], before["version"]);
    assert_eq!(shown["ready"], true);
    assert_eq!(metric(health, REFUSED).await, 1);
    let ready = Client::plaintext(health).get("/readyz").await.unwrap();
    assert_eq!(ready.status, 200);
    assert_eq!(desk.call(address, "one").await.unwrap().status, 200);
    assert_eq!(desk.call(address, "two").await.unwrap().status, 403);

    desk.write(FILE, &desk.permitting("two"));
    desk.until_permitted(address, "two").await;
    let mended = |answer: &sidegate_testkit::client::Answer| answer.json()["lastError"].is_null();
    let shown = until_answer(&admin, "/config", mended).await.json();
    assert_ne!(shown["version"], before["version"]);
    assert!(sidecar.process().terminate().await.success());
}
