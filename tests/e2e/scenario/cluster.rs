//! The cluster: `kubectl` and other programs on its node.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const STEP: Duration = Duration::from_millis(100);

/// A file of the repository.
pub(crate) fn file(path: &str) -> PathBuf {
    [ROOT, path].iter().collect()
}

/// Runs a program on the node; gives what it wrote to standard output.
pub(crate) fn on_node(arguments: &[&str], input: &str) -> Result<String> {
    let mut child = spawn(arguments)?;
    let mut pipe = child.stdin.take().context("no pipe")?;
    // It may end without having read what it does not need.
    let _ = pipe.write_all(input.as_bytes());
    drop(pipe);
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let (said, error) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    bail!("{}: {said}{error}", arguments.join(" "))
}

fn spawn(arguments: &[&str]) -> Result<Child> {
    Command::new(file("tests/cluster/enter.sh"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("enter.sh does not start")
}

pub(crate) fn kubectl(arguments: &[&str]) -> Result<String> {
    on_node(&[&["kubectl"], arguments].concat(), "")
}

/// An object or a list as JSON.
pub(crate) fn get(arguments: &[&str]) -> Result<Value> {
    let text = kubectl(&[&["get", "-o", "json"], arguments].concat())?;
    Ok(serde_json::from_str(&text)?)
}

/// What the audit log says of a user's requests, oldest first.
pub(crate) fn audited(user: &str) -> Result<Vec<Value>> {
    let log = "cat \"$SIDEGATE_CLUSTER_DIR/log/audit.jsonl\"";
    let log = on_node(&["sh", "-c", log], "")?;
    let events = log.lines().map(serde_json::from_str::<Value>);
    let events = events.collect::<Result<Vec<_>, _>>();
    let mut events = events.context("the audit log")?;
    events.retain(|event| event["user"]["username"] == user);
    Ok(events)
}

pub(crate) fn apply(documents: &str) -> Result<()> {
    let arguments = ["kubectl", "apply", "--server-side", "-f", "-"];
    on_node(&arguments, documents).map(drop)
}

/// A container of a pod, or of a pod of a Deployment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) namespace: &'static str,
    pub(crate) pod: &'static str,
    pub(crate) container: &'static str,
}

/// A command that runs in a container until its input ends.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    command: String,
}

impl Place {
    fn exec<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str>
    where
        Self: 'a,
    {
        let exec = ["kubectl", "exec", "-i", "-n", self.namespace, self.pod];
        let container = ["-c", self.container, "--", "/e2e-actor"];
        [&exec[..], &container[..], arguments].concat()
    }

    /// Runs a command of the actor to its end.
    pub(crate) fn run<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let said = on_node(&self.exec(arguments), "")?;
        serde_json::from_str(&said).with_context(|| format!("not an answer: {said}"))
    }

    /// Starts a command of the actor that goes on until it is stopped, and
    /// waits until it is on its way.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Running> {
        let mut child = spawn(&self.exec(arguments))?;
        let mut stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut said = String::new();
        stdout.read_line(&mut said)?;
        let mut running = Running {
            child,
            stdout,
            command: arguments.join(" "),
        };
        match said.trim() {
            "\"started\"" => Ok(running),
            _ => {
                let complaints = running.complaints()?;
                bail!("{}: {said}{complaints}", running.command)
            }
        }
    }
}

impl Running {
    /// Stops it and gives what it found out.
    pub(crate) fn stop<T: DeserializeOwned>(mut self) -> Result<T> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.stdout.read_to_string(&mut said)?;
        let complaints = self.complaints()?;
        serde_json::from_str(&said).with_context(|| format!("{}: {said}{complaints}", self.command))
    }

    fn complaints(&mut self) -> Result<String> {
        let mut complaints = String::new();
        let mut stderr = self.child.stderr.take().context("no pipe")?;
        stderr.read_to_string(&mut complaints)?;
        self.child.wait()?;
        Ok(complaints)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until something is there.
pub(crate) fn until<T>(
    what: &str,
    seconds: u64,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if Instant::now() > end {
            bail!("waited {seconds} s in vain until {what}");
        }
        std::thread::sleep(STEP);
    }
}

/// Waits until a Deployment's pods are as it says, and ready.
pub(crate) fn rolled_out(namespace: &str, deployment: &str) -> Result<()> {
    let deployment = format!("deployment/{deployment}");
    kubectl(&[
        "rollout",
        "status",
        "-n",
        namespace,
        &deployment,
        "--timeout=90s",
    ])
    .map(drop)
}

/// The pods with this label, those that are being deleted left out.
pub(crate) fn pods(namespace: &str, selector: &str) -> Result<Vec<Value>> {
    let list = get(&["pods", "-n", namespace, "-l", selector])?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let stays = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_null();
    Ok(items.into_iter().filter(stays).collect())
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// A condition of an object.
pub(crate) fn find_condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.find(|condition| condition["type"] == kind)
}

/// A condition of an object: its status, reason and message.
pub(crate) fn condition(object: &Value, kind: &str) -> (String, String, String) {
    let found = find_condition(object, kind);
    let text = |field: &str| {
        let value = found.and_then(|condition| condition[field].as_str());
        value.unwrap_or_default().to_owned()
    };
    (text("status"), text("reason"), text("message"))
}
