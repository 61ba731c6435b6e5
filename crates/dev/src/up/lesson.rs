//! What is printed when everything runs: commands to paste, each of which
//! shows one thing and works by itself.

use std::fmt;

use super::UpOptions;
use super::cast::Cast;
use super::commands::{Words, quoted};
use super::desk::{Desk, Gateway};

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
