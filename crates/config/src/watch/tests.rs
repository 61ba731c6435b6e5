use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::*;

/// Machines that run tests are busy; the promise is 100 ms.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for anything that would be reported wrongly.
const SILENCE: Duration = Duration::from_millis(250);

fn config_map(value: &str) -> String {
    let padding = "#\n".repeat(2_000);
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\n{padding}data: {{v: {value}}}\n"
    )
}

/// A directory with one file, its watcher, and what it reports.
struct Followed {
    dir: tempfile::TempDir,
    changes_rx: Receiver<Result<Documents, Violations>>,
    _watcher: Watcher,
}

impl Followed {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("d")).expect("a directory");
        fs::write(dir.path().join("d/a.yaml"), config_map("one")).expect("written");
        Self::of(dir)
    }

    fn of(dir: tempfile::TempDir) -> Self {
        let (changes_tx, changes_rx) = mpsc::channel();
        let on_change = Box::new(move |change| {
            let _ = changes_tx.send(change);
        });
        let watcher = Watcher::start(&dir.path().join("d"), on_change).expect("watched");
        Self {
            dir,
            changes_rx,
            _watcher: watcher,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("d").join(name)
    }

    fn next(&self) -> Result<String, String> {
        let change = self
            .changes_rx
            .recv_timeout(PATIENCE)
            .expect("a change is reported");
        change
            .map(|documents| value(&documents))
            .map_err(|violations| violations.to_string())
    }

    /// Waits for the value; intermediate states are whole, and so are allowed.
    fn becomes(&self, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.next() {
                Ok(value) if value == wanted => return,
                Ok(value) => assert!(["one", "two", "three", ""].contains(&&*value), "{value}"),
                Err(refused) => panic!("half a file was taken: {refused}"),
            }
            assert!(Instant::now() < until, "never became `{wanted}`");
        }
    }

    fn is_silent(&self) {
        let change = self.changes_rx.recv_timeout(SILENCE);
        assert!(
            matches!(change, Err(RecvTimeoutError::Timeout)),
            "{change:?}"
        );
    }
}

fn value(documents: &Documents) -> String {
    let values: Vec<_> = documents
        .config_maps
        .iter()
        .map(|map| String::from_utf8_lossy(&map.data["v"]).into_owned())
        .collect();
    values.join("+")
}

#[test]
fn a_file_that_is_written_and_closed_is_taken() {
    let followed = Followed::new();
    followed.is_silent();
    fs::write(followed.path("a.yaml"), config_map("two")).expect("written");
    followed.becomes("two");
}

#[test]
fn a_renamed_file_is_taken() {
    let followed = Followed::new();
    fs::write(followed.path(".a.yaml.tmp"), config_map("two")).expect("written");
    followed.is_silent();
    fs::rename(followed.path(".a.yaml.tmp"), followed.path("a.yaml")).expect("renamed");
    followed.becomes("two");
    followed.is_silent();
}

#[test]
fn a_change_is_taken_soon() {
    let followed = Followed::new();
    let mut times = Vec::new();
    for round in 0..10 {
        let text = config_map(if round % 2 == 0 { "two" } else { "one" });
        fs::write(followed.path(".tmp"), text).expect("written");
        let begun = Instant::now();
        fs::rename(followed.path(".tmp"), followed.path("a.yaml")).expect("renamed");
        followed.next().expect("valid");
        times.push(begun.elapsed());
    }
    times.sort();
    assert!(times[5] < Duration::from_millis(100), "{times:?}");
}

#[test]
fn half_a_file_is_never_taken() {
    let followed = Followed::new();
    let text = config_map("two");
    let (half, rest) = text.split_at(text.len() / 2);
    let mut file = File::create(followed.path("a.yaml")).expect("opened");
    file.write_all(half.as_bytes()).expect("written");
    file.flush().expect("flushed");
    followed.is_silent();
    // Another file changes meanwhile: the one being written counts as it was.
    let other = config_map("three").replace("name: m", "name: other");
    fs::write(followed.path("b.yaml"), other).expect("written");
    assert_eq!(followed.next(), Ok("one+three".to_owned()));
    file.write_all(rest.as_bytes()).expect("written");
    followed.is_silent();
    drop(file);
    assert_eq!(followed.next(), Ok("two+three".to_owned()));
}

#[test]
fn a_new_file_is_not_taken_before_it_is_closed() {
    let followed = Followed::new();
    let mut file = File::create(followed.path("b.yaml")).expect("opened");
    followed.is_silent();
    file.write_all(b"apiVersion: v1\nkind: Conf")
        .expect("written");
    followed.is_silent();
    fs::remove_file(followed.path("a.yaml")).expect("removed");
    assert_eq!(followed.next(), Ok(String::new()));
    file.write_all(b"igMap\nmetadata: {name: other}\ndata: {v: two}\n")
        .expect("written");
    drop(file);
    assert_eq!(followed.next(), Ok("two".to_owned()));
}

