//! The answer, for people and for programs.

use serde_json::{Value, json};
use sidegate_config::sidecar_config::SidecarConfig;
use sidegate_policy::decision::{Decision, DenialReason};
use sidegate_policy::principal::Principal;

/// What `explain` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    /// A word for programs, the same as in audit lines.
    reason: &'static str,
    text: String,
    rule: Option<String>,
    missing_scopes: Vec<String>,
    /// Mode Audit let it pass although no rule allows it.
    audited: bool,
    scopes: Vec<String>,
    config_version: Option<String>,
}

impl Answer {
    /// The caller would not be let in at all.
    pub(super) fn refused(why: String) -> Self {
        Self {
            allowed: false,
            reason: "unauthenticated",
            text: why,
            rule: None,
            missing_scopes: Vec::new(),
            audited: false,
            scopes: Vec::new(),
            config_version: None,
        }
    }

    pub(super) fn of(decision: Decision, config: &SidecarConfig, principal: &Principal) -> Self {
        let scopes = principal.scopes().iter().map(ToString::to_string).collect();
        let config_version = Some(config.version.clone());
        match decision {
            Decision::Allow(permit) => {
                let rule = permit.rule().map(str::to_owned);
                let audited = permit.audited();
                let text = match (&rule, audited) {
                    (_, true) => "mode Audit: no rule allows it, mode Enforce would deny it".into(),
                    (Some(rule), false) => format!("rule `{rule}` allows it"),
                    (None, false) => "every caller may, and no rule denies it".into(),
                };
                Self {
                    allowed: true,
                    reason: "allowed",
                    text,
                    rule,
                    missing_scopes: Vec::new(),
                    audited,
                    scopes,
                    config_version,
                }
            }
            Decision::Deny(denial) => {
                let rule = denial.rule.as_deref().map(str::to_owned);
                let missing_scopes: Vec<String> = denial
                    .missing_scopes
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                let text = describe(denial.reason, rule.as_deref(), &missing_scopes);
                Self {
                    allowed: false,
                    reason: denial.reason.as_str(),
                    text,
                    rule,
                    missing_scopes,
                    audited: false,
                    scopes,
                    config_version,
                }
            }
        }
    }

    pub(super) fn as_text(&self) -> String {
        let word = if self.allowed { "allow" } else { "deny" };
        let mut lines = vec![format!("{word}: {}", self.text)];
        if self.reason != "unauthenticated" {
            let held = if self.scopes.is_empty() {
                "none".to_owned()
            } else {
                self.scopes.join(" ")
            };
            lines.push(format!("scopes held: {held}"));
        }
        lines.join("\n")
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "decision": if self.allowed { "allow" } else { "deny" },
            "reason": self.reason,
            "message": self.text,
            "rule": self.rule,
            "missingScopes": self.missing_scopes,
            "audited": self.audited,
            "scopes": self.scopes,
            "configVersion": self.config_version,
        })
    }
}

fn describe(reason: DenialReason, rule: Option<&str>, missing_scopes: &[String]) -> String {
    let rule = rule.unwrap_or("?");
    match reason {
        DenialReason::DeniedByRule => format!("rule `{rule}` denies it"),
        DenialReason::MissingScope => {
            format!(
                "rule `{rule}` would allow it with: {}",
                missing_scopes.join(" ")
            )
        }
        DenialReason::ConditionNotMet => {
            format!("rule `{rule}` would allow it, but its `when` does not hold")
        }
        DenialReason::NoRule => "no rule allows it".to_owned(),
        DenialReason::UnknownMethod => {
            "the method is unknown, and no rule allows it by its exact name".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_denial_with_its_reason() {
        let answer = Answer::refused("the token is expired".to_owned());
        assert_eq!(answer.as_text(), "deny: the token is expired");
        assert_eq!(answer.as_json()["decision"], "deny");
        assert_eq!(answer.as_json()["reason"], "unauthenticated");
    }

    #[test]
    fn missing_scopes_are_named() {
        let scopes = ["customer:read".to_owned()];
        let text = describe(DenialReason::MissingScope, Some("read"), &scopes);
        assert_eq!(text, "rule `read` would allow it with: customer:read");
    }
}
