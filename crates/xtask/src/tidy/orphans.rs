//! Source files that no target compiles: code that looks guarded by the
//! compiler and the tests, and is not.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::Value;

use crate::workspace::{Workspace, read_text};

pub(super) fn run(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in workspace.packages()? {
        let Some(manifest) = package.get("manifest_path").and_then(Value::as_str) else {
            continue;
        };
        let Some(folder) = Path::new(manifest).parent() else {
            continue;
        };
        let sources = sources(workspace, folder)?;
        let targets = package.get("targets").and_then(Value::as_array);
        let roots = targets
            .into_iter()
            .flatten()
            .filter_map(|target| target.get("src_path")?.as_str())
            .map(PathBuf::from);
        let reachable = reachable(roots, |path| read_text(path).ok().flatten());
        problems.extend(sources.difference(&reachable).map(|orphan| {
            format!(
                "{}: no target compiles it: declare it with `mod`, or delete it",
                workspace.name(orphan)
            )
        }));
    }
    Ok(problems)
}

/// The Rust files of a package, without those of packages inside it.
fn sources(workspace: &Workspace, folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let files = workspace.files(folder)?;
    let inner: Vec<_> = files
        .iter()
        .filter(|file| file.ends_with("Cargo.toml"))
        .filter_map(|file| file.parent())
        .filter(|parent| *parent != folder)
        .map(Path::to_owned)
        .collect();
    Ok(files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|it| it == "rs"))
        .filter(|file| !inner.iter().any(|folder| file.starts_with(folder)))
        .collect())
}

/// The files that the roots declare, over any number of steps. A file that
/// cannot be read is not there.
fn reachable(
    roots: impl Iterator<Item = PathBuf>,
    read: impl Fn(&Path) -> Option<String>,
) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open: Vec<_> = roots.map(|root| (root, true)).collect();
    while let Some((file, is_root)) = open.pop() {
        let Some(text) = read(&file).filter(|_| !found.contains(&file)) else {
            continue;
        };
        for module in declared(&text) {
            open.extend(candidates(&file, is_root, module).map(|file| (file, false)));
        }
        found.insert(file);
    }
    found
}

/// A module that is declared in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Module<'a> {
    Named(&'a str),
    At(&'a str),
}

/// The declarations `mod name;`, each on a line of its own as rustfmt writes
/// them, with the `#[path]` above if there is one.
fn declared(text: &str) -> Vec<Module<'_>> {
    let mut modules = Vec::new();
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path = rest.strip_suffix("\"]");
        } else if let Some(name) = module_name(line) {
            modules.push(path.take().map_or(Module::Named(name), Module::At));
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            path = None;
        }
    }
    modules
}

fn module_name(line: &str) -> Option<&str> {
    let declaration = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let name = declaration.strip_prefix("mod ")?.strip_suffix(';')?.trim();
    Some(name.strip_prefix("r#").unwrap_or(name))
}

/// Where the compiler looks for a module that `file` declares.
fn candidates<'a>(
    file: &Path,
    is_root: bool,
    module: Module<'a>,
) -> impl Iterator<Item = PathBuf> + use<'a> {
    let beside = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
    let below = match file.file_stem() {
        Some(stem) if !is_root && stem != "mod" => beside.join(stem),
        _ => beside.clone(),
    };
    let paths = match module {
        Module::At(path) => [Some(beside.join(path)), None],
        Module::Named(name) => [
            Some(below.join(format!("{name}.rs"))),
            Some(below.join(name).join("mod.rs")),
        ],
    };
    paths.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn reached(files: &[(&str, &str)]) -> Vec<String> {
        let files: BTreeMap<_, _> = files.iter().copied().collect();
        let root = std::iter::once(PathBuf::from("src/lib.rs"));
        let read = |path: &Path| files.get(path.to_str().unwrap()).map(|&it| it.to_owned());
        reachable(root, read)
            .into_iter()
            .map(|it| it.display().to_string())
            .collect()
    }

    #[test]
    fn modules_are_followed_down_and_the_rest_is_left() {
        let files = [
            ("src/lib.rs", "mod a;\npub(crate) mod b;\n"),
            ("src/a.rs", "#[cfg(test)]\nmod tests;"),
            ("src/a/tests.rs", ""),
            ("src/b/mod.rs", "pub mod c;"),
            ("src/b/c.rs", ""),
            ("src/tests.rs", "never compiled"),
            ("src/a/c.rs", "never compiled"),
        ];
        assert_eq!(
            reached(&files),
            [
                "src/a/tests.rs",
                "src/a.rs",
                "src/b/c.rs",
                "src/b/mod.rs",
                "src/lib.rs"
            ]
        );
    }

    #[test]
    fn a_path_attribute_belongs_to_the_module_below_it() {
        let files = [
            (
                "src/lib.rs",
                "#[path = \"x.rs\"]\n#[cfg(test)]\nmod a;\nmod b;",
            ),
            ("src/x.rs", ""),
            ("src/b.rs", ""),
            ("src/a.rs", "never compiled"),
        ];
        assert_eq!(reached(&files), ["src/b.rs", "src/lib.rs", "src/x.rs"]);
    }

    #[test]
    fn declarations_in_comments_and_blocks_do_not_count() {
        assert_eq!(declared("// mod a;\nmod b {\nlet x = \"mod c;\";\n}"), []);
        assert_eq!(
            declared("pub(in crate::x) mod r#type;"),
            [Module::Named("type")]
        );
    }
}
