//! The documentation of the metrics.

use sidegate_telemetry::metrics::documented::{Column, label_names, reference_of};

use super::definition::{ALL, Definition};

const INTRODUCTION: &str = "\
## The operator

Every replica exports these on its health port under `/metrics`. Labels come from closed sets of
words: none carries the name of a gateway, a pod or a namespace.
";

/// The reference of all metrics of the operator, in Markdown.
#[must_use]
pub fn reference() -> String {
    let columns: [Column<Definition>; 3] = [
        ("unit", |it| it.unit().to_owned()),
        ("labels", label_names),
        ("meaning", |it| it.help.to_owned()),
    ];
    reference_of("the operator", INTRODUCTION, &columns, &ALL)
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
