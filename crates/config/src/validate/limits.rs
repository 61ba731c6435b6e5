//! `spec.limits`: what is set, within bounds, over the defaults.

use std::ops::RangeInclusive;
use std::time::Duration;

use sidegate_api::duration::DurationText;

use super::Check;
use crate::sidecar_config::Limits;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

const SECOND: Duration = Duration::from_secs(1);
const TEN_MINUTES: Duration = Duration::from_mins(10);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

pub(super) fn check(check: &mut Check<'_>, wanted: &sidegate_api::gateway::Limits) -> Limits {
    let mut limits = Limits::default();
    sizes(check, wanted, &mut limits);
    counts(check, wanted, &mut limits);
    times(check, wanted, &mut limits);
    identity_times(check, wanted, &mut limits);
    fit(wanted, &mut limits);
    relations(check, &limits);
    limits
}

/// Lowers defaults to limits that were set: who lowers one limit need not know
/// all that depend on it.
fn fit(wanted: &sidegate_api::gateway::Limits, limits: &mut Limits) {
    if wanted.max_body_bytes.is_none() {
        limits.max_body_bytes = limits.max_body_bytes.min(limits.max_buffered_bytes);
    }
    if wanted.max_header_value_bytes.is_none() {
        limits.max_header_value_bytes = limits.max_header_value_bytes.min(limits.max_header_bytes);
    }
    if wanted.max_token_bytes.is_none() {
        limits.max_token_bytes = limits.max_token_bytes.min(limits.max_header_value_bytes);
    }
    if wanted.max_sessions_per_principal.is_none() {
        limits.max_sessions_per_principal =
            limits.max_sessions_per_principal.min(limits.max_sessions);
    }
    if wanted.stream_keep_alive.is_none() {
        limits.stream_keep_alive = limits.stream_keep_alive.min(limits.stream_idle_timeout / 2);
    }
}

fn sizes(check: &mut Check<'_>, wanted: &sidegate_api::gateway::Limits, limits: &mut Limits) {
    let body = KIB..=GIB;
    let head = 256..=MIB;
    number(
        check,
        "maxBodyBytes",
        wanted.max_body_bytes,
        &body,
        &mut limits.max_body_bytes,
    );
    number(
        check,
        "maxResponseBytes",
        wanted.max_response_bytes,
        &body,
        &mut limits.max_response_bytes,
    );
    number(
        check,
        "maxEventBytes",
        wanted.max_event_bytes,
        &body,
        &mut limits.max_event_bytes,
    );
    number(
        check,
        "maxHeaderBytes",
        wanted.max_header_bytes,
        &head,
        &mut limits.max_header_bytes,
    );
    let value = &mut limits.max_header_value_bytes;
    number(
        check,
        "maxHeaderValueBytes",
        wanted.max_header_value_bytes,
        &head,
        value,
    );
    number(
        check,
        "maxUriBytes",
        wanted.max_uri_bytes,
        &head,
        &mut limits.max_uri_bytes,
    );
    number(
        check,
        "maxTokenBytes",
        wanted.max_token_bytes,
        &head,
        &mut limits.max_token_bytes,
    );
    number(
        check,
        "maxNameBytes",
        wanted.max_name_bytes,
        &(1..=4 * KIB),
        &mut limits.max_name_bytes,
    );
    let buffered = &mut limits.max_buffered_bytes;
    number(
        check,
        "maxBufferedBytes",
        wanted.max_buffered_bytes,
        &(MIB..=64 * GIB),
        buffered,
    );
    let set = KIB..=16 * MIB;
    number(
        check,
        "jwksMaxBytes",
        wanted.jwks_max_bytes,
        &set,
        &mut limits.jwks_max_bytes,
    );
}

fn counts(check: &mut Check<'_>, wanted: &sidegate_api::gateway::Limits, limits: &mut Limits) {
    let many = 1..=1_000_000;
    number(
        check,
        "maxJsonDepth",
        wanted.max_json_depth,
        &(1..=128),
        &mut limits.max_json_depth,
    );
    number(
        check,
        "maxHeaders",
        wanted.max_headers,
        &(8..=1_024),
        &mut limits.max_headers,
    );
    number(
        check,
        "maxConnections",
        wanted.max_connections,
        &many,
        &mut limits.max_connections,
    );
    let requests = wanted.max_requests_per_principal.map(u64::from);
    let most = &mut limits.max_requests_per_principal;
    number(check, "maxRequestsPerPrincipal", requests, &many, most);
    number(
        check,
        "maxSessions",
        wanted.max_sessions,
        &many,
        &mut limits.max_sessions,
    );
    let sessions = &mut limits.max_sessions_per_principal;
    number(
        check,
        "maxSessionsPerPrincipal",
        wanted.max_sessions_per_principal,
        &many,
        sessions,
    );
    number(
        check,
        "jwksMaxKeys",
        wanted.jwks_max_keys,
        &(1..=1_000),
        &mut limits.jwks_max_keys,
    );
    let entries = &mut limits.token_cache_entries;
    number(
        check,
        "tokenCacheEntries",
        wanted.token_cache_entries,
        &(0..=1_000_000),
        entries,
    );
}

