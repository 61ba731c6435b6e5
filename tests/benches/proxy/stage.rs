//! What stands around the load: the issuer, certificates, the server behind,
//! and the two proxies in front of it.

mod documents;
mod tls;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustls::ClientConfig;
use serde_json::json;
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp::{McpRequest, call, modern};
use sidegate_testkit::process::{binary, free_ports};
use tempfile::TempDir;

pub(crate) use self::documents::Variant;
use self::documents::{Gateway, RESOURCE};
use self::tls::Certificates;
pub(crate) use self::tls::files;
use crate::connections::{Target, ask};
use crate::exchange::bytes;
use crate::process::Process;
use crate::upstream::{COMMAND, MANY_CURSOR};

const PATIENCE: Duration = Duration::from_secs(20);
const GATEWAY_FILE: &str = "gateway.yaml";

/// With TLS and client certificates, or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plaintext,
    Mutual,
}

/// Everything but the proxies.
#[derive(Debug)]
pub(crate) struct Stage {
    issuer: TestIssuer,
    certificates: Certificates,
    /// The server behind.
    pub(crate) server: Process,
    upstream: SocketAddr,
    dir: TempDir,
}

/// A proxy under load.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) process: Process,
    pub(crate) target: Target,
}

/// A sidecar, which has more sides than a bare proxy.
#[derive(Debug)]
pub(crate) struct Sidegate {
    pub(crate) proxy: Proxy,
    /// Time from the start of the process until it said that it is ready.
    pub(crate) ready_after: Duration,
    health: SocketAddr,
    dir: PathBuf,
    gateway: Gateway,
}

// === impl Stage ===

impl Stage {
    /// Starts the issuer and the server behind.
    pub(crate) async fn set() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let issuer = TestIssuer::start().await;
        let certificates = Certificates::write(dir.path())?;
        let (server, upstream) = Process::start_self(&[COMMAND])?;
        Ok(Self {
            issuer,
            certificates,
            server,
            upstream,
            dir,
        })
    }

    /// A call of the tool whose rule looks at its arguments, of this many
    /// bytes of body.
    pub(crate) fn call(&self, body_bytes: usize) -> anyhow::Result<Vec<u8>> {
        let message = |text: &str| {
            call(
                "create_ticket",
                json!({"priority": "normal", "customer": "C-1042", "text": text}),
            )
        };
        let length = |message: McpRequest| message.request().body().len();
        let rest = body_bytes.checked_sub(length(message("")));
        let text = text(rest.context("the body is too short for a call")?);
        let message = message(&text);
        ensure!(
            length(message.clone()) == body_bytes,
            "the body has another length"
        );
        Ok(bytes(message.token(&self.token())))
    }

    /// A request for the short list, or for the long one.
    pub(crate) fn list(&self, long: bool) -> Vec<u8> {
        let params = if long {
            json!({"cursor": MANY_CURSOR})
        } else {
            json!({})
        };
        bytes(modern("tools/list", params).token(&self.token()))
    }

    fn token(&self) -> String {
        let token = self.issuer.token(RESOURCE).expires_in(3600);
        token.scope("customer:read ticket:create").sign()
    }

    /// Starts a bare proxy.
    pub(crate) fn bare(&self, transport: Transport) -> anyhow::Result<Proxy> {
        let upstream = self.upstream.to_string();
        let dir = self.dir.path().display().to_string();
        let mut arguments = vec![crate::bare::COMMAND, &upstream];
        if transport == Transport::Mutual {
            arguments.push(&dir);
        }
        let (process, address) = Process::start_self(&arguments)?;
        Ok(Proxy {
            process,
            target: Target {
                address,
                tls: self.client(transport),
            },
        })
    }

    /// Starts a sidecar and waits until it is ready.
    pub(crate) async fn sidegate(&self, transport: Transport) -> anyhow::Result<Sidegate> {
        let dir = tempfile::tempdir_in(self.dir.path())?.keep();
        let gateway = Gateway {
            upstream_port: self.upstream.port(),
            issuer: self.issuer.issuer().to_owned(),
            jwks_uri: self.issuer.jwks_uri(),
            secret: (transport == Transport::Mutual).then(|| self.certificates.secret()),
        };
        fs::create_dir(dir.join("config"))?;
        let [traffic, health] =
            free_ports().map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)));
        write_gateway(&dir, &gateway.document(Variant::Usual))?;
        let begun = Instant::now();
        let arguments = [
            "run",
            "--config",
            &dir.join("config").display().to_string(),
            "--listen",
            &format!("bench={traffic}"),
            "--health",
            &health.to_string(),
            "--admin",
            "127.0.0.1:0",
        ];
        let out = (dir.join("audit"), dir.join("log"));
        let mut process = Process::start(&binary("sidegate"), &arguments, &out.0, &out.1)?;
        while ask(health, "/readyz").await.is_err() {
            process.check_alive(&out.1)?;
            ensure!(
                begun.elapsed() < PATIENCE,
                "not ready: {}",
                fs::read_to_string(&out.1)?
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ready_after = begun.elapsed();
        let proxy = Proxy {
            process,
            target: Target {
                address: traffic,
                tls: self.client(transport),
            },
        };
        Ok(Sidegate {
            proxy,
            ready_after,
            health,
            dir,
            gateway,
        })
    }

    fn client(&self, transport: Transport) -> Option<Arc<ClientConfig>> {
        (transport == Transport::Mutual).then(|| self.certificates.client())
    }
}

// === impl Sidegate ===

impl Sidegate {
    /// Writes other rules, as a mounted volume does: by a rename.
    pub(crate) fn write(&self, variant: Variant) -> anyhow::Result<()> {
        write_gateway(&self.dir, &self.gateway.document(variant))
    }

    /// A time series of its metrics, 0 when it is not there.
    pub(crate) async fn metric(&self, series: &str) -> anyhow::Result<u64> {
        let text = ask(self.health, "/metrics").await?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(Ok(0), |value| Ok(value.parse()?))
    }

    /// Stops it and counts its audit lines.
    pub(crate) async fn stop(self) -> anyhow::Result<u64> {
        self.proxy.process.terminate().await?;
        let audit = fs::read(self.dir.join("audit"))?;
        Ok(audit.iter().filter(|byte| **byte == b'\n').count() as u64)
    }
}

fn write_gateway(dir: &Path, document: &str) -> anyhow::Result<()> {
    let next = dir.join("next");
    fs::write(&next, document)?;
    fs::rename(&next, dir.join("config").join(GATEWAY_FILE))?;
    Ok(())
}

/// Text as people write it: mostly letters, here and there an escape.
fn text(bytes: usize) -> String {
    const SENTENCE: &str = "The customer says that the invoice is wrong and asks for a new one.\n";
    let mut text = String::new();
    // A line break is two bytes in JSON.
    let mut left = bytes;
    while left > SENTENCE.len() + 1 {
        text.push_str(SENTENCE);
        left -= SENTENCE.len() + 1;
    }
    text.push_str(&"x".repeat(left));
    text
}
