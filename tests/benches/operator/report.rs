//! The figures and their targets, as a table and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    name: String,
    unit: &'static str,
    value: f64,
    /// What it is the middle, or another part, of.
    all: Vec<f64>,
    target: Option<Target>,
}

/// What a figure shall be.
#[derive(Debug, Clone, Copy)]
enum Target {
    AtMost(f64),
    Exactly(f64),
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    facts: Vec<(&'static str, String)>,
    sections: Vec<(String, Vec<Figure>)>,
}

/// The value that this share of the values does not exceed.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list of some thousands"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let found = sorted.get(rank.saturating_sub(1));
    found.copied().unwrap_or(f64::NAN)
}

/// In milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

// === impl Figure ===

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self {
            name: name.into(),
            unit,
            value,
            all: Vec::new(),
            target: None,
        }
    }

    /// A count.
    pub(crate) fn count(name: impl Into<String>, count: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far under 2^52")]
        let count = count as f64;
        Self::new(name, "", count)
    }

    /// A time in seconds.
    pub(crate) fn seconds(name: impl Into<String>, time: Duration) -> Self {
        Self::new(name, "s", time.as_secs_f64())
    }

    /// A share of the values of many.
    pub(crate) fn quantile(
        name: impl Into<String>,
        unit: &'static str,
        values: &[f64],
        share: f64,
    ) -> Self {
        let mut figure = Self::new(name, unit, quantile(values, share));
        figure.all = values.to_vec();
        figure
    }

    /// What it shall not exceed.
    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.target = Some(Target::AtMost(most));
        self
    }

    /// What it shall be.
    pub(crate) fn exactly(mut self, value: f64) -> Self {
        self.target = Some(Target::Exactly(value));
        self
    }

    fn is_missed(&self) -> bool {
        self.target
            .is_some_and(|target| !target.is_met_by(self.value))
    }

    fn row(&self) -> String {
        let Self {
            name,
            unit,
            value,
            all,
            target,
        } = self;
        let unit = match unit.is_empty() {
            true => String::new(),
            false => format!(" [{unit}]"),
        };
        let spread = match all.is_empty() {
            true => String::new(),
            false => format!(
                "{} to {}",
                number(quantile(all, 0.0)),
                number(quantile(all, 1.0))
            ),
        };
        let shall = target.map(Target::text).unwrap_or_default();
        let met = match (target, self.is_missed()) {
            (None, _) => "",
            (Some(_), false) => "yes",
            (Some(_), true) => "**no**",
        };
        format!(
            "| {name}{unit} | {} | {spread} | {shall} | {met} |\n",
            number(*value)
        )
    }

    fn json(&self) -> Value {
        // Thousands of times say no more than these.
        let spread = (!self.all.is_empty()).then(|| {
            json!({
                "values": self.all.len(),
                "least": quantile(&self.all, 0.0),
                "p50": quantile(&self.all, 0.5),
                "p90": quantile(&self.all, 0.9),
                "p99": quantile(&self.all, 0.99),
                "most": quantile(&self.all, 1.0),
            })
        });
        json!({
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "spread": spread,
            "target": self.target.map(Target::text),
            "met": self.target.map(|_| !self.is_missed()),
        })
    }
}

// === impl Target ===

impl Target {
    /// Nothing is met by what is no number.
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            // Counts, which have no fractions.
            Self::Exactly(wanted) => (value - wanted).abs() < 0.5,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most}"),
            Self::Exactly(wanted) => format!("{wanted}"),
        }
    }
}

// === impl Report ===

impl Report {
    pub(crate) fn new(facts: Vec<(&'static str, String)>) -> Self {
        Self {
            facts,
            sections: Vec::new(),
        }
    }

    /// Adds something about the machine.
    pub(crate) fn fact(&mut self, name: &'static str, fact: String) {
        self.facts.push((name, fact));
    }

    /// Begins a table of its own.
    pub(crate) fn section(&mut self, name: impl Into<String>) {
        self.sections.push((name.into(), Vec::new()));
    }

    /// Adds a row, and tells it at once.
    pub(crate) fn add(&mut self, figure: Figure) {
        crate::say(figure.row().trim_end());
        if let Some((_name, figures)) = self.sections.last_mut() {
            figures.push(figure);
        }
    }

    /// The names of the figures that miss their target.
    pub(crate) fn missed(&self) -> Vec<&str> {
        let figures = self.sections.iter().flat_map(|(_, figures)| figures);
        figures
            .filter(|figure| figure.is_missed())
            .map(|figure| figure.name.as_str())
            .collect()
    }

    /// As tables.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# The control plane\n\n");
        for (name, fact) in &self.facts {
            // Writing to a string does not fail.
            let _ = writeln!(text, "- {name}: {fact}");
        }
        for (name, figures) in &self.sections {
            let _ = write!(
                text,
                "\n## {name}\n\n\
                 | figure | value | least to most | target | met |\n\
                 | --- | ---: | --- | --- | --- |\n"
            );
            for figure in figures {
                text.push_str(&figure.row());
            }
        }
        text
    }

    /// As JSON.
    pub(crate) fn json(&self) -> String {
        let sections = self.sections.iter().map(|(name, figures)| {
            let figures: Vec<_> = figures.iter().map(Figure::json).collect();
            json!({"section": name, "figures": figures})
        });
        let facts: serde_json::Map<_, _> = self
            .facts
            .iter()
            .map(|(name, fact)| ((*name).to_owned(), json!(fact)))
            .collect();
        let sections: Vec<_> = sections.collect();
        format!("{:#}\n", json!({"facts": facts, "sections": sections}))
    }
}

/// A number with as many digits as mean something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size.fract() == 0.0 && size < 1e9 => format!("{value:.0}"),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
