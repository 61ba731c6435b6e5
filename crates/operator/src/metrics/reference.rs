//! The documentation of the metrics.

use std::fmt::Write as _;

use super::definition::{ALL, Definition, Kind};

const INTRODUCTION: &str = "\
## The operator

Every replica exports these on its health port under `/metrics`. Labels come from closed sets of
words: none carries the name of a gateway, a pod or a namespace.
";

/// The reference of all metrics of the operator, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("\n| metric | kind | unit | labels | meaning |\n");
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for definition in ALL {
        push_row(&mut text, definition);
    }
    text.push_str("\n### Labels of the operator\n\n| label | meaning |\n| --- | --- |\n");
    let mut known: Vec<(&str, &str)> = Vec::new();
    for label in ALL.iter().flat_map(|definition| definition.labels) {
        let row = (label.name, label.meaning);
        if !known.contains(&row) {
            known.push(row);
            // Writing to a string cannot fail.
            let _written = writeln!(text, "| `{}` | {} |", label.name, label.meaning);
        }
    }
    text.push_str("\n### Buckets of the operator\n\n");
    for definition in ALL {
        if let Kind::Histogram(buckets) = definition.kind {
            let bounds: Vec<String> = buckets.iter().map(ToString::to_string).collect();
            let _written = writeln!(text, "- `{}`: {}", definition.name, bounds.join(", "));
        }
    }
    text
}

fn push_row(text: &mut String, definition: &Definition) {
    let kind = match definition.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let labels: Vec<String> = definition
        .label_names()
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let (labels, unit) = (labels.join(", "), definition.unit());
    let Definition { name, help, .. } = definition;
    let _written = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_and_label_is_in_the_reference() {
        let text = reference();
        for definition in ALL {
            let row = format!("| `{}` | ", definition.name);
            assert!(text.contains(&row), "{}", definition.name);
            for label in definition.labels {
                let row = format!("\n| `{}` | {} |\n", label.name, label.meaning);
                assert!(text.contains(&row), "{}", label.name);
            }
        }
        for line in text.lines().filter(|line| line.starts_with('|')) {
            assert!(line.ends_with('|'), "{line}");
        }
    }
}
