//! The quantities that a pod may choose for its sidecar. Kubernetes knows many
//! more spellings; these are the usual ones, and bounded.

use std::fmt;
use std::str::FromStr;

const KI: u64 = 1024;
const SUFFIXES: [(&str, u64); 6] = [
    ("Gi", KI * KI * KI),
    ("Mi", KI * KI),
    ("Ki", KI),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// CPU time, in thousandths of a core: `250m`, `1`, `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu {
    millicores: u32,
}

/// Memory: `64Mi`, `1Gi`, `100M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory {
    bytes: u64,
}

/// A text that is no [`Cpu`] or [`Memory`] in bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {wanted}")]
pub struct InvalidQuantity {
    wanted: &'static str,
}

const INVALID_CPU: InvalidQuantity = InvalidQuantity {
    wanted: "a CPU quantity such as 250m or 0.5, from 1m to 8",
};
const INVALID_MEMORY: InvalidQuantity = InvalidQuantity {
    wanted: "an amount of memory such as 64Mi or 1Gi, from 16Mi to 8Gi",
};

// === impl Cpu ===

impl Cpu {
    /// Most that a sidecar can have.
    pub const MAX: Self = Self::millicores(8_000);

    /// So many thousandths of a core.
    #[must_use]
    pub const fn millicores(millicores: u32) -> Self {
        Self { millicores }
    }
}

impl FromStr for Cpu {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let millicores = match text.strip_suffix('m') {
            Some(digits) => digits_of(digits, 5),
            None => cores(text),
        };
        millicores
            .and_then(|it| u32::try_from(it).ok())
            .filter(|it| (1..=Self::MAX.millicores).contains(it))
            .map(Self::millicores)
            .ok_or(INVALID_CPU)
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millicores.is_multiple_of(1000) {
            write!(f, "{}", self.millicores / 1000)
        } else {
            write!(f, "{}m", self.millicores)
        }
    }
}

/// Cores with up to three decimals, in thousandths.
fn cores(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let places = u32::try_from(decimals.len()).ok()?;
    let scale = 10_u64.checked_pow(3_u32.checked_sub(places)?)?;
    Some(digits_of(whole, 2)? * 1000 + digits_of(decimals, 3)? * scale)
}

// === impl Memory ===

impl Memory {
    /// Least that a sidecar can live with.
    pub const MIN: Self = Self::mebibytes(16);
    /// Most that a sidecar can have.
    pub const MAX: Self = Self::mebibytes(8 * 1024);

    /// So many MiB.
    #[must_use]
    pub const fn mebibytes(count: u32) -> Self {
        // Lossless: `u64::from` is not const.
        Self {
            bytes: count as u64 * KI * KI,
        }
    }
}

impl FromStr for Memory {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        SUFFIXES
            .iter()
            .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
            .or(Some((text, 1)))
            .and_then(|(digits, unit)| digits_of(digits, 12)?.checked_mul(unit))
            .map(|bytes| Self { bytes })
            .filter(|it| (Self::MIN..=Self::MAX).contains(it))
            .ok_or(INVALID_MEMORY)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: &u64| self.bytes.is_multiple_of(*unit);
        match SUFFIXES.iter().find(|(_, unit)| whole(unit)) {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.bytes / unit),
            None => write!(f, "{}", self.bytes),
        }
    }
}

/// A number of plain digits, at most so many.
fn digits_of(text: &str, most: usize) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= most;
    (plain && text.bytes().all(|it| it.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cpu_is_read_and_written_as_kubernetes_writes_it() {
        for (text, written) in [
            ("1m", "1m"),
            ("250m", "250m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.25", "1250m"),
            ("0.001", "1m"),
            ("8", "8"),
            ("8000m", "8"),
        ] {
            assert_eq!(text.parse::<Cpu>().unwrap().to_string(), written, "{text}");
        }
        for text in [
            "",
            "m",
            "0",
            "0m",
            "8001m",
            "8.001",
            "9",
            "-1",
            "+1",
            "1e3",
            "0.0001",
            ".5",
            "1.",
            "1 ",
            "1.5m",
            "99999999999m",
            "١",
        ] {
            assert!(text.parse::<Cpu>().is_err(), "{text}");
        }
    }

    #[test]
    fn memory_is_read_and_written_as_kubernetes_writes_it() {
        for (text, written) in [
            ("16Mi", "16Mi"),
            ("1024Mi", "1Gi"),
            ("8Gi", "8Gi"),
            ("65536Ki", "64Mi"),
            ("64M", "62500Ki"),
            ("20000001", "20000001"),
            ("17000000", "17M"),
        ] {
            assert_eq!(
                text.parse::<Memory>().unwrap().to_string(),
                written,
                "{text}"
            );
        }
        for text in [
            "",
            "Mi",
            "0",
            "15Mi",
            "16777215",
            "8193Mi",
            "9Gi",
            "-64Mi",
            "64mi",
            "64 Mi",
            "1.5Gi",
            "1e9",
            "64Mib",
            "9999999999999",
            "999999999999Gi",
        ] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millicores in 1_u32..=8000, bytes in 16 * KI * KI..=8 * KI * KI * KI) {
            let cpu = Cpu::millicores(millicores);
            prop_assert_eq!(cpu.to_string().parse(), Ok(cpu));
            let memory = Memory { bytes };
            prop_assert_eq!(memory.to_string().parse(), Ok(memory));
        }

        #[test]
        fn any_text_is_answered(text in any::<String>()) {
            let _: (Result<Cpu, _>, Result<Memory, _>) = (text.parse(), text.parse());
        }
    }
}
