//! YAML text to trees of values that know where they stand.
//!
//! A small walk over the events of a parser, instead of a ready-made loader:
//! the position of every field and the style of every scalar are needed, and
//! duplicate keys, tags, anchors and keys that are not strings are to be found
//! all at once.

use std::collections::HashSet;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

use super::scalar::{self, Plain};
use crate::violations::{Place, Violation, Violations};

/// Deeper documents are refused; resources are about ten deep.
pub(super) const MAX_DEPTH: usize = 64;
/// A broken file can be wrong in every line; more than this helps nobody.
const MAX_VIOLATIONS: usize = 100;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

/// The documents of a text that are not empty.
///
/// # Errors
/// Everything that the loader refuses.
pub(super) fn read(file: &Arc<str>, text: &str) -> Result<Vec<Node>, Violations> {
    let mut builder = Builder::new(file);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                if builder.take(event, span).is_err() {
                    break;
                }
            }
            Err(error) => {
                let place = builder.place(*error.marker());
                builder.refuse(place, format!("is not YAML: {}", error.info()));
                break;
            }
        }
    }
    let documents = builder.documents;
    builder
        .violations
        .into_iter()
        .collect::<Violations>()
        .or(documents)
}

/// The walk must end: what follows cannot be placed.
struct GivenUp;

/// What the walk has seen so far.
struct Builder<'a> {
    file: &'a Arc<str>,
    documents: Vec<Node>,
    open: Vec<Open>,
    violations: Vec<Violation>,
}

/// A collection whose end was not seen yet.
struct Open {
    place: Place,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        seen: HashSet<String>,
        key: Option<(String, Place)>,
    },
}

// === impl Builder ===

impl<'a> Builder<'a> {
    fn new(file: &'a Arc<str>) -> Self {
        Self {
            file,
            documents: Vec::new(),
            open: Vec::new(),
            violations: Vec::new(),
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), GivenUp> {
        let place = self.place(span.start);
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
            Event::Alias(_) => {
                let message = "is an alias (`*name`), which is refused: write the value again";
                self.refuse(place.clone(), message);
                self.put(Node {
                    place,
                    content: Content::Null,
                });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_properties(&place, anchor, tag.as_deref());
                let content = self.scalar(&place, text.into_owned(), style);
                self.put(Node { place, content });
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_properties(&place, anchor, tag.as_deref());
                self.begin(place, Inside::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.check_properties(&place, anchor, tag.as_deref());
                let (entries, seen) = (Vec::new(), HashSet::new());
                self.begin(
                    place,
                    Inside::Map {
                        entries,
                        seen,
                        key: None,
                    },
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
        if self.violations.len() >= MAX_VIOLATIONS {
            Err(GivenUp)
        } else {
            Ok(())
        }
    }

    fn begin(&mut self, place: Place, inside: Inside) -> Result<(), GivenUp> {
        if self.open.len() >= MAX_DEPTH {
            self.refuse(
                place,
                format!("is nested more than {MAX_DEPTH} levels deep"),
            );
            return Err(GivenUp);
        }
        self.open.push(Open { place, inside });
        Ok(())
    }

    fn end(&mut self) {
        let Some(Open { place, inside }) = self.open.pop() else {
            return;
        };
        let content = match inside {
            Inside::List(items) => Content::List(items),
            Inside::Map { entries, .. } => Content::Map(entries),
        };
        self.put(Node { place, content });
    }

    /// A finished node goes to the innermost open collection.
    fn put(&mut self, node: Node) {
        let refused = match self.open.last_mut().map(|open| &mut open.inside) {
            None => {
                if node.content != Content::Null {
                    self.documents.push(node);
                }
                None
            }
            Some(Inside::List(items)) => {
                items.push(node);
                None
            }
            Some(Inside::Map { entries, seen, key }) => match key.take() {
                Some((key, key_place)) => {
                    entries.push(Entry {
                        key,
                        key_place,
                        value: node,
                    });
                    None
                }
                None => {
                    let (name, refused) = as_key(&node.content, seen);
                    *key = Some((name, node.place.clone()));
                    refused.map(|message| (node.place, message))
                }
            },
        };
        if let Some((place, message)) = refused {
            self.refuse(place, message);
        }
    }

    fn scalar(&mut self, place: &Place, text: String, style: ScalarStyle) -> Content {
        if style != ScalarStyle::Plain {
            return Content::Text(text);
        }
        match scalar::resolve(&text) {
            Ok(Plain::Null) => Content::Null,
            Ok(Plain::Bool(value)) => Content::Bool(value),
            Ok(Plain::Number(number)) => Content::Number(number),
            Ok(Plain::Text) => Content::Text(text),
            Err(reason) => {
                let advice = match (reason, text.as_str()) {
                    (scalar::Ambiguous::Special, "<<") => "merge keys are refused".to_owned(),
                    (scalar::Ambiguous::Boolean, _) => {
                        format!("write `true` or `false`, or quote it: \"{text}\"")
                    }
                    (_, _) => format!("quote it: \"{text}\""),
                };
                self.refuse(place.clone(), format!("`{text}` {reason}: {advice}"));
                Content::Text(text)
            }
        }
    }

    fn check_properties(&mut self, place: &Place, anchor: usize, tag: Option<&saphyr_parser::Tag>) {
        if anchor != 0 {
            let message = "has an anchor (`&name`), which is refused: remove it";
            self.refuse(place.clone(), message);
        }
        if let Some(tag) = tag {
            let name = if tag.is_yaml_core_schema() {
                format!("!!{}", tag.suffix)
            } else {
                tag.to_string()
            };
            let message = format!("has the tag `{name}`, and tags are refused: remove it");
            self.refuse(place.clone(), message);
        }
    }

    fn refuse(&mut self, place: Place, message: impl Into<String>) {
        self.violations.push(Violation::new(place, message));
    }

    fn place(&self, marker: Marker) -> Place {
        Place {
            file: Arc::clone(self.file),
            line: marker.line(),
            column: marker.col() + 1,
        }
    }
}

/// The key that a node is, and why it is refused as one.
fn as_key(content: &Content, seen: &mut HashSet<String>) -> (String, Option<String>) {
    match content {
        Content::Text(name) => {
            let refused = (!seen.insert(name.clone()))
                .then(|| format!("key `{name}` is there twice: remove one of them"));
            (name.clone(), refused)
        }
        Content::Null | Content::Bool(_) | Content::Number(_) => (
            String::new(),
            Some("is a key and not text: quote it".to_owned()),
        ),
        Content::List(_) | Content::Map(_) => (
            String::new(),
            Some("is a key, and keys must be text".to_owned()),
        ),
    }
}

// === impl Node ===

impl Node {
    /// The value of a field, when this is a map that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|entry| &entry.value)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == name)
    }

    /// The entries of a map; of everything else none.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            Content::Null
            | Content::Bool(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::List(_) => &[],
        }
    }

    /// The text, when this is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            Content::Null
            | Content::Bool(_)
            | Content::Number(_)
            | Content::List(_)
            | Content::Map(_) => None,
        }
    }

    /// The same value as JSON.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Content::Map(entries) => {
                let pairs = entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}
