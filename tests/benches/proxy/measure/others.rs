//! What other programs on the machine did meanwhile: figures of a busy machine
//! mean less.

use std::time::{Duration, Instant};

use crate::process::{Process, machine_cpu, own_cpu};
use crate::report::{Compared, Figure};

/// CPU time of other programs since some moment.
#[derive(Debug)]
pub(super) struct Others {
    begun: Instant,
    before: Duration,
}

// === impl Others ===

impl Others {
    /// Begins to watch. Of `ours`, and this process, nothing is counted.
    pub(super) fn watch(ours: &[&Process]) -> anyhow::Result<Self> {
        Ok(Self {
            begun: Instant::now(),
            before: used(ours)?,
        })
    }

    /// A row that says how many cores they took.
    pub(super) fn figure(&self, ours: &[&Process]) -> anyhow::Result<Figure> {
        let taken = used(ours)?.saturating_sub(self.before);
        Ok(Figure {
            name: "CPU taken by other programs meanwhile".to_owned(),
            unit: "cores",
            bare: None,
            sidegate: taken.as_secs_f64() / self.begun.elapsed().as_secs_f64(),
            compared: Compared::No,
            rounds: Vec::new(),
            target: None,
        })
    }
}

fn used(ours: &[&Process]) -> anyhow::Result<Duration> {
    let mut own = own_cpu()?;
    for process in ours {
        own += process.cpu()?;
    }
    Ok(machine_cpu()?.saturating_sub(own))
}
