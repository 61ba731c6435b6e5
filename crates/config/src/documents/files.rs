//! Files to texts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::MAX_FILE_BYTES;
use crate::violations::{Place, Violation, Violations};

/// Texts by path, or why there is none.
pub(crate) type Texts = BTreeMap<PathBuf, Result<Arc<str>, Violations>>;

/// The texts of the documents in a directory.
///
/// # Errors
/// The directory that cannot be read.
pub(crate) fn read_each(dir: &Path) -> Result<Texts, Violations> {
    let read = |path: PathBuf| {
        let text = read_file(&path).map(Arc::from);
        (path, text)
    };
    Ok(list(dir)?.into_iter().map(read).collect())
}

/// The document files of a directory. A mounted ConfigMap has links into a
/// hidden directory beside them; links are followed, hidden names are not.
///
/// # Errors
/// The directory that cannot be read.
fn list(dir: &Path) -> Result<Vec<PathBuf>, Violations> {
    let failed = |error: &io::Error| Violations::from(cannot_read(dir, error));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| failed(&error))? {
        let path = entry.map_err(|error| failed(&error))?.path();
        // What cannot be looked at is read all the same, for the error.
        let is_file = std::fs::metadata(&path).map_or(true, |metadata| metadata.is_file());
        if is_document(&path) && is_file {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a path is named like a file with documents.
pub(crate) fn is_document(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| {
        name.as_encoded_bytes()
            .first()
            .is_some_and(|byte| *byte == b'.')
    });
    !hidden
        && path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// The text of one file.
///
/// # Errors
/// Why it cannot be read, or is not text, or is too large.
pub(crate) fn read_file(path: &Path) -> Result<String, Violations> {
    let failed = |error: io::Error| cannot_read(path, &error);
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more than is allowed tells that there is more.
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        let message = format!(
            "is larger than {} MiB: split it",
            MAX_FILE_BYTES / 1024 / 1024
        );
        return Err(Violation::new(place(path), message).into());
    }
    String::from_utf8(bytes)
        .map_err(|_| Violation::new(place(path), "is not UTF-8 text: save it as UTF-8").into())
}

fn cannot_read(path: &Path, error: &io::Error) -> Violation {
    Violation::new(place(path), format!("cannot be read: {error}"))
}

fn place(path: &Path) -> Place {
    Place::file(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(texts: &Texts) -> Vec<&str> {
        let names = texts
            .keys()
            .map(|path| path.file_name().and_then(|name| name.to_str()));
        names.map(|name| name.expect("a name")).collect()
    }

    fn refusals(texts: &Texts) -> Vec<String> {
        texts
            .values()
            .filter_map(|text| text.as_ref().err())
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn yaml_files_are_read_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in [
            "b.yaml",
            "a.yml",
            ".hidden.yaml",
            "c.json",
            "d.yaml~",
            "..x.yaml",
            "yaml",
        ] {
            fs::write(dir.path().join(name), name).expect("written");
        }
        fs::create_dir(dir.path().join("sub.yaml")).expect("a directory");
        fs::write(dir.path().join("sub.yaml/e.yaml"), "e").expect("written");
        let texts = read_each(dir.path()).expect("read");
        assert_eq!(names(&texts), ["a.yml", "b.yaml"]);
    }

    #[test]
    fn links_of_a_mounted_config_map_are_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("..2026_1")).expect("a directory");
        fs::write(dir.path().join("..2026_1/a.yaml"), "text").expect("written");
        std::os::unix::fs::symlink("..2026_1", dir.path().join("..data")).expect("a link");
        std::os::unix::fs::symlink("..data/a.yaml", dir.path().join("a.yaml")).expect("a link");
        let texts = read_each(dir.path()).expect("read");
        assert_eq!(names(&texts), ["a.yaml"]);
        assert_eq!(texts.values().next(), Some(&Ok("text".into())));
    }

    #[test]
    fn the_size_limit_is_exact() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.yaml");
        let limit = usize::try_from(MAX_FILE_BYTES).expect("fits");
        fs::write(&path, vec![b'#'; limit]).expect("written");
        assert_eq!(read_file(&path).expect("read").len(), limit);
        fs::write(&path, vec![b'#'; limit + 1]).expect("written");
        let refused = read_file(&path).expect_err("too large").to_string();
        assert!(
            refused.ends_with("a.yaml: is larger than 4 MiB: split it"),
            "{refused}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("a.yaml"), b"\xff").expect("written");
        std::os::unix::fs::symlink("gone", dir.path().join("b.yaml")).expect("a link");
        let lines = refusals(&read_each(dir.path()).expect("read"));
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].ends_with("a.yaml: is not UTF-8 text: save it as UTF-8"),
            "{lines:?}"
        );
        assert!(lines[1].contains("b.yaml: cannot be read: "), "{lines:?}");
        let gone = read_each(&dir.path().join("gone"))
            .expect_err("refused")
            .to_string();
        assert!(gone.contains("gone: cannot be read"), "{gone}");
    }
}
