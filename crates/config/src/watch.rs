//! Following a directory of documents.
//!
//! A change is taken when its writer closes or renames the file, or swaps the
//! `..data` link of a mounted ConfigMap, within 100 ms and whole: a file that
//! somebody is still writing counts with the text that it had before. Writes
//! through a link into another directory are not seen; swapping the link is.

mod follower;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use self::follower::{Follower, Message};
use crate::documents::Documents;
use crate::violations::Violations;

/// Called with what the directory holds after a change, on a thread of the
/// watcher.
pub type OnChange = Box<dyn FnMut(Result<Documents, Violations>) + Send>;

/// Follows a directory until it is dropped.
pub struct Watcher {
    dir: PathBuf,
    messages_tx: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

/// Why a directory cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There is no such directory.
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// The system refuses to watch it.
    #[error(
        "the system does not watch `{}`: {source} (a limit may be reached: see \
         /proc/sys/fs/inotify)",
        .dir.display()
    )]
    Refused {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: notify::Error,
    },
    /// No thread can be started.
    #[error("no thread can be started: {0}")]
    Thread(#[source] io::Error),
}

// === impl Watcher ===

impl Watcher {
    /// Begins to follow `dir`. What happens from now on is not missed, even if
    /// the directory is read later; what it holds now is not reported. A
    /// directory that vanishes is reported, and followed again when it is back.
    ///
    /// # Errors
    /// [`WatchError`] when it cannot be followed.
    pub fn start(dir: &Path, on_change: OnChange) -> Result<Self, WatchError> {
        let (messages_tx, messages_rx) = mpsc::channel();
        let mut follower = Follower::new(dir.to_owned(), messages_tx.clone());
        follower.watch()?;
        let thread = thread::Builder::new()
            .name("config-watch".to_owned())
            .spawn(move || follower.run(&messages_rx, on_change))
            .map_err(WatchError::Thread)?;
        Ok(Self {
            dir: dir.to_owned(),
            messages_tx,
            thread: Some(thread),
        })
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Drop for Watcher {
    /// After this no change is reported any more.
    fn drop(&mut self) {
        // It fails only when the thread is gone already.
        let _ = self.messages_tx.send(Message::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
