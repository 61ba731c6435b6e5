//! What is printed when everything runs: commands to paste, each of which
//! shows one thing and works by itself.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use sidegate_config::sidecar_config::{SidecarConfig, TlsConfig};
use url::Url;

use super::UpOptions;
use super::cast::{Call, Caller, Cast};
use super::desk::{Desk, Gateway};
use super::plan::ServerPlan;
use crate::clients::CERTIFICATES;

const VERSION: &str = "2026-07-28";

/// Commands with a line about each.
#[derive(Debug)]
pub(super) struct Lesson {
    notes: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    about: String,
    command: String,
}

/// What the commands have in common.
struct Words {
    program: String,
    dir: PathBuf,
    /// `--issuer …`, unless it is the usual one.
    issuer: String,
    /// The address of the server's endpoint, and what `curl` needs to reach it.
    url: String,
    origin: String,
    path: String,
    connect: String,
}

// === impl Lesson ===

impl Lesson {
    /// Writes the files that the commands read, and what to print about them.
    pub(super) fn prepare(options: &UpOptions, desk: &Desk, ready: bool) -> Self {
        let mut lesson = Self {
            notes: Vec::new(),
            steps: Vec::new(),
        };
        for (plan, gateway) in desk.plan.gateways.iter().zip(&desk.gateways) {
            for server in &plan.servers {
                lesson.notes.push(format!(
                    "McpGateway {}: server {} (a demo server on 127.0.0.1:{}) behind 127.0.0.1:{}",
                    gateway.config.gateway, server.name, server.port, server.listen_port
                ));
            }
        }
        if let Some(issuer) = &desk.plan.issuer {
            let about = format!("Tokens come from {} for this machine only", issuer.issuer);
            lesson.notes.push(about);
        }
        if desk.own_certificates {
            let about = "A gateway brings its own certificate: tell curl what it needs for that";
            lesson.notes.push(about.to_owned());
        }
        if !ready {
            let about = "Not ready: the keys of an issuer cannot be fetched; the log says which";
            lesson.notes.push(about.to_owned());
        }
        let first = desk.gateways.first().zip(desk.plan.gateways.first());
        if let Some((gateway, server)) =
            first.and_then(|(gateway, plan)| Some((gateway, plan.servers.first()?)))
        {
            let words = Words::of(options, desk, &gateway.config, server);
            if let Err(error) = words.write_curl_files(desk, &gateway.config) {
                lesson
                    .notes
                    .push(format!("The files for curl cannot be written: {error}"));
            }
            lesson.teach(&words, desk, gateway);
        }
        lesson
    }

    fn teach(&mut self, words: &Words, desk: &Desk, gateway: &Gateway) {
        let cast = Cast::of(&gateway.config);
        let with_tokens = desk.plan.issuer.is_some();
        if let Some((caller, call)) = cast.permitted.filter(|_| with_tokens) {
            self.step(
                format!("A token for the {}:", caller.client.id),
                words.token(caller),
            );
            self.step(
                format!("With it, a permitted call of {}:", call.tool),
                words.call(caller, call),
            );
            let about = format!(
                "The tools that the {} may use; others are not shown:",
                caller.client.id
            );
            self.step(about, words.list(caller));
        }
        if let Some((_, call)) = cast.permitted {
            let about = "Without a token: 401, and where a client learns how to sign in:";
            self.step(about.to_owned(), words.without_token(call));
            self.step("What it learns there:".to_owned(), words.metadata());
        }
        if let Some((caller, call, scopes)) = cast.missing.filter(|_| with_tokens) {
            let about = format!(
                "The {} may not call {}: 403, and the scopes to ask for ({scopes}):",
                caller.client.id, call.tool
            );
            self.step(about, words.refused(caller, call));
        }
        if let Some((caller, without, with)) = cast.by_argument.filter(|_| with_tokens) {
            let about = "A rule about arguments. A ticket of normal priority is permitted:";
            self.step(about.to_owned(), words.call(caller, without));
            let about = "An urgent one is not, without the scope of a lead:";
            self.step(about.to_owned(), words.refused(caller, with));
        }
        let audit = quoted(&desk.audit.display().to_string());
        self.step(
            "Every decision with its reason:".to_owned(),
            format!("tail -n 5 {audit}"),
        );
        if let Some(health) = gateway.sidecar.health_addresses().first() {
            let command = format!(
                "curl -sS http://{health}/metrics | grep -e '^sidegate_requests_total' -e '^sidegate_config'"
            );
            self.step("The metrics:".to_owned(), command);
        }
    }

    fn step(&mut self, about: String, command: String) {
        self.steps.push(Step { about, command });
    }
}

