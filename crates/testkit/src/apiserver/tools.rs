//! Where the Kubernetes programs are that `make api-tools` builds.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The variable by which `make test` says it.
const VARIABLE: &str = "SIDEGATE_CLUSTER_TOOLS";
const MAKE: &str = "run `make api-tools`, which builds them once (about six minutes)";
/// The modules that they are built from, in the order of `build.sh`.
const MODULES: [&str; 4] = [
    "kubernetes/go.mod",
    "kubernetes/go.sum",
    "etcd/go.mod",
    "etcd/go.sum",
];

/// The programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tools {
    pub(super) etcd: PathBuf,
    pub(super) apiserver: PathBuf,
    pub(super) kubectl: PathBuf,
}

/// Finds them: where the variable says, else in the cache.
pub(super) fn find() -> Result<Tools, String> {
    if let Some(dir) = std::env::var_os(VARIABLE).filter(|dir| !dir.is_empty()) {
        let dir = PathBuf::from(dir);
        return in_dir(&dir).ok_or_else(|| {
            format!(
                "{VARIABLE} is {}, which lacks a program: {MAKE}",
                dir.display()
            )
        });
    }
    let cache = cache(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"));
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cluster");
    cache
        .as_deref()
        .and_then(|cache| in_cache(cache, &made_from(&modules)))
        .ok_or_else(|| format!("etcd, kube-apiserver and kubectl are not built: {MAKE}"))
}

fn cache(xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let given = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let base = xdg
        .and_then(given)
        .or_else(|| Some(home.and_then(given)?.join(".cache")))?;
    Some(base.join("sidegate/cluster-tools"))
}

fn made_from(modules: &Path) -> Vec<u8> {
    let read = |module| fs::read(modules.join(module)).expect("a module of tests/cluster");
    MODULES.map(read).concat()
}

/// A directory for each version; beside its programs lies what they were made
/// from.
fn in_cache(cache: &Path, made_from: &[u8]) -> Option<Tools> {
    let dirs = fs::read_dir(cache).ok()?;
    dirs.filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|dir| fs::read(dir.join("made-from")).is_ok_and(|from| from == made_from))
        .find_map(|dir| in_dir(&dir))
}

fn in_dir(dir: &Path) -> Option<Tools> {
    let program = |name| Some(dir.join(name)).filter(|path| path.is_file());
    Some(Tools {
        etcd: program("etcd")?,
        apiserver: program("kube-apiserver")?,
        kubectl: program("kubectl")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_its_owner_keeps_caches() {
        let path = |text: &str| Some(OsString::from(text));
        for (xdg, home, expected) in [
            (None, path("/h"), Some("/h/.cache")),
            (path("/c"), path("/h"), Some("/c")),
            (path(""), path("/h"), Some("/h/.cache")),
            (path("c"), path("/h"), Some("/h/.cache")),
            (None, None, None),
        ] {
            let expected = expected.map(|base| Path::new(base).join("sidegate/cluster-tools"));
            assert_eq!(cache(xdg, home), expected);
        }
    }

    #[test]
    fn only_programs_that_were_made_from_these_modules_are_taken() {
        let cache = tempfile::tempdir().expect("a directory");
        assert_eq!(in_cache(cache.path(), b"new"), None);
        for made_from in ["old", "new"] {
            let dir = cache.path().join(made_from);
            fs::create_dir(&dir).expect("a directory");
            for name in ["etcd", "kube-apiserver"] {
                fs::write(dir.join(name), "").expect("a file");
            }
            fs::write(dir.join("made-from"), made_from).expect("a file");
        }
        assert_eq!(in_cache(cache.path(), b"new"), None, "without kubectl");
        fs::write(cache.path().join("new/kubectl"), "").expect("a file");
        let tools = in_cache(cache.path(), b"new").expect("tools");
        assert_eq!(tools.etcd, cache.path().join("new/etcd"));
        assert_eq!(in_cache(cache.path(), b"newer"), None);
    }
}
