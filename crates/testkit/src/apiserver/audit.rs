//! What one user asked an API server for.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::ApiServer;

const POLICY: &str = "audit-policy.json";
const LOG: &str = "audit.log";

/// Writes the policy by which everything is noted that this user asks for, and
/// returns the arguments for it.
pub(super) fn arguments(dir: &Path, user: &str) -> Vec<String> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        // A watch ends late or never, but it is answered at once.
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "users": [user]},
            {"level": "None"},
        ],
    });
    fs::write(dir.join(POLICY), policy.to_string()).expect("a file");
    vec![
        format!("--audit-policy-file={POLICY}"),
        format!("--audit-log-path={LOG}"),
        // Written before the answer is.
        "--audit-log-mode=blocking".to_owned(),
    ]
}

// === impl ApiServer ===

impl ApiServer {
    /// What the user asked for so far: `Event` objects of `audit.k8s.io`. A
    /// watch may be there twice, once answered and once ended.
    ///
    /// # Panics
    /// The server does not audit.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.dir.path().join(LOG)).expect("an audit log");
        // The last line may be half written.
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}
