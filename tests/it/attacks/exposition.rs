//! A strict reader of the Prometheus text format: what it takes, any scraper
//! takes.

use std::collections::{BTreeMap, BTreeSet};

/// One line that is no comment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: String,
}

/// Reads everything, or panics with the line that is wrong.
#[track_caller]
pub(super) fn read(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'), "the last line has an end");
    let mut seen = BTreeSet::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if line.starts_with("# HELP ") || line.starts_with("# TYPE ") {
            continue;
        }
        let sample = Sample::read(line);
        assert!(sample.is_some(), "no sample: {line:?}");
        let sample = sample.unwrap();
        let series = (sample.name.clone(), sample.labels.clone());
        assert!(seen.insert(series), "twice: {line}");
        samples.push(sample);
    }
    samples
}

// === impl Sample ===

impl Sample {
    fn read(line: &str) -> Option<Self> {
        let (name, rest) = word(line)?;
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (BTreeMap::new(), rest),
        };
        let value = rest.strip_prefix(' ')?;
        value.parse::<f64>().ok()?;
        Some(Self {
            name,
            labels,
            value: value.to_owned(),
        })
    }

    /// The value of a label; empty when it is not there.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    }

    /// The value of a counter.
    pub(super) fn count(&self) -> u64 {
        self.value.parse().unwrap()
    }
}

fn word(text: &str) -> Option<(String, &str)> {
    let is_of_word = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | ':');
    let end = text.find(|it| !is_of_word(it)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let begins_well = word.starts_with(|it: char| !it.is_ascii_digit());
    begins_well.then(|| (word.to_owned(), rest))
}

/// `name="value",…}` and what comes behind.
fn labels(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, rest) = word(text)?;
        let (value, rest) = quoted(rest.strip_prefix("=\"")?)?;
        if labels.insert(name, value).is_some() {
            return None;
        }
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        text = rest.strip_prefix(',')?;
    }
}

/// A value up to its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.chars();
    loop {
        value.push(match letters.next()? {
            '"' => return Some((value, letters.as_str())),
            '\\' => match letters.next()? {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            },
            plain => plain,
        });
    }
}

#[test]
fn samples_are_read_and_nothing_else() {
    let text = "# HELP a b\na{x=\"1\\\"\\\\\\n\",y=\"\"} 2\nb 3.5\n";
    let samples = read(text);
    assert_eq!(samples[0].label("x"), "1\"\\\n");
    assert_eq!((samples[0].count(), &*samples[1].value), (2, "3.5"));
    for bad in [
        "a",
        "a{} 1",
        "a{x=\"1} 1",
        "a{x=\"\\x\"} 1",
        "1a 1",
        "a b",
        "a{x=\"\",x=\"\"} 1",
    ] {
        assert_eq!(Sample::read(bad), None, "{bad}");
    }
}
