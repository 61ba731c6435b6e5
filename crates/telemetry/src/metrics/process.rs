//! The process as the kernel sees it, read when somebody asks.

use std::fs;

use prometheus::{Counter, Gauge, IntGauge, Opts, Registry};

use super::definition::{
    Definition, PROCESS_CPU, PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT, PROCESS_START,
    PROCESS_VIRTUAL,
};
use super::family::registered;

/// Clock ticks per second in /proc, the same on every Linux (USER_HZ).
const TICKS: f64 = 100.0;

/// The metrics that every Prometheus client exports under these names.
pub(super) struct ProcessMetrics {
    start: Gauge,
    cpu: Counter,
    resident: IntGauge,
    r#virtual: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
}

// === impl ProcessMetrics ===

impl ProcessMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        let gauge = |definition: &Definition| {
            registered(registry, IntGauge::new(definition.name, definition.help))
        };
        let opts = |definition: &Definition| Opts::new(definition.name, definition.help);
        Self {
            start: registered(registry, Gauge::with_opts(opts(&PROCESS_START))),
            cpu: registered(registry, Counter::with_opts(opts(&PROCESS_CPU))),
            resident: gauge(&PROCESS_RESIDENT),
            r#virtual: gauge(&PROCESS_VIRTUAL),
            open_fds: gauge(&PROCESS_OPEN_FDS),
            max_fds: gauge(&PROCESS_MAX_FDS),
        }
    }

    /// Reads everything anew; what cannot be read keeps its value. Not for two
    /// callers at a time.
    pub(super) fn update(&self) {
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            self.update_times(&stat);
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            set(&self.resident, kibibytes(&status, "VmRSS:"));
            set(&self.r#virtual, kibibytes(&status, "VmSize:"));
        }
        // Reading the directory opens it; that one does not count.
        let open = fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| entries.count().saturating_sub(1));
        set(
            &self.open_fds,
            open.and_then(|open| i64::try_from(open).ok()),
        );
        if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
            set(&self.max_fds, max_open_files(&limits));
        }
    }

    fn update_times(&self, stat: &str) {
        let Some(times) = Times::parse(stat) else {
            return;
        };
        let grown = times.cpu - self.cpu.get();
        if grown > 0.0 {
            self.cpu.inc_by(grown);
        }
        let boot = fs::read_to_string("/proc/stat")
            .ok()
            .as_deref()
            .and_then(boot_time);
        if let Some(boot) = boot.filter(|_| self.start.get() == 0.0) {
            self.start.set(boot + times.start);
        }
    }
}

fn set(gauge: &IntGauge, value: Option<i64>) {
    if let Some(value) = value {
        gauge.set(value);
    }
}

/// Fields of /proc/self/stat, in seconds.
#[derive(Debug, PartialEq)]
struct Times {
    cpu: f64,
    /// Since the machine was booted.
    start: f64,
}

impl Times {
    /// The name of the program stands in parentheses and may hold anything, so
    /// the fields are counted from the last one: the state is the third.
    fn parse(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu: (ticks(14)? + ticks(15)?) / TICKS,
            start: ticks(22)? / TICKS,
        })
    }
}

fn boot_time(stat: &str) -> Option<f64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

fn kibibytes(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<i64>()
        .ok()?
        .checked_mul(1024)
}

fn max_open_files(limits: &str) -> Option<i64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_does_not_shift_the_fields() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 17 18 4200 20 21";
        for name in ["sidegate", "a b", "x) S 9 9 9", "()"] {
            let times = Times::parse(&format!("77 ({name}) {fields}"));
            assert_eq!(
                times,
                Some(Times {
                    cpu: 2.0,
                    start: 42.0
                }),
                "{name}"
            );
        }
        assert_eq!(Times::parse("77 (x) S 1"), None);
        assert_eq!(Times::parse(""), None);
    }

    #[test]
    fn the_kernel_s_tables_are_read() {
        let status = "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t     12 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(12 * 1024));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
        assert_eq!(
            boot_time("cpu 1\nbtime 1700000000\n"),
            Some(1_700_000_000.0)
        );
        let limits = "Limit  Soft  Hard\nMax open files            20000     524288   files\n";
        assert_eq!(max_open_files(limits), Some(20_000));
        assert_eq!(
            max_open_files("Max open files   unlimited unlimited files"),
            None
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_files_and_a_past() {
        let process = ProcessMetrics::register(&Registry::new());
        process.update();
        assert!(process.resident.get() > 100_000);
        assert!(process.r#virtual.get() >= process.resident.get());
        assert!(process.open_fds.get() >= 3);
        assert!(process.start.get() > 1_600_000_000.0);
        let start = process.start.get();
        process.update();
        assert_eq!(process.start.get(), start);
    }
}
