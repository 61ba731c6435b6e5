//! The certificate that a pod showed, as the condition by which every replica
//! knows that it has one.
//!
//! A condition that says too much would keep a sidecar away from its operator:
//! it cannot show what it does not have. So it is written only about what was
//! shown, and names what may make it worthless: its end, the authority that
//! signed it, and the sandbox of the pod. A node that starts again empties the
//! memory volumes of its pods, whose uids stay as they are; their sandboxes are
//! new then.

use std::fmt;

use k8s_openapi::jiff::Timestamp;
use sidegate_api::names::reason;

use super::said::Said;
use crate::world::PodCondition;

const UNTIL: &str = "until ";
const AUTHORITY: &str = ", authority ";
const SANDBOX: &str = ", sandbox of ";
const UNKNOWN: &str = "unknown";

/// A certificate that a pod showed, and so has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownCertificate {
    /// When it ends, in seconds since 1970.
    pub(crate) until_unix: i64,
    /// The key identifier of the authority that signed it.
    pub(crate) authority: String,
    /// The pod's sandbox when it was shown: the time of its last change, in
    /// seconds since 1970; none when the kubelet does not tell.
    pub(crate) sandbox_unix: Option<i64>,
}

// === impl ShownCertificate ===

impl ShownCertificate {
    /// What a condition says, if it can be read.
    pub(crate) fn of(condition: &PodCondition) -> Option<Self> {
        Self::read(condition.holds, &condition.reason, &condition.message)
    }

    fn read(holds: bool, reason: &str, message: &str) -> Option<Self> {
        if !holds || reason != reason::CERTIFICATE_SHOWN {
            return None;
        }
        let rest = message.strip_prefix(UNTIL)?;
        let (until, rest) = rest.split_once(AUTHORITY)?;
        let (authority, sandbox) = rest.split_once(SANDBOX)?;
        Some(Self {
            until_unix: seconds(until)?,
            authority: authority.to_owned(),
            sandbox_unix: match sandbox {
                UNKNOWN => None,
                time => Some(seconds(time)?),
            },
        })
    }

    /// Whether it says no more than another one.
    pub(crate) fn adds_nothing_to(&self, other: &Self) -> bool {
        self.authority == other.authority
            && self.sandbox_unix == other.sandbox_unix
            && self.until_unix <= other.until_unix
    }

    pub(super) fn said(&self) -> Said {
        Said {
            holds: true,
            reason: reason::CERTIFICATE_SHOWN,
            message: self.to_string(),
            is_silence: false,
        }
    }
}

impl fmt::Display for ShownCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            until_unix,
            authority,
            sandbox_unix,
        } = self;
        let until = time(*until_unix);
        let sandbox = sandbox_unix.map_or_else(|| UNKNOWN.to_owned(), time);
        write!(f, "{UNTIL}{until}{AUTHORITY}{authority}{SANDBOX}{sandbox}")
    }
}

/// Whether a condition says all that there is to say of a certificate: another
/// replica may have seen a newer one meanwhile, which ends later.
pub(super) fn adds_nothing(said: &Said, before: Option<&PodCondition>) -> bool {
    let read = |holds, reason: &str, message: &str| ShownCertificate::read(holds, reason, message);
    let said = read(said.holds, said.reason, &said.message);
    let before = before.and_then(|it| read(it.holds, &it.reason, &it.message));
    said.zip(before).is_some_and(|(said, before)| {
        said.until_unix < before.until_unix || said.adds_nothing_to(&before)
    })
}

fn time(unix: i64) -> String {
    Timestamp::from_second(unix).unwrap_or_default().to_string()
}

fn seconds(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn condition(message: &str) -> PodCondition {
        PodCondition {
            holds: true,
            reason: reason::CERTIFICATE_SHOWN.to_owned(),
            message: message.to_owned(),
            since: None,
        }
    }

    fn shown() -> ShownCertificate {
        ShownCertificate {
            until_unix: 1_800_000_000,
            authority: "0a1b".to_owned(),
            sandbox_unix: Some(1_799_000_000),
        }
    }

    #[test]
    fn a_person_can_read_it_too() {
        let said = shown().said();
        assert_eq!(
            said.message,
            "until 2027-01-15T08:00:00Z, authority 0a1b, sandbox of 2027-01-03T18:13:20Z"
        );
    }

    #[test]
    fn what_says_something_else_says_nothing() {
        let good = condition(&shown().to_string());
        assert_eq!(ShownCertificate::of(&good), Some(shown()));
        let other_reason = PodCondition {
            reason: "Other".to_owned(),
            ..good.clone()
        };
        assert_eq!(ShownCertificate::of(&other_reason), None);
        let false_one = PodCondition {
            holds: false,
            ..good
        };
        assert_eq!(ShownCertificate::of(&false_one), None);
        for message in [
            "",
            "until ",
            "until tomorrow, authority 0a, sandbox of unknown",
            "until 2027-01-15T08:00:00Z, authority 0a",
            "until 2027-01-15T08:00:00Z, authority 0a, sandbox of then",
        ] {
            assert_eq!(ShownCertificate::of(&condition(message)), None, "{message}");
        }
    }

    #[test]
    fn one_that_ends_earlier_adds_nothing() {
        let (it, mut other) = (shown(), shown());
        assert!(it.adds_nothing_to(&other));
        other.until_unix += 1;
        assert!(it.adds_nothing_to(&other) && !other.adds_nothing_to(&it));
        other.sandbox_unix = None;
        assert!(!it.adds_nothing_to(&other));
        let another = ShownCertificate {
            authority: "0a1c".to_owned(),
            ..shown()
        };
        assert!(!it.adds_nothing_to(&another));
    }

    proptest! {
        #[test]
        fn it_is_read_as_it_was_written(
            until_unix in 0..253_000_000_000_i64,
            authority in "[0-9a-f]{0,40}",
            sandbox_unix in proptest::option::of(0..253_000_000_000_i64),
        ) {
            let shown = ShownCertificate { until_unix, authority, sandbox_unix };
            let read = ShownCertificate::of(&condition(&shown.to_string()));
            prop_assert_eq!(read, Some(shown));
        }

        #[test]
        fn no_text_breaks_it(message in ".*") {
            let _ = ShownCertificate::of(&condition(&message));
        }
    }
}
