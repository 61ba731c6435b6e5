//! Certificate, key and authorities in files: the sidecar's own, and those for
//! the other containers of a pod.
//!
//! The three belong together, so they change together: each generation is a
//! directory of its own, and one link says which of them counts. The names that
//! programs know are links through that one, as in volumes of the kubelet.
//! Whenever this process is killed, what counts is whole.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use sidegate_tls::{InvalidTls, PrivateKeyPem};
use thiserror::Error;
use tracing::warn;

use crate::identity::IssuedIdentity;

/// The link to the generation that counts. Programs that watch the kubelet's
/// volumes look at the same name.
const CURRENT: &str = "..data";
const NEXT: &str = "..data_next";
const GENERATION: &str = "..generation-";
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// The directory.
#[derive(Debug)]
pub(super) struct IdentityFiles {
    dir: PathBuf,
    form: &'static Form,
}

/// What the files are called, and who may read them.
#[derive(Debug)]
struct Form {
    certificate: &'static str,
    key: &'static str,
    authorities: &'static str,
    file_mode: u32,
    dir_mode: u32,
}

const PRIVATE: Form = Form {
    certificate: "certificate.pem",
    key: "key.pem",
    authorities: "authorities.pem",
    file_mode: 0o600,
    dir_mode: 0o700,
};

/// Everybody in the pod may read them: the other containers run as users that
/// nobody knows here, and a pod need not have a group in common. The volume is
/// in memory and is this pod's alone.
const SHARED: Form = Form {
    certificate: "tls.crt",
    key: "tls.key",
    authorities: "ca.crt",
    file_mode: 0o644,
    dir_mode: 0o755,
};

/// Why the files of before are not used. They stay: the clock may be wrong.
#[derive(Debug, Error)]
pub(super) enum UnusableFiles {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] InvalidTls),
}

// === impl IdentityFiles ===

impl IdentityFiles {
    /// Files that nobody else may read.
    pub(super) fn private(dir: PathBuf) -> Self {
        let form = &PRIVATE;
        Self { dir, form }
    }

    /// Files for the other containers of the pod.
    pub(super) fn shared(dir: PathBuf) -> Self {
        let form = &SHARED;
        Self { dir, form }
    }

    /// What was written before the container was restarted; none if nothing
    /// was.
    ///
    /// # Errors
    /// [`UnusableFiles`] when it cannot be used, at least now.
    pub(super) fn read(&self) -> Result<Option<IssuedIdentity>, UnusableFiles> {
        let current = self.dir.join(CURRENT);
        match fs::symlink_metadata(&current) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            there => there?,
        };
        let certificate = read(&current.join(self.form.certificate))?;
        let key = PrivateKeyPem::from(read(&current.join(self.form.key))?.into_bytes());
        let authorities = read(&current.join(self.form.authorities))?;
        let identity = IssuedIdentity::new(certificate, key, authorities)?;
        Ok(Some(identity))
    }

    /// Puts a generation in the place of the one before. That one stays until
    /// the next, for programs that are reading it.
    ///
    /// # Errors
    /// What the system said; then nothing has changed for the readers.
    pub(super) fn write(&self, identity: &IssuedIdentity) -> io::Result<()> {
        let before = fs::read_link(self.dir.join(CURRENT)).ok();
        let name = generation()?;
        let dir = self.dir.join(&name);
        let Form {
            certificate,
            key,
            authorities,
            file_mode,
            dir_mode,
        } = *self.form;
        DirBuilder::new().mode(dir_mode).create(&dir)?;
        // Whatever the umask took away.
        fs::set_permissions(&dir, Permissions::from_mode(dir_mode))?;
        for (file, bytes) in [
            (certificate, identity.certificate_pem().as_bytes()),
            (key, identity.key_pem().expose()),
            (authorities, identity.authorities_pem().as_bytes()),
        ] {
            write(&dir.join(file), bytes, file_mode)?;
        }
        let next = self.dir.join(NEXT);
        remove(&next)?;
        symlink(&name, &next)?;
        fs::rename(&next, self.dir.join(CURRENT))?;
        for file in [certificate, key, authorities] {
            self.link(file)?;
        }
        let before = before.as_deref().unwrap_or_else(|| Path::new(""));
        self.sweep(&[Path::new(&name), before]);
        Ok(())
    }

    /// The name by which programs know a file; it never changes.
    fn link(&self, file: &str) -> io::Result<()> {
        let target = Path::new(CURRENT).join(file);
        match symlink(target, self.dir.join(file)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes generations, also those that were never finished.
    fn sweep(&self, kept: &[&Path]) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let old =
                name.to_string_lossy().starts_with(GENERATION) && !kept.contains(&Path::new(&name));
            if old && let Err(error) = fs::remove_dir_all(entry.path()) {
                warn!(%error, "files of before cannot be removed");
            }
        }
    }
}

