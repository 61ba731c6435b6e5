//! Where the workspace is, what is in it, and running commands in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 5] = ["target", "node_modules", ".git", ".tools", ".dev"];

/// The workspace that this program was built in.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

// === impl Workspace ===

impl Workspace {
    pub(crate) fn here() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .context("xtask lies two folders below the root of the workspace")?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The path as people write it: from the root, with slashes.
    pub(crate) fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// All files below `folder` that are ours, sorted.
    pub(crate) fn files(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        if folder.is_dir() {
            collect(folder, &mut found)?;
        }
        found.sort();
        Ok(found)
    }

    /// What `cargo` prints.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Result<String> {
        // A fixed width: help texts must not depend on somebody's terminal.
        let output = Command::new("cargo")
            .args(arguments)
            .current_dir(&self.root)
            .env("COLUMNS", "100")
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!(
                "`cargo {}` failed:\n{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        String::from_utf8(output.stdout).context("cargo printed something that is no text")
    }

    /// The packages of the workspace, as `cargo metadata` describes them.
    pub(crate) fn packages(&self) -> Result<Vec<Value>> {
        let metadata = self.cargo(&["metadata", "--format-version=1", "--no-deps"])?;
        let mut metadata: Value = serde_json::from_str(&metadata)?;
        match metadata.get_mut("packages").map(Value::take) {
            Some(Value::Array(packages)) => Ok(packages),
            _ => bail!("`cargo metadata` names no packages"),
        }
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
        let kind = entry.file_type()?;
        if kind.is_dir() && !skipped {
            collect(&entry.path(), found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// The text of a file; `None` when it is not text.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8(bytes).ok())
}