impl fmt::Display for Lesson {
    /// Comments and commands only: all of it can be pasted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "# {note}.")?;
        }
        for Step { about, command } in &self.steps {
            writeln!(f, "\n# {about}\n{command}")?;
        }
        writeln!(
            f,
            "\n# Changes of the file are enforced when it is saved. Ctrl-C stops everything."
        )
    }
}

// === impl Words ===

impl Words {
    fn of(options: &UpOptions, desk: &Desk, config: &SidecarConfig, server: &ServerPlan) -> Self {
        let issuer = match &desk.plan.issuer {
            Some(issuer) if issuer.issuer != crate::up::USUAL_ISSUER => {
                format!(" --issuer {}", quoted(&issuer.issuer))
            }
            Some(_) | None => String::new(),
        };
        let (origin, connect) = address(config, server);
        Self {
            program: quoted(&shown(&options.program)),
            dir: options.dir.clone(),
            issuer,
            url: quoted(&format!("{origin}{}", server.path)),
            path: server.path.clone(),
            origin,
            connect,
        }
    }

    fn curl_file(&self, certificate: &str) -> PathBuf {
        self.dir.join(format!("{certificate}.curl"))
    }

    /// A file for each client certificate, with what every request needs.
    fn write_curl_files(&self, desk: &Desk, config: &SidecarConfig) -> anyhow::Result<()> {
        for certificate in CERTIFICATES {
            let mut text = format!(
                "# Options of curl (see -K in its manual) for a caller with the certificate of\n\
                 # the {certificate}, and headers of an MCP request.\n"
            );
            if !matches!(config.tls, TlsConfig::Plaintext) && !desk.own_certificates {
                let dir = fs::canonicalize(&self.dir)?;
                let file = |name: &str| {
                    dir.join(name)
                        .display()
                        .to_string()
                        .replace('\\', "\\\\")
                        .replace('"', "\\\"")
                };
                text.push_str(&format!("cacert = \"{}\"\n", file("ca.crt")));
                text.push_str(&format!(
                    "cert = \"{}\"\n",
                    file(&format!("{certificate}.crt"))
                ));
                text.push_str(&format!(
                    "key = \"{}\"\n",
                    file(&format!("{certificate}.key"))
                ));
            }
            text.push_str(&format!(
                "header = \"Content-Type: application/json\"\n\
                 header = \"Accept: application/json, text/event-stream\"\n\
                 header = \"MCP-Protocol-Version: {VERSION}\"\n\
                 silent\nshow-error\nwrite-out = \"\\n\"\n"
            ));
            crate::certificates::folder::write(&self.curl_file(certificate), &text, 0o600)?;
        }
        Ok(())
    }

    fn token(&self, caller: Caller) -> String {
        let Self {
            program, issuer, ..
        } = self;
        let scope = caller
            .scope
            .map_or_else(String::new, |scope| format!(" --scope {}", quoted(scope)));
        format!(
            "{program} token --client {}{scope}{issuer}",
            caller.client.id
        )
    }

    fn curl(&self, certificate: &str) -> String {
        let file = quoted(&self.curl_file(certificate).display().to_string());
        format!("curl{} -K {file}", self.connect)
    }

    fn authorization(&self, caller: Caller) -> String {
        format!(
            " \\\n  -H \"Authorization: Bearer $({})\"",
            self.token(caller)
        )
    }

    fn call(&self, caller: Caller, call: Call) -> String {
        let curl = self.curl(caller.client.certificate);
        format!("{curl}{}{}", self.authorization(caller), self.calling(call))
    }

    /// The same with the head of the answer.
    fn refused(&self, caller: Caller, call: Call) -> String {
        let curl = self.curl(caller.client.certificate);
        format!(
            "{curl} -i{}{}",
            self.authorization(caller),
            self.calling(call)
        )
    }

    fn without_token(&self, call: Call) -> String {
        format!("{} -i{}", self.curl("agent"), self.calling(call))
    }

    fn calling(&self, call: Call) -> String {
        let Call { tool, arguments } = call;
        let body = message(
            "tools/call",
            &format!("\"name\":\"{tool}\",\"arguments\":{arguments},"),
        );
        let headers = format!("-H 'Mcp-Method: tools/call' -H 'Mcp-Name: {tool}'");
        format!(
            " \\\n  {headers} \\\n  -d {} \\\n  {}",
            quoted(&body),
            self.url
        )
    }

    fn list(&self, caller: Caller) -> String {
        let body = quoted(&message("tools/list", ""));
        let curl = self.curl(caller.client.certificate);
        let authorization = self.authorization(caller);
        format!(
            "{curl}{authorization} \\\n  -H 'Mcp-Method: tools/list' \\\n  -d {body} \\\n  {}",
            self.url
        )
    }

