//! What is wrong with documents, in the form that people see.

use std::fmt;
use std::sync::Arc;

/// Messages are for people and logs: longer ones are cut, because they can
/// quote what a stranger wrote.
const MAX_MESSAGE_CHARS: usize = 400;
/// A file that is something else entirely can be wrong in every line.
const MAX_VIOLATIONS: usize = 200;

/// Something in a document that keeps it from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    place: Place,
    object: Option<String>,
    field: String,
    message: String,
    cause: Cause,
}

/// What sort of thing is wrong, for a status that says it in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The documents contradict themselves or a rule.
    Invalid,
    /// A field asks for something that this version does not serve.
    Unserved,
    /// A Secret, or a key of it, is missing.
    SecretNotFound,
    /// A ConfigMap, or a key of it, is missing.
    ConfigMapNotFound,
    /// A Secret has not consented to this use.
    SecretNotOptedIn,
    /// A key set that is referred to cannot be used.
    InvalidJwks,
    /// A certificate or key that is referred to cannot be used.
    InvalidCertificate,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    /// 1 and up; 0 is the file as a whole.
    pub(crate) line: usize,
    /// 1 and up; 0 is the line as a whole.
    pub(crate) column: usize,
}

/// Everything that is wrong, sorted by file and line. Its text has one
/// violation per line: `FILE:LINE: KIND namespace/name: field.path: message`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    all: Vec<Violation>,
}

// === impl Place ===

impl Place {
    pub(crate) fn file(file: impl Into<Arc<str>>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
        }
    }
}

// === impl Violation ===

impl Violation {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            place,
            object: None,
            field: String::new(),
            message: shortened(message.into()),
            cause: Cause::Invalid,
        }
    }

    pub(crate) fn because(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// Adds a command that mends it. It is never cut: a part of a command does
    /// something else.
    pub(crate) fn mended_by(mut self, command: &str) -> Self {
        self.message = format!("{}: `{command}`", self.message);
        self
    }

    pub(crate) fn about(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    pub(crate) fn in_field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// The file, as it was named when it was read.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.place.file
    }

    /// The line, from 1; 0 when the file as a whole is meant.
    #[must_use]
    pub fn line(&self) -> usize {
        self.place.line
    }

    /// The column, from 1; 0 when the line as a whole is meant.
    #[must_use]
    pub fn column(&self) -> usize {
        self.place.column
    }

    /// `KIND namespace/name` of the object, when there is one.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// The path of the field, such as `spec.servers[0].port`; may be empty.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong and what to do.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What sort of thing is wrong.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.place.file)?;
        if self.place.line > 0 {
            write!(f, ":{}", self.place.line)?;
        }
        for part in [
            self.object.as_deref(),
            Some(self.field.as_str()),
            Some(&self.message),
        ] {
            if let Some(part) = part.filter(|part| !part.is_empty()) {
                f.write_str(": ")?;
                write_escaped(f, part)?;
            }
        }
        Ok(())
    }
}

// === impl Violations ===

impl Violations {
    /// One by one, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Violation> {
        self.all.iter()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// `value`, unless something was found wrong.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(violations: I) -> Self {
        let mut all: Vec<_> = violations.into_iter().collect();
        // Stable: within one field they stay in the order of the checks.
        all.sort_by(|a, b| (&a.place, &a.field).cmp(&(&b.place, &b.field)));
        all.dedup();
        let more = all.len().saturating_sub(MAX_VIOLATIONS);
        all.truncate(MAX_VIOLATIONS);
        if let Some(last) = all.last().filter(|_| more > 0) {
            all.push(Violation::new(
                last.place.clone(),
                format!("and {more} more after these"),
            ));
        }
        Self { all }
    }
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        Self {
            all: vec![violation],
        }
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

impl<'a> IntoIterator for &'a Violations {
    type Item = &'a Violation;
    type IntoIter = std::slice::Iter<'a, Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.all.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// Text of a document can hold line ends, terminal escapes and marks that
/// reverse the reading direction; none of them may reach a terminal or a log.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for character in text.chars() {
        if character.is_control() || is_format_mark(character) {
            write!(f, "{}", character.escape_unicode())?;
        } else {
            write!(f, "{character}")?;
        }
    }
    Ok(())
}

fn is_format_mark(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

fn shortened(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        None => message,
        Some((end, _)) => message
            .get(..end)
            .map_or_else(String::new, |kept| format!("{kept}…")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, line: usize) -> Place {
        Place {
            file: file.into(),
            line,
            column: 1,
        }
    }

    #[test]
    fn a_line_names_file_line_object_field_and_message() {
        let violation = Violation::new(at("a.yaml", 3), "is not a port")
            .about("McpGateway crm/support")
            .in_field("spec.servers[0].port");
        assert_eq!(
            violation.to_string(),
            "a.yaml:3: McpGateway crm/support: spec.servers[0].port: is not a port"
        );
        let whole = Violation::new(Place::file("a.yaml"), "is not UTF-8");
        assert_eq!(whole.to_string(), "a.yaml: is not UTF-8");
    }

    #[test]
    fn they_are_sorted_by_file_and_line_and_told_once() {
        let violations: Violations = [
            Violation::new(at("b.yaml", 1), "three"),
            Violation::new(at("a.yaml", 10), "two"),
            Violation::new(at("a.yaml", 9), "one"),
            Violation::new(at("a.yaml", 9), "one"),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            violations.to_string(),
            "a.yaml:9: one\na.yaml:10: two\nb.yaml:1: three"
        );
    }

    #[test]
    fn one_violation_is_one_line_whatever_it_quotes() {
        let quoted = "unknown field `a\n\u{1b}[31m\u{202e}b`";
        let violation = Violation::new(at("a\nb.yaml", 1), quoted).in_field("x\r");
        let text = violation.to_string();
        assert!(!text.contains(['\n', '\r', '\u{1b}', '\u{202e}']), "{text}");
        assert!(text.contains("\\u{1b}[31m"), "{text}");
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let many = |count: usize| -> Violations {
            (1..=count)
                .map(|line| Violation::new(at("a", line), "wrong"))
                .collect()
        };
        assert_eq!(many(MAX_VIOLATIONS).len(), MAX_VIOLATIONS);
        let cut = many(MAX_VIOLATIONS + 7);
        assert_eq!(cut.len(), MAX_VIOLATIONS + 1);
        assert!(
            cut.to_string().ends_with("a:200: and 7 more after these"),
            "{cut}"
        );
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let exact = "ä".repeat(MAX_MESSAGE_CHARS);
        assert_eq!(Violation::new(at("a", 1), exact.clone()).message(), exact);
        let cut = Violation::new(at("a", 1), "ä".repeat(MAX_MESSAGE_CHARS + 1));
        assert_eq!(cut.message(), format!("{exact}…"));
        let command = "c".repeat(MAX_MESSAGE_CHARS + 1);
        assert_eq!(
            cut.mended_by(&command).message(),
            format!("{exact}…: `{command}`")
        );
    }
}
