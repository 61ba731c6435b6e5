//! The gateways of a namespace, read from the API server for a pod that is
//! being created.
//!
//! There is no cache: a pod that is created right after its gateway must find
//! it. Pods are created in crowds, though, so reviews of one namespace share a
//! list, but only one that began after they did.
//!
//! Whoever reaches the port can name namespaces, so lists begin at a rate, in
//! the order in which they were asked for. How many can be ahead of the API
//! server's own is bounded by the reviews that there is room for.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};
use sidegate_api::gateway::McpGateway;
use sidegate_tls::is_dns_label;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::listed::Listed;
use crate::chain::Chain;
use crate::streams::Rate;

/// Gateways in one answer of the API server.
const PAGE: u32 = 100;
/// Most gateways of a namespace. Each is a resource that people wrote.
const MAX_GATEWAYS: usize = 10_000;
/// How long a review waits, for the list before its own included. The API
/// server waits five seconds for the webhook.
const PATIENCE: Duration = Duration::from_secs(3);
/// Lists of namespaces that had gateways the last time.
const USED: Rate = Rate {
    burst: 500,
    every: Duration::from_millis(2),
};
/// Lists of other namespaces, which may be invented.
const UNKNOWN: Rate = Rate {
    burst: 200,
    every: Duration::from_millis(10),
};

/// Every gateway of a namespace, or why they cannot be told, in a sentence for
/// people who may create pods.
pub(super) type Answer = Result<Arc<Vec<Listed>>, Arc<str>>;

/// Lists gateways.
#[derive(Clone)]
pub(super) struct LiveGateways {
    client: Client,
    resource: ApiResource,
    /// Who waits for the next list of a namespace. A namespace is here while a
    /// task lists it.
    waiting: Arc<Mutex<HashMap<String, Vec<oneshot::Sender<Answer>>>>>,
    /// The namespaces that had gateways the last time.
    used: Arc<Mutex<HashSet<String>>>,
    /// Their locks are fair: first come, first served.
    pace_of_used: Arc<tokio::sync::Mutex<Pace>>,
    pace_of_unknown: Arc<tokio::sync::Mutex<Pace>>,
}

/// When the next list may begin.
#[derive(Debug)]
struct Pace {
    rate: Rate,
    /// When there would be a whole burst again.
    full_at: Instant,
}

// === impl LiveGateways ===

impl LiveGateways {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            resource: ApiResource::erase::<McpGateway>(&()),
            waiting: Arc::default(),
            used: Arc::default(),
            pace_of_used: Arc::new(tokio::sync::Mutex::new(Pace::new(USED))),
            pace_of_unknown: Arc::new(tokio::sync::Mutex::new(Pace::new(UNKNOWN))),
        }
    }

    /// Every gateway of a namespace, as they are now or later.
    pub(super) async fn of(&self, namespace: &str) -> Answer {
        if !is_dns_label(namespace) {
            return Err("no namespace has such a name".into());
        }
        let answer = timeout(PATIENCE, self.join(namespace)).await;
        match answer {
            Ok(Ok(answer)) => answer,
            // The list broke off, which its task has logged.
            Ok(Err(_)) => Err("the list ended early".into()),
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                Err(format!("the API server did not answer within {seconds} seconds").into())
            }
        }
    }

    /// Waits for the first list that begins after now.
    fn join(&self, namespace: &str) -> oneshot::Receiver<Answer> {
        let (answer_tx, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        if let Some(others) = waiting.get_mut(namespace) {
            others.push(answer_tx);
        } else {
            waiting.insert(namespace.to_owned(), vec![answer_tx]);
            let lists = self.clone().list_while_asked(namespace.to_owned());
            tokio::spawn(lists);
        }
        answer
    }

    async fn list_while_asked(self, namespace: String) {
        loop {
            let pace = match self.used().contains(&namespace) {
                true => &self.pace_of_used,
                false => &self.pace_of_unknown,
            };
            let mut pace = pace.lock().await;
            // Now that it is its turn: who left while it waited costs nothing.
            let Some(asked) = self.next_crowd(&namespace) else {
                return;
            };
            pace.next().await;
            drop(pace);
            // A task of its own: should it break, others of this namespace can
            // be answered all the same.
            let list = tokio::spawn(self.clone().list(namespace.clone()));
            let answer = list.await.unwrap_or_else(|error| {
                warn!(%error, "a list of gateways broke");
                Err("the list ended early".into())
            });
            self.note(&namespace, &answer);
            for waiter in asked {
                // It may have given up.
                let _gone = waiter.send(answer.clone());
            }
        }
    }

    /// Those who wait; none ends the task of the namespace.
    fn next_crowd(&self, namespace: &str) -> Option<Vec<oneshot::Sender<Answer>>> {
        let mut waiting = self.waiting();
        let mut asked = std::mem::take(waiting.get_mut(namespace)?);
        asked.retain(|it| !it.is_closed());
        if asked.is_empty() {
            waiting.remove(namespace);
            return None;
        }
        Some(asked)
    }

    fn note(&self, namespace: &str, answer: &Answer) {
        match answer {
            Ok(gateways) if gateways.is_empty() => {
                self.used().remove(namespace);
            }
            Ok(_) => {
                self.used().insert(namespace.to_owned());
            }
            Err(_) => {}
        }
    }

    async fn list(self, namespace: String) -> Answer {
        let listed = timeout(PATIENCE, self.pages(&namespace)).await;
        match listed {
            Ok(listed) => listed,
            Err(_) => Err("the API server is slow".into()),
        }
    }

    async fn pages(&self, namespace: &str) -> Answer {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &self.resource);
        // Without a resource version: as consistent as a read can be.
        let mut page = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let list = api.list(&page).await.map_err(|error| refusal(&error))?;
            all.extend(list.items.into_iter().map(Listed::of));
            if all.len() > MAX_GATEWAYS {
                let message = format!("the namespace has more than {MAX_GATEWAYS} gateways");
                return Err(message.into());
            }
            match list.metadata.continue_.filter(|it| !it.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(Arc::new(all)),
            }
        }
    }

    fn used(&self) -> MutexGuard<'_, HashSet<String>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Vec<oneshot::Sender<Answer>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Pace ===

