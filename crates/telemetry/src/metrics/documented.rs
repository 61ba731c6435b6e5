//! How the metrics of a program are documented, from its table of them.

use std::fmt::Write as _;

/// What a family of series is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A count that grows.
    Counter,
    /// A number that grows and falls.
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// A label and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelMeaning {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

/// A family of series of some program.
pub trait Documented {
    /// Its name.
    fn name(&self) -> &'static str;
    /// What it is.
    fn kind(&self) -> Kind;
    /// Its labels, in order.
    fn labels(&self) -> Vec<LabelMeaning>;
}

/// A column after those for name and kind: its head, and what is in it.
pub type Column<D> = (&'static str, fn(&D) -> String);

/// The reference of all metrics of a program, in Markdown.
#[must_use]
pub fn reference_of<D: Documented>(
    program: &str,
    introduction: &str,
    columns: &[Column<D>],
    families: &[&D],
) -> String {
    let mut text = String::from(introduction);
    push_families(&mut text, columns, families);
    push_labels(&mut text, program, families);
    push_buckets(&mut text, program, families);
    text
}

/// The names of the labels of a family, for one of its columns.
pub fn label_names<D: Documented>(family: &D) -> String {
    let labels = family.labels();
    let names: Vec<_> = labels.iter().map(|it| format!("`{}`", it.name)).collect();
    names.join(", ")
}

fn push_families<D: Documented>(text: &mut String, columns: &[Column<D>], families: &[&D]) {
    text.push_str("\n| metric | kind |");
    for (head, _) in columns {
        // Writing to a string cannot fail.
        let _written = write!(text, " {head} |");
    }
    text.push_str("\n| --- | --- |");
    text.push_str(&" --- |".repeat(columns.len()));
    text.push('\n');
    for family in families {
        let _written = write!(text, "| `{}` | {} |", family.name(), family.kind().word());
        for (_, cell) in columns {
            let _written = write!(text, " {} |", cell(family));
        }
        text.push('\n');
    }
}

/// Each once, in the order of its first family.
fn push_labels<D: Documented>(text: &mut String, program: &str, families: &[&D]) {
    let _written = write!(
        text,
        "\n### Labels of {program}\n\n| label | meaning |\n| --- | --- |\n"
    );
    let mut known = Vec::new();
    for label in families.iter().flat_map(|family| family.labels()) {
        if !known.contains(&label) {
            known.push(label);
            let _written = writeln!(text, "| `{}` | {} |", label.name, label.meaning);
        }
    }
}

fn push_buckets<D: Documented>(text: &mut String, program: &str, families: &[&D]) {
    let _written = write!(text, "\n### Buckets of {program}\n\n");
    for family in families {
        if let Kind::Histogram(buckets) = family.kind() {
            let bounds: Vec<String> = buckets.iter().map(ToString::to_string).collect();
            let _written = writeln!(text, "- `{}`: {}", family.name(), bounds.join(", "));
        }
    }
}

// === impl Kind ===

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}
