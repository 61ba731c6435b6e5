//! The documentation of the metrics.

use std::fmt::Write;

use super::definition::{ALL, Definition, Kind};

const INTRODUCTION: &str = "\
## The sidecar

The sidecar exports these on its health port under `/metrics`. A sidecar has at most 2,000 series:
each family has a bound of its own, and combinations of label values beyond it are counted
with `other` in place of their values. Labels never carry a subject, a session, a path or a text that a
caller chose.
";

/// The reference of all metrics of the sidecar, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("\n| metric | kind | labels | most combinations | meaning |\n");
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for definition in ALL {
        push_row(&mut text, definition);
    }
    text.push_str("\n### Labels of the sidecar\n\n| label | meaning |\n| --- | --- |\n");
    let mut known: Vec<&str> = Vec::new();
    for label in ALL.iter().flat_map(|definition| definition.labels) {
        if !known.contains(&label.name) {
            known.push(label.name);
            // Writing to a string cannot fail.
            let _written = writeln!(text, "| `{}` | {} |", label.name, label.meaning);
        }
    }
    text.push_str("\n### Buckets of the sidecar\n\n");
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
    let Definition {
        name, sets, help, ..
    } = definition;
    let labels = labels.join(", ");
    let _written = writeln!(text, "| `{name}` | {kind} | {labels} | {sets} | {help} |");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_and_label_is_in_the_reference() {
        let text = reference();
        for definition in ALL {
            assert!(
                text.contains(&format!("| `{}` |", definition.name)),
                "{}",
                definition.name
            );
            for name in definition.label_names() {
                assert!(text.contains(&format!("\n| `{name}` |")), "{name}");
            }
        }
    }

    #[test]
    fn the_reference_is_a_table() {
        for line in reference().lines().filter(|line| line.starts_with('|')) {
            assert!(line.ends_with('|'), "{line}");
        }
    }
}