fn times(check: &mut Check<'_>, wanted: &sidegate_api::gateway::Limits, limits: &mut Limits) {
    let short = Duration::from_millis(100)..=TEN_MINUTES;
    let long = SECOND..=DAY;
    time(
        check,
        "headerTimeout",
        wanted.header_timeout.as_ref(),
        &short,
        &mut limits.header_timeout,
    );
    let handshake = &mut limits.handshake_timeout;
    time(
        check,
        "handshakeTimeout",
        wanted.handshake_timeout.as_ref(),
        &short,
        handshake,
    );
    let idle = &mut limits.body_idle_timeout;
    time(
        check,
        "bodyIdleTimeout",
        wanted.body_idle_timeout.as_ref(),
        &short,
        idle,
    );
    time(
        check,
        "idleTimeout",
        wanted.idle_timeout.as_ref(),
        &long,
        &mut limits.idle_timeout,
    );
    let request = &mut limits.request_timeout;
    time(
        check,
        "requestTimeout",
        wanted.request_timeout.as_ref(),
        &(SECOND..=HOUR),
        request,
    );
    let connect = &mut limits.connect_timeout;
    time(
        check,
        "connectTimeout",
        wanted.connect_timeout.as_ref(),
        &short,
        connect,
    );
    let stream = &mut limits.stream_idle_timeout;
    time(
        check,
        "streamIdleTimeout",
        wanted.stream_idle_timeout.as_ref(),
        &long,
        stream,
    );
    let alive = &mut limits.stream_keep_alive;
    time(
        check,
        "streamKeepAlive",
        wanted.stream_keep_alive.as_ref(),
        &(SECOND..=HOUR),
        alive,
    );
    let session = &mut limits.session_idle_timeout;
    time(
        check,
        "sessionIdleTimeout",
        wanted.session_idle_timeout.as_ref(),
        &(SECOND..=7 * DAY),
        session,
    );
    let drain = &mut limits.drain_timeout;
    time(
        check,
        "drainTimeout",
        wanted.drain_timeout.as_ref(),
        &(Duration::ZERO..=HOUR),
        drain,
    );
}

fn identity_times(
    check: &mut Check<'_>,
    wanted: &sidegate_api::gateway::Limits,
    limits: &mut Limits,
) {
    let fetch = Duration::from_millis(100)..=Duration::from_mins(1);
    time(
        check,
        "jwksTimeout",
        wanted.jwks_timeout.as_ref(),
        &fetch,
        &mut limits.jwks_timeout,
    );
    let refresh = &mut limits.jwks_refresh_interval;
    time(
        check,
        "jwksRefreshInterval",
        wanted.jwks_refresh_interval.as_ref(),
        &(SECOND..=DAY),
        refresh,
    );
    let cooldown = &mut limits.jwks_cooldown;
    time(
        check,
        "jwksCooldown",
        wanted.jwks_cooldown.as_ref(),
        &(SECOND..=HOUR),
        cooldown,
    );
    let stale = &mut limits.jwks_stale_after;
    time(
        check,
        "jwksStaleAfter",
        wanted.jwks_stale_after.as_ref(),
        &(SECOND..=7 * DAY),
        stale,
    );
    let leeway = Duration::ZERO..=Duration::from_mins(5);
    time(
        check,
        "tokenLeeway",
        wanted.token_leeway.as_ref(),
        &leeway,
        &mut limits.token_leeway,
    );
    let lifetime = Duration::from_mins(1)..=30 * DAY;
    let most = &mut limits.max_token_lifetime;
    time(
        check,
        "maxTokenLifetime",
        wanted.max_token_lifetime.as_ref(),
        &lifetime,
        most,
    );
}

/// Limits that would make one another void.
fn relations(check: &mut Check<'_>, limits: &Limits) {
    let mut within = |smaller: bool, field: &str, message: &str| {
        if !smaller {
            check.refuse(&format!("spec.limits.{field}"), message);
        }
    };
    within(
        limits.max_body_bytes <= limits.max_buffered_bytes,
        "maxBodyBytes",
        "must not be above maxBufferedBytes, or such a body could never be read",
    );
    within(
        limits.max_header_value_bytes <= limits.max_header_bytes,
        "maxHeaderValueBytes",
        "must not be above maxHeaderBytes",
    );
    within(
        limits.max_token_bytes <= limits.max_header_value_bytes,
        "maxTokenBytes",
        "must not be above maxHeaderValueBytes: tokens come in a header",
    );
    within(
        limits.max_sessions_per_principal <= limits.max_sessions,
        "maxSessionsPerPrincipal",
        "must not be above maxSessions",
    );
    within(
        limits.stream_keep_alive < limits.stream_idle_timeout,
        "streamKeepAlive",
        "must be below streamIdleTimeout",
    );
    within(
        limits.jwks_refresh_interval < limits.jwks_stale_after,
        "jwksStaleAfter",
        "must be above jwksRefreshInterval, or keys would be given up before they are fetched again",
    );
}

fn number<T: TryFrom<u64>>(
    check: &mut Check<'_>,
    name: &str,
    wanted: Option<u64>,
    range: &RangeInclusive<u64>,
    limit: &mut T,
) {
    let Some(wanted) = wanted else { return };
    match T::try_from(wanted) {
        Ok(number) if range.contains(&wanted) => *limit = number,
        Ok(_) | Err(_) => {
            let message = format!("must be from {} to {}", range.start(), range.end());
            check.refuse(&format!("spec.limits.{name}"), message);
        }
    }
}

fn time(
    check: &mut Check<'_>,
    name: &str,
    wanted: Option<&DurationText>,
    range: &RangeInclusive<Duration>,
    limit: &mut Duration,
) {
    let Some(wanted) = wanted.map(DurationText::as_duration) else {
        return;
    };
    if range.contains(&wanted) {
        *limit = wanted;
        return;
    }
    let shown = |duration: &Duration| humantime::format_duration(*duration).to_string();
    let message = format!(
        "must be from {} to {}",
        shown(range.start()),
        shown(range.end())
    );
    check.refuse(&format!("spec.limits.{name}"), message);
}
