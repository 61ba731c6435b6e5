//! The Unix socket of a holder: who may come in.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::HoldError;

/// Only the user of the holder, which is the sidecar's.
const MODE: u32 = 0o600;

#[derive(Debug)]
pub(super) struct Door(UnixListener);

// === impl Door ===

impl Door {
    /// Opens the socket in place of one whose process is gone.
    ///
    /// # Errors
    /// [`HoldError`]; nothing that lives and nothing but a socket is replaced.
    pub(super) fn open(path: &Path) -> Result<Self, HoldError> {
        if is_socket(path)? && StdUnixStream::connect(path).is_ok() {
            return Err(HoldError::Taken(path.to_owned()));
        }
        let listen = || {
            // Nobody sees it before it has its mode.
            let next = next_to(path);
            if is_socket(&next).is_ok_and(|there| there) {
                fs::remove_file(&next)?;
            }
            let listener = StdUnixListener::bind(&next)?;
            fs::set_permissions(&next, Permissions::from_mode(MODE))?;
            listener.set_nonblocking(true)?;
            fs::rename(&next, path)?;
            UnixListener::from_std(listener)
        };
        listen().map(Self).map_err(|source| HoldError::Socket {
            path: path.to_owned(),
            source,
        })
    }

    /// The next process of the same user.
    ///
    /// # Errors
    /// What the system says, or `PermissionDenied` for another user.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        let (peer, _) = self.0.accept().await?;
        check_user(&peer)?;
        Ok(peer)
    }
}

/// Refuses a peer of another user: file modes do not bind root.
///
/// # Errors
/// `PermissionDenied`, or what the system says.
pub(super) fn check_user(peer: &UnixStream) -> io::Result<()> {
    let theirs = peer.peer_cred()?.uid();
    let ours = rustix::process::geteuid().as_raw();
    if theirs == ours {
        return Ok(());
    }
    let text = format!("the other process is of user {theirs}, this one of user {ours}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn is_socket(path: &Path) -> Result<bool, HoldError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(true),
        Ok(_) => Err(HoldError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(HoldError::Socket {
            path: path.to_owned(),
            source,
        }),
    }
}

fn next_to(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_without_a_process_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hold.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        drop(StdUnixListener::bind(next_to(&path)).unwrap());
        let door = Door::open(&path).unwrap();
        assert_eq!(mode(&path), MODE);
        assert!(!next_to(&path).exists());
        assert!(matches!(Door::open(&path), Err(HoldError::Taken(_))));
        drop(door);
        Door::open(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Door::open(&path), Err(HoldError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_missing_directory_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let error = Door::open(&dir.path().join("none/hold.sock")).unwrap_err();
        assert!(error.to_string().contains("must exist"), "{error}");
    }

    #[tokio::test]
    async fn the_same_user_is_let_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hold.sock");
        let door = Door::open(&path).unwrap();
        let connected = UnixStream::connect(&path).await.unwrap();
        door.accept().await.unwrap();
        check_user(&connected).unwrap();
    }
}
