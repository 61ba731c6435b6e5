//! Runs an official client and reads what it saw.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sidegate_testkit::mcp::{LEGACY, MODERN};

use super::stage::Stage;

/// A client and the way it agrees on a version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    program: Program,
    mode: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Program {
    Python,
    TypeScript,
}

/// What a client saw.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) version: String,
    pub(super) listed: Vec<String>,
    /// Scopes of the last token.
    pub(super) scope: String,
    pub(super) requests: Vec<Sent>,
    calls: Vec<Value>,
    /// What ended the client before it was through.
    pub(super) failed: Option<String>,
}

/// A request that a client sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) status: u64,
}

// === impl Peer ===

impl Peer {
    pub(super) const PYTHON_AUTO: Self = Self {
        program: Program::Python,
        mode: "auto",
    };
    pub(super) const PYTHON_LEGACY: Self = Self {
        program: Program::Python,
        mode: "legacy",
    };
    pub(super) const TYPESCRIPT_AUTO: Self = Self {
        program: Program::TypeScript,
        mode: "auto",
    };
    pub(super) const TYPESCRIPT_LEGACY: Self = Self {
        program: Program::TypeScript,
        mode: "legacy",
    };

    /// The version that it shall agree on.
    pub(super) fn version(self) -> &'static str {
        if self.mode == "auto" { MODERN } else { LEGACY }
    }

    /// Signs in, lists the tools, makes the calls, and leaves.
    pub(super) async fn run(self, stage: &Stage, calls: &[Value]) -> Report {
        let asked = json!({
            "url": stage.url(),
            "ca": stage.file("ca.crt"),
            "cert": stage.file("agent.crt"),
            "key": stage.file("agent.key"),
            "issuer": stage.authority.issuer(),
            "clientId": "agent",
            "clientSecret": "agent-secret",
            "mode": self.mode,
            "calls": calls,
        });
        let mut command = self.program.command();
        command.arg(asked.to_string());
        // The neighbours of the client run on the threads of this test.
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let report = serde_json::from_str(&out).map_err(|error| format!("{error}: {out}{err}"));
        Report::read(&report.unwrap())
    }
}

// === impl Program ===

impl Program {
    fn command(self) -> Command {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools");
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        match self {
            Self::Python => {
                let python = from_environment("SIDEGATE_TEST_PYTHON");
                let python = python.unwrap_or_else(|| tools.join("venv/bin/python"));
                assert_installed(python.is_file(), &python);
                let mut command = Command::new(python);
                command.arg(scripts.join("client.py"));
                command
            }
            Self::TypeScript => {
                let clients = from_environment("SIDEGATE_TEST_CLIENTS");
                let clients = clients.unwrap_or_else(|| tools.join("clients"));
                let script = clients.join("client.mjs");
                assert_installed(clients.join("node_modules").is_dir(), &clients);
                // Node finds packages beside the script only, so it is a copy.
                let is_current = std::fs::read(&script).ok()
                    == Some(std::fs::read(scripts.join("client.mjs")).unwrap());
                assert_installed(is_current, &script);
                let node = from_environment("SIDEGATE_TEST_NODE");
                let mut command = Command::new(node.unwrap_or_else(|| "node".into()));
                command.arg(script);
                command
            }
        }
    }
}

fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

#[track_caller]
fn assert_installed(installed: bool, path: &Path) {
    let path = path.display();
    assert!(
        installed,
        "`{path}` is missing or not current: run `make test-tools`"
    );
}

// === impl Report ===

impl Report {
    fn read(report: &Value) -> Self {
        let list = |name: &str| report[name].as_array().unwrap().clone();
        let sent = |request: &Value| Sent {
            method: text(&request[0]),
            url: text(&request[1]),
            status: request[2].as_u64().unwrap(),
        };
        Self {
            version: text(&report["version"]),
            listed: list("listed").iter().map(text).collect(),
            scope: text(&report["scope"]),
            requests: list("requests").iter().map(sent).collect(),
            calls: list("calls"),
            failed: report.get("failed").map(Value::to_string),
        }
    }

    pub(super) fn call(&self, index: usize) -> &Value {
        &self.calls[index]
    }

    /// The errors of the calls, those that a tool reports included.
    pub(super) fn errors(&self) -> Vec<String> {
        let failed = self.calls.iter().filter(|call| call["isError"] != false);
        failed.map(Value::to_string).collect()
    }

    /// Everything that the client says went wrong.
    pub(super) fn told(&self) -> String {
        let failed = self.failed.iter().cloned();
        self.errors().into_iter().chain(failed).collect()
    }

    /// How many requests were answered with this status.
    pub(super) fn answers(&self, status: u64) -> usize {
        let with_status = |sent: &&Sent| sent.status == status;
        self.requests.iter().filter(with_status).count()
    }
}

/// A text; empty when it is `null`.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
