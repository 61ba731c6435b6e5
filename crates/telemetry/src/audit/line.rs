//! An event as a line. Written by hand: a line goes straight into the shared
//! buffer, without a value in between.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use super::flood::Suppressed;
use super::{AuditArguments, AuditEvent};
use crate::escape::{push_json, push_string};

/// The last time that RFC 3339 can say, the end of the year 9999.
const MAX_TIME_MS: u64 = 253_402_300_799_999;

/// Writes the line of a decision.
pub(super) fn push_decision(out: &mut Vec<u8>, event: &AuditEvent<'_>) {
    let mut object = begin(out, event.time_ms, "decision");
    object.text("gateway", event.gateway);
    object.text("listener", event.listener);
    object.text("server", event.server);
    object.text("peer", event.peer);
    if let Some(principal) = &event.principal {
        object.object("principal", |inner| {
            inner.text("issuer", principal.issuer.unwrap_or_default());
            inner.text("subject", principal.subject.unwrap_or_default());
            inner.text("client", principal.client.unwrap_or_default());
            inner.text("spiffeId", principal.spiffe_id.unwrap_or_default());
        });
    }
    object.text("method", event.method);
    if let Some(target) = &event.target {
        object.object("target", |inner| {
            inner.text("kind", target.kind);
            inner.text("name", target.name);
        });
    }
    object.text("decision", event.decision.as_str());
    object.text("reason", event.reason);
    object.text("rule", event.rule.unwrap_or_default());
    object.words("missingScopes", event.missing_scopes);
    object.number("status", u64::from(event.status));
    object.text("outcome", event.outcome);
    object.number("durationUs", event.duration_us);
    object.text("requestId", event.request_id);
    object.text("traceId", event.trace_id);
    object.text("configVersion", event.config_version);
    match event.arguments {
        Some(AuditArguments::Hash(hash)) => object.text("argumentsSha256", hash),
        Some(AuditArguments::Include(json)) => object.json("arguments", json),
        None => {}
    }
    object.end_line();
}

/// Writes the line that stands for refusals that were not written.
pub(super) fn push_suppressed(out: &mut Vec<u8>, time_ms: i64, suppressed: &Suppressed) {
    let mut object = begin(out, time_ms, "suppressed");
    object.number("count", suppressed.count);
    if let Some(kind) = &suppressed.kind {
        object.text("listener", &kind.listener);
        object.text("peer", &kind.peer);
        object.text("method", &kind.method);
        object.text("decision", kind.decision.as_str());
        object.text("reason", &kind.reason);
        object.number("status", u64::from(kind.status));
    }
    object.end_line();
}

/// Writes the line that says how many lines were lost.
pub(super) fn push_dropped(out: &mut Vec<u8>, time_ms: i64, count: u64) {
    let mut object = begin(out, time_ms, "audit_dropped");
    object.number("count", count);
    object.end_line();
}

fn begin<'a>(out: &'a mut Vec<u8>, time_ms: i64, kind: &str) -> Object<'a> {
    let mut object = Object::begin(out);
    object.time("time", time_ms);
    object.text("type", kind);
    object
}

/// A JSON object that is being written. Keys are constants and need no escape.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

