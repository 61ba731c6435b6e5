//! `sidegate check`: everything that is wrong with documents, at once.

use std::process::ExitCode;

use sidegate_config::sidecar_config::TlsConfig;
use sidegate_config::{Violations, build, validate};

use crate::args::CheckArgs;
use crate::documents::{gateways, options, read_all};
use crate::{complain, say};

const NO_CERTIFICATE: &str = "spec.tls.certificateRef: none, so the certificate comes from the \
    built-in authority of a cluster or of `sidegate-dev up`; `sidegate run` needs one";

pub(crate) fn check(args: &CheckArgs) -> ExitCode {
    let report = examine(args);
    for line in &report.violations {
        complain(line);
    }
    for line in &report.warnings {
        say(format_args!("warning: {line}"));
    }
    if !report.violations.is_empty() {
        return ExitCode::FAILURE;
    }
    say(&report.summary);
    ExitCode::SUCCESS
}

/// What was found, by line.
#[derive(Debug, Default)]
struct Report {
    violations: Vec<String>,
    warnings: Vec<String>,
    summary: String,
}

fn examine(args: &CheckArgs) -> Report {
    let mut report = Report::default();
    let documents = match read_all(&args.source.files) {
        Ok(documents) => documents,
        Err(violations) => {
            report.refuse(&violations);
            return report;
        }
    };
    let options = options(&args.source.trust_domain);
    let names = gateways(&documents);
    for name in &names {
        match validate(&documents, Some(name), &options) {
            Ok(validated) => {
                let config = build(validated);
                if matches!(config.tls, TlsConfig::BuiltIn { .. }) {
                    report
                        .warnings
                        .push(format!("McpGateway {name}: {NO_CERTIFICATE}"));
                }
                report.warnings.extend(
                    config
                        .warnings
                        .iter()
                        .map(|warning| format!("McpGateway {name}: {warning}")),
                );
            }
            Err(violations) => report.refuse(&violations),
        }
    }
    if names.is_empty() && report.violations.is_empty() {
        report
            .violations
            .push("no McpGateway found: name its file or directory with -f".to_owned());
    }
    report.summary = match names.as_slice() {
        [name] => format!("checked McpGateway {name}: valid"),
        names => format!(
            "checked {} gateways ({}): valid",
            names.len(),
            names.join(", ")
        ),
    };
    report
}

// === impl Report ===

impl Report {
    fn refuse(&mut self, violations: &Violations) {
        for line in violations.to_string().lines() {
            // Gateways share documents, and with them violations.
            if !self.violations.iter().any(|known| known == line) {
                self.violations.push(line.to_owned());
            }
        }
    }
}
