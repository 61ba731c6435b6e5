//! The table of attacks: each row names a test that is there and says so.
//!
//! A table that nobody checks is right on the day on which it is written. So
//! every test of a row must be a test function of that file, and must name the
//! attack: in the comment above it, or in its own name.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::workspace::{Workspace, read_text};

/// The table.
const TABLE: &str = "docs/attacks.md";

/// A row: an attack and the tests of it.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    line: usize,
    id: &'a str,
    /// As `path::name`.
    tests: Vec<&'a str>,
}

pub(super) fn run(workspace: &Workspace) -> Result<Vec<String>> {
    let table = read_text(&workspace.root().join(TABLE))?.unwrap_or_default();
    let read = |path: &str| {
        let path = workspace.root().join(path);
        read_text(&path).ok().flatten()
    };
    Ok(wrong(&table, read))
}

/// What is wrong with the table, given the files that it names.
fn wrong(table: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut ids = BTreeSet::new();
    for row in rows(table) {
        let place = format!("{TABLE}:{}: {}", row.line, row.id);
        if !ids.insert(row.id) {
            problems.push(format!("{place} is there twice: write one row"));
        }
        if row.tests.is_empty() {
            problems.push(format!("{place} names no test: write `path::name`"));
        }
        for test in row.tests {
            if let Some(problem) = problem_of(row.id, test, &read) {
                problems.push(format!("{place}: {problem}"));
            }
        }
    }
    if ids.is_empty() {
        problems.push(format!("{TABLE}: there is no table of attacks"));
    }
    problems
}

/// The rows of all tables in the text whose first cell is an id.
fn rows(text: &str) -> Vec<Row<'_>> {
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(index, line)| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let id = cells.next().filter(|cell| is_id(cell))?;
            let tests = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
            Some(Row {
                line: index + 1,
                id,
                tests: tests.filter(|it| it.contains(".rs::")).collect(),
            })
        })
        .collect()
}

/// `ABC-123`.
fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(group, number)| {
        group.len() == 3
            && number.len() == 3
            && group.bytes().all(|byte| byte.is_ascii_uppercase())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn problem_of(id: &str, test: &str, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (path, name) = test.rsplit_once("::")?;
    let Some(text) = read(path) else {
        return Some(format!("there is no file `{path}`"));
    };
    let Some(above) = above(&text, name) else {
        return Some(format!("`{path}` has no test `{name}`"));
    };
    let in_name = id.to_ascii_lowercase().replace('-', "_");
    let is_named = above.contains(id) || name.contains(&in_name);
    (!is_named).then(|| format!("the comment of `{test}` does not mention it"))
}

/// The comments and attributes above a test function; none when there is no
/// such function, or when it is no test.
fn above(text: &str, name: &str) -> Option<String> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let declared = [format!("fn {name}("), format!("async fn {name}(")];
    let at = lines
        .iter()
        .position(|line| declared.iter().any(|it| line.starts_with(it.as_str())))?;
    let above: Vec<_> = lines
        .iter()
        .take(at)
        .rev()
        .take_while(|line| line.starts_with("//") || line.starts_with("#["))
        .copied()
        .collect();
    let is_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    let in_proptest = lines.iter().any(|line| line.starts_with("proptest!"));
    (above.iter().any(is_test) || in_proptest).then(|| above.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
/// ABC-001, ABC-002: a hello.
#[tokio::test(flavor = \"multi_thread\")]
async fn first() {}

#[test]
fn abc_003_second() {}

/// ABC-004
fn helper() {}
";

    fn problems(row: &str) -> Vec<String> {
        let table = format!("| id | what | test |\n|---|---|---|\n{row}\n");
        wrong(&table, |path| (path == "a.rs").then(|| FILE.to_owned()))
    }

    #[test]
    fn a_row_whose_test_names_it_is_right() {
        for row in [
            "| ABC-001 | x | `a.rs::first` |",
            "| ABC-002 | x | `a.rs::first` |",
            "| ABC-003 | `x` | `a.rs::abc_003_second` |",
            "| ABC-002 | x, y | `a.rs::first`, and then |",
        ] {
            assert_eq!(problems(row), [""; 0], "{row}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said() {
        for (row, said) in [
            ("| ABC-003 | x | `a.rs::first` |", "does not mention it"),
            ("| ABC-001 | x | `a.rs::third` |", "no test `third`"),
            ("| ABC-004 | x | `a.rs::helper` |", "no test `helper`"),
            ("| ABC-001 | x | `b.rs::first` |", "no file `b.rs`"),
            ("| ABC-001 | x | nothing |", "names no test"),
            (
                "| ABC-001 | x | `a.rs::first` |\n| ABC-001 | y | `a.rs::first` |",
                "twice",
            ),
            ("nothing", "no table"),
        ] {
            let problems = problems(row);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(said), "{problems:?}");
        }
    }

    #[test]
    fn a_problem_has_its_line() {
        let problems = problems("| ABC-001 | x | `a.rs::third` |");
        assert!(problems[0].starts_with("docs/attacks.md:3: ABC-001"));
    }
}
