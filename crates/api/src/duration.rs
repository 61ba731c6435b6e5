//! Times as people write them: `30s`, `1m30s`, `500ms`.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What the schema demands of a time; [`DurationText`] demands the same.
pub const DURATION_PATTERN: &str = "^([0-9]{1,5}(ms|s|m|h)){1,4}$";

const MAX_GROUPS: usize = 4;
const MAX_DIGITS: usize = 5;

/// A time span that remembers how it was written.
///
/// Up to four groups of a number (at most five digits) and a unit, without
/// spaces; they are added. Units are `ms`, `s`, `m` and `h`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurationText {
    text: String,
    value: Duration,
}

/// A text that is no [`DurationText`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidDuration {
    text: String,
}

// === impl DurationText ===

impl DurationText {
    /// The time itself.
    #[must_use]
    pub fn as_duration(&self) -> Duration {
        self.value
    }

    /// The time as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A whole number of minutes, for defaults.
    pub(crate) fn minutes(count: u16) -> Self {
        Self {
            text: format!("{count}m"),
            value: Duration::from_secs(u64::from(count) * 60),
        }
    }
}

impl std::str::FromStr for DurationText {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match parse(text) {
            Some(value) => Ok(Self {
                text: text.to_owned(),
                value,
            }),
            None => Err(InvalidDuration {
                text: text.chars().take(64).collect(),
            }),
        }
    }
}

impl TryFrom<String> for DurationText {
    type Error = InvalidDuration;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DurationText> for String {
    fn from(duration: DurationText) -> Self {
        duration.text
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(feature = "crd")]
impl schemars::JsonSchema for DurationText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 2,
            "maxLength": MAX_GROUPS * (MAX_DIGITS + 2),
            "pattern": DURATION_PATTERN,
        })
    }
}

// === impl InvalidDuration ===

impl fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a time: write a number and a unit (ms, s, m or h), as in 30s or 1m30s",
            self.text
        )
    }
}

impl std::error::Error for InvalidDuration {}

/// Reads group by group. Four groups of 99,999 h cannot overflow, yet every
/// sum is checked, so that a change of the bounds cannot make it wrap.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    for _ in 0..MAX_GROUPS {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=MAX_DIGITS).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at_checked(digits)?;
        let (milliseconds, tail) = unit(tail)?;
        let group = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
        sum = sum.checked_add(Duration::from_millis(group))?;
        rest = tail;
        if rest.is_empty() {
            return Some(sum);
        }
    }
    None
}

/// The unit at the start, in milliseconds, and what follows it. `ms` is tried
/// before `m`: after `m` a digit must follow, so no text has two readings.
fn unit(text: &str) -> Option<(u64, &str)> {
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
        .into_iter()
        .find_map(|(unit, milliseconds)| Some((milliseconds, text.strip_prefix(unit)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sums_of_their_groups() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("5ms", 5),
            ("30s", 30_000),
            ("1m", 60_000),
            ("1m30s", 90_000),
            ("1h2m3s4ms", 3_723_004),
            ("1m1ms", 60_001),
            ("5s5s", 10_000),
            ("00001s", 1_000),
            ("99999h99999h99999h99999h", 4 * 99_999 * 3_600_000),
        ] {
            let duration: DurationText = text.parse().unwrap();
            assert_eq!(
                duration.as_duration(),
                Duration::from_millis(milliseconds),
                "{text}"
            );
            assert_eq!(duration.to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "s",
            "30",
            "30 s",
            " 30s",
            "30s ",
            "-1s",
            "+1s",
            "1.5s",
            "1e3s",
            "1d",
            "1S",
            "1us",
            "100000s",
            "1s1s1s1s1s",
            "1h30",
            "1msm",
            "\u{661}s",
            "1s\n",
        ] {
            assert!(text.parse::<DurationText>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_says_how_to_write_it_and_quotes_only_the_start() {
        let message = "x"
            .repeat(5_000)
            .parse::<DurationText>()
            .unwrap_err()
            .to_string();
        assert!(message.contains("as in 30s"), "{message}");
        assert!(message.len() < 200, "{message}");
    }

    #[test]
    fn documents_with_a_bad_time_are_refused() {
        assert!(serde_json::from_str::<DurationText>("\"1m\"").is_ok());
        assert!(serde_json::from_str::<DurationText>("\"1 m\"").is_err());
        assert!(serde_json::from_str::<DurationText>("60").is_err());
    }

    proptest::proptest! {
        #[test]
        fn the_parser_accepts_exactly_what_the_pattern_does(text in "[0-9]{0,6}(ms|s|m|h|d|)[0-9]{0,6}(ms|s|m|h|)[0-9msh]{0,12}") {
            let pattern = regex::Regex::new(DURATION_PATTERN).unwrap();
            let accepted = text.parse::<DurationText>().is_ok();
            proptest::prop_assert_eq!(accepted, pattern.is_match(&text));
        }
    }
}
