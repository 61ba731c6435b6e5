//! Fields that are part of the resource, but that this version does not serve.
//! To ignore them would leave people with less than they asked for.

use super::Check;
use crate::violations::Cause;

pub(super) fn check(check: &mut Check<'_>) {
    let spec = &check.spec;
    for (field, is_set) in [
        ("spec.llm", spec.llm.is_some()),
        ("spec.remoteServers", !spec.remote_servers.is_empty()),
        ("spec.rateLimits", !spec.rate_limits.is_empty()),
        ("spec.anomaly", spec.anomaly.is_some()),
    ] {
        if is_set {
            let message = "is not served by this version yet: remove it";
            check.refuse_because(Cause::Unserved, field, message);
        }
    }
}
