//! How fast messages are read and lists are filtered, in MB/s.
//!
//! Run with `cargo bench -p sidegate-mcp`.

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use sidegate_mcp::filter::filter_json;
use sidegate_mcp::sse::SseFilter;
use sidegate_mcp::{Field, Item, McpHeaders, ScanLimits, receive};

const LIMITS: ScanLimits = ScanLimits {
    max_depth: 64,
    max_name_bytes: 128,
};

const LEGACY: McpHeaders<'static> = McpHeaders {
    protocol_version: Field::One(b"2025-11-25"),
    method: Field::Absent,
    name: Field::Absent,
    session: true,
};

fn main() {
    let small = call(&arguments(8, 64));
    let large = call(&arguments(64, 16 * 1024));
    let dense = call(&numbers(1 << 20));
    let list = tools(1000);
    let stream = format!("event: message\ndata: {list}\n\n");
    measure("receive, call of 1 KiB", small.len(), || {
        black_box(receive(black_box(small.as_bytes()), &LEGACY, LIMITS).is_ok())
    });
    measure("receive, call of 1 MiB, long strings", large.len(), || {
        black_box(receive(black_box(large.as_bytes()), &LEGACY, LIMITS).is_ok())
    });
    measure("receive, call of 1 MiB, small objects", dense.len(), || {
        black_box(receive(black_box(dense.as_bytes()), &LEGACY, LIMITS).is_ok())
    });
    let mut out = Vec::with_capacity(list.len());
    measure("filter, 1,000 tools, every other one", list.len(), || {
        out.clear();
        black_box(
            filter_json(
                black_box(list.as_bytes()),
                LIMITS,
                &mut out,
                &mut every_other(),
            )
            .is_ok(),
        )
    });
    measure("filter, 1,000 tools, all", list.len(), || {
        out.clear();
        black_box(filter_json(black_box(list.as_bytes()), LIMITS, &mut out, &mut |_| true).is_ok())
    });
    measure("filter, 1,000 tools in an event", stream.len(), || {
        out.clear();
        let mut filter = SseFilter::new(4 << 20, LIMITS);
        black_box(
            filter
                .push(black_box(stream.as_bytes()), &mut out, &mut every_other())
                .is_ok(),
        )
    });
}

/// Runs `work` for a while and prints its rate.
#[expect(
    clippy::print_stdout,
    reason = "the result of a benchmark is what it prints"
)]
fn measure(what: &str, bytes: usize, mut work: impl FnMut() -> bool) {
    assert!(work(), "{what}: must succeed");
    let start = Instant::now();
    let mut runs = 0_u32;
    while start.elapsed() < Duration::from_millis(500) {
        for _ in 0..10 {
            work();
        }
        runs += 10;
    }
    let each = start.elapsed() / runs;
    let rate = bytes as f64 / each.as_secs_f64() / 1e6;
    println!("{what:<40} {bytes:>9} bytes {each:>12.2?} {rate:>9.0} MB/s");
}

fn every_other() -> impl FnMut(Item<'_>) -> bool {
    let mut keep = false;
    move |_| {
        keep = !keep;
        keep
    }
}

fn call(arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"weather.get","arguments":{arguments},"_meta":{{"progressToken":17}}}}}}"#
    )
}

fn arguments(members: usize, bytes: usize) -> String {
    let words = "lorem ipsum dolor sit amet \\n consectetur é ";
    let mut text = String::from("{");
    for n in 0..members {
        let value = words.repeat(bytes / words.len() + 1);
        let separator = if n == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, r#"{separator}"argument-{n}":"{value}""#);
    }
    text.push('}');
    text
}

fn numbers(bytes: usize) -> String {
    let point = r#"{"x":12.25,"y":-7,"label":"point","ok":true}"#;
    format!(
        r#"{{"points":[{}]}}"#,
        vec![point; bytes / (point.len() + 1)].join(",")
    )
}

fn tools(count: usize) -> String {
    let tool = |n: usize| {
        format!(
            r#"{{"name":"tool_{n}","title":"Tool {n}","description":"Does one of a thousand things, as a tool of this number would be expected to do.","inputSchema":{{"type":"object","properties":{{"query":{{"type":"string","description":"what to look for"}},"limit":{{"type":"integer","minimum":1,"maximum":100}},"exact":{{"type":"boolean"}}}},"required":["query"]}},"annotations":{{"readOnlyHint":true}}}}"#
        )
    };
    let all: Vec<String> = (0..count).map(tool).collect();
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{}],"ttlMs":1000,"cacheScope":"public"}}}}"#,
        all.join(",")
    )
}
