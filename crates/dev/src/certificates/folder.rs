//! The certificates of the desk in a folder, where `curl` and other clients
//! find them. They are kept over runs as long as they fit.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::KeyPair;

use super::{CertificateAuthority, CertificateError, Facts, Issued, KeyPem, Validity, Wish};

/// How long the authority lasts.
const AUTHORITY_DAYS: i64 = 365;
/// How long certificates last.
const CERTIFICATE_DAYS: i64 = 30;
const DAY_SECONDS: i64 = 24 * 3600;
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or the folder cannot be read or written.
    #[error("`{}`: {source} (give another folder with --dir)", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate cannot be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A folder with an authority and certificates.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    authority: CertificateAuthority,
    now: i64,
}

/// Whose certificate is wanted.
#[derive(Debug, Clone, Copy)]
pub enum Holder<'a> {
    /// A server that is reached under these host names.
    Server(&'a [&'a str]),
    /// A client.
    Client,
}

// === impl Folder ===

impl Folder {
    /// Opens the folder, makes it if it is not there, and keeps its authority
    /// if it outlasts the certificates that it may give at `now`.
    ///
    /// # Errors
    /// [`FolderError`] names the file.
    pub fn open(dir: &Path, now: i64) -> Result<Self, FolderError> {
        let at_dir = |source| FolderError::File {
            path: dir.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(at_dir)?;
        // Nothing in it may end up in a repository, wherever the folder is.
        write(&dir.join(".gitignore"), "*\n", PUBLIC)?;
        let authority = match kept_authority(dir, now) {
            Some(authority) => authority,
            None => new_authority(dir, now)?,
        };
        Ok(Self {
            dir: dir.to_owned(),
            authority,
            now,
        })
    }

    /// The path of a file in the folder.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The authority.
    #[must_use]
    pub fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// The certificate `NAME.crt` with `NAME.key`: the one that is there if it
    /// states the same and lasts another day, else a new one.
    ///
    /// # Errors
    /// [`FolderError`] names the file.
    pub fn certificate(
        &self,
        name: &str,
        holder: Holder<'_>,
        spiffe_id: &str,
    ) -> Result<Issued, FolderError> {
        let validity = Validity::days(self.now, CERTIFICATE_DAYS);
        let wish = match holder {
            Holder::Server(hosts) => Wish::server(hosts, spiffe_id, validity),
            Holder::Client => Wish::client(spiffe_id, validity),
        };
        let (certificate, key) = (
            self.path(&format!("{name}.crt")),
            self.path(&format!("{name}.key")),
        );
        if let Some(kept) = read(&certificate, &key).filter(|kept| self.is_as_wished(kept, &wish)) {
            return Ok(kept);
        }
        let issued = self.authority.issue(&wish)?;
        write(&key, issued.key_pem.expose(), PRIVATE)?;
        write(&certificate, &issued.certificate_pem, PUBLIC)?;
        Ok(issued)
    }

    fn is_as_wished(&self, kept: &Issued, wish: &Wish) -> bool {
        let Ok(facts) = Facts::read(&kept.certificate_pem) else {
            return false;
        };
        let Ok(key) = KeyPair::from_pem(kept.key_pem.expose()) else {
            return false;
        };
        let mut hosts = wish.hosts.clone();
        hosts.sort_unstable();
        facts.has_key(&key)
            && facts.hosts == hosts
            && facts.uris == wish.uris
            && facts.purpose == Some(wish.purpose)
            && facts
                .validity
                .lasts_until(self.now.saturating_add(DAY_SECONDS), self.now)
            && facts.is_signed_by(self.authority.certificate_pem())
    }
}

fn kept_authority(dir: &Path, now: i64) -> Option<CertificateAuthority> {
    let kept = read(&dir.join("ca.crt"), &dir.join("ca.key"))?;
    let facts = Facts::read(&kept.certificate_pem).ok()?;
    let needed = now.saturating_add((CERTIFICATE_DAYS + 1) * DAY_SECONDS);
    if !facts.validity.lasts_until(needed, now) {
        return None;
    }
    CertificateAuthority::load(&kept.certificate_pem, &kept.key_pem).ok()
}

fn new_authority(dir: &Path, now: i64) -> Result<CertificateAuthority, FolderError> {
    let validity = Validity::days(now, AUTHORITY_DAYS);
    let authority = CertificateAuthority::create("Sidegate development CA", validity)?;
    write(&dir.join("ca.key"), authority.key_pem().expose(), PRIVATE)?;
    write(&dir.join("ca.crt"), authority.certificate_pem(), PUBLIC)?;
    Ok(authority)
}

fn read(certificate: &Path, key: &Path) -> Option<Issued> {
    Some(Issued {
        certificate_pem: fs::read_to_string(certificate).ok()?,
        key_pem: KeyPem::from(fs::read_to_string(key).ok()?),
    })
}

/// Writes a file whole or not at all, with these permissions from the first
/// byte on.
///
/// # Errors
/// [`FolderError::File`]
pub(crate) fn write(path: &Path, text: &str, mode: u32) -> Result<(), FolderError> {
    let failed = |source| FolderError::File {
        path: path.to_owned(),
        source,
    };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // One that is left of a run that was killed may have other permissions.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let open = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)
    };
    let fill = |mut file: File| file.write_all(text.as_bytes());
    open()
        .and_then(fill)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(failed)
}

