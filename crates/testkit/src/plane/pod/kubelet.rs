//! What a kubelet does for a pod: here the test does it.

use std::fs;
use std::path::Path;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::super::{PATIENCE, Patch, Plane, STEP};
use super::PodProcess;

/// The receiver of tokens for the operator.
const AUDIENCE: &str = "sidegate.dev";

// === impl PodProcess ===

impl PodProcess {
    /// Writes its status as a kubelet does, and leaves what others wrote there.
    ///
    /// # Panics
    /// It is refused.
    pub async fn says_of_itself(&self, plane: &Plane, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let status = json!({"status": {
            "phase": "Running",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "conditions": [{"type": "Ready", "status": ready}],
        }});
        let path = format!("{}/status", self.path());
        let _ = plane.api.patch(&path, Patch::Strategic, &status).await;
    }

    /// A token that is bound to it, for an audience.
    ///
    /// # Panics
    /// It is refused.
    pub async fn token(&self, plane: &Plane, audience: &str) -> String {
        let spec = json!({
            "audiences": [audience],
            "expirationSeconds": 3600,
            "boundObjectRef": {
                "kind": "Pod",
                "apiVersion": "v1",
                "name": self.name,
                "uid": self.uid,
            },
        });
        plane.api.token(&self.namespace, &self.name, &spec).await
    }

    /// Puts a token where the sidecar looks for it.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn has_token(&self, token: &str) {
        replace(&self.file("token"), token);
    }

    /// Waits for the trust bundle of its namespace and puts it where the
    /// sidecar looks for it.
    ///
    /// # Panics
    /// The operator does not write it.
    pub async fn mounts_trust(&self, plane: &Plane) {
        let path = format!(
            "/api/v1/namespaces/{}/configmaps/sidegate-trust",
            self.namespace
        );
        let end = Instant::now() + PATIENCE;
        let data = loop {
            if let Some(mut bundle) = plane.api.find(&path).await {
                break bundle["data"].take();
            }
            assert!(Instant::now() < end, "there is no trust bundle");
            sleep(STEP).await;
        };
        let dir = self.file("trust");
        fs::create_dir_all(&dir).expect("a directory");
        for (name, text) in data.as_object().expect("files") {
            replace(&dir.join(name), text.as_str().expect("text"));
        }
    }

    /// Everything that a kubelet does before it starts a sidecar.
    ///
    /// # Panics
    /// Something is refused or missing.
    pub async fn mounts(&self, plane: &Plane) {
        let token = self.token(plane, AUDIENCE).await;
        self.has_token(&token);
        self.mounts_trust(plane).await;
    }
}

/// Writes a file in place of another, so that nobody reads half of it.
pub(in crate::plane) fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).expect("a file");
    fs::rename(&next, path).expect("a file");
}
