//! From a snapshot as it came to a configuration, whole or not at all.

use sidegate_config::sidecar_config::{SidecarConfig, UnreadableConfig};
use thiserror::Error;
use tracing::error;

use super::state_dir::{Kept, KeptConfig};
use crate::run::ApplyError;

/// Names of Services that one pod can have here.
const MAX_SERVICE_HOSTS: usize = 1024;
const MAX_HOST_BYTES: usize = 253;
/// Why a snapshot is not put in force.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Unreadable(#[from] UnreadableConfig),
    #[error("`{0}` is no name of a Service")]
    ServiceHost(String),
    #[error("it has more than {MAX_SERVICE_HOSTS} names of Services")]
    ServiceHosts,
    /// A defect of the sidecar.
    #[error("reading it failed inside the sidecar")]
    Failed,
    #[error("{0}")]
    NotApplicable(#[from] ApplyError),
}

/// Reads a snapshot, away from the threads that serve requests. None when there
/// is nothing to read.
///
/// # Errors
/// [`Refusal`]; it cannot be `NotApplicable`.
pub(super) async fn read(kept: &Kept) -> Result<Option<SidecarConfig>, Refusal> {
    let Kept {
        version: _,
        service_hosts,
        config,
    } = kept.clone();
    let Some(KeptConfig { hash, json }) = config else {
        return Ok(None);
    };
    check_service_hosts(&service_hosts)?;
    let reading = tokio::task::spawn_blocking(move || {
        let config = SidecarConfig::read(json.get(), &hash)?;
        Ok(Some(config.with_service_hosts(&service_hosts)))
    });
    reading.await.unwrap_or_else(|failed| {
        error!(error = %failed, "reading a snapshot failed inside the sidecar");
        Err(Refusal::Failed)
    })
}

/// Names in small letters, as DNS writes them: they are compared with `Host`.
fn check_service_hosts(names: &[String]) -> Result<(), Refusal> {
    let is_name = |name: &String| {
        let label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        };
        name.len() <= MAX_HOST_BYTES && name.split('.').all(label)
    };
    if names.len() > MAX_SERVICE_HOSTS {
        return Err(Refusal::ServiceHosts);
    }
    match names.iter().find(|name| !is_name(name)) {
        None => Ok(()),
        Some(name) => Err(Refusal::ServiceHost(
            name.chars().take(MAX_HOST_BYTES).collect(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_are_names() {
        let check = |name: &str| check_service_hosts(&[name.to_owned()]).is_ok();
        for name in [
            "support",
            "support.crm.svc.cluster.local",
            "a-1.b",
            &"x".repeat(253),
        ] {
            assert!(check(name), "{name}");
        }
        for name in [
            "",
            ".",
            "a..b",
            "Support",
            "*",
            "a:1",
            "a b",
            "ä",
            &"x".repeat(254),
        ] {
            assert!(!check(name), "{name}");
        }
        let many = vec!["a".to_owned(); MAX_SERVICE_HOSTS];
        assert!(check_service_hosts(&many).is_ok());
        assert!(check_service_hosts(&[many, vec!["a".to_owned()]].concat()).is_err());
    }
}
