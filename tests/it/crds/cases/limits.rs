//! `spec.limits`: the bounds of every limit, and of limits by each other.

use serde_json::json;

use super::Cases;

/// The least and the most of numbers.
const NUMBERS: [(&str, u64, u64); 18] = [
    ("maxBodyBytes", 1_024, 67_108_864), // the default of maxBufferedBytes
    ("maxResponseBytes", 1_024, 1_073_741_824),
    ("maxEventBytes", 1_024, 1_073_741_824),
    ("maxJsonDepth", 1, 128),
    ("maxHeaders", 8, 1_024),
    ("maxHeaderBytes", 256, 1_048_576),
    ("maxHeaderValueBytes", 256, 32_768), // the default of maxHeaderBytes
    ("maxUriBytes", 256, 1_048_576),
    ("maxTokenBytes", 256, 8_192), // the default of maxHeaderValueBytes
    ("maxNameBytes", 1, 4_096),
    ("maxConnections", 1, 1_000_000),
    ("maxRequestsPerPrincipal", 1, 1_000_000),
    ("maxBufferedBytes", 1_048_576, 68_719_476_736),
    ("maxSessions", 1, 1_000_000),
    ("maxSessionsPerPrincipal", 1, 10_000), // the default of maxSessions
    ("jwksMaxBytes", 1_024, 16_777_216),
    ("jwksMaxKeys", 1, 1_000),
    ("tokenCacheEntries", 0, 1_000_000),
];

/// The longest time below the least, the least, the most, and the shortest
/// above it. Nothing is below zero but what is no time.
const TIMES: [(&str, [&str; 4]); 16] = [
    ("headerTimeout", ["99ms", "100ms", "10m", "10m1ms"]),
    ("handshakeTimeout", ["99ms", "100ms", "10m", "10m1ms"]),
    ("bodyIdleTimeout", ["99ms", "100ms", "10m", "10m1ms"]),
    ("idleTimeout", ["999ms", "1s", "24h", "24h1ms"]),
    ("requestTimeout", ["999ms", "1s", "1h", "1h1ms"]),
    ("connectTimeout", ["99ms", "100ms", "10m", "10m1ms"]),
    ("streamIdleTimeout", ["999ms", "1s", "24h", "24h1ms"]),
    // Below the default of streamIdleTimeout.
    ("streamKeepAlive", ["999ms", "1s", "4m59s999ms", "5m"]),
    ("sessionIdleTimeout", ["999ms", "1s", "168h", "168h1ms"]),
    ("drainTimeout", ["", "0s", "1h", "1h1ms"]),
    ("jwksTimeout", ["99ms", "100ms", "1m", "1m1ms"]),
    // Below the default of jwksStaleAfter.
    ("jwksRefreshInterval", ["999ms", "1s", "59m59s999ms", "1h"]),
    ("jwksCooldown", ["999ms", "1s", "1h", "1h1ms"]),
    // Above the default of jwksRefreshInterval.
    ("jwksStaleAfter", ["5m", "5m1ms", "168h", "168h1ms"]),
    ("tokenLeeway", ["", "0s", "5m", "5m1ms"]),
    ("maxTokenLifetime", ["59s999ms", "1m", "720h", "720h1ms"]),
];

pub(super) fn add(cases: &mut Cases) {
    for (name, least, most) in NUMBERS {
        let less = i64::try_from(least).unwrap() - 1;
        cases
            .spec(&format!("/limits/{name}"))
            .taken(&json!([least, most]))
            .refused(&json!([less, most + 1]));
    }
    for (name, [less, least, most, more]) in TIMES {
        cases
            .spec(&format!("/limits/{name}"))
            .taken(&json!([least, most]))
            .refused(&json!([less, more, "99999h"]));
    }
    cases
        .spec("/limits/requestTimeout")
        .taken(&json!(["1m30s", "1s1s1s1s"]))
        .refused(&json!([
            "",
            "s",
            "1",
            "60",
            "1 m",
            "1.5s",
            "-1s",
            "1d",
            "1M",
            "100000ms",
            "1s1s1s1s1s",
            60,
        ]));
    cases
        .spec("/limits/maxBodyBytes")
        .refused(&json!(["4Mi", 1.5]));
    cases.spec("/limits/mystery").refused(&json!([1]));
    relations(cases);
}

fn relations(cases: &mut Cases) {
    cases
        .spec("/limits")
        .taken(&json!([
            {"maxBodyBytes": 1_048_576, "maxBufferedBytes": 1_048_576},
            {"maxBufferedBytes": 1_048_576},
            {"maxHeaderValueBytes": 1_024, "maxHeaderBytes": 1_024},
            {"maxHeaderBytes": 1_024},
            {"maxTokenBytes": 1_024, "maxHeaderValueBytes": 1_024},
            {"maxTokenBytes": 1_024, "maxHeaderBytes": 1_024},
            {"maxSessionsPerPrincipal": 1, "maxSessions": 1},
            {"maxSessions": 1},
            {"streamKeepAlive": "1s", "streamIdleTimeout": "1s1ms"},
            {"streamIdleTimeout": "2s"},
            {"jwksRefreshInterval": "1s", "jwksStaleAfter": "1s1ms"},
        ]))
        .refused(&json!([
            {"maxBodyBytes": 1_048_577, "maxBufferedBytes": 1_048_576},
            {"maxHeaderValueBytes": 1_025, "maxHeaderBytes": 1_024},
            {"maxTokenBytes": 1_025, "maxHeaderValueBytes": 1_024},
            {"maxTokenBytes": 1_025, "maxHeaderBytes": 1_024},
            {"maxSessionsPerPrincipal": 2, "maxSessions": 1},
            {"streamKeepAlive": "1s", "streamIdleTimeout": "1s"},
            {"jwksRefreshInterval": "1s", "jwksStaleAfter": "1s"},
        ]));
}
