//! The documentation of the metrics.

use super::definition::{ALL, Definition};
use super::documented::{Column, label_names, reference_of};

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
    let columns: [Column<Definition>; 3] = [
        ("labels", label_names),
        ("most combinations", |it| it.sets.to_string()),
        ("meaning", |it| it.help.to_owned()),
    ];
    reference_of("the sidecar", INTRODUCTION, &columns, &ALL)
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
