//! Why a stream ends, or never begins.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use sidegate_config::control::{Refusal, RefusalReason};

/// What a sidecar is told when its stream ends, or never begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: RefusalReason,
    /// For people; nothing secret.
    pub(super) message: Cow<'static, str>,
    pub(super) retry_after: Duration,
}

// === impl Refused ===

impl Refused {
    pub(super) fn new(
        reason: RefusalReason,
        message: impl Into<Cow<'static, str>>,
        retry_after: Duration,
    ) -> Self {
        Self {
            reason,
            message: message.into(),
            retry_after,
        }
    }

    /// Too many attempts, or too many at once.
    pub(super) fn busy(message: &'static str, wait: Duration) -> Self {
        // Those who were refused together shall not come back together.
        let retry_after = wait + Duration::from_millis(250) + jitter(Duration::from_secs(1));
        Self::new(RefusalReason::Busy, message, retry_after)
    }

    pub(super) fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            RefusalReason::Unauthenticated,
            message,
            Duration::from_secs(5),
        )
    }

    pub(super) fn unavailable(message: &'static str) -> Self {
        let retry_after = Duration::from_millis(500) + jitter(Duration::from_secs(2));
        Self::new(RefusalReason::Unavailable, message, retry_after)
    }

    pub(super) fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalReason::Protocol, message, Duration::from_secs(10))
    }

    /// The word in metrics and logs.
    pub(super) fn word(&self) -> &'static str {
        match self.reason {
            RefusalReason::Unauthenticated => "unauthenticated",
            RefusalReason::WrongCertificate => "wrong_certificate",
            RefusalReason::UnknownPod => "unknown_pod",
            RefusalReason::TokenEnded => "token_ended",
            RefusalReason::PodGone => "pod_gone",
            RefusalReason::Replaced => "replaced",
            RefusalReason::Busy => "busy",
            RefusalReason::Unavailable => "unavailable",
            RefusalReason::Protocol => "protocol",
            RefusalReason::Other => "other",
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self {
            reason: refused.reason,
            message: refused.message.into_owned(),
            retry_after_ms: u64::try_from(refused.retry_after.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Some time below `most`, each time another.
pub(super) fn jitter(most: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(random % most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_sidecars_do_not_come_back_at_once() {
        let waits: std::collections::HashSet<_> = (0..1_000)
            .map(|_| Refused::unavailable("stopping").retry_after)
            .collect();
        assert!(waits.len() > 500, "{}", waits.len());
        let latest = waits.into_iter().max().expect("some");
        assert!(latest < Duration::from_millis(2_500), "{latest:?}");
    }
}
