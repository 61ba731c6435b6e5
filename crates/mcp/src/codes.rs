//! Codes of our own JSON-RPC errors.
//!
//! MCP 2026-07-28 reserves -32768..=-32000, so these are positive: the HTTP
//! status times ten, plus a digit where one status has two meanings.

/// The HTTP part of the request cannot be served as it is.
pub const BAD_REQUEST: i64 = 4000;
/// No credentials, or credentials that are not good here.
pub const UNAUTHENTICATED: i64 = 4010;
/// The caller may not do this.
pub const FORBIDDEN: i64 = 4030;
/// There is nothing at this path.
pub const NOT_FOUND: i64 = 4040;
/// The session does not exist, or not for this caller.
pub const SESSION_NOT_FOUND: i64 = 4041;
/// The body is over its limit.
pub const TOO_LARGE: i64 = 4130;
/// Too many requests or sessions.
pub const RATE_LIMITED: i64 = 4290;
/// The server behind did not give an answer that can be passed on.
pub const UPSTREAM: i64 = 5020;
/// Nothing can be decided at the moment; retry later.
pub const UNAVAILABLE: i64 = 5030;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_codes_are_distinct_and_outside_the_reserved_range() {
        let all = [
            BAD_REQUEST,
            UNAUTHENTICATED,
            FORBIDDEN,
            NOT_FOUND,
            SESSION_NOT_FOUND,
            TOO_LARGE,
            RATE_LIMITED,
            UPSTREAM,
            UNAVAILABLE,
        ];
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(all.iter().all(|code| !(-32768..=-32000).contains(code)));
    }
}
