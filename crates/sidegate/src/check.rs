//! `sidegate check`: everything that is wrong with documents, at once.

use std::process::ExitCode;

use sidegate_api::names::{GATEWAY_KIND, PROVIDER_KIND};
use sidegate_config::sidecar_config::TlsConfig;
use sidegate_config::{ValidatedGateway, Violations, build, validate, validate_provider};

use crate::args::CheckArgs;
use crate::documents::{gateways, options, providers, read_all};
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
    for line in &report.summary {
        say(line);
    }
    ExitCode::SUCCESS
}

/// What was found, by line.
#[derive(Debug, Default)]
struct Report {
    violations: Vec<String>,
    warnings: Vec<String>,
    summary: Vec<String>,
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
    let (gateways, providers) = (gateways(&documents), providers(&documents));
    for name in &gateways {
        report.gateway(name, validate(&documents, Some(name), &options));
    }
    for provider in &documents.providers {
        if let Err(violations) = validate_provider(&documents, provider, &options) {
            report.refuse(&violations);
        }
    }
    if gateways.is_empty() && providers.is_empty() {
        let message = "no McpGateway and no LlmProvider found: name their file or directory \
                       with -f";
        report.violations.push(message.to_owned());
    }
    report.checked(GATEWAY_KIND, "gateways", &gateways);
    report.checked(PROVIDER_KIND, "providers", &providers);
    report
}

// === impl Report ===

impl Report {
    fn gateway(&mut self, name: &str, validated: Result<ValidatedGateway, Violations>) {
        let config = match validated {
            Ok(validated) => build(validated),
            Err(violations) => return self.refuse(&violations),
        };
        let built_in = matches!(config.tls, TlsConfig::BuiltIn { .. });
        let certificate = built_in.then_some(NO_CERTIFICATE);
        let warnings = config.warnings.iter().map(String::as_str);
        let warnings = certificate.into_iter().chain(warnings);
        self.warnings
            .extend(warnings.map(|warning| format!("{GATEWAY_KIND} {name}: {warning}")));
    }

    fn checked(&mut self, kind: &str, kinds: &str, names: &[String]) {
        let line = match names {
            [] => return,
            [name] => format!("checked {kind} {name}: valid"),
            names => format!(
                "checked {} {kinds} ({}): valid",
                names.len(),
                names.join(", ")
            ),
        };
        self.summary.push(line);
    }

    fn refuse(&mut self, violations: &Violations) {
        for line in violations.to_string().lines() {
            // Objects share documents, and with them violations.
            if !self.violations.iter().any(|known| known == line) {
                self.violations.push(line.to_owned());
            }
        }
    }
}
