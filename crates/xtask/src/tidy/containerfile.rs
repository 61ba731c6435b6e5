//! The Containerfile fits the workspace: it builds with the Rust that people
//! build with, and from every package. Its build takes long and needs a registry
//! of images, so nothing else would say so before somebody needs an image.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::workspace::Workspace;

pub(super) fn run(workspace: &Workspace) -> Result<Vec<String>> {
    let read = |name: &str| {
        std::fs::read_to_string(workspace.root().join(name))
            .with_context(|| format!("cannot read {name}"))
    };
    let containerfile = read("Containerfile")?;
    let toolchain = read("rust-toolchain.toml")?;
    let mut problems = differing_versions(&toolchain, &read("Cargo.toml")?, &containerfile)?;
    let packages = workspace.packages()?;
    let manifests = packages
        .iter()
        .filter_map(|package| package.get("manifest_path").and_then(Value::as_str))
        .map(|path| workspace.name(Path::new(path)));
    problems.extend(manifests.filter_map(|manifest| left_out(&manifest, &containerfile)));
    Ok(problems)
}

/// Cargo reads the manifest of every package of the workspace, whichever it builds.
fn left_out(manifest: &str, containerfile: &str) -> Option<String> {
    let copied = |source: &str| source == "." || Path::new(manifest).starts_with(source);
    (!sources(containerfile).any(copied)).then(|| {
        format!("Containerfile: {manifest} is not copied: add its folder to those after WORKDIR")
    })
}

/// What is copied from the checkout.
fn sources(containerfile: &str) -> impl Iterator<Item = &str> {
    containerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|words| !words.starts_with("--from"))
        // The last word is where to.
        .filter_map(|words| words.trim().rsplit_once(' '))
        .flat_map(|(sources, _)| sources.split_whitespace())
}

/// The places that disagree with `rust-toolchain.toml`.
fn differing_versions(toolchain: &str, manifest: &str, containerfile: &str) -> Result<Vec<String>> {
    let version =
        value(toolchain, "channel").context("rust-toolchain.toml has no `channel = \"…\"`")?;
    let asked =
        value(manifest, "rust-version").context("Cargo.toml has no `rust-version = \"…\"`")?;
    let mut problems = Vec::new();
    if !begins_with(version, asked) {
        problems.push(format!(
            "Cargo.toml: rust-version is {asked}, rust-toolchain.toml has {version}: \
             write the same version in both"
        ));
    }
    let bases: Vec<_> = bases(containerfile).collect();
    if bases.is_empty() {
        problems.push(format!(
            "Containerfile: no stage is from an image of Rust: \
             write `FROM docker.io/library/rust:{version}-…`"
        ));
    }
    for base in bases.into_iter().filter(|base| *base != version) {
        problems.push(format!(
            "Containerfile: builds with Rust {base}, rust-toolchain.toml has {version}: \
             write `FROM docker.io/library/rust:{version}-…`"
        ));
    }
    Ok(problems)
}

/// The text that a key of a TOML file has, on a line of its own.
fn value<'a>(toml: &'a str, key: &str) -> Option<&'a str> {
    toml.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
        rest.trim().strip_prefix('"')?.strip_suffix('"')
    })
}

/// Whether 1.95.0 begins with 1.95, which 1.9 is not.
fn begins_with(version: &str, asked: &str) -> bool {
    version
        .strip_prefix(asked)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The versions in the tags of the official images that stages are from.
fn bases(containerfile: &str) -> impl Iterator<Item = &str> {
    containerfile.lines().filter_map(|line| {
        let (_, tag) = line.strip_prefix("FROM ")?.split_once("library/rust:")?;
        tag.split(['-', ' ', '@']).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOLCHAIN: &str = "[toolchain]\nchannel = \"1.95.0\"\n";

    fn manifest(version: &str) -> String {
        format!("[workspace.package]\nrust-version = \"{version}\"\n")
    }

    fn containerfile(version: &str) -> String {
        format!(
            "# of rust:1.0.0\nFROM docker.io/library/rust:{version}-bookworm AS build\n\
             WORKDIR /source\nCOPY Cargo.toml Cargo.lock ./\nCOPY crates crates\n\
             FROM scratch AS sidegate\nCOPY --from=build /out/a /tests\n"
        )
    }

    #[test]
    fn a_package_below_what_is_copied_passes_and_another_does_not() {
        let containerfile = containerfile("1.95.0");
        for manifest in ["crates/api/Cargo.toml", "crates/a/b/Cargo.toml"] {
            assert_eq!(left_out(manifest, &containerfile), None, "{manifest}");
        }
        for manifest in ["tests/Cargo.toml", "crates-old/Cargo.toml"] {
            let problem = left_out(manifest, &containerfile).expect("it is left out");
            assert!(problem.contains(manifest), "{problem}");
            assert_eq!(left_out(manifest, "COPY . .\n"), None, "{manifest}");
        }
    }

    #[test]
    fn the_same_version_everywhere_passes() {
        for asked in ["1.95", "1.95.0"] {
            let problems =
                differing_versions(TOOLCHAIN, &manifest(asked), &containerfile("1.95.0"));
            assert_eq!(problems.unwrap(), [""; 0], "{asked}");
        }
    }

    #[test]
    fn another_version_is_named_with_its_file() {
        for asked in ["1.9", "1.96", "1.95.1"] {
            let problems =
                differing_versions(TOOLCHAIN, &manifest(asked), &containerfile("1.95.0"));
            let problems = problems.unwrap();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with("Cargo.toml: "), "{problems:?}");
        }
        // A tag without the last number moves on by itself.
        for built in ["1.94.0", "1.95", "1.95.1"] {
            let problems = differing_versions(TOOLCHAIN, &manifest("1.95"), &containerfile(built));
            let problems = problems.unwrap();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains("rust:1.95.0-"), "{problems:?}");
        }
    }

    #[test]
    fn a_file_without_a_version_is_no_agreement() {
        let none = differing_versions(TOOLCHAIN, &manifest("1.95"), "FROM scratch\n").unwrap();
        assert_eq!(none.len(), 1, "{none:?}");
        assert!(differing_versions("", &manifest("1.95"), &containerfile("1.95.0")).is_err());
        assert!(differing_versions(TOOLCHAIN, "", &containerfile("1.95.0")).is_err());
    }
}
