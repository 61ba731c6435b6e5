//! The dynamic libraries of a program, as the machine's loader finds them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Paths of the libraries and of the loader; none for a static program.
pub(super) fn of(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("cannot run ldd, which belongs to the C library")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    if said.contains("statically linked") || error.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        bail!("ldd {}: {}", program.display(), error.trim());
    }
    parsed(&said)
}

/// Reads lines such as `libc.so.6 => /lib/libc.so.6 (0x7f…)`.
fn parsed(said: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for line in said.lines() {
        let line = line.trim();
        let place = line.split_once(" => ").map_or(line, |(_, place)| place);
        if place.starts_with("not found") {
            bail!("a library is missing: {line}");
        }
        let path = place.split(" (0x").next().unwrap_or_default();
        // The kernel's own has no file.
        if path.starts_with('/') {
            paths.push(path.to_owned());
        }
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_taken_and_the_kernels_own_is_not() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f1)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f3)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib/x86_64-linux-gnu/libm.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(parsed(said).unwrap(), expected);
    }

    #[test]
    fn a_missing_library_is_named() {
        let error = parsed("\tliba.so => not found\n").unwrap_err().to_string();
        assert!(error.contains("liba.so"), "{error}");
    }

    #[test]
    fn this_test_needs_its_loader() {
        let program = std::env::current_exe().unwrap();
        let libraries = of(&program).unwrap();
        assert!(libraries.iter().any(|it| it.contains("libc.so")));
    }
}