    /// RFC 9728: the path goes behind the well-known one.
    fn metadata(&self) -> String {
        let path = if self.path == "/" { "" } else { &self.path };
        let url = format!("{}/.well-known/oauth-protected-resource{path}", self.origin);
        format!("{} {}", self.curl("agent"), quoted(&url))
    }
}

/// A message of the revision without sessions; each stands for itself.
fn message(method: &str, params: &str) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{{{params}\"_meta\":{{\
         \"io.modelcontextprotocol/protocolVersion\":\"{VERSION}\",\
         \"io.modelcontextprotocol/clientCapabilities\":{{}}}}}}}}"
    )
}

/// The origin under which the gateway knows the server, and the option of
/// `curl` that leads it to this machine when the name does not.
fn address(config: &SidecarConfig, server: &ServerPlan) -> (String, String) {
    let scheme = match config.tls {
        TlsConfig::Plaintext => "http",
        TlsConfig::Server { .. } | TlsConfig::Mutual { .. } => "https",
    };
    let known = config
        .servers
        .iter()
        .find(|known| known.name == server.name);
    let resources = known
        .map(|known| known.resources.as_slice())
        .unwrap_or_default();
    let urls: Vec<Url> = resources
        .iter()
        .filter_map(|resource| Url::parse(resource).ok())
        .collect();
    let authority = |url: &Url| {
        let host = url.host_str().unwrap_or("localhost");
        url.port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    };
    let here = [
        format!("localhost:{}", server.listen_port),
        format!("127.0.0.1:{}", server.listen_port),
    ];
    if let Some(url) = urls.iter().find(|url| here.contains(&authority(url))) {
        return (format!("{scheme}://{}", authority(url)), String::new());
    }
    let named = urls.first().map_or_else(|| here.concat(), authority);
    (
        format!("{scheme}://{named}"),
        format!(" --connect-to ::127.0.0.1:{}", server.listen_port),
    )
}

/// A path as one would type it here.
fn shown(program: &Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| program.strip_prefix(here).ok().map(Path::to_owned));
    below
        .unwrap_or_else(|| program.to_owned())
        .display()
        .to_string()
}

/// A word of a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_that_need_no_quotes_have_none() {
        assert_eq!(
            quoted("target/debug/sidegate-dev"),
            "target/debug/sidegate-dev"
        );
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    fn addressed(resources: &str, mode: &str) -> (String, String) {
        let text = format!(
            "apiVersion: sidegate.dev/v1alpha1\nkind: McpGateway\nmetadata: {{name: a}}\nspec:\n  \
             selector: {{matchLabels: {{app: a}}}}\n  servers:\n  - {{name: main, port: 8080, \
             resources: [{resources}]}}\n  tls: {{mode: {mode}}}\n  authentication: {{jwt: [{{issuer: \
             \"https://a.example\", jwks: {{uri: \"https://a.example/jwks\"}}}}]}}\n"
        );
        let documents = sidegate_config::documents::parse("a.yaml", &text).unwrap();
        let plan = crate::up::plan::Plan::of(&documents).unwrap();
        let options = sidegate_config::Options {
            allow_loopback: true,
            trust_domain: "cluster.local".to_owned(),
        };
        let config = sidegate_config::validate(&documents, None, &options).unwrap();
        address(
            &sidegate_config::build(config),
            &plan.gateways[0].servers[0],
        )
    }

    #[test]
    fn curl_is_led_here_unless_the_name_does_it() {
        let one = "\"https://a.example/mcp\"";
        let led = (
            "http://a.example".to_owned(),
            " --connect-to ::127.0.0.1:18080".to_owned(),
        );
        assert_eq!(addressed(one, "Plaintext"), led);
        let both = "\"https://a.example/mcp\", \"https://localhost:18080/mcp\"";
        assert_eq!(
            addressed(both, "Plaintext"),
            ("http://localhost:18080".to_owned(), String::new())
        );
        let other_port = "\"https://localhost:9/mcp\"";
        assert_eq!(addressed(other_port, "Plaintext").0, "http://localhost:9");
    }

    #[test]
    fn a_message_is_json() {
        let message = message("tools/call", "\"name\":\"a\",\"arguments\":{},");
        let message: serde_json::Value = serde_json::from_str(&message).unwrap();
        assert_eq!(message["params"]["name"], "a");
        assert_eq!(
            message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"],
            VERSION
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_shell_reads_the_word_that_was_quoted(word in "[^\\x00]{0,20}") {
            let command = format!("printf %s {}", quoted(&word));
            let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
