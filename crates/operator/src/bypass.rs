//! Dialling servers from outside: a server with exposure `SeparatePort` should
//! be reached through its sidecar only. One that answers on its own port shows
//! that nothing keeps others from it; one that does not proves nothing.
//!
//! Only the leader dials, and it says nothing on the connection.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::board::Board;
use crate::key::Key;
use crate::queue::{Queue, Request};
use crate::world::Target;

/// How often a pod is dialled.
const EVERY: Duration = Duration::from_secs(60);
/// How often new pods are looked for.
const LOOK: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(1);
/// Most are expected not to answer, so most wait for all of their time.
const AT_A_TIME: usize = 256;

/// Which server ports answered.
#[derive(Default)]
pub(crate) struct Dials {
    /// Only what answered.
    answered: Mutex<HashMap<Key, Answered>>,
}

/// What answered of a gateway's pods, by their uid.
pub(crate) type Answered = HashMap<Arc<str>, Vec<SocketAddr>>;

/// Dials until it is dropped. A change asks for the status of the gateway.
pub(crate) async fn dial(board: Arc<Board>, dials: Arc<Dials>, statuses: Arc<Queue>) {
    let mut dialled: HashMap<Arc<str>, Instant> = HashMap::new();
    loop {
        let targets = board.world().dial_targets();
        let pods: HashSet<_> = targets.iter().map(|it| Arc::clone(&it.uid)).collect();
        dialled.retain(|uid, _| pods.contains(uid));
        dials.keep(&pods);
        let due: Vec<_> = targets
            .into_iter()
            .filter(|it| dialled.get(&it.uid).is_none_or(|at| at.elapsed() >= EVERY))
            .collect();
        let mut asked = stream::iter(due.into_iter().map(dial_one)).buffer_unordered(AT_A_TIME);
        while let Some((target, answered)) = asked.next().await {
            dialled.insert(Arc::clone(&target.uid), Instant::now());
            if dials.note(&target.gateway, &target.uid, answered) {
                statuses.add(Request::Gateway(target.gateway), Duration::ZERO);
            }
        }
        sleep(LOOK).await;
    }
}

async fn dial_one(target: Target) -> (Target, Vec<SocketAddr>) {
    let mut answered = Vec::new();
    for address in &target.addresses {
        if let Ok(Ok(_)) = timeout(PATIENCE, TcpStream::connect(*address)).await {
            answered.push(*address);
        }
    }
    (target, answered)
}

// === impl Dials ===

impl Dials {
    /// What answered of a gateway's pods, by their uid.
    pub(crate) fn answered(&self, gateway: &Key) -> Answered {
        self.lock().get(gateway).cloned().unwrap_or_default()
    }

    /// Says whether it is news.
    fn note(&self, gateway: &Key, uid: &Arc<str>, answered: Vec<SocketAddr>) -> bool {
        let mut all = self.lock();
        if answered.is_empty() {
            let Some(pods) = all.get_mut(gateway) else {
                return false;
            };
            let news = pods.remove(uid).is_some();
            if pods.is_empty() {
                all.remove(gateway);
            }
            return news;
        }
        let pods = all.entry(gateway.clone()).or_default();
        pods.insert(Arc::clone(uid), answered.clone()) != Some(answered)
    }

    /// Forgets pods that are gone. The end of a pod asks for the status anyhow.
    fn keep(&self, pods: &HashSet<Arc<str>>) {
        let mut all = self.lock();
        for answered in all.values_mut() {
            answered.retain(|uid, _| pods.contains(uid));
        }
        all.retain(|_, answered| !answered.is_empty());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Answered>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_changes_are_news() {
        let dials = Dials::default();
        let (gateway, uid): (_, Arc<str>) = (Key::new("crm", "a"), "1".into());
        let address: SocketAddr = "10.0.0.1:8080".parse().expect("an address");
        assert!(!dials.note(&gateway, &uid, Vec::new()));
        assert!(dials.note(&gateway, &uid, vec![address]));
        assert!(!dials.note(&gateway, &uid, vec![address]));
        assert_eq!(dials.answered(&gateway)[&uid], [address]);
        dials.keep(&HashSet::from([Arc::clone(&uid)]));
        assert!(dials.note(&gateway, &uid, Vec::new()));
        assert!(dials.lock().is_empty());
        dials.note(&gateway, &uid, vec![address]);
        dials.keep(&HashSet::new());
        assert!(dials.answered(&gateway).is_empty());
    }

    #[tokio::test]
    async fn a_port_answers_when_a_connection_is_made() {
        let open = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let open_at = open.local_addr().expect("an address");
        let closed = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let closed_at = closed.local_addr().expect("an address");
        drop(closed);
        let target = Target {
            gateway: Key::new("crm", "a"),
            uid: "1".into(),
            addresses: vec![closed_at, open_at],
        };
        let (_, answered) = dial_one(target).await;
        assert_eq!(answered, [open_at]);
    }
}
