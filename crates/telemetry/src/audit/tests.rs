use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::queue::MAX_WAITING_BYTES;
use super::*;

pub(super) const ALLOWED: AuditEvent<'static> = AuditEvent {
    time_ms: 1_700_000_000_123,
    gateway: "crm/support",
    listener: "support",
    server: "support",
    peer: "10.0.0.7",
    principal: None,
    method: "tools/call",
    target: None,
    decision: DecisionLabel::Allow,
    reason: "allowed",
    rule: None,
    missing_scopes: "",
    status: 200,
    outcome: "answered",
    duration_us: 412,
    request_id: "r1",
    trace_id: "t1",
    config_version: "9f2c",
    arguments: None,
};

pub(super) const DENIED: AuditEvent<'static> = AuditEvent {
    decision: DecisionLabel::Deny,
    reason: "missing_scope",
    status: 403,
    outcome: "refused",
    ..ALLOWED
};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn lines(&self) -> Vec<Value> {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = std::str::from_utf8(&written).expect("UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    fn wait_for(&self, lines: usize) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let written = self.lines();
            if written.len() >= lines || started.elapsed() > Duration::from_secs(5) {
                return written;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that takes nothing until it is told to, or fails when told so.
struct Stuck {
    permits: Receiver<Result<(), io::ErrorKind>>,
    memory: Memory,
}

impl Stuck {
    fn new() -> (Self, Sender<Result<(), io::ErrorKind>>, Memory) {
        let (permits_tx, permits) = channel();
        let memory = Memory::default();
        (
            Self {
                permits,
                memory: memory.clone(),
            },
            permits_tx,
            memory,
        )
    }
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Without a sender it takes everything.
        self.permits.recv().unwrap_or(Ok(()))?;
        self.memory.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn metric(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.render();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect("the metric");
    value.trim().parse().expect("a number")
}

fn dropped(metrics: &Metrics) -> u64 {
    metric(metrics, "sidegate_audit_lines_dropped_total ")
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

#[test]
fn a_line_comes_without_being_asked_for() {
    let memory = Memory::default();
    let audit = AuditLog::start(Box::new(memory.clone()), Metrics::new());
    let started = Instant::now();
    audit.record(&ALLOWED);
    assert_eq!(memory.wait_for(1).len(), 1);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    audit.record(&ALLOWED);
    assert_eq!(memory.wait_for(2).len(), 2, "and so does the next");
}

#[test]
fn log_008_flush_writes_all_in_order() {
    let memory = Memory::default();
    let audit = AuditLog::start(Box::new(memory.clone()), Metrics::new());
    for n in 0..500 {
        audit.record(&AuditEvent {
            duration_us: n,
            ..ALLOWED
        });
        if n % 100 == 0 {
            audit.flush();
            assert_eq!(memory.lines().len() as u64, n + 1);
        }
    }
    audit.flush();
    let numbers: Vec<_> = memory
        .lines()
        .iter()
        .filter_map(|line| line["durationUs"].as_u64())
        .collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
}

#[test]
fn dropping_the_log_writes_the_rest() {
    let memory = Memory::default();
    let audit = AuditLog::start(Box::new(memory.clone()), Metrics::new());
    for _ in 0..15 {
        audit.record(&DENIED);
    }
    drop(audit);
    let lines = memory.lines();
    assert_eq!(of_type(&lines, "decision").len(), 10);
    assert_eq!(of_type(&lines, "suppressed")[0]["count"], 5);
}

#[test]
fn threads_never_mix_their_lines() {
    let memory = Memory::default();
    let audit = Arc::new(AuditLog::start(Box::new(memory.clone()), Metrics::new()));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let audit = Arc::clone(&audit);
            thread::spawn(move || (0..500).for_each(|_| audit.record(&ALLOWED)))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("records"));
    audit.flush();
    assert_eq!(memory.lines().len(), 2_000);
}

#[test]
fn a_flood_of_like_refusals_is_one_counted_line() {
    let (memory, metrics) = (Memory::default(), Metrics::new());
    let audit = AuditLog::start(Box::new(memory.clone()), Arc::clone(&metrics));
    for _ in 0..1_000 {
        audit.record(&DENIED);
    }
    audit.flush();
    let lines = memory.lines();
    assert_eq!(lines.len(), 11);
    let told = &lines[10];
    assert_eq!(told["type"], "suppressed");
    assert_eq!(told["count"], 990);
    for (key, value) in [
        ("peer", "10.0.0.7"),
        ("listener", "support"),
        ("method", "tools/call"),
        ("decision", "deny"),
        ("reason", "missing_scope"),
    ] {
        assert_eq!(told[key], value);
    }
    assert_eq!(told["status"], 403);
    assert_eq!(
        metric(&metrics, "sidegate_audit_lines_suppressed_total "),
        990
    );
    assert_eq!(dropped(&metrics), 0);
}

#[test]
fn a_flood_that_ends_is_told_of_all_the_same() {
    let memory = Memory::default();
    let audit = AuditLog::start(Box::new(memory.clone()), Metrics::new());
    for _ in 0..30 {
        audit.record(&DENIED);
    }
    let lines = memory.wait_for(11);
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[10]["count"], 20);
    let second = lines[10]["time"].as_str().expect("a time") > "2023-11-14T22:13:21";
    assert!(second, "{}", lines[10]["time"]);
}

#[test]
fn a_flood_over_seconds_is_one_counted_line_each() {
    let memory = Memory::default();
    let audit = AuditLog::start(Box::new(memory.clone()), Metrics::new());
    for n in 0..3_000 {
        audit.record(&AuditEvent {
            time_ms: DENIED.time_ms + n,
            ..DENIED
        });
    }
    drop(audit);
    let lines = memory.lines();
    assert_eq!(of_type(&lines, "decision").len(), 30);
    let counts: Vec<_> = of_type(&lines, "suppressed")
        .iter()
        .map(|line| line["count"].clone())
        .collect();
    assert_eq!(counts, [990, 990, 990]);
}

#[test]
fn a_stuck_reader_costs_lines_and_no_time() {
    let ((stuck, permits, memory), metrics) = (Stuck::new(), Metrics::new());
    let audit = AuditLog::start(Box::new(stuck), Arc::clone(&metrics));
    let long = format!("\"{}\"", "x".repeat(64 * 1024));
    let event = AuditEvent {
        arguments: Some(AuditArguments::Include(&long)),
        ..ALLOWED
    };
    let started = Instant::now();
    let recorded = 200_u64;
    for _ in 0..recorded {
        audit.record(&event);
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    let lost = dropped(&metrics);
    let kept = recorded - lost;
    let bytes = kept * (long.len() as u64);
    assert!(lost > 0);
    assert!(
        bytes <= (MAX_WAITING_BYTES + 2 * long.len()) as u64,
        "{bytes}"
    );
    assert!(
        bytes > (MAX_WAITING_BYTES - 2 * long.len()) as u64,
        "{bytes}"
    );
    // It is read again: what waited comes, and a line says what is missing.
    drop(permits);
    audit.flush();
    audit.record(&ALLOWED);
    audit.flush();
    let lines = memory.lines();
    assert_eq!(of_type(&lines, "decision").len() as u64, kept + 1);
    let told = of_type(&lines, "audit_dropped");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["count"], lost);
    assert_eq!(dropped(&metrics), lost, "counted once");
}

#[test]
fn a_failed_write_is_counted_and_told_of() {
    let ((stuck, permits, memory), metrics) = (Stuck::new(), Metrics::new());
    let audit = AuditLog::start(Box::new(stuck), Arc::clone(&metrics));
    audit.record(&ALLOWED);
    audit.record(&ALLOWED);
    permits.send(Err(io::ErrorKind::StorageFull)).expect("read");
    audit.flush();
    assert_eq!(dropped(&metrics), 2);
    drop(permits);
    audit.record(&AuditEvent {
        request_id: "later",
        ..ALLOWED
    });
    drop(audit);
    let lines = memory.lines();
    assert_eq!(of_type(&lines, "decision")[0]["requestId"], "later");
    assert_eq!(of_type(&lines, "audit_dropped")[0]["count"], 2);
    assert_eq!(lines.len(), 2);
}

#[test]
fn flush_and_drop_give_up_on_a_stuck_reader() {
    let (stuck, permits, _memory) = Stuck::new();
    let audit = AuditLog::start(Box::new(stuck), Metrics::new());
    audit.record(&ALLOWED);
    let started = Instant::now();
    audit.flush();
    drop(audit);
    assert!(started.elapsed() < Duration::from_secs(10));
    drop(permits);
}

/// A figure, for `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_record() {
    let audit = AuditLog::start(Box::new(io::sink()), Metrics::new());
    let event = AuditEvent {
        principal: Some(AuditPrincipal {
            issuer: Some("https://idp.example.com/"),
            subject: Some("4e1e6e1c-2b2e-4c8e-8e52-0b9d0c2f3a11"),
            client: Some("agent"),
            spiffe_id: Some("spiffe://cluster.local/ns/crm/sa/agent"),
        }),
        target: Some(AuditTarget {
            kind: "tool",
            name: "get_customer",
        }),
        rule: Some("read"),
        ..ALLOWED
    };
    let rounds = 1_000_000_u32;
    let started = Instant::now();
    for _ in 0..rounds {
        audit.record(std::hint::black_box(&event));
    }
    println!("{:?} per line", started.elapsed() / rounds);
}
