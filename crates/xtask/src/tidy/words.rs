//! Words that do not belong into a file: tasks that nobody owns, and paths
//! that exist on one machine only.

/// Marks of an open task. Each needs an owner: a name or an issue in
/// parentheses. (Written apart, so that this file does not accuse itself.)
const TASKS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Starts of paths below somebody's home.
const HOMES: [&str; 3] = [
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
];

/// What is wrong in a text, with its lines.
pub(super) fn wrong(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", index + 1);
        for task in TASKS.iter().filter(|task| has_unowned(line, task)) {
            problems.push(format!(
                "{place}: {task} without an owner: write `{task}(NAME)`"
            ));
        }
        for home in HOMES.iter().filter(|home| has_path(line, home)) {
            problems.push(format!(
                "{place}: a path below `{home}`: write one that exists everywhere"
            ));
        }
    }
    problems
}

/// Whether the word stands alone and no parenthesis with an owner follows it.
fn has_unowned(line: &str, task: &str) -> bool {
    occurrences(line, task).any(|(before, after)| {
        let is_word = !before.ends_with(is_of_word) && !after.starts_with(is_of_word);
        let owner = after.strip_prefix('(').and_then(|it| it.split_once(')'));
        is_word && owner.is_none_or(|(owner, _)| owner.trim().is_empty())
    })
}

/// Whether an absolute path starts so: it must not be the end of a longer one,
/// as in `example.com/home/`, and a name must follow.
fn has_path(line: &str, home: &str) -> bool {
    occurrences(line, home)
        .any(|(before, after)| !before.ends_with(is_of_path) && after.starts_with(is_of_word))
}

fn occurrences<'a>(line: &'a str, word: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    line.match_indices(word).filter_map(move |(start, found)| {
        Some((line.get(..start)?, line.get(start + found.len()..)?))
    })
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn is_of_path(character: char) -> bool {
    is_of_word(character) || matches!(character, '.' | '-' | '*' | '}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(line: &str) -> usize {
        wrong("a.rs", line).len()
    }

    #[test]
    fn an_open_task_needs_an_owner() {
        let [todo, fixme] = TASKS;
        for line in [
            format!("// {todo}: later"),
            format!("// {fixme}"),
            format!("{todo}()"),
            format!("{todo} (anna)"),
        ] {
            assert_eq!(problems(&line), 1, "{line}");
        }
        for line in [
            format!("// {todo}(anna): later"),
            format!("{fixme}(#12)"),
            format!("MASTO{todo}N"),
            todo.to_lowercase(),
        ] {
            assert_eq!(problems(&line), 0, "{line}");
        }
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for home in HOMES {
            assert_eq!(problems(&format!("cd {home}anna/x")), 1);
            assert_eq!(problems(&format!("\"{home}anna\"")), 1);
            assert_eq!(problems(&format!("https://example.com{home}page")), 0);
            assert_eq!(problems(&format!("mount {home}")), 0);
        }
    }

    #[test]
    fn a_problem_has_its_line() {
        let text = format!("fine\n// {}\n", TASKS[0]);
        assert!(wrong("b.md", &text)[0].starts_with("b.md:2: "));
    }
}
