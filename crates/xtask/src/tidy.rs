//! Rules about files that no compiler checks.

mod attack_ids;
mod containerfile;
mod lines;
mod manifests;
mod orphans;
mod words;

use anyhow::Result;

use crate::workspace::{Workspace, read_text};

pub(crate) fn run(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = orphans::run(workspace)?;
    for file in workspace.files(workspace.root())? {
        let name = workspace.name(&file);
        if let Some(text) = read_text(&file)? {
            problems.extend(words::wrong(&name, &text));
            if name.ends_with(".rs") {
                problems.extend(lines::too_many(&name, &text));
            }
        }
    }
    problems.extend(manifests::run(workspace)?);
    problems.extend(containerfile::run(workspace)?);
    problems.extend(attack_ids::run(workspace)?);
    Ok(problems)
}
