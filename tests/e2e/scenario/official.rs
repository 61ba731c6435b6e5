//! The official clients in the place of a pod: its network, its resolver, its
//! files. Nothing of the product's is in them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use sidegate_testkit::mcp::{LEGACY, MODERN};

use crate::actors::{CLIENT, IDENTITY, ISSUER, URL};
use crate::cluster::{file, kubectl, on_node, pods, until};
use crate::node;

/// Where the node has what belongs to no pod; gone with the cluster.
const FOLDER: &str = "/run/official";
/// Runs a program with another file in the place of that with the resolver.
const WITH_RESOLVER: &str = r#"mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec "$@""#;

/// The tool that the rules allow, and one of the same server that they do not.
const MAY: &str = "get_customer_info";
const MAY_NOT: &str = "create_support_ticket";
const SPIFFE_ID: &str = "spiffe://cluster.local/ns/agents/sa/agent";

/// What everyone who signs in does first.
const FIRST: [(&str, &str, u16); 4] = [
    ("POST", URL, 401),
    (
        "GET",
        "https://support.crm.svc.cluster.local/.well-known/oauth-protected-resource/mcp",
        200,
    ),
    (
        "GET",
        "https://issuer.idp.svc.cluster.local/.well-known/oauth-authorization-server",
        200,
    ),
    ("POST", "https://issuer.idp.svc.cluster.local/token", 200),
];

#[derive(Debug, Clone, Copy)]
enum Program {
    Python,
    TypeScript,
}

/// The pod that a client is in.
#[derive(Debug)]
struct Place {
    process: String,
    address: String,
}

/// What a client prints.
#[derive(Debug, Deserialize)]
struct Report {
    version: Option<String>,
    listed: Vec<String>,
    calls: Vec<Value>,
    requests: Vec<(String, String, u16)>,
    failed: Option<Vec<String>>,
}

/// Of both languages, without sessions and with them.
pub(crate) fn clients() -> Result<String> {
    let place = Place::of_client()?;
    place.visit("auto", MODERN)?;
    // A session is in one pod, so its requests have to find that one.
    affinity("ClientIP")?;
    place.visit("legacy", LEGACY)?;
    affinity("None")?;
    Ok(format!("Python and TypeScript, {MODERN} and {LEGACY}"))
}

/// Whether requests of one client go to the same pod.
fn affinity(kind: &str) -> Result<()> {
    let patch = json!({"spec": {"sessionAffinity": kind}}).to_string();
    kubectl(&["patch", "-n", "crm", "service/support", "-p", &patch])?;
    until("the node does so", 20, || {
        let sets = on_node(&["nft", "list", "sets", "ip"], "")?;
        let mut lines = sets.lines();
        let has_one = lines.any(|line| line.contains("affinity-") && line.contains("crm/support"));
        Ok((has_one == (kind == "ClientIP")).then_some(()))
    })
}

// === impl Place ===

impl Place {
    fn of_client() -> Result<Self> {
        let pods = pods(CLIENT.namespace, "app=agent")?;
        let pod = pods.first().context("there is no client")?;
        let id = node::container(pod, "containerStatuses", CLIENT.container)?;
        let address = pod["status"]["podIP"].as_str().context("no address")?;
        let place = Self {
            process: node::process(&id)?,
            address: address.to_owned(),
        };
        // Clients take all authorities from one file.
        let prepare = r#"mkdir -p "$0" && cat "$1" "$2" > "$0/ca.crt" && cp "$3" "$0/resolv.conf""#;
        let files = [
            &place.file(&format!("{IDENTITY}/ca.crt")),
            &place.file("/issuer/ca.crt"),
            &place.file("/etc/resolv.conf"),
        ];
        let files = files.map(String::as_str);
        on_node(&[&["sh", "-c", prepare, FOLDER], &files[..]].concat(), "")?;
        Ok(place)
    }

    /// The path on the node of a file of the pod.
    fn file(&self, path: &str) -> String {
        format!("/proc/{}/root{path}", self.process)
    }

    fn visit(&self, mode: &str, version: &str) -> Result<()> {
        for program in [Program::Python, Program::TypeScript] {
            let client = format!("{program:?}-{mode}");
            let report = self.run(program, mode, &client);
            report
                .and_then(|report| report.is_as_promised(version))
                .and_then(|()| self.is_noted(&client))
                .context(client)?;
        }
        Ok(())
    }

