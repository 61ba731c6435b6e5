//! Container images of programs that were built on this machine, for tests.
//!
//! An image holds one program and the dynamic libraries that it needs, copied
//! from the machine, and nothing else: tests run what cargo built for them
//! anyway, without a second, static build and without a container tool. The
//! images that people get are made from source by the `Containerfile`.

mod libraries;
mod oci;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::oci::{Entry, Image};

/// An image to be written.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Name with tag, such as sidegate:dev
    #[arg(long, value_name = "NAME:TAG")]
    name: String,
    /// The program; it becomes the entry point, in the root directory
    #[arg(long, value_name = "FILE")]
    binary: PathBuf,
    /// User id that it runs as
    #[arg(long, value_name = "UID")]
    user: u32,
    /// Where to write the archive, in the OCI layout
    #[arg(long, value_name = "FILE.tar")]
    out: PathBuf,
}

/// Writes an image.
pub(crate) fn run(args: &ImageArgs) -> Result<Vec<String>> {
    let ImageArgs {
        name,
        binary,
        user,
        out,
    } = args;
    let Some(program) = binary.file_name().and_then(|name| name.to_str()) else {
        bail!("{} is no program", binary.display());
    };
    let path = format!("/{program}");
    let mut entries = vec![Entry::read(binary, &path)?];
    for library in libraries::of(binary)? {
        entries.push(Entry::read(Path::new(&library), &library)?);
    }
    let image = Image {
        name: qualified(name)?,
        entrypoint: path,
        user: *user,
        entries,
    };
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)?;
    }
    // A reader never sees half of it.
    let partial = out.with_extension("partial");
    fs::write(&partial, oci::archive(&image)?)
        .and_then(|()| fs::rename(&partial, out))
        .with_context(|| format!("cannot write {}", out.display()))?;
    Ok(Vec::new())
}

/// The name as container runtimes complete it.
fn qualified(name: &str) -> Result<String> {
    let repository = match name.rsplit_once(':') {
        Some((repository, tag)) if !repository.is_empty() && !tag.contains('/') => repository,
        _ => bail!("`{name}` has no tag: write NAME:TAG"),
    };
    let first = repository.split('/').next().unwrap_or_default();
    let names_host = repository.contains('/') && first.contains(['.', ':']);
    Ok(match (names_host, repository.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_runtimes_do() {
        for (name, expected) in [
            ("sidegate:dev", "docker.io/library/sidegate:dev"),
            ("team/sidegate:1", "docker.io/team/sidegate:1"),
            ("sidegate.test/pause:1", "sidegate.test/pause:1"),
            ("localhost:5000/a:1", "localhost:5000/a:1"),
        ] {
            assert_eq!(qualified(name).unwrap(), expected);
        }
        for name in ["sidegate", "localhost:5000/a", ":1"] {
            assert!(qualified(name).is_err(), "{name}");
        }
    }
}
