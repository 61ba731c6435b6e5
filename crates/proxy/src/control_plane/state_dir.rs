//! What outlives a restart of the container: key, certificate, authorities and
//! the last good snapshot, in a memory-backed volume that only the sidecar has.
//!
//! A file is written beside its place and renamed, so it is whole or not there.
//! One that is damaged all the same is left out with a warning: the operator
//! will send what is missing.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sidegate_config::control::{MAX_TO_SIDECAR, SnapshotVersion};
use sidegate_tls::{InvalidTls, PrivateKeyPem};
use tracing::{info, warn};

use crate::identity::IssuedIdentity;

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const AUTHORITIES: &str = "authorities.pem";
const SNAPSHOT: &str = "snapshot.json";

const MAX_PEM_BYTES: usize = 1024 * 1024;
/// A snapshot that fits into a frame, and what stands around it.
const MAX_SNAPSHOT_BYTES: usize = MAX_TO_SIDECAR + 64 * 1024;

/// The directory.
#[derive(Debug)]
pub(super) struct StateDir {
    dir: PathBuf,
}

/// A snapshot as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Kept {
    /// Its hash is empty when the gateway is gone; then the configuration only
    /// says which ports it had.
    pub(super) version: SnapshotVersion,
    pub(super) service_hosts: Vec<String>,
    pub(super) config: Option<KeptConfig>,
}

/// A configuration as it came.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeptConfig {
    pub(super) hash: String,
    pub(super) json: Arc<RawValue>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    sha256: String,
    content: Box<RawValue>,
}

/// Why a file is left out.
#[derive(Debug, thiserror::Error)]
enum Useless {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is too large")]
    TooLarge,
    #[error("is damaged")]
    Damaged,
    #[error("does not belong to the others: {0}")]
    Tls(#[from] InvalidTls),
}

// === impl StateDir ===

impl StateDir {
    /// Uses this directory; it is made when it is missing. One that cannot be
    /// used only means that a restart has to wait for the operator.
    pub(super) fn open(dir: PathBuf) -> Self {
        if let Err(error) = closed(&dir) {
            warn!(dir = %dir.display(), %error, "the state directory should be this sidecar's alone");
        }
        Self { dir }
    }

    /// The certificate of before, if it can still be used.
    pub(super) fn identity(&self) -> Option<IssuedIdentity> {
        match self.read_identity() {
            Ok(identity) => identity,
            Err(Useless::Tls(InvalidTls::Expired { days })) => {
                info!(days, "the certificate of before has expired");
                self.forget_identity();
                None
            }
            Err(error) => {
                warn!(dir = %self.dir.display(), %error, "the certificate of before is left out");
                None
            }
        }
    }

    /// What was enforced before.
    pub(super) fn snapshot(&self) -> Option<Kept> {
        match self.read_snapshot() {
            Ok(kept) => kept,
            Err(error) => {
                warn!(dir = %self.dir.display(), %error, "the snapshot of before is left out");
                None
            }
        }
    }

    /// Keeps a certificate.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn keep_identity(&self, identity: &IssuedIdentity) -> io::Result<()> {
        self.write(KEY, identity.key_pem().expose())?;
        self.write(CERTIFICATE, identity.certificate_pem().as_bytes())?;
        self.write(AUTHORITIES, identity.authorities_pem().as_bytes())
    }

    /// Keeps a snapshot.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn keep_snapshot(&self, kept: &Kept) -> io::Result<()> {
        let content = serde_json::value::to_raw_value(kept)?;
        let sealed = Sealed {
            sha256: hash(content.get()),
            content,
        };
        self.write(SNAPSHOT, &serde_json::to_vec(&sealed)?)
    }

    fn read_identity(&self) -> Result<Option<IssuedIdentity>, Useless> {
        let key = self.read(KEY, MAX_PEM_BYTES)?;
        let certificate = self.read(CERTIFICATE, MAX_PEM_BYTES)?;
        let authorities = self.read(AUTHORITIES, MAX_PEM_BYTES)?;
        let (key, certificate, authorities) = match (key, certificate, authorities) {
            (Some(key), Some(certificate), Some(authorities)) => (key, certificate, authorities),
            (None, None, None) => return Ok(None),
            _ => return Err(Useless::Damaged),
        };
        let text = |bytes| String::from_utf8(bytes).map_err(|_| Useless::Damaged);
        let (certificate, authorities) = (text(certificate)?, text(authorities)?);
        let key = PrivateKeyPem::from(key);
        Ok(Some(IssuedIdentity::new(certificate, key, authorities)?))
    }

    fn read_snapshot(&self) -> Result<Option<Kept>, Useless> {
        let Some(bytes) = self.read(SNAPSHOT, MAX_SNAPSHOT_BYTES)? else {
            return Ok(None);
        };
        // The library's error may quote a value.
        let sealed: Sealed = serde_json::from_slice(&bytes).map_err(|_| Useless::Damaged)?;
        if sealed.sha256 != hash(sealed.content.get()) {
            return Err(Useless::Damaged);
        }
        let kept = serde_json::from_str(sealed.content.get());
        kept.map(Some).map_err(|_| Useless::Damaged)
    }

    /// A key whose certificate has ended is of no use to anybody but a thief.
    fn forget_identity(&self) {
        for name in [KEY, CERTIFICATE, AUTHORITIES] {
            if let Err(error) = fs::remove_file(self.dir.join(name)) {
                warn!(file = name, %error, "cannot be removed");
            }
        }
    }

    fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, Useless> {
        let file = match File::open(self.dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX);
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            return Err(Useless::TooLarge);
        }
        Ok(Some(bytes))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let next = self.dir.join(format!(".{name}.next"));
        // Of a sidecar that was killed meanwhile. A link in its place is not
        // followed.
        match fs::remove_file(&next) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&next)?;
        file.write_all(bytes)?;
        fs::rename(&next, self.dir.join(name))
    }
}

/// Makes the directory, and takes the rights of others away.
fn closed(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & 0o007 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(mode & 0o770))?;
    }
    Ok(())
}

fn hash(text: &str) -> String {
    let mut hex = String::new();
    for byte in digest(&SHA256, text.as_bytes()).as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests;
