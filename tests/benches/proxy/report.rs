//! The figures and their targets, as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::load::Outcome;

/// How the two proxies are compared, which is also what a target is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// The sidecar's figure divided by the bare proxy's.
    Ratio,
    /// The sidecar's figure minus the bare proxy's.
    Difference,
    /// Not at all: the sidecar's figure counts.
    No,
}

/// What a figure shall be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) bare: Option<f64>,
    pub(crate) sidegate: f64,
    pub(crate) compared: Compared,
    /// The comparison in each round, when there were several.
    pub(crate) rounds: Vec<f64>,
    pub(crate) target: Option<Target>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sections: Vec<(String, Vec<Figure>)>,
    outcome: Outcome,
    throughput: Option<f64>,
}

/// The middle of some figures.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(half.saturating_sub(1)), at(half))
    } else {
        at(half)
    }
}

// === impl Report ===

impl Report {
    /// Begins a table of its own.
    pub(crate) fn section(&mut self, name: &str) {
        self.sections.push((name.to_owned(), Vec::new()));
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, figure: Figure) {
        if let Some((_name, figures)) = self.sections.last_mut() {
            figures.push(figure);
        }
    }

    /// Counts requests.
    pub(crate) fn count(&mut self, outcome: Outcome) {
        self.outcome.add(outcome);
    }

    /// Notes the ratio that decides whether the run passes.
    pub(crate) fn set_throughput(&mut self, ratio: f64) {
        self.throughput = Some(ratio);
    }

    /// The ratio that decides whether the run passes.
    pub(crate) fn throughput(&self) -> Option<f64> {
        self.throughput
    }

    /// Requests without a right answer.
    pub(crate) fn failed(&self) -> u64 {
        self.outcome.failed
    }

    /// As tables.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Sidegate beside a bare hyper proxy\n");
        for (name, figures) in &self.sections {
            text.push_str(&format!(
                "\n## {name}\n\n\
                 | figure | bare | sidegate | compared (rounds) | target | met |\n\
                 | --- | ---: | ---: | --- | --- | --- |\n"
            ));
            for figure in figures {
                text.push_str(&figure.row());
            }
        }
        let Outcome {
            answered,
            failed,
            fault,
        } = &self.outcome;
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n{answered} requests answered as expected, {failed} not"
        );
        if let Some(fault) = fault {
            let _ = write!(text, ", first: {fault}");
        }
        text.push_str(".\n");
        text
    }

    /// As JSON.
    pub(crate) fn json(&self) -> String {
        let sections = self.sections.iter().map(|(name, figures)| {
            let figures: Vec<_> = figures.iter().map(Figure::value).collect();
            json!({"section": name, "figures": figures})
        });
        let sections: Vec<_> = sections.collect();
        let Outcome {
            answered,
            failed,
            fault,
        } = &self.outcome;
        let report = json!({
            "sections": sections,
            "answered": answered,
            "failed": failed,
            "fault": fault,
        });
        format!("{report:#}\n")
    }
}

// === impl Figure ===

impl Figure {
    /// What the target is for.
    pub(crate) fn decisive(&self) -> f64 {
        match (self.compared, self.bare) {
            // The median of the rounds, not the ratio of medians: the two
            // halves of a round saw the same weather.
            (Compared::Ratio | Compared::Difference, _) if !self.rounds.is_empty() => {
                median(&self.rounds)
            }
            (Compared::Ratio, Some(bare)) => self.sidegate / bare,
            (Compared::Difference, Some(bare)) => self.sidegate - bare,
            (Compared::No, _) | (_, None) => self.sidegate,
        }
    }

    fn met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtLeast(least) => self.decisive() >= least,
            Target::AtMost(most) => self.decisive() <= most,
        })
    }

    fn row(&self) -> String {
        let Self {
            name,
            unit,
            bare,
            sidegate,
            compared,
            rounds,
            target,
        } = self;
        let bare = bare.map(number).unwrap_or_default();
        let decisive = match compared {
            Compared::Ratio => format!("× {:.2}", self.decisive()),
            Compared::Difference => format!("{:+.3}", self.decisive()),
            Compared::No => String::new(),
        };
        let spread = rounds
            .iter()
            .copied()
            .reduce(f64::min)
            .zip(rounds.iter().copied().reduce(f64::max));
        let spread = spread.map(|(least, most)| format!(" ({least:.2} to {most:.2})"));
        let target = target.map(|target| match target {
            Target::AtLeast(least) => format!("≥ {least}"),
            Target::AtMost(most) => format!("≤ {most}"),
        });
        let met = self.met().map(|met| if met { "yes" } else { "**no**" });
        format!(
            "| {name} [{unit}] | {bare} | {} | {decisive}{} | {} | {} |\n",
            number(*sidegate),
            spread.unwrap_or_default(),
            target.unwrap_or_default(),
            met.unwrap_or_default()
        )
    }

    fn value(&self) -> Value {
        let (least, most) = match self.target {
            None => (None, None),
            Some(Target::AtLeast(least)) => (Some(least), None),
            Some(Target::AtMost(most)) => (None, Some(most)),
        };
        json!({
            "name": self.name,
            "unit": self.unit,
            "bare": self.bare,
            "sidegate": self.sidegate,
            "compared": match self.compared {
                Compared::Ratio => "ratio",
                Compared::Difference => "difference",
                Compared::No => "sidegate",
            },
            "decisive": self.decisive(),
            "rounds": self.rounds,
            "atLeast": least,
            "atMost": most,
            "met": self.met(),
        })
    }
}

/// A number with as many digits as mean something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}
