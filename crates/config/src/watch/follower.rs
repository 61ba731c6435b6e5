//! The thread behind a watcher: events in, whole readings out.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::warn;

use super::{OnChange, WatchError};
use crate::documents::files::{self, Texts};
use crate::documents::parse_all;

/// A change is taken when nothing more happened for this long,
const QUIET: Duration = Duration::from_millis(15);
/// and at the latest this long after it began.
const LATEST: Duration = Duration::from_millis(60);
/// Events of writes that overlapped a reading have arrived after this.
const SETTLE: Duration = Duration::from_millis(5);
/// How often it is looked whether the path still is the watched directory.
const CHECK: Duration = Duration::from_secs(1);
/// The same, while there is no directory.
const CHECK_GONE: Duration = Duration::from_millis(25);

pub(super) enum Message {
    Event(notify::Result<Event>),
    Stop,
}

pub(super) struct Follower {
    dir: PathBuf,
    messages_tx: Sender<Message>,
    /// None while there is no directory.
    watched: Option<Watched>,
    /// What was read last.
    taken: Texts,
    /// Files that were written to and not closed yet.
    unfinished: HashSet<PathBuf>,
    /// Files that were created and not opened yet: links need no opening.
    fresh: HashSet<PathBuf>,
    /// Files that were written to since the last reading began.
    touched: HashSet<PathBuf>,
    pending: Option<Pending>,
}

struct Watched {
    _watcher: RecommendedWatcher,
    identity: Identity,
}

/// Tells a directory from another one at the same path.
type Identity = (u64, u64);

/// A change that was not taken yet.
struct Pending {
    first: Instant,
    last: Instant,
    /// Whether the writer said that it is a change; else it is one only if the
    /// texts differ.
    certain: bool,
}

/// The watcher was dropped.
struct Stopped;

// === impl Follower ===

impl Follower {
    pub(super) fn new(dir: PathBuf, messages_tx: Sender<Message>) -> Self {
        Self {
            dir,
            messages_tx,
            watched: None,
            taken: Texts::new(),
            unfinished: HashSet::new(),
            fresh: HashSet::new(),
            touched: HashSet::new(),
            pending: None,
        }
    }

    /// Watches the directory that is at the path now.
    pub(super) fn watch(&mut self) -> Result<(), WatchError> {
        let identity =
            identity(&self.dir).ok_or_else(|| WatchError::NotADirectory(self.dir.clone()))?;
        let refused = |source| WatchError::Refused {
            dir: self.dir.clone(),
            source,
        };
        let messages_tx = self.messages_tx.clone();
        let mut watcher = notify::recommended_watcher(move |event| {
            // It fails only when nobody follows any more.
            let _ = messages_tx.send(Message::Event(event));
        })
        .map_err(refused)?;
        watcher
            .watch(&self.dir, RecursiveMode::NonRecursive)
            .map_err(refused)?;
        self.watched = Some(Watched {
            _watcher: watcher,
            identity,
        });
        self.unfinished.clear();
        self.fresh.clear();
        self.taken = files::read_each(&self.dir).unwrap_or_default();
        Ok(())
    }

    pub(super) fn run(mut self, messages_rx: &Receiver<Message>, mut on_change: OnChange) {
        while self.step(messages_rx, &mut on_change).is_ok() {}
    }

    fn step(
        &mut self,
        messages_rx: &Receiver<Message>,
        on_change: &mut OnChange,
    ) -> Result<(), Stopped> {
        let wait = match (&self.pending, &self.watched) {
            (Some(pending), _) => pending.due().saturating_duration_since(Instant::now()),
            (None, Some(_)) => CHECK,
            (None, None) => CHECK_GONE,
        };
        match messages_rx.recv_timeout(wait) {
            Ok(message) => self.note(message)?,
            Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
            Err(RecvTimeoutError::Timeout) if self.pending.is_none() => self.check_directory(),
            Err(RecvTimeoutError::Timeout) => {}
        }
        match self
            .pending
            .take_if(|pending| pending.due() <= Instant::now())
        {
            Some(pending) => self.take(pending.certain, messages_rx, on_change),
            None => Ok(()),
        }
    }

