//! Whole lines to a writer that may fail in the middle of one.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::Duration;

/// Pause before another try where the writer would have to wait.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the lines go.
pub(super) struct Output {
    writer: Box<dyn Write + Send>,
    /// A failed write left an unfinished line behind.
    in_line: bool,
}

/// A write that failed, and the lines that were lost with it.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) lines: u64,
    pub(super) error: io::Error,
}

// === impl Output ===

impl Output {
    pub(super) fn new(writer: Box<dyn Write + Send>) -> Self {
        Self {
            writer,
            in_line: false,
        }
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Failed> {
        if self.in_line {
            // The rest of the unfinished line is lost; what comes must not be.
            self.write_all(b"\n").map_err(|(_, error)| Failed {
                lines: count(lines),
                error,
            })?;
            self.in_line = false;
        }
        self.write_all(lines).map_err(|(written, error)| {
            let (written, lost) = lines.split_at(written.min(lines.len()));
            self.in_line = written.last().is_some_and(|last| *last != b'\n');
            Failed {
                lines: count(lost),
                error,
            }
        })
    }

    /// Like [`Write::write_all`], but says how far it came.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = bytes.len() - rest.len();
            match self.writer.write(rest) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Standard output can be a pipe that others made non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(error) => return Err((written, error)),
            }
        }
        self.writer.flush().map_err(|error| (bytes.len(), error))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Output")
            .field("in_line", &self.in_line)
            .finish_non_exhaustive()
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Follows a script: takes so many bytes, or fails.
    struct Script {
        steps: VecDeque<Result<usize, ErrorKind>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.steps.pop_front() {
                Some(Ok(taken)) => taken.min(bytes.len()),
                Some(Err(kind)) => return Err(kind.into()),
                None => bytes.len(),
            };
            self.written
                .lock()
                .expect("lock")
                .extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn output(steps: &[Result<usize, ErrorKind>]) -> (Output, Arc<Mutex<Vec<u8>>>) {
        let written = Arc::default();
        let script = Script {
            steps: steps.iter().copied().collect(),
            written: Arc::clone(&written),
        };
        (Output::new(Box::new(script)), written)
    }

    fn text(written: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(written.lock().expect("lock").clone()).expect("UTF-8")
    }

    #[test]
    fn short_and_interrupted_writes_are_continued() {
        let steps = [
            Ok(1),
            Err(ErrorKind::Interrupted),
            Ok(2),
            Err(ErrorKind::WouldBlock),
            Ok(1),
        ];
        let (mut output, written) = output(&steps);
        output.write(b"a\nb\nc\n").expect("written");
        assert_eq!(text(&written), "a\nb\nc\n");
    }

    #[test]
    fn a_failed_write_says_which_lines_are_lost() {
        let (mut output, written) = output(&[Ok(3), Err(ErrorKind::StorageFull)]);
        let failed = output.write(b"a\nbb\nc\n").expect_err("no room");
        assert_eq!(
            (failed.lines, failed.error.kind()),
            (2, ErrorKind::StorageFull)
        );
        assert_eq!(text(&written), "a\nb");
        output.write(b"d\n").expect("written");
        assert_eq!(text(&written), "a\nb\nd\n", "the next line begins a line");
    }

    #[test]
    fn a_failure_between_lines_leaves_none_unfinished() {
        let (mut output, written) = output(&[Ok(2), Ok(0)]);
        let failed = output.write(b"a\nb\n").expect_err("closed");
        assert_eq!(
            (failed.lines, failed.error.kind()),
            (1, ErrorKind::WriteZero)
        );
        output.write(b"c\n").expect("written");
        assert_eq!(text(&written), "a\nc\n");
    }

    #[test]
    fn while_it_fails_every_line_is_counted() {
        let full = Err(ErrorKind::StorageFull);
        let (mut output, written) = output(&[Ok(1), full, full, full]);
        assert_eq!(output.write(b"aa\n").expect_err("full").lines, 1);
        assert_eq!(output.write(b"b\nc\n").expect_err("full").lines, 2);
        assert_eq!(output.write(b"d\n").expect_err("full").lines, 1);
        output.write(b"e\n").expect("written");
        assert_eq!(text(&written), "a\ne\n");
    }
}
