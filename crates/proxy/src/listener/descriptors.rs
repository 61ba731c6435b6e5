//! How many connections the process has file descriptors for.
//!
//! Connections that take the last descriptor also take it from the health port,
//! and a sidecar that answers no probe is killed with everything it serves. So
//! some are kept back, whatever `limits.maxConnections` says.

use std::sync::OnceLock;

/// Kept for the service ports, connections to servers, files and key fetches.
const LEAST_KEPT: usize = 32;

/// The most connections that may be open at once.
pub(super) fn most_connections() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        soft_limit(&limits).map_or(usize::MAX, connections_for)
    })
}

/// An eighth is kept back, and never fewer than [`LEAST_KEPT`].
fn connections_for(descriptors: usize) -> usize {
    let kept = (descriptors / 8).max(LEAST_KEPT);
    descriptors.saturating_sub(kept).max(1)
}

/// The soft limit on open files in the format of proc(5); none when there is
/// none.
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_kept_back_at_every_size() {
        assert_eq!(connections_for(64), 32);
        assert_eq!(connections_for(1024), 896);
        assert_eq!(connections_for(20_000), 17_500);
        assert_eq!(
            connections_for(8),
            1,
            "something is served however few there are"
        );
    }

    #[test]
    fn the_soft_limit_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max processes             7000                 7000                 processes\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(text), Some(1024));
        assert_eq!(
            soft_limit("Max open files            unlimited unlimited files\n"),
            None
        );
        assert_eq!(soft_limit(""), None);
    }
}
