//! What the figures were measured on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::Settings;

/// Of this length is a clock tick in `/proc/PID/stat`, on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// Files that this program has open beside its simulated sidecars.
const OTHER_FILES: usize = 200;

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    // target/release/deps/operator-hash
    let bench = std::env::current_exe()?;
    let dir = bench.ancestors().nth(3).context("not started by cargo")?;
    Ok(dir.to_owned())
}

/// The facts by name. Fails on a machine where it cannot be measured.
pub(crate) fn facts(settings: &Settings) -> anyhow::Result<Vec<(&'static str, String)>> {
    let files = max_open_files()?;
    let wanted = settings.sidecars + OTHER_FILES;
    ensure!(
        files >= wanted,
        "only {files} files may be open, {wanted} are wanted: run `ulimit -n {wanted}`"
    );
    let cores = std::thread::available_parallelism()?;
    let memory = line_of(Path::new("/proc/meminfo"), "MemTotal:")?;
    let processor = line_of(Path::new("/proc/cpuinfo"), "model name").unwrap_or_default();
    let kernel = read(Path::new("/proc/sys/kernel/osrelease"))?;
    let build = match cfg!(debug_assertions) {
        true => "debug: no target is meant for it",
        false => "release",
    };
    Ok(vec![
        (
            "processors",
            format!(
                "{cores} of {}, for everything: API server, etcd, operators, simulated sidecars",
                processor.trim_start_matches([' ', '\t', ':'])
            ),
        ),
        ("memory", memory.trim().to_owned()),
        ("kernel", kernel.trim().to_owned()),
        ("build", build.to_owned()),
        ("store", "etcd without fsync".to_owned()),
        ("load average at the start", load()?),
    ])
}

/// How busy the machine was in the last minutes.
pub(crate) fn load() -> anyhow::Result<String> {
    let load = read(Path::new("/proc/loadavg"))?;
    let averages: Vec<_> = load.split_whitespace().take(3).collect();
    Ok(averages.join(" "))
}

/// The CPU time of a process so far, in user and system mode.
pub(crate) fn cpu(process: u32) -> anyhow::Result<Duration> {
    let stat = read(&proc(process, "stat"))?;
    // The name before may hold anything, also parentheses.
    let (_name, fields) = stat.rsplit_once(')').context("an odd /proc/PID/stat")?;
    let mut times = fields.split_whitespace().skip(11);
    let mut ticks =
        || -> anyhow::Result<u32> { Ok(times.next().context("a short /proc/PID/stat")?.parse()?) };
    Ok(TICK * (ticks()? + ticks()?))
}

/// The resident memory of a process in MiB: now, and at most so far.
pub(crate) fn memory(process: u32) -> anyhow::Result<(f64, f64)> {
    let mib = |name: &str| -> anyhow::Result<f64> {
        let line = line_of(&proc(process, "status"), name)?;
        let kib = line.trim().trim_end_matches("kB").trim();
        Ok(kib.parse::<f64>()? / 1024.0)
    };
    Ok((mib("VmRSS:")?, mib("VmHWM:")?))
}

fn max_open_files() -> anyhow::Result<usize> {
    let line = line_of(Path::new("/proc/self/limits"), "Max open files")?;
    let soft = line.split_whitespace().next().unwrap_or_default();
    // `unlimited` is enough as well.
    Ok(soft.parse().unwrap_or(usize::MAX))
}

fn proc(process: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/{file}"))
}

/// What follows a name at the begin of a line.
fn line_of(file: &Path, name: &str) -> anyhow::Result<String> {
    let text = read(file)?;
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    let found = found.with_context(|| format!("no `{name}` in {}", file.display()))?;
    Ok(found.to_owned())
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {}: this benchmark needs Linux", file.display()))
}
