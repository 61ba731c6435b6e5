//! What the actors in the pods say.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::cluster::{Place, Running};

/// The client; its certificate comes from the product.
pub(crate) const CLIENT: Place = Place {
    namespace: "agents",
    pod: "deployment/agent",
    container: "agent",
};
/// Where the product's files are in the client's pod.
pub(crate) const IDENTITY: &str = "/var/run/sidegate/identity";

/// The resource: where the server is, and what tokens are for.
pub(crate) const URL: &str = "https://support.crm.svc.cluster.local/mcp";
pub(crate) const ISSUER: &str = "https://issuer.idp.svc.cluster.local";

/// How a call went.
#[derive(Debug, Deserialize)]
pub(crate) struct Called {
    pub(crate) status: Option<u16>,
    pub(crate) body: String,
    pub(crate) error: Option<String>,
    pub(crate) sent_at_ms: i64,
    pub(crate) tries: u64,
}

/// How many calls were answered how.
#[derive(Debug, Deserialize)]
pub(crate) struct Counts {
    pub(crate) answered: BTreeMap<u16, u64>,
    pub(crate) failed: BTreeMap<String, u64>,
}

/// Who answered at a port, how often.
#[derive(Debug, Deserialize)]
pub(crate) struct Dialled {
    pub(crate) server: u64,
    pub(crate) other: u64,
    pub(crate) nobody: BTreeMap<String, u64>,
}

/// A call under way.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    arguments: Vec<String>,
    with_certificate: bool,
}

// === impl Call ===

impl Call {
    /// A call of the tool that may be called, with the client's certificate.
    pub(crate) fn new() -> Self {
        let ca = format!("--ca={IDENTITY}/ca.crt");
        Self {
            arguments: vec![format!("--url={URL}"), ca],
            with_certificate: true,
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.arguments.push(format!("--{name}={value}"));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.with("token", token)
    }

    pub(crate) fn tool(self, tool: &str, arguments: &str) -> Self {
        self.with("tool", tool).with("arguments", arguments)
    }

    /// Past the Service, at this address and port.
    pub(crate) fn at(self, address: &str) -> Self {
        self.with("connect", address)
    }

    /// Calls again and again until the answer has this status.
    pub(crate) fn until(self, status: u16) -> Self {
        self.with("until", &status.to_string())
    }

    pub(crate) fn without_certificate(mut self) -> Self {
        self.with_certificate = false;
        self
    }

    fn command<'a>(&'a self, command: &'a str, certificate: &'a str) -> Vec<&'a str> {
        let shown = self.with_certificate.then_some(certificate);
        let arguments = self.arguments.iter().map(String::as_str);
        [command]
            .into_iter()
            .chain(arguments)
            .chain(shown)
            .collect()
    }

    fn certificate() -> String {
        format!("--certificate={IDENTITY}")
    }

    pub(crate) fn send(&self) -> Result<Called> {
        CLIENT.run(&self.command("call", &Self::certificate()))
    }

    /// Sends it in the background; it must have an end.
    pub(crate) fn start(&self) -> Result<Running> {
        CLIENT.start(&self.command("call", &Self::certificate()))
    }

    /// Calls all the time until it is stopped.
    pub(crate) fn load(&self) -> Result<Running> {
        CLIENT.start(&self.command("load", &Self::certificate()))
    }
}

/// A token of the issuer in the cluster.
pub(crate) fn token(subject: &str, scope: &str, audience: &str) -> Result<String> {
    let claims =
        serde_json::json!({"sub": subject, "scope": scope, "aud": audience, "client_id": "agent"});
    CLIENT.run(&[
        "token",
        &format!("--issuer={ISSUER}"),
        "--ca=/issuer/ca.crt",
        &format!("--claims={claims}"),
    ])
}

// === impl Called ===

impl Called {
    pub(crate) fn is(&self, status: u16) -> Result<()> {
        ensure!(
            self.status == Some(status),
            "not {status} but {:?} after {} tries: {}{}",
            self.status,
            self.tries,
            self.body,
            self.error.as_deref().unwrap_or_default()
        );
        Ok(())
    }
}

// === impl Counts ===

impl Counts {
    /// Every call was answered, and with 200.
    pub(crate) fn all_good(&self, at_least: u64) -> Result<u64> {
        let good = self.answered.get(&200).copied().unwrap_or_default();
        ensure!(
            self.failed.is_empty() && self.answered.len() == 1 && good >= at_least,
            "not all calls were answered with 200, or fewer than {at_least}: {self:?}"
        );
        Ok(good)
    }
}
