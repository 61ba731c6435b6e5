//! From files and a name to a connection with the operator.
//!
//! The token is sent to nobody but a server that proved to be the operator:
//! only the authorities of the trust file are believed. Both files are read at
//! every attempt, because the kubelet renews them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sidegate_config::control::PROTOCOL;
use sidegate_config::sidecar_config::SecretText;
use sidegate_tls::{ClientStream, InvalidTls, client_config};
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::url::ControlPlaneUrl;
use crate::identity::IssuedIdentity;

/// The authorities of the operator, in the trust directory.
const TRUST_FILE: &str = "endpoints.crt";
const MAX_TOKEN_BYTES: u64 = 16 * 1024;
const MAX_TRUST_BYTES: u64 = 1024 * 1024;
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// For each address of the operator.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most addresses that are tried.
const MAX_ADDRESSES: usize = 8;

/// Why there is no connection.
#[derive(Debug, Error)]
pub(super) enum DialError {
    /// The token or the trust file is not usable.
    #[error("cannot use `{file}`: {problem}", file = .file.display())]
    File {
        /// Which of them.
        file: PathBuf,
        /// What is wrong with it; nothing of its content.
        problem: FileProblem,
    },
    /// The trust file holds no authorities, or ours is no certificate any more.
    #[error("cannot use `{file}`: {source}", file = .file.display())]
    Trust {
        /// The trust file.
        file: PathBuf,
        /// What is wrong.
        source: InvalidTls,
    },
    /// The name leads nowhere.
    #[error("cannot resolve `{host}`: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// Whoever answers is not the operator.
    #[error("the operator cannot be told from an impostor: {0}")]
    Handshake(#[source] io::Error),
}

/// What can be wrong with a file.
#[derive(Debug, Error)]
pub(super) enum FileProblem {
    /// The system does not give it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is no such file.
    #[error("it is too large")]
    TooLarge,
    /// Not text of a token.
    #[error("it holds something else than a token")]
    NoToken,
}

/// Reads the token of the pod.
///
/// # Errors
/// [`DialError::File`].
pub(super) async fn token(file: &Path) -> Result<SecretText, DialError> {
    let bytes = read(file, MAX_TOKEN_BYTES).await?;
    let token = bytes.trim_ascii();
    let problem = match token {
        [] => FileProblem::Empty,
        // RFC 7519 and 7515: three parts of base64url, with dots between them.
        _ if token.iter().all(u8::is_ascii_graphic) => {
            return Ok(SecretText::from(token.to_vec()));
        }
        _ => FileProblem::NoToken,
    };
    Err(DialError::File {
        file: file.to_owned(),
        problem,
    })
}

/// The token of the pod, when it is another one than was sent. One that cannot
/// be read will be there the next time.
pub(super) async fn newer_token(file: &Path, sent: &SecretText) -> Option<SecretText> {
    match token(file).await {
        Ok(token) if token != *sent => {
            debug!("the token was renewed");
            Some(token)
        }
        Ok(_) => None,
        Err(error) => {
            warn!(%error, "the token cannot be renewed");
            None
        }
    }
}

/// Connects to the operator; shows the certificate of this pod, if it has one.
///
/// # Errors
/// [`DialError`]
pub(super) async fn dial(
    url: &ControlPlaneUrl,
    trust_dir: &Path,
    identity: Option<&IssuedIdentity>,
) -> Result<ClientStream<TcpStream>, DialError> {
    let file = trust_dir.join(TRUST_FILE);
    let roots = read(&file, MAX_TRUST_BYTES).await?;
    let shown = identity.map(|identity| {
        let certificate = identity.certificate_pem().as_bytes();
        (certificate, identity.key_pem())
    });
    let tls = client_config(&roots, shown, &[PROTOCOL])
        .map_err(|source| DialError::Trust { file, source })?;
    let connection = connect(url).await?;
    match timeout(HANDSHAKE_TIMEOUT, tls.connect(connection, url.host())).await {
        Ok(connected) => connected.map_err(DialError::Handshake),
        Err(_) => Err(DialError::Handshake(io::ErrorKind::TimedOut.into())),
    }
}

async fn connect(url: &ControlPlaneUrl) -> Result<TcpStream, DialError> {
    let unresolved = |source| DialError::Resolve {
        host: url.host().to_owned(),
        source,
    };
    let resolving = lookup_host((url.host(), url.port()));
    let addresses = match timeout(RESOLVE_TIMEOUT, resolving).await {
        Ok(resolved) => resolved.map_err(unresolved)?,
        Err(_) => return Err(unresolved(io::ErrorKind::TimedOut.into())),
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses.take(MAX_ADDRESSES) {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(connection)) => {
                // Messages are small and wait for nothing; a socket that
                // refuses the option still works.
                let _ = connection.set_nodelay(true);
                return Ok(connection);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(DialError::Connect(last))
}

async fn read(file: &Path, limit: u64) -> Result<Vec<u8>, DialError> {
    let path = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || -> Result<Vec<u8>, FileProblem> {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        match u64::try_from(read) {
            Ok(0) => Err(FileProblem::Empty),
            Ok(read) if read <= limit => Ok(bytes),
            Ok(_) | Err(_) => Err(FileProblem::TooLarge),
        }
    });
    let read = match reading.await {
        Ok(read) => read,
        Err(failed) => Err(FileProblem::Io(io::Error::other(failed))),
    };
    read.map_err(|problem| DialError::File {
        file: file.to_owned(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_text_of_bounded_size() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        let read = async |content: &[u8]| {
            std::fs::write(&file, content).expect("written");
            token(&file).await
        };
        assert_eq!(
            read(b"canary\n").await.expect("a token").expose(),
            b"canary"
        );
        let most = usize::try_from(MAX_TOKEN_BYTES).expect("a size");
        assert!(read(&vec![b'x'; most]).await.is_ok());
        for bad in [
            &b""[..],
            b" \n",
            b"can\0ary",
            b"can ary",
            "can\u{e4}ry".as_bytes(),
            &vec![b'x'; most + 1],
        ] {
            let error = read(bad).await.expect_err("no token").to_string();
            assert!(error.contains("token"), "{error}");
            assert!(!error.contains("ary"), "{error}");
        }
        let missing = token(&dir.path().join("missing")).await;
        let error = missing.expect_err("missing").to_string();
        assert!(
            error.contains("missing") && error.contains("No such file"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn without_authorities_nobody_is_called() {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("binds");
        let address = listener.local_addr().expect("an address");
        let url = format!("https://{address}").parse().expect("a URL");
        for trust in ["", "no certificate"] {
            std::fs::write(dir.path().join(TRUST_FILE), trust).expect("written");
            let error = dial(&url, dir.path(), None).await.expect_err("no trust");
            assert!(error.to_string().contains(TRUST_FILE), "{error}");
        }
        let soon = Duration::from_millis(50);
        assert!(timeout(soon, listener.accept()).await.is_err());
    }
}