fn generation() -> io::Result<String> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(io::Error::other)?;
    let mut name = GENERATION.to_owned();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(name)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    let read = file.take(MAX_PEM_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_PEM_BYTES) {
        Ok(text)
    } else {
        Err(ErrorKind::FileTooLarge.into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sidegate_policy::clock::{Clock as _, SystemClock};
    use sidegate_tls::{Authority, Subject, Usages};
    use tempfile::TempDir;

    use super::*;

    fn issued(name: &str) -> IssuedIdentity {
        let now = SystemClock.unix_seconds();
        let day = Duration::from_secs(24 * 3600);
        let authority = Authority::create("test", now, day).expect("an authority");
        let subject = Subject {
            common_name: name.to_owned(),
            spiffe_id: None,
            dns_names: vec!["caller.crm.svc".to_owned()],
            usages: Usages::Both,
        };
        let (certificate, key) = authority.issue(&subject, now, day / 2).expect("issued");
        let authorities = authority.certificate_pem().to_owned();
        IssuedIdentity::new(certificate, key, authorities).expect("usable")
    }

    fn files() -> (TempDir, IdentityFiles) {
        let dir = tempfile::tempdir().expect("a directory");
        let files = IdentityFiles::shared(dir.path().to_owned());
        (dir, files)
    }

    fn generations(dir: &Path) -> usize {
        let entries = fs::read_dir(dir).expect("a directory");
        let names = entries.map(|it| it.expect("an entry").file_name());
        let names = names.filter(|it| it.to_string_lossy().starts_with(GENERATION));
        names.count()
    }

    #[test]
    fn what_is_written_is_read_by_everybody_and_by_its_names() {
        let (dir, files) = files();
        assert!(matches!(files.read(), Ok(None)));
        let identity = issued("first");
        files.write(&identity).expect("written");
        let text = |name: &str| fs::read_to_string(dir.path().join(name)).expect("a file");
        assert_eq!(text("tls.crt"), identity.certificate_pem());
        assert_eq!(text("tls.key").as_bytes(), identity.key_pem().expose());
        assert_eq!(text("ca.crt"), identity.authorities_pem());
        let mode = |name: &str| {
            let metadata = fs::metadata(dir.path().join(name)).expect("a file");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode("tls.key"), 0o644);
        assert_eq!(mode("..data"), 0o755);
        let read = files.read().expect("usable").expect("an identity");
        assert_eq!(read.certificate_pem(), identity.certificate_pem());
    }

    #[test]
    fn generations_change_whole_and_the_last_one_stays_readable() {
        let (dir, files) = files();
        files.write(&issued("first")).expect("written");
        let reader = fs::canonicalize(dir.path().join(CURRENT)).expect("a directory");
        let first = fs::read(reader.join(SHARED.certificate)).expect("a file");
        files.write(&issued("second")).expect("written");
        assert_eq!(generations(dir.path()), 2);
        assert_eq!(
            fs::read(reader.join(SHARED.certificate)).expect("a file"),
            first
        );
        assert_ne!(
            fs::read(dir.path().join(SHARED.certificate)).expect("a file"),
            first
        );
        files.write(&issued("third")).expect("written");
        assert_eq!(generations(dir.path()), 2);
        assert!(!reader.exists());
        assert!(matches!(files.read(), Ok(Some(_))));
    }

    #[test]
    fn a_crash_between_two_steps_leaves_the_generation_of_before() {
        let (dir, files) = files();
        let identity = issued("first");
        files.write(&identity).expect("written");
        // One that was never finished, and a link that was never moved.
        fs::create_dir(dir.path().join("..generation-half")).expect("a directory");
        symlink("..generation-half", dir.path().join(NEXT)).expect("a link");
        let read = files.read().expect("usable").expect("an identity");
        assert_eq!(read.certificate_pem(), identity.certificate_pem());
        files.write(&issued("second")).expect("written");
        assert_eq!(generations(dir.path()), 2);
        assert!(matches!(files.read(), Ok(Some(_))));
    }

    #[test]
    fn damaged_files_are_asked_for_again() {
        let (dir, files) = files();
        files.write(&issued("first")).expect("written");
        fs::write(dir.path().join("..data/tls.key"), "nonsense").expect("a file");
        assert!(matches!(files.read(), Err(UnusableFiles::Tls(_))));
        fs::remove_file(dir.path().join("..data/tls.key")).expect("removed");
        assert!(matches!(files.read(), Err(UnusableFiles::Io(_))));
    }
}
