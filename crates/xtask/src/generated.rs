//! Files that are written by this program and checked in.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// A file and what it has to contain.
#[derive(Debug)]
pub(crate) struct Generated {
    /// From the root of the workspace.
    pub(crate) path: &'static str,
    pub(crate) text: String,
}

/// Writes the files, or says which are not current and what mends them.
pub(crate) fn write_or_check(
    workspace: &Workspace,
    files: &[Generated],
    command: &str,
    check: bool,
) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for Generated { path, text } in files {
        let place = workspace.root().join(path);
        if check {
            problems.extend(stale(path, read(&place)?.as_deref(), text, command));
        } else {
            write(&place, text)?;
        }
    }
    Ok(problems)
}

fn read(place: &Path) -> Result<Option<String>> {
    match fs::read_to_string(place) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", place.display())),
    }
}

fn write(place: &Path, text: &str) -> Result<()> {
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(place, text).with_context(|| format!("cannot write {}", place.display()))
}

/// What is wrong with a file, if anything.
fn stale(path: &str, present: Option<&str>, wanted: &str, command: &str) -> Option<String> {
    let mend = format!("run `cargo run -q -p xtask -- {command}`");
    let Some(present) = present else {
        return Some(format!("{path} is missing: {mend}"));
    };
    if present == wanted {
        return None;
    }
    let same = present
        .lines()
        .zip(wanted.lines())
        .take_while(|(present, wanted)| present == wanted)
        .count();
    Some(format!("{path}:{}: not current: {mend}", same + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_current_file_is_fine() {
        assert_eq!(stale("a.md", Some("x\ny\n"), "x\ny\n", "doc"), None);
    }

    #[test]
    fn a_missing_or_changed_file_is_named_with_the_command() {
        assert_eq!(
            stale("a.md", None, "x\n", "doc").unwrap(),
            "a.md is missing: run `cargo run -q -p xtask -- doc`"
        );
        assert_eq!(
            stale("a.md", Some("x\nz\n"), "x\ny\n", "doc").unwrap(),
            "a.md:2: not current: run `cargo run -q -p xtask -- doc`"
        );
    }

    #[test]
    fn a_difference_in_the_last_line_break_counts() {
        assert!(stale("a.md", Some("x"), "x\n", "doc").is_some());
        assert!(stale("a.md", Some("x\ny\n"), "x\n", "doc").is_some());
    }
}