// === impl Object ===

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            out,
            is_empty: true,
        }
    }

    fn key(&mut self, key: &str) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A text, unless it is empty.
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.key(key);
            push_string(self.out, value);
        }
    }

    /// The words of a text as a list, unless there are none.
    fn words(&mut self, key: &str, value: &str) {
        let mut words = value.split_ascii_whitespace();
        let Some(first) = words.next() else { return };
        self.key(key);
        self.out.push(b'[');
        push_string(self.out, first);
        for word in words {
            self.out.push(b',');
            push_string(self.out, word);
        }
        self.out.push(b']');
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        // Writing to a vector cannot fail.
        let _written = write!(self.out, "{value}");
    }

    fn time(&mut self, key: &str, time_ms: i64) {
        let since = Duration::from_millis(u64::try_from(time_ms).unwrap_or(0).min(MAX_TIME_MS));
        let time = humantime::format_rfc3339_millis(UNIX_EPOCH + since);
        self.key(key);
        let _written = write!(self.out, "\"{time}\"");
    }

    fn json(&mut self, key: &str, value: &str) {
        self.key(key);
        push_json(self.out, value);
    }

    fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        let mut inner = Object::begin(self.out);
        fill(&mut inner);
        inner.out.push(b'}');
    }

    fn end_line(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::audit::tests::{ALLOWED, DENIED};
    use crate::audit::{AuditPrincipal, AuditTarget};

    fn line(event: &AuditEvent<'_>) -> String {
        let mut out = Vec::new();
        push_decision(&mut out, event);
        String::from_utf8(out).expect("UTF-8")
    }

    fn value(event: &AuditEvent<'_>) -> Value {
        serde_json::from_str(&line(event)).expect("JSON")
    }

    #[test]
    fn log_008_a_line_has_all_facts_in_order() {
        let event = AuditEvent {
            principal: Some(AuditPrincipal {
                issuer: Some("https://idp.example/"),
                subject: Some("u1"),
                client: Some("c1"),
                spiffe_id: Some("spiffe://td/ns/a/sa/b"),
            }),
            target: Some(AuditTarget {
                kind: "tool",
                name: "create_ticket",
            }),
            rule: Some("tickets"),
            missing_scopes: "a:x b:y",
            arguments: Some(AuditArguments::Include("{\"n\":1.50}")),
            ..DENIED
        };
        assert_eq!(
            line(&event),
            concat!(
                r#"{"time":"2023-11-14T22:13:20.123Z","type":"decision","gateway":"crm/support","#,
                r#""listener":"support","server":"support","peer":"10.0.0.7","#,
                r#""principal":{"issuer":"https://idp.example/","subject":"u1","client":"c1","#,
                r#""spiffeId":"spiffe://td/ns/a/sa/b"},"method":"tools/call","#,
                r#""target":{"kind":"tool","name":"create_ticket"},"decision":"deny","#,
                r#""reason":"missing_scope","rule":"tickets","missingScopes":["a:x","b:y"],"#,
                r#""status":403,"outcome":"refused","durationUs":412,"requestId":"r1","#,
                r#""traceId":"t1","configVersion":"9f2c","arguments":{"n":1.50}}"#,
                "\n",
            )
        );
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let event = AuditEvent {
            gateway: "",
            config_version: "",
            trace_id: "",
            ..ALLOWED
        };
        let value = value(&event);
        for key in [
            "gateway",
            "configVersion",
            "traceId",
            "principal",
            "target",
            "rule",
            "missingScopes",
            "arguments",
            "argumentsSha256",
        ] {
            assert_eq!(value.get(key), None, "{key}");
        }
    }

    #[test]
    fn a_peer_without_a_name_is_still_a_principal() {
        let event = AuditEvent {
            principal: Some(AuditPrincipal::default()),
            ..ALLOWED
        };
        assert_eq!(value(&event)["principal"], json!({}));
    }

    #[test]
    fn a_hash_is_not_an_argument() {
        let event = AuditEvent {
            arguments: Some(AuditArguments::Hash("ab12")),
            ..ALLOWED
        };
        assert_eq!(value(&event)["argumentsSha256"], "ab12");
        assert_eq!(value(&event).get("arguments"), None);
    }

    #[test]
    fn log_003_log_004_names_and_arguments_cannot_break_the_line() {
        let name = "x\n{\"type\":\"decision\"}\x1b[2J\u{202e}";
        let event = AuditEvent {
            target: Some(AuditTarget { kind: "tool", name }),
            arguments: Some(AuditArguments::Include(
                "{\n \"a\":\t\"\u{202e}\u{9b}\"\r\n}",
            )),
            ..ALLOWED
        };
        let line = line(&event);
        assert!(
            !line
                .trim_end_matches('\n')
                .contains(|c: char| c.is_control() || c == '\u{202e}')
        );
        let value = value(&event);
        assert_eq!(value["target"]["name"], name);
        assert_eq!(value["arguments"], json!({"a": "\u{202e}\u{9b}"}));
    }

    #[test]
    fn times_out_of_range_are_still_times() {
        for (time_ms, text) in [
            (i64::MIN, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(value(&AuditEvent { time_ms, ..ALLOWED })["time"], text);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_in_it_a_line_is_one_json_object(name: String, subject: String, reason: String, status: u16) {
            let event = AuditEvent {
                principal: Some(AuditPrincipal { subject: Some(&subject), ..AuditPrincipal::default() }),
                target: Some(AuditTarget { kind: "tool", name: &name }),
                reason: &reason,
                missing_scopes: &subject,
                status,
                ..DENIED
            };
            let line = line(&event);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let value: Value = serde_json::from_str(&line).expect("JSON");
            if !name.is_empty() {
                prop_assert_eq!(&value["target"]["name"], &name);
            }
            prop_assert_eq!(&value["status"], status);
        }
    }
}
