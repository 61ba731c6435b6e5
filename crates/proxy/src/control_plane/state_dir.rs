//! What outlives a restart of the container: key, certificate, authorities and
//! the last good snapshot, in a memory-backed volume that only the sidecar has.
//!
//! A file is written beside its place and renamed, so it is whole or not there;
//! a key changes together with its certificate ([`IdentityFiles`]). What is
//! damaged all the same is left out with a warning: the operator will send what
//! is missing. Nothing is thrown away for its date: a sidecar without its
//! certificate is a stranger to an operator that knows it, and the clock may be
//! what is wrong.

use std::fmt::{self, Write as _};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sidegate_config::control::{MAX_TO_SIDECAR, SnapshotVersion};
use sidegate_config::sidecar_config::SidecarConfig;
use tracing::warn;

use super::identity_files::{IdentityFiles, UnusableFiles};
use crate::identity::IssuedIdentity;

const SNAPSHOT: &str = "snapshot.json";
/// A snapshot that fits into a frame, and what stands around it.
const MAX_SNAPSHOT_BYTES: usize = MAX_TO_SIDECAR + 64 * 1024;

/// The directory.
#[derive(Debug)]
pub(super) struct StateDir {
    dir: PathBuf,
    identity: IdentityFiles,
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
#[derive(Clone, Serialize, Deserialize)]
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

/// Why the snapshot is left out.
#[derive(Debug, thiserror::Error)]
enum Useless {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is too large")]
    TooLarge,
    #[error("is damaged")]
    Damaged,
}

// === impl StateDir ===

impl StateDir {
    /// Uses this directory; it is made when it is missing. One that cannot be
    /// used only means that a restart has to wait for the operator.
    pub(super) fn open(dir: PathBuf) -> Self {
        if let Err(error) = closed(&dir) {
            warn!(dir = %dir.display(), %error, "the state directory should be this sidecar's alone");
        }
        Self {
            identity: IdentityFiles::private(dir.clone()),
            dir,
        }
    }

    /// The certificate of before.
    ///
    /// # Errors
    /// [`UnusableFiles`] when it cannot be used, at least now.
    pub(super) fn identity(&self) -> Result<Option<IssuedIdentity>, UnusableFiles> {
        self.identity.read()
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
    /// What the system said; then the one before is kept.
    pub(super) fn keep_identity(&self, identity: &IssuedIdentity) -> io::Result<()> {
        self.identity.write(identity)
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

// === impl KeptConfig ===

impl KeptConfig {
    /// The same for its ports only. None when it cannot be read: then a restart
    /// listens nowhere until the operator says more.
    pub(super) fn without_secrets(&self) -> Option<Self> {
        let config = SidecarConfig::read(self.json.get(), &self.hash).ok()?;
        let json = serde_json::value::to_raw_value(&config.without_secrets()).ok()?;
        Some(Self {
            hash: self.hash.clone(),
            json: json.into(),
        })
    }
}

/// Without the configuration: it holds keys of TLS, and whatever else was
/// resolved from Secrets.
impl fmt::Debug for KeptConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptConfig")
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// Makes the directory, and takes the rights of others away.
///
/// The directory of a volume belongs to the kubelet and is everybody's (mode
/// 0777). That is as good: nobody else mounts this volume, and each file is its
/// owner's alone.
fn closed(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = fs::metadata(dir)?;
    let mode = metadata.permissions().mode();
    if mode & 0o007 == 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    fs::set_permissions(dir, Permissions::from_mode(mode & 0o770))
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
