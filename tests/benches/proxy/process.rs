//! Programs beside this one, and what the system says about them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// Of this length is a clock tick in `/proc/PID/stat`, on every Linux.
const TICK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

/// Memory of a process that is not swapped out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) all_mib: f64,
    /// Without the program's file and libraries, which processes share.
    pub(crate) own_mib: f64,
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    // target/release/deps/proxy-hash
    let bench = std::env::current_exe()?;
    let dir = bench.ancestors().nth(3).context("not started by cargo")?;
    Ok(dir.to_owned())
}

/// Files that this process may have open.
pub(crate) fn max_open_files() -> anyhow::Result<usize> {
    let limits = read_proc(Path::new("/proc/self/limits"))?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let soft = soft.context("no `Max open files` in /proc/self/limits")?;
    // `unlimited` is enough as well.
    Ok(soft.parse().unwrap_or(usize::MAX))
}

/// CPU time that anything on this machine has used so far, and that other
/// machines on the same hardware have taken from it.
pub(crate) fn machine_cpu() -> anyhow::Result<Duration> {
    let stat = read_proc(Path::new("/proc/stat"))?;
    let line = stat
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "));
    let fields = line.context("an odd /proc/stat")?.split_whitespace();
    let mut ticks = 0;
    for (index, field) in fields.take(8).enumerate() {
        // Idle, and idle while a disk is busy.
        if index != 3 && index != 4 {
            ticks += field.parse::<u32>()?;
        }
    }
    Ok(TICK * ticks)
}

/// CPU time of this process so far.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu_in(Path::new("/proc/self/stat"))
}

fn cpu_in(stat: &Path) -> anyhow::Result<Duration> {
    let stat = read_proc(stat)?;
    // The name before may hold anything, also parentheses.
    let (_name, fields) = stat.rsplit_once(')').context("an odd /proc/PID/stat")?;
    let mut times = fields.split_whitespace().skip(11);
    let mut ticks =
        || -> anyhow::Result<u32> { Ok(times.next().context("a short /proc/PID/stat")?.parse()?) };
    Ok(TICK * (ticks()? + ticks()?))
}

// === impl Process ===

impl Process {
    /// Starts this program under a subcommand, and waits for the address that
    /// it prints.
    pub(crate) fn start_self(arguments: &[&str]) -> anyhow::Result<(Self, SocketAddr)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            // Its end tells the child that this process is gone.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take();
        let process = Self { child };
        let mut line = String::new();
        BufReader::new(out.context("no pipe")?).read_line(&mut line)?;
        let address = line.trim().parse();
        let address = address.with_context(|| format!("{arguments:?} did not start"))?;
        Ok((process, address))
    }

    /// Starts another program. Its output goes to two files.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        out: &Path,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(out)?)
            .stderr(File::create(log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child })
    }

    /// Fails when it has ended, with what it said.
    pub(crate) fn check_alive(&mut self, log: &Path) -> anyhow::Result<()> {
        if let Some(ended) = self.child.try_wait()? {
            bail!(
                "the process ended ({ended}): {}",
                std::fs::read_to_string(log)?
            );
        }
        Ok(())
    }

    /// The CPU time that it has used so far, in user and system mode.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_in(&self.proc("stat"))
    }

    /// Its resident memory.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let status = read_proc(&self.proc("status"))?;
        let mib = |name: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
            let kib = kib.with_context(|| format!("no {name} in /proc/PID/status"))?;
            Ok(kib.trim().parse::<f64>()? / 1024.0)
        };
        Ok(Memory {
            all_mib: mib("VmRSS:")?,
            own_mib: mib("RssAnon:")?,
        })
    }

    /// Asks it to stop and waits until it did.
    pub(crate) async fn terminate(mut self) -> anyhow::Result<()> {
        let kill = format!("kill -TERM {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status()?;
        ensure!(sent.success(), "the process was gone already");
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "the process does not stop");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_proc(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {}: this benchmark needs Linux", path.display()))
}
