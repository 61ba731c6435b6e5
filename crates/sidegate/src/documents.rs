//! Documents from several files and directories.

use std::path::PathBuf;

use sidegate_config::documents::{Documents, read_dir, read_file};
use sidegate_config::{Options, Violations};

/// Reads everything, as if it lay in one directory.
///
/// # Errors
/// What is wrong with the first path that cannot be read.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Documents, Violations> {
    let mut all = Documents::default();
    for path in paths {
        let read = if path.is_dir() {
            read_dir(path)?
        } else {
            read_file(path)?
        };
        all.merge(read)?;
    }
    Ok(all)
}

/// What is valid wherever the documents will be used: on the desk, with its
/// loopback addresses, or in a cluster, with its certificate authority.
pub(crate) fn options(trust_domain: &str) -> Options {
    Options {
        allow_loopback: true,
        built_in_ca: true,
        trust_domain: trust_domain.to_owned(),
    }
}

/// `NAMESPACE/NAME` of every provider.
pub(crate) fn providers(documents: &Documents) -> Vec<String> {
    documents
        .providers
        .iter()
        .map(|provider| format!("{}/{}", provider.namespace, provider.name))
        .collect()
}

/// `NAMESPACE/NAME` of every gateway.
pub(crate) fn gateways(documents: &Documents) -> Vec<String> {
    documents
        .gateways
        .iter()
        .map(|gateway| format!("{}/{}", gateway.namespace, gateway.name))
        .collect()
}
