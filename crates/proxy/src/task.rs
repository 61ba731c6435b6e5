//! Tasks: which principal started which task, and by which tool.
//!
//! A task id is decided like the call that made it (2025-11-25 utilities/tasks
//! "Security"). A task that nobody is known to have started does not exist.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use sidegate_policy::principal::PrincipalKey;

/// Most tasks remembered; the oldest is forgotten first, and a forgotten task
/// is refused, never open.
const MAX_TASKS: usize = 10_000;

/// Longest task id that is remembered.
pub(crate) const MAX_TASK_ID_BYTES: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct TaskTable {
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    by_id: HashMap<TaskName, TaskOrigin>,
    oldest_first: VecDeque<TaskName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TaskName {
    server: Arc<str>,
    id: Arc<str>,
}

#[derive(Debug, Clone)]
struct TaskOrigin {
    owner: PrincipalKey,
    tool: Arc<str>,
}

impl TaskTable {
    /// Remembers who started a task by calling which tool. The first owner of
    /// an id stays its owner.
    pub(crate) fn started(&self, server: &str, id: &str, owner: &PrincipalKey, tool: &str) {
        if id.len() > MAX_TASK_ID_BYTES {
            return;
        }
        let name = TaskName {
            server: server.into(),
            id: id.into(),
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.by_id.contains_key(&name) {
            return;
        }
        if tasks.by_id.len() >= MAX_TASKS
            && let Some(oldest) = tasks.oldest_first.pop_front()
        {
            tasks.by_id.remove(&oldest);
        }
        tasks.oldest_first.push_back(name.clone());
        tasks.by_id.insert(
            name,
            TaskOrigin {
                owner: owner.clone(),
                tool: tool.into(),
            },
        );
    }

    /// The tool that started this task, when `owner` started it.
    pub(crate) fn tool_of(&self, server: &str, id: &str, owner: &PrincipalKey) -> Option<Arc<str>> {
        let name = TaskName {
            server: server.into(),
            id: id.into(),
        };
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = tasks.by_id.get(&name)?;
        (origin.owner == *owner).then(|| Arc::clone(&origin.tool))
    }
}

#[cfg(test)]
mod tests {
    use sidegate_policy::principal::{PeerIdentity, Principal};

    use super::*;

    fn principal(spiffe: &str) -> Principal {
        let peer = PeerIdentity::new(Some(spiffe.parse().expect("a SPIFFE id")));
        Principal::verified(Some(peer), None).expect("a principal")
    }

    #[test]
    fn a_task_belongs_to_the_one_who_started_it() {
        let table = TaskTable::default();
        let (a, b) = (principal("spiffe://td/a"), principal("spiffe://td/b"));
        table.started("s", "t1", a.key(), "export");
        table.started("s", "t1", b.key(), "drop");
        assert_eq!(table.tool_of("s", "t1", a.key()).as_deref(), Some("export"));
        assert_eq!(table.tool_of("s", "t1", b.key()), None);
        assert_eq!(table.tool_of("s", "t2", a.key()), None);
        assert_eq!(table.tool_of("other", "t1", a.key()), None);
    }

    #[test]
    fn the_oldest_task_is_forgotten_at_the_bound() {
        let table = TaskTable::default();
        let a = principal("spiffe://td/a");
        for n in 0..=MAX_TASKS {
            table.started("s", &n.to_string(), a.key(), "t");
        }
        assert_eq!(table.tool_of("s", "0", a.key()), None);
        assert!(table.tool_of("s", "1", a.key()).is_some());
        assert!(
            table
                .tool_of("s", &MAX_TASKS.to_string(), a.key())
                .is_some()
        );
    }
}
