//! `metrics.md`.

use anyhow::Result;

use crate::{
    generated::{Generated, write_or_check},
    workspace::Workspace,
};

pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<Vec<String>> {
    let file = Generated {
        path: "metrics.md",
        text: sidegate_telemetry::metrics::reference(),
    };
    write_or_check(workspace, &[file], "metrics-doc", check)
}
