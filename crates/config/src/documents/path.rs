//! Paths of fields, such as `spec.servers[0].hosts[1]` or
//! `spec.authorization.scopeHierarchy["support:admin"]`.

use super::tree::{Content, Node};
use crate::violations::Place;

/// One step into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// `parent` and a key below it.
pub(crate) fn key(parent: &str, key: &str) -> String {
    if is_simple(key) {
        return if parent.is_empty() {
            key.to_owned()
        } else {
            format!("{parent}.{key}")
        };
    }
    format!("{parent}[{}]", serde_json::Value::from(key))
}

/// The place of a field, or of the innermost thing around it that is there.
pub(crate) fn locate(root: &Node, path: &str) -> Place {
    let mut place = root.place.clone();
    let mut node = root;
    for step in steps(path) {
        let next = match (&step, &node.content) {
            (Step::Key(name), Content::Map(_)) => node
                .entry(name)
                .map(|entry| (&entry.value, &entry.key_place)),
            (Step::Index(index), Content::List(items)) => {
                items.get(*index).map(|item| (item, &item.place))
            }
            (Step::Key(_) | Step::Index(_), _) => None,
        };
        let Some((value, at)) = next else { break };
        (node, place) = (value, at.clone());
    }
    place
}

fn is_simple(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/'))
}

/// The steps of a path; text that is no path ends it, because a path only
/// serves to find a line.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while let Some(step) = first_step(&mut rest) {
        steps.push(step);
    }
    steps
}

fn first_step(rest: &mut &str) -> Option<Step> {
    if let Some(inside) = rest.strip_prefix('[') {
        let mut values =
            serde_json::Deserializer::from_str(inside).into_iter::<serde_json::Value>();
        let value = values.next()?.ok()?;
        *rest = inside.get(values.byte_offset()..)?.strip_prefix(']')?;
        return match value {
            serde_json::Value::String(name) => Some(Step::Key(name)),
            serde_json::Value::Number(index) => {
                Some(Step::Index(usize::try_from(index.as_u64()?).ok()?))
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => None,
        };
    }
    let name = rest.strip_prefix('.').unwrap_or(rest);
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (name, after) = name.split_at_checked(end)?;
    *rest = after;
    (!name.is_empty()).then(|| Step::Key(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::tree;

    #[test]
    fn a_path_is_read_as_it_was_written() {
        let path = key(
            &format!("{}[3]", key("spec", "servers")),
            "support:admin \"x\" [1].y",
        );
        assert_eq!(path, r#"spec.servers[3]["support:admin \"x\" [1].y"]"#);
        let expected = [
            Step::Key("spec".to_owned()),
            Step::Key("servers".to_owned()),
            Step::Index(3),
            Step::Key("support:admin \"x\" [1].y".to_owned()),
        ];
        assert_eq!(steps(&path), expected);
        assert_eq!(key("", "spec"), "spec");
    }

    #[test]
    fn a_missing_field_is_placed_where_it_would_be() {
        let text = "spec:\n  servers:\n  - name: a\n    port: 1\n  - name: b\n";
        let roots = tree::read(&"f".into(), text).expect("YAML");
        let line = |path: &str| locate(&roots[0], path).line;
        assert_eq!(line("spec.servers[0].port"), 4);
        assert_eq!(line("spec.servers[1].port"), 5, "the entry that lacks it");
        assert_eq!(line("spec.servers[7]"), 2);
        assert_eq!(line("spec.tls.mode"), 1);
        assert_eq!(line(""), 1);
        assert_eq!(line("]["), 1);
    }

    proptest::proptest! {
        #[test]
        fn any_key_is_found_by_its_path(name: String, text: String) {
            let path = key("spec", &name);
            let expected = [Step::Key("spec".to_owned()), Step::Key(name)];
            proptest::prop_assert_eq!(steps(&path), expected);
            let _ = steps(&text);
        }
    }
}