// === impl Validity ===

impl Validity {
    fn lasts_until(self, until: i64, now: i64) -> bool {
        self.not_before <= now && self.not_after > until
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const AGENT: &str = "spiffe://cluster.local/ns/crm/sa/agent";

    fn open(dir: &tempfile::TempDir, now: i64) -> Folder {
        Folder::open(&dir.path().join("dev"), now).unwrap()
    }

    #[test]
    fn certificates_are_kept_until_a_day_before_their_end() {
        let dir = tempfile::tempdir().unwrap();
        let agent = |now| {
            open(&dir, now)
                .certificate("agent", Holder::Client, AGENT)
                .unwrap()
        };
        let first = agent(NOW);
        assert_eq!(agent(NOW), first);
        let last = NOW + (CERTIFICATE_DAYS - 1) * DAY_SECONDS;
        assert_eq!(agent(last - 1), first);
        assert_ne!(agent(last), first);
    }

    #[test]
    fn the_authority_outlasts_what_it_gives() {
        let dir = tempfile::tempdir().unwrap();
        let authority = |now| open(&dir, now).authority().certificate_pem().to_owned();
        let first = authority(NOW);
        let last = NOW + (AUTHORITY_DAYS - CERTIFICATE_DAYS - 1) * DAY_SECONDS;
        assert_eq!(authority(last - 1), first);
        let next = authority(last);
        assert_ne!(next, first);
        assert_eq!(authority(last), next);
        assert_ne!(authority(NOW - 2 * 3600), next, "a clock that was set back");
    }

    #[test]
    fn a_certificate_that_states_something_else_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(&dir, NOW);
        let get = |holder, spiffe_id| folder.certificate("a", holder, spiffe_id).unwrap();
        let one = get(Holder::Server(&["localhost", "127.0.0.1"]), AGENT);
        assert_eq!(
            get(Holder::Server(&["127.0.0.1", "localhost"]), AGENT),
            one,
            "in any order"
        );
        let two = get(Holder::Server(&["localhost"]), AGENT);
        assert_ne!(two, one);
        let three = get(
            Holder::Server(&["localhost"]),
            "spiffe://cluster.local/ns/crm/sa/lead",
        );
        assert_ne!(three, two);
        let four = get(Holder::Client, AGENT);
        assert_ne!(four, three);
        let other = get(Holder::Client, AGENT);
        assert_eq!(other, four);
    }

    #[test]
    fn broken_or_foreign_files_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let agent = || {
            open(&dir, NOW)
                .certificate("agent", Holder::Client, AGENT)
                .unwrap()
        };
        let first = agent();
        let file = |name: &str| dir.path().join("dev").join(name);
        fs::write(file("agent.crt"), "nonsense").unwrap();
        let second = agent();
        assert_ne!(second, first);
        let other = open(&dir, NOW)
            .certificate("lead", Holder::Client, AGENT)
            .unwrap();
        fs::write(file("agent.key"), other.key_pem.expose()).unwrap();
        let third = agent();
        assert_ne!(third.key_pem, other.key_pem, "a key of another certificate");
        fs::remove_file(file("ca.key")).unwrap();
        assert_ne!(agent(), third, "certificates of an authority that is gone");
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(&dir, NOW);
        folder.certificate("agent", Holder::Client, AGENT).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("dev")), 0o700);
        for key in ["ca.key", "agent.key"] {
            assert_eq!(mode(&folder.path(key)), 0o600, "{key}");
        }
        assert_eq!(
            fs::read_to_string(folder.path(".gitignore")).unwrap(),
            "*\n"
        );
        let files = fs::read_dir(dir.path().join("dev")).unwrap();
        let left =
            files.filter(|file| file.as_ref().unwrap().path().extension() == Some("new".as_ref()));
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Folder::open(&file.join("dev"), NOW)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("file/dev`") && error.contains("--dir"),
            "{error}"
        );
    }
}
