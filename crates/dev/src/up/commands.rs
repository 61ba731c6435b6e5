//! Commands for a shell: `curl` with a token against the first server.

use std::fs;
use std::path::{Path, PathBuf};

use sidegate_config::sidecar_config::{SidecarConfig, TlsConfig};
use url::Url;

use super::cast::{Call, Caller};
use super::desk::Desk;
use super::plan::ServerPlan;
use super::{USUAL_ISSUER, UpOptions};
use crate::certificates::folder;
use crate::clients::CERTIFICATES;

const VERSION: &str = "2026-07-28";

/// What the commands have in common.
pub(super) struct Words {
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

// === impl Words ===

impl Words {
    pub(super) fn of(
        options: &UpOptions,
        desk: &Desk,
        config: &SidecarConfig,
        server: &ServerPlan,
    ) -> Self {
        let issuer = match &desk.plan.issuer {
            Some(issuer) if issuer.issuer != USUAL_ISSUER => {
                format!(" --issuer {}", quoted(&issuer.issuer))
            }
            Some(_) | None => String::new(),
        };
        let (origin, connect) = address(config, server);
        let here = std::env::current_dir().ok();
        Self {
            program: quoted(&shown(&options.program, here.as_deref())),
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
    pub(super) fn write_curl_files(
        &self,
        desk: &Desk,
        config: &SidecarConfig,
    ) -> anyhow::Result<()> {
        let ours = !matches!(config.tls, TlsConfig::Plaintext) && !desk.own_certificates;
        // Absolute, so that the file works from everywhere.
        let dir = fs::canonicalize(&self.dir)?;
        for certificate in CERTIFICATES {
            let text = curl_options(certificate, ours.then_some(dir.as_path()));
            folder::write(&self.curl_file(certificate), &text, 0o600)?;
        }
        Ok(())
    }

    pub(super) fn token(&self, caller: Caller) -> String {
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

    pub(super) fn call(&self, caller: Caller, call: Call) -> String {
        let curl = self.curl(caller.client.certificate);
        format!("{curl}{}{}", self.authorization(caller), self.calling(call))
    }

    /// The same with the head of the answer.
    pub(super) fn refused(&self, caller: Caller, call: Call) -> String {
        let curl = self.curl(caller.client.certificate);
        format!(
            "{curl} -i{}{}",
            self.authorization(caller),
            self.calling(call)
        )
    }

    pub(super) fn without_token(&self, call: Call) -> String {
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

    pub(super) fn list(&self, caller: Caller) -> String {
        let body = quoted(&message("tools/list", ""));
        let curl = self.curl(caller.client.certificate);
        let authorization = self.authorization(caller);
        format!(
            "{curl}{authorization} \\\n  -H 'Mcp-Method: tools/list' \\\n  -d {body} \\\n  {}",
            self.url
        )
    }

    /// RFC 9728: the path goes behind the well-known one.
    pub(super) fn metadata(&self) -> String {
        let path = if self.path == "/" { "" } else { &self.path };
        let url = format!("{}/.well-known/oauth-protected-resource{path}", self.origin);
        format!("{} {}", self.curl("agent"), quoted(&url))
    }
}

/// Options of `curl` for a caller with a certificate in `dir`, or with none.
fn curl_options(certificate: &str, dir: Option<&Path>) -> String {
    let mut text = format!(
        "# Options of curl (see -K in its manual) for a caller with the certificate of the\n\
         # {certificate}, and headers of an MCP request.\n"
    );
    if let Some(dir) = dir {
        let (crt, key) = (format!("{certificate}.crt"), format!("{certificate}.key"));
        for (option, file) in [("cacert", "ca.crt"), ("cert", &crt), ("key", &key)] {
            let path = dir.join(file).display().to_string();
            let path = path.replace('\\', r"\\").replace('"', r#"\""#);
            text.push_str(&format!("{option} = \"{path}\"\n"));
        }
    }
    // Over HTTP/2 older versions of curl may give up when they are refused
    // while they still send.
    text.push_str(&format!(
        "header = \"Content-Type: application/json\"\n\
         header = \"Accept: application/json, text/event-stream\"\n\
         header = \"MCP-Protocol-Version: {VERSION}\"\n\
         http1.1\nsilent\nshow-error\nwrite-out = \"\\n\"\n"
    ));
    text
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
        TlsConfig::Server { .. } | TlsConfig::Mutual { .. } | TlsConfig::BuiltIn { .. } => "https",
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

/// A path as one would type it in `here`.
fn shown(program: &Path, here: Option<&Path>) -> String {
    let below = here.and_then(|here| program.strip_prefix(here).ok());
    let shown = below.unwrap_or(program).display().to_string();
    // Without a slash a shell would look for it elsewhere.
    if shown.contains('/') {
        shown
    } else {
        format!("./{shown}")
    }
}

/// A word of a POSIX shell.
pub(super) fn quoted(word: &str) -> String {
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
            built_in_ca: false,
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
    fn a_program_is_shown_as_it_can_be_typed() {
        let here = Some(Path::new("/a/b"));
        assert_eq!(shown(Path::new("/a/b/target/dev"), here), "target/dev");
        assert_eq!(shown(Path::new("/a/b/dev"), here), "./dev");
        assert_eq!(shown(Path::new("/usr/bin/dev"), here), "/usr/bin/dev");
    }

    #[test]
    fn quotes_in_a_path_do_not_end_it() {
        let options = curl_options("agent", Some(Path::new(r#"/a "b" \c"#)));
        assert!(
            options.contains(r#"cert = "/a \"b\" \\c/agent.crt""#),
            "{options}"
        );
        assert!(!curl_options("agent", None).contains("cert ="));
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
