//! One message of a server: the lists in it, and what it is about.

use super::edits::{Edits, ListCut};
use crate::item::Item;
use crate::look_alike::{refuse_look_alike, resembles};
use crate::scan::{Fault, FaultKind, Kind, Scanner, Text};

const ENVELOPE: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];

const RESULT: &[&str] = &[
    "tools",
    "prompts",
    "resources",
    "resourceTemplates",
    "tasks",
    "cacheScope",
    "nextCursor",
    "task",
    "taskId",
    "resultType",
];

const PARAMS: &[&str] = &["uri", "taskId"];

/// A look at one message; changes and findings go to its fields.
pub(super) struct MessageFilter<'f> {
    pub(super) edits: &'f mut Edits,
    pub(super) created_task: &'f mut Option<String>,
    pub(super) keep: &'f mut dyn FnMut(Item<'_>) -> bool,
}

/// A member of a result that is a list of items.
#[derive(Debug, Clone, Copy)]
enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
    Tasks,
}

/// What a notification says.
#[derive(Debug, Default)]
struct Notice<'a> {
    method: Option<Text<'a>>,
    uri: Option<Text<'a>>,
    task_id: Option<Text<'a>>,
}

// === impl List ===

impl List {
    fn named(member: &str) -> Option<Self> {
        match member {
            "tools" => Some(Self::Tools),
            "prompts" => Some(Self::Prompts),
            "resources" => Some(Self::Resources),
            "resourceTemplates" => Some(Self::Templates),
            "tasks" => Some(Self::Tasks),
            _ => None,
        }
    }

    /// The member that names an item.
    fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
            Self::Tasks => "taskId",
        }
    }

    fn item(self, name: &str) -> Item<'_> {
        match self {
            Self::Tools => Item::Tool(name),
            Self::Prompts => Item::Prompt(name),
            Self::Resources => Item::Resource(name),
            Self::Templates => Item::Template(name),
            Self::Tasks => Item::Task(name),
        }
    }
}

// === impl MessageFilter ===

impl MessageFilter<'_> {
    /// Scans the message that comes next; true when the caller may not see any
    /// of it.
    pub(super) fn scan(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, Fault> {
        if scanner.kind()? != Kind::Object {
            return Err(scanner.fault(FaultKind::NotAnObject));
        }
        let mut notice = Notice::default();
        // What it is must be clear: a reader could take the one or the other.
        let mut natures = 0;
        scanner.object(|scanner, name| {
            let kind = scanner.kind()?;
            let name = name.decode();
            if matches!(&*name, "method" | "result" | "error") {
                natures += 1;
            }
            match (&*name, kind) {
                ("result", Kind::Object) => self.result(scanner),
                // Results are objects; the names in these could not be read.
                ("result", Kind::Array | Kind::String) => {
                    Err(scanner.fault(FaultKind::NotAMessage))
                }
                ("params", Kind::Object) => notice.params(scanner),
                ("method", _) => {
                    notice.method = scanner.value()?.text();
                    Ok(())
                }
                (other, _) => {
                    refuse_look_alike(other, ENVELOPE, scanner)?;
                    scanner.value().map(drop)
                }
            }
        })?;
        if natures != 1 {
            return Err(scanner.fault(FaultKind::NotAMessage));
        }
        Ok(notice.is_hidden(self.keep))
    }

    fn result(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        let mut has_list = false;
        let mut public = None;
        let (mut result_type, mut flat_task, mut nested_task) = (None, None, None);
        scanner.object(|scanner, name| {
            let name = name.decode();
            let kind = scanner.kind()?;
            match (List::named(&name), kind) {
                (Some(list), Kind::Array) => {
                    has_list = true;
                    return self.list(scanner, list);
                }
                (Some(_), Kind::Object) => return Err(scanner.fault(FaultKind::NotAList)),
                (Some(_) | None, _) => {}
            }
            match (&*name, kind) {
                ("cacheScope", _) => {
                    let value = scanner.value()?;
                    let is_public = value.text().is_some_and(|scope| scope.decode() == "public");
                    public = is_public.then(|| value.start..value.end());
                }
                ("task", Kind::Object) => nested_task = task_id(scanner)?,
                ("taskId", _) => flat_task = scanner.value()?.text(),
                ("resultType", _) => result_type = scanner.value()?.text(),
                (other, _) => {
                    refuse_look_alike(other, RESULT, scanner)?;
                    scanner.value()?;
                }
            }
            Ok(())
        })?;
        if let Some(span) = public
            && has_list
        {
            self.edits.make_private(span);
        }
        // 2025-11-25 nests the new task; the extension marks the result as one.
        // A result of `tasks/get` is flat too, but of another type.
        let is_task = result_type.is_some_and(|kind| kind.decode() == "task");
        let created = if is_task {
            nested_task.or(flat_task)
        } else {
            nested_task
        };
        if let Some(id) = created {
            self.created_task
                .get_or_insert_with(|| id.decode().into_owned());
        }
        Ok(())
    }

    fn list(&mut self, scanner: &mut Scanner<'_>, list: List) -> Result<(), Fault> {
        let mut cut = ListCut::default();
        scanner.array(|scanner| {
            let kind = scanner.kind()?;
            let start = scanner.position();
            let keep = match kind {
                Kind::Object => name_of(scanner, list.key())?
                    .is_some_and(|name| (self.keep)(list.item(&name.decode()))),
                // What has no name cannot be decided.
                Kind::Array
                | Kind::String
                | Kind::Number
                | Kind::True
                | Kind::False
                | Kind::Null => {
                    scanner.value()?;
                    false
                }
            };
            cut.element(self.edits, start..scanner.position(), keep);
            Ok(())
        })?;
        cut.finish(self.edits);
        Ok(())
    }
}

/// The name of an item, unless a reader could take another member for it.
fn name_of<'a>(scanner: &mut Scanner<'a>, key: &str) -> Result<Option<Text<'a>>, Fault> {
    let mut name = None;
    let mut ambiguous = false;
    scanner.object(|scanner, member| {
        let member = member.decode();
        let value = scanner.value()?;
        if member == key {
            name = value.text();
        } else {
            ambiguous |= resembles(&member, &[key]);
        }
        Ok(())
    })?;
    Ok(name.filter(|_| !ambiguous))
}

fn task_id<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Text<'a>>, Fault> {
    let mut id = None;
    scanner.object(|scanner, member| {
        let value = scanner.value()?;
        if member.decode() == "taskId" {
            id = value.text();
        }
        Ok(())
    })?;
    Ok(id)
}

// === impl Notice ===

impl<'a> Notice<'a> {
    fn params(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        scanner.object(|scanner, member| {
            let member = member.decode();
            refuse_look_alike(&member, PARAMS, scanner)?;
            let value = scanner.value()?;
            match &*member {
                "uri" => self.uri = value.text(),
                "taskId" => self.task_id = value.text(),
                _ => {}
            }
            Ok(())
        })
    }

    /// Whether this is about a thing that may not be seen, or cannot be named.
    fn is_hidden(&self, keep: &mut dyn FnMut(Item<'_>) -> bool) -> bool {
        let Some(method) = self.method.map(|method| method.decode()) else {
            return false;
        };
        if method == "notifications/resources/updated" {
            return !self
                .uri
                .is_some_and(|uri| keep(Item::Resource(&uri.decode())));
        }
        if method == "notifications/tasks" || method.starts_with("notifications/tasks/") {
            return !self
                .task_id
                .is_some_and(|id| keep(Item::Task(&id.decode())));
        }
        false
    }
}