impl Pace {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            full_at: Instant::now(),
        }
    }

    /// Waits until one more may begin.
    async fn next(&mut self) {
        let (now, Rate { burst, every }) = (Instant::now(), self.rate);
        let full_at = self.full_at.max(now) + every;
        sleep(full_at.saturating_duration_since(now + every * burst)).await;
        self.full_at = full_at;
    }
}

/// What people are told. The log has the rest: addresses of the API server are
/// nobody's business who can post to the webhook.
fn refusal(error: &kube::Error) -> Arc<str> {
    warn!(error = %Chain(error), "the gateways of a namespace cannot be listed");
    let kube::Error::Api(status) = error else {
        return "the operator's log says why".into();
    };
    if status.is_not_found() {
        "the CustomResourceDefinition of McpGateway is not installed".into()
    } else if status.is_forbidden() {
        "the operator may not list them: apply its ClusterRole again".into()
    } else {
        "the operator's log says why".into()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use sidegate_testkit::poll::until;
    use sidegate_testkit::upstream::{Gate, Upstream};

    use super::*;
    use crate::webhook::tests::{gateway, list};

    const REVIEWS: usize = 20;

    fn gateways(api: &Upstream) -> LiveGateways {
        let url = format!("http://{}", api.address()).parse().unwrap();
        LiveGateways::new(Client::try_from(kube::Config::new(url)).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_lists_then_one_per_interval() {
        let (mut pace, start) = (Pace::new(UNKNOWN), Instant::now());
        for _ in 0..UNKNOWN.burst {
            pace.next().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            pace.next().await;
        }
        assert_eq!(start.elapsed(), 100 * UNKNOWN.every);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn invented_namespaces_are_listed_at_a_rate_and_in_turn() {
        let _there = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let api = Upstream::start(|_| list(&json!([]), "")).await;
        let gateways = gateways(&api);
        for name in ["", "Crm", "crm/x", "a.b", "../nodes", "-"] {
            assert!(gateways.of(name).await.is_err(), "{name}");
        }
        assert_eq!(api.requests().len(), 0);
        let start = Instant::now();
        let ask = |name: String| {
            let gateways = gateways.clone();
            tokio::spawn(async move { gateways.of(&name).await.map(|all| all.len()) })
        };
        let most = usize::try_from(UNKNOWN.burst).unwrap() + 20;
        let stay: Vec<_> = (0..most).map(|it| ask(format!("stay-{it}"))).collect();
        // Those that leave at once, as many as there may be.
        for it in 0..2_000 {
            let leaves = ask(format!("leaves-{it}"));
            tokio::task::yield_now().await;
            leaves.abort();
        }
        assert_eq!(ask("crm".to_owned()).await.unwrap(), Ok(0));
        for waits in stay {
            assert_eq!(waits.await.unwrap(), Ok(0));
        }
        let refilled = start.elapsed().as_millis() / UNKNOWN.every.as_millis();
        let most = u128::from(UNKNOWN.burst) + refilled + 1;
        let lists = api.requests().len();
        assert!(u128::try_from(lists).unwrap() <= most, "{lists} of {most}");
        until("nobody is waited for", || {
            gateways.waiting().is_empty().then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn reviews_share_a_list_that_began_after_them() {
        let _there = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let gate = Arc::new(Gate::default());
        let (lists, waits) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&gate));
        let counted = Arc::clone(&lists);
        // The first list is older than the gateway.
        let api = Upstream::start(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
            0 => list(&json!([]), "").gated_after(0, &waits),
            _ => list(&json!([gateway("demo", "demo")]), ""),
        })
        .await;
        let gateways = gateways(&api);
        let ask = || {
            let gateways = gateways.clone();
            tokio::spawn(async move { gateways.of("crm").await.unwrap().len() })
        };
        let first = ask();
        api.until_requests(1).await;
        let others: Vec<_> = (0..REVIEWS).map(|_| ask()).collect();
        until("all of them wait", || {
            let waiting = gateways.waiting().get("crm").map(Vec::len);
            (waiting == Some(REVIEWS)).then_some(())
        })
        .await;
        gate.open();
        assert_eq!(first.await.unwrap(), 0);
        for other in others {
            assert_eq!(other.await.unwrap(), 1);
        }
        assert_eq!(lists.load(Ordering::SeqCst), 2);
        until("nobody is waited for", || {
            gateways.waiting().is_empty().then_some(())
        })
        .await;
    }
}