    /// The sidecars know who it was: the pod, by its certificate.
    fn is_noted(&self, client: &str) -> Result<()> {
        until("the sidecars have noted both calls", 20, || {
            let options = ["-c", "sidegate", "--tail=-1", "-l", "app=support-mcp"];
            let log = kubectl(&[&["logs", "-n", "crm"], &options[..]].concat())?;
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let ours = |line: &Value| {
                line["principal"]["client"] == client
                    && line["principal"]["spiffeId"] == SPIFFE_ID
                    && line["peer"] == self.address.as_str()
                    && line["method"] == "tools/call"
            };
            let lines: Vec<Value> = lines.filter(ours).collect();
            let has = |tool: &str, decision: &str| {
                let noted = |line: &Value| line["target"]["name"] == tool;
                let mut decided = lines.iter().filter(|line| noted(line));
                decided.any(|line| line["decision"] == decision)
            };
            Ok((has(MAY, "allow") && has(MAY_NOT, "deny")).then_some(()))
        })
    }

    fn run(&self, program: Program, mode: &str, client: &str) -> Result<Report> {
        let asked = json!({
            "url": URL,
            "ca": format!("{FOLDER}/ca.crt"),
            "cert": self.file(&format!("{IDENTITY}/tls.crt")),
            "key": self.file(&format!("{IDENTITY}/tls.key")),
            "issuer": ISSUER,
            "clientId": client,
            "clientSecret": "of no importance here",
            "mode": mode,
            "calls": [
                {"tool": MAY, "arguments": {"customer_id": "C-1001"}},
                {"tool": MAY_NOT, "arguments": {"customer_id": "C-1001", "subject": "x"}},
            ],
        });
        let (asked, [runs, script]) = (asked.to_string(), program.command()?);
        let resolver = format!("{FOLDER}/resolv.conf");
        let network = ["nsenter", "-t", &self.process, "-n", "--"];
        let names = ["unshare", "--mount", "sh", "-c", WITH_RESOLVER, &resolver];
        let said = on_node(
            &[&network[..], &names, &[&runs, &script, &asked]].concat(),
            "",
        )?;
        serde_json::from_str(&said).with_context(|| format!("not a report: {said}"))
    }
}

// === impl Program ===

impl Program {
    fn command(self) -> Result<[String; 2]> {
        let [runs, script] = match self {
            Self::Python => [
                tool("SIDEGATE_TEST_PYTHON", ".tools/venv/bin/python"),
                file("tests/clients/client.py"),
            ],
            Self::TypeScript => [
                std::env::var_os("SIDEGATE_TEST_NODE").map_or_else(|| "node".into(), PathBuf::from),
                tool("SIDEGATE_TEST_CLIENTS", ".tools/clients").join("client.mjs"),
            ],
        };
        let is_there = script.is_file() && (runs.is_relative() || runs.is_file());
        ensure!(
            is_there,
            "{} or {} is missing: run `make test-tools`, which needs Python 3.11 and Node.js 20",
            runs.display(),
            script.display()
        );
        Ok([runs, script].map(|path| path.display().to_string()))
    }
}

/// What `make test-tools` installs.
fn tool(variable: &str, usual: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| file(usual), PathBuf::from)
}

// === impl Report ===

impl Report {
    /// It signed in, saw the one tool that it may call, called it, and was
    /// refused the other.
    fn is_as_promised(&self, version: &str) -> Result<()> {
        ensure!(self.failed.is_none(), "it failed: {self:?}");
        ensure!(self.version.as_deref() == Some(version), "{self:?}");
        let sent = |it: &(String, String, u16), expected: (&str, &str, u16)| {
            (it.0.as_str(), it.1.as_str(), it.2) == expected
        };
        let mut first = self.requests.iter().zip(FIRST);
        let signed_in = self.requests.len() > FIRST.len() && first.all(|(it, so)| sent(it, so));
        ensure!(signed_in, "it signs in otherwise: {self:?}");
        ensure!(self.listed == [MAY], "it sees {self:?}");

        let [called, refused] = self.calls.as_slice() else {
            anyhow::bail!("it made other calls: {self:?}");
        };
        let text = |call: &Value, word: &str| call.to_string().contains(word);
        ensure!(
            called["isError"] == false && text(called, "C-1001"),
            "the tool that it may call: {self:?}"
        );
        let answers = |status| self.requests.iter().filter(move |it| it.2 == status);
        ensure!(
            refused["isError"] != false
                && text(refused, "not allowed")
                && answers(403).count() == 1
                && answers(401).count() == 1,
            "the tool that no rule allows: {self:?}"
        );
        Ok(())
    }
}
