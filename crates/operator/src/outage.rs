//! What this replica asks an API server that is away.
//!
//! Each watch tries again by itself, and there is one for every object that a
//! gateway refers to; so does what is written about each pod. While nothing
//! answers, they take turns, so that together they ask no more often than one of
//! them would. The first answer to anybody ends that for all of them. Everything
//! else is asked as it comes: the Lease every two seconds, and what somebody
//! waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};
use tower_service::Service;

/// How far two turns are apart. With the Lease, that is less than one request
/// per second.
const APART: Duration = Duration::from_secs(3);

/// A client whose watches and writes of statuses take turns while nothing
/// answers.
pub(crate) fn patient(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let patient = Patient {
        client,
        outage: Arc::new(Outage::new()),
    };
    Client::new(patient, namespace)
}

#[derive(Clone)]
struct Patient {
    client: Client,
    outage: Arc<Outage>,
}

/// Whether the last request was answered, by whatever status.
struct Outage {
    is_away: watch::Sender<bool>,
    /// When the next one may try.
    next: Mutex<Instant>,
}

// === impl Patient ===

impl Service<Request<Body>> for Patient {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The client is asked when it is its turn.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { client, outage } = self.clone();
        Box::pin(async move {
            if takes_turns(&request) {
                outage.turn().await;
            }
            let answer = client.send(request).await;
            outage.is_away.send_replace(answer.is_err());
            answer
        })
    }
}

/// Whether nobody waits for it.
fn takes_turns(request: &Request<Body>) -> bool {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    let is_watch = query.split('&').any(|pair| pair == "watch=true");
    is_watch || uri.path().ends_with("/status")
}

// === impl Outage ===

impl Outage {
    fn new() -> Self {
        Self {
            is_away: watch::Sender::new(false),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits until one of those that take turns may try. Who gives up meanwhile
    /// leaves its turn to the next.
    async fn turn(&self) {
        let mut is_away = self.is_away.subscribe();
        if !*is_away.borrow_and_update() {
            return;
        }
        let turn = async {
            let mut next = self.next.lock().await;
            sleep_until(*next).await;
            *next = Instant::now() + APART;
        };
        tokio::select! {
            () = turn => {}
            _answered = is_away.wait_for(|is_away| !is_away) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use tokio::task::JoinSet;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// An API server that answers or is away.
    #[derive(Clone, Default)]
    struct Server {
        is_away: Arc<AtomicBool>,
        asked: Arc<AtomicUsize>,
    }

    impl Service<Request<Body>> for Server {
        type Response = Response<Body>;
        type Error = std::io::Error;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _request: Request<Body>) -> Self::Future {
            self.asked.fetch_add(1, Ordering::SeqCst);
            std::future::ready(match self.is_away.load(Ordering::SeqCst) {
                true => Err(std::io::ErrorKind::ConnectionRefused.into()),
                false => Ok(Response::new(Body::empty())),
            })
        }
    }

    impl Server {
        fn client(&self) -> Client {
            patient(Client::new(self.clone(), "crm"))
        }

        fn goes_away(&self, away: bool) {
            self.is_away.store(away, Ordering::SeqCst);
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    async fn ask(client: &Client, path: &str) -> bool {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        client.send(request).await.is_ok()
    }

    /// Watches that try again after `wait`, for ever.
    fn watches(client: &Client, count: usize, wait: Duration) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let client = client.clone();
            tasks.spawn(async move {
                while !ask(&client, "/api/v1/pods?&watch=true").await {
                    sleep(wait).await;
                }
            });
        }
        tasks
    }

    #[test]
    fn what_somebody_waits_for_takes_no_turn() {
        let request = |path: &str| Request::get(path).body(Body::empty()).expect("a request");
        for path in [
            "/api/v1/pods?&watch=true&timeoutSeconds=290",
            "/api/v1/namespaces/crm/pods/a/status?&fieldManager=b",
        ] {
            assert!(takes_turns(&request(path)), "{path}");
        }
        for path in [
            "/api/v1/pods",
            "/api/v1/pods?limit=500",
            "/api/v1/pods?watch=false",
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/status-of",
            "/apis/authentication.k8s.io/v1/tokenreviews",
        ] {
            assert!(!takes_turns(&request(path)), "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_answered_waits_for_nobody() {
        let server = Server::default();
        let client = server.client();
        assert_eq!(client.default_namespace(), "crm");
        let all = watches(&client, 100, Duration::from_secs(8));
        let began = Instant::now();
        all.join_all().await;
        assert_eq!((server.asked(), began.elapsed()), (100, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_watches_ask_no_more_often_than_a_few() {
        let server = Server::default();
        let client = server.client();
        server.goes_away(true);
        let _all = watches(&client, 1_000, Duration::from_millis(500));
        sleep(Duration::from_secs(20)).await;
        let before = server.asked();
        sleep(APART * 40).await;
        assert_eq!(server.asked() - before, 40);
    }

    /// As writes that are given up after a while.
    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_its_turn() {
        let server = Server::default();
        let client = server.client();
        server.goes_away(true);
        assert!(!ask(&client, "/api/v1/pods").await);
        for _ in 0..100 {
            let asked = ask(&client, "/api/v1/namespaces/crm/pods/a/status");
            let _given_up = timeout(Duration::from_millis(1), asked).await;
        }
        let before = server.asked();
        let _all = watches(&client, 1, Duration::from_millis(500));
        sleep(APART * 2).await;
        assert_eq!(server.asked() - before, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_ends_the_outage_for_all() {
        let server = Server::default();
        let client = server.client();
        server.goes_away(true);
        let all = watches(&client, 1_000, Duration::from_millis(500));
        sleep(Duration::from_secs(20)).await;
        server.goes_away(false);
        let before = server.asked();
        // As the Lease is looked at: it waits for no turn.
        let lease = ask(&client, "/apis/coordination.k8s.io/v1/leases/a");
        assert!(
            timeout(Duration::from_millis(1), lease)
                .await
                .expect("at once")
        );
        let served = timeout(Duration::from_millis(10), all.join_all());
        served.await.expect("all are served");
        assert_eq!(server.asked() - before, 1_001);
    }

    #[tokio::test(start_paused = true)]
    async fn without_anybody_else_a_watch_finds_out_by_itself() {
        let server = Server::default();
        let client = server.client();
        server.goes_away(true);
        let all = watches(&client, 10, Duration::from_millis(500));
        sleep(Duration::from_secs(20)).await;
        server.goes_away(false);
        let served = timeout(APART + Duration::from_millis(10), all.join_all());
        served.await.expect("all are served after one turn");
    }
}
