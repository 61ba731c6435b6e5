//! Taking changes of the file.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use sidegate_config::watch::Watcher;
use tokio::sync::mpsc;

use super::desk::Desk;
use super::prepare::{Preparation, Prepared};

/// A watch on the directory of the file.
#[derive(Debug)]
pub(super) struct Following {
    changes_rx: mpsc::UnboundedReceiver<()>,
    _watcher: Watcher,
}

/// What became of a change.
enum Taken {
    Unchanged,
    InForce,
    Refused(String),
}

// === impl Following ===

impl Following {
    pub(super) fn start(file: &Path) -> anyhow::Result<Self> {
        let dir = match file.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            Some(_) | None => Path::new("."),
        };
        let (changes_tx, changes_rx) = mpsc::unbounded_channel();
        let watcher = Watcher::start(
            dir,
            // Other files of the directory do not matter here.
            Box::new(move |_| {
                let _ = changes_tx.send(());
            }),
        )
        .with_context(|| format!("cannot follow `{}`", file.display()))?;
        Ok(Self {
            changes_rx,
            _watcher: watcher,
        })
    }

    /// Puts every change in force, or says why not, until dropped.
    pub(super) async fn follow(
        &mut self,
        preparation: &Preparation,
        desk: &Desk,
        out: &mut (dyn Write + Send),
    ) -> std::io::Result<()> {
        while self.changes_rx.recv().await.is_some() {
            while self.changes_rx.try_recv().is_ok() {}
            let file = preparation.file.display();
            let taken = match preparation.run().await {
                Ok(prepared) => take(desk, prepared).await,
                Err(error) => refuse(desk, format!("{error:#}")),
            };
            match taken {
                Taken::Unchanged => continue,
                Taken::InForce => writeln!(out, "# {file} changed: in force")?,
                Taken::Refused(reason) => {
                    writeln!(out, "# {file} changed, but what was in force stays:")?;
                    for line in reason.lines() {
                        writeln!(out, "#   {line}")?;
                    }
                }
            }
            out.flush()?;
        }
        // The watcher lives as long as this, so the channel never ends.
        std::future::pending().await
    }
}

async fn take(desk: &Desk, prepared: Prepared) -> Taken {
    if prepared.plan != desk.plan {
        let message = "gateways, servers, their ports and paths, and the issuer on loopback are \
                       taken at the start: stop `sidegate-dev up` and start it again";
        return refuse(desk, message.to_owned());
    }
    desk.know(&prepared.documents);
    let mut taken = Taken::Unchanged;
    for (gateway, config) in desk.gateways.iter().zip(prepared.configs) {
        if gateway.sidecar.confirm(&config) {
            continue;
        }
        match gateway.sidecar.apply(config).await {
            Ok(()) => taken = Taken::InForce,
            Err(error) => return Taken::Refused(error.to_string()),
        }
    }
    taken
}

fn refuse(desk: &Desk, reason: String) -> Taken {
    for gateway in &desk.gateways {
        gateway.sidecar.refuse(reason.clone());
    }
    Taken::Refused(reason)
}