    /// Reads the directory and reports it.
    fn take(
        &mut self,
        certain: bool,
        messages_rx: &Receiver<Message>,
        on_change: &mut OnChange,
    ) -> Result<(), Stopped> {
        self.fresh.clear();
        self.touched.clear();
        let read = files::read_each(&self.dir);
        self.settle(messages_rx)?;
        let mut texts = match read {
            Ok(texts) => texts,
            Err(violations) => {
                on_change(Err(violations));
                return Ok(());
            }
        };
        for path in self.touched.union(&self.unfinished) {
            match self.taken.get(path) {
                Some(before) => texts.insert(path.clone(), before.clone()),
                None => texts.remove(path),
            };
        }
        if certain || texts != self.taken {
            on_change(parse_all(&texts));
        }
        self.taken = texts;
        Ok(())
    }

    fn settle(&mut self, messages_rx: &Receiver<Message>) -> Result<(), Stopped> {
        let until = Instant::now() + SETTLE;
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            match messages_rx.recv_timeout(wait) {
                Ok(message) => self.note(message)?,
                Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
            }
        }
    }

    fn note(&mut self, message: Message) -> Result<(), Stopped> {
        match message {
            Message::Stop => return Err(Stopped),
            Message::Event(Ok(event)) => self.note_event(&event),
            Message::Event(Err(error)) => {
                warn!(%error, dir = %self.dir.display(), "watching failed; reading again");
                self.change(true);
            }
        }
        Ok(())
    }

    fn note_event(&mut self, event: &Event) {
        if event.need_rescan() {
            // Events were lost, and with them who still writes.
            self.unfinished.clear();
            self.change(true);
        }
        for path in &event.paths {
            if *path == self.dir {
                self.note_directory(event.kind);
            } else {
                self.note_file(path, event.kind);
            }
        }
    }

    fn note_directory(&mut self, kind: EventKind) {
        if kind.is_remove() {
            // Another directory at this path can look like the old one.
            self.watched = None;
        }
        if kind.is_remove() || matches!(kind, EventKind::Modify(ModifyKind::Name(_))) {
            self.change(true);
            self.check_directory();
        }
    }

    fn note_file(&mut self, path: &Path, kind: EventKind) {
        match kind {
            EventKind::Create(_) => {
                self.fresh.insert(path.to_owned());
                self.changed(path, false);
            }
            EventKind::Access(AccessKind::Open(_)) => {
                if self.fresh.remove(path) {
                    self.unfinished.insert(path.to_owned());
                }
            }
            EventKind::Modify(ModifyKind::Data(_)) => {
                self.fresh.remove(path);
                self.unfinished.insert(path.to_owned());
                self.touched.insert(path.to_owned());
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::From | RenameMode::To))
            | EventKind::Remove(_) => {
                self.unfinished.remove(path);
                self.fresh.remove(path);
                self.changed(path, true);
            }
            EventKind::Any | EventKind::Access(_) | EventKind::Modify(_) | EventKind::Other => {}
        }
    }

    /// A file may have changed; temporary files of editors do not count.
    fn changed(&mut self, path: &Path, certain: bool) {
        let swapped = path.file_name().is_some_and(|name| name == "..data");
        if swapped || files::is_document(path) {
            self.change(certain);
        }
    }

    fn change(&mut self, certain: bool) {
        let now = Instant::now();
        let first = self.pending.as_ref().map_or(now, |pending| pending.first);
        let certain = certain || self.pending.as_ref().is_some_and(|pending| pending.certain);
        self.pending = Some(Pending {
            first,
            last: now,
            certain,
        });
    }

    /// Notices a directory that went, came, or was replaced by another one.
    fn check_directory(&mut self) {
        let now = identity(&self.dir);
        let before = self.watched.as_ref().map(|watched| watched.identity);
        if now == before {
            return;
        }
        self.watched = None;
        if now.is_some()
            && let Err(error) = self.watch()
        {
            // Tried again soon, as long as it is not watched.
            warn!(%error, dir = %self.dir.display(), "cannot follow the configuration");
            return;
        }
        self.change(true);
    }
}

// === impl Pending ===

impl Pending {
    fn due(&self) -> Instant {
        (self.last + QUIET).min(self.first + LATEST)
    }
}

fn identity(dir: &Path) -> Option<Identity> {
    let metadata = std::fs::metadata(dir)
        .ok()
        .filter(std::fs::Metadata::is_dir)?;
    Some((metadata.dev(), metadata.ino()))
}
