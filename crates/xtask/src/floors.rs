//! The oldest versions of dependencies that are free of published advisories.

use anyhow::{Context as _, Result};

use crate::workspace::{Workspace, read_text};

/// A package, its first good version, and what was wrong before.
const FLOORS: [(&str, [u64; 3], &str); 9] = [
    ("bytes", [1, 11, 1], "RUSTSEC-2026-0007"),
    ("h2", [0, 4, 16], "RUSTSEC-2026-0258: empty DATA frames"),
    (
        "idna",
        [1, 0, 0],
        "RUSTSEC-2024-0421: punycode that equals ASCII",
    ),
    ("protobuf", [3, 7, 2], "RUSTSEC-2024-0437: recursion"),
    (
        "rustls",
        [0, 23, 46],
        "RUSTSEC-2026-0285 and later: secrets in Debug output",
    ),
    (
        "rustls-webpki",
        [0, 103, 16],
        "RUSTSEC-2026-0098, -0099: name constraints",
    ),
    ("time", [0, 3, 47], "RUSTSEC-2026-0009"),
    (
        "tracing-subscriber",
        [0, 3, 20],
        "RUSTSEC-2025-0055: escape sequences in logs",
    ),
    ("url", [2, 5, 4], "RUSTSEC-2024-0421, by way of idna"),
];

pub(crate) fn run(workspace: &Workspace) -> Result<Vec<String>> {
    let lock = read_text(&workspace.root().join("Cargo.lock"))?.context("Cargo.lock is no text")?;
    below_floor(&lock)
}

/// The packages of a lock file that are too old.
fn below_floor(lock: &str) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (name, version) in packages(lock) {
        let Some((_, floor, advisory)) = FLOORS.iter().find(|(known, ..)| *known == name) else {
            continue;
        };
        if numbers(version)? < *floor {
            let floor = floor.map(|it| it.to_string()).join(".");
            problems.push(format!(
                "{name} {version} is older than {floor} ({advisory}): \
                 run `cargo update -p {name}@{version}`"
            ));
        }
    }
    Ok(problems)
}

/// Names and versions. Cargo writes each on a line of its own, the name first.
fn packages(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    let value = |line, key| {
        str::strip_prefix(line, key)
            .and_then(|rest: &str| rest.strip_prefix(" = \"")?.strip_suffix('"'))
    };
    lock.lines()
        .zip(lock.lines().skip(1))
        .filter_map(move |(first, second)| Some((value(first, "name")?, value(second, "version")?)))
}

fn numbers(version: &str) -> Result<[u64; 3]> {
    let plain = version.split(['+', '-']).next().unwrap_or_default();
    let parts = plain
        .split('.')
        .map(str::parse)
        .collect::<Result<Vec<u64>, _>>();
    parts
        .ok()
        .and_then(|parts| parts.try_into().ok())
        .with_context(|| format!("`{version}` in Cargo.lock is no version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(version: &str) -> String {
        format!(
            "[[package]]\nname = \"h2\"\nversion = \"{version}\"\n\n\
             [[package]]\nname = \"hyper\"\nversion = \"0.1.0\"\n"
        )
    }

    #[test]
    fn the_floor_itself_and_what_is_newer_pass() {
        for version in ["0.4.16", "0.4.20", "0.5.0", "1.0.0+build"] {
            assert_eq!(below_floor(&lock(version)).unwrap(), [""; 0], "{version}");
        }
    }

    #[test]
    fn what_is_older_is_named_with_the_command() {
        for version in ["0.4.15", "0.3.99", "0.4.9"] {
            let problems = below_floor(&lock(version)).unwrap();
            assert_eq!(problems.len(), 1, "{version}");
            assert!(problems[0].contains("cargo update -p h2@"), "{problems:?}");
        }
    }

    #[test]
    fn a_version_that_cannot_be_read_is_an_error() {
        assert!(below_floor(&lock("0.4")).is_err());
    }

    #[test]
    fn every_package_of_a_lock_file_is_seen() {
        let lock = lock("0.4.16");
        let seen: Vec<_> = packages(&lock).collect();
        assert_eq!(seen, [("h2", "0.4.16"), ("hyper", "0.1.0")]);
    }
}