#[test]
fn a_mounted_config_map_is_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mount = dir.path().join("d");
    let fill = |name: &str, value: &str| {
        fs::create_dir_all(mount.join(name)).expect("a directory");
        fs::write(mount.join(name).join("a.yaml"), config_map(value)).expect("written");
    };
    fill("..1", "one");
    symlink("..1", mount.join("..data")).expect("a link");
    symlink("..data/a.yaml", mount.join("a.yaml")).expect("a link");
    let followed = Followed::of(dir);
    fill("..2", "two");
    symlink("..2", mount.join("..data_tmp")).expect("a link");
    followed.is_silent();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("swapped");
    followed.becomes("two");
    // A new key is a new link.
    fs::write(
        mount.join("..2/b.yaml"),
        config_map("three").replace("name: m", "name: other"),
    )
    .expect("written");
    symlink("..data/b.yaml", mount.join("b.yaml")).expect("a link");
    assert_eq!(followed.next(), Ok("two+three".to_owned()));
}

#[test]
fn a_burst_is_taken_in_few_readings() {
    let followed = Followed::new();
    for index in 0..50 {
        let text = config_map("one").replace("name: m", &format!("name: m{index}"));
        fs::write(followed.path(&format!("b{index:02}.yaml")), text).expect("written");
    }
    let mut readings = 0;
    loop {
        readings += 1;
        if followed.next().expect("valid").split('+').count() == 51 {
            break;
        }
    }
    assert!(readings <= 25, "{readings}");
}

#[test]
fn other_files_do_not_matter() {
    let followed = Followed::new();
    for name in [".a.yaml.swp", "a.yaml~", "notes.txt"] {
        fs::write(followed.path(name), "x").expect("written");
        fs::remove_file(followed.path(name)).expect("removed");
    }
    File::open(followed.path("a.yaml")).expect("opened");
    followed.is_silent();
}

#[test]
fn what_is_wrong_is_reported_and_the_next_change_taken() {
    let followed = Followed::new();
    fs::write(followed.path("a.yaml"), "kind: [").expect("written");
    let refused = followed.next().expect_err("refused");
    assert!(refused.contains("a.yaml:"), "{refused}");
    fs::write(followed.path("a.yaml"), config_map("two")).expect("written");
    followed.becomes("two");
}

#[test]
fn a_directory_that_vanishes_is_followed_when_it_is_back() {
    let followed = Followed::new();
    let dir = followed.dir.path().join("d");
    for round in ["two", "three"] {
        fs::remove_dir_all(&dir).expect("removed");
        loop {
            match followed.next() {
                Err(refused) if refused.contains("cannot be read") => break,
                Err(refused) => panic!("{refused}"),
                Ok(value) => assert_eq!(value, "", "the file went before the directory"),
            }
        }
        fs::create_dir(&dir).expect("a directory");
        fs::write(dir.join("a.yaml"), config_map(round)).expect("written");
        followed.becomes(round);
    }
}

#[test]
fn a_directory_that_is_replaced_is_followed() {
    let followed = Followed::new();
    let (dir, other) = (
        followed.dir.path().join("d"),
        followed.dir.path().join("other"),
    );
    fs::create_dir(&other).expect("a directory");
    fs::write(other.join("a.yaml"), config_map("two")).expect("written");
    fs::rename(&dir, followed.dir.path().join("old")).expect("renamed");
    fs::rename(&other, &dir).expect("renamed");
    loop {
        match followed.next() {
            Ok(value) if value == "two" => break,
            Ok(value) => panic!("{value}"),
            Err(refused) => assert!(refused.contains("cannot be read"), "{refused}"),
        }
    }
    fs::write(dir.join("a.yaml"), config_map("three")).expect("written");
    followed.becomes("three");
}

#[test]
fn nothing_is_reported_after_the_watcher_was_dropped() {
    let Followed {
        dir,
        changes_rx,
        _watcher: watcher,
    } = Followed::new();
    drop(watcher);
    fs::write(dir.path().join("d/a.yaml"), config_map("two")).expect("written");
    assert!(matches!(
        changes_rx.recv_timeout(SILENCE),
        Err(RecvTimeoutError::Disconnected)
    ));
}

#[test]
fn a_missing_directory_cannot_be_followed() {
    let started = Watcher::start(Path::new("/does/not/exist"), Box::new(|_| {}));
    assert!(matches!(started, Err(WatchError::NotADirectory(_))));
}
