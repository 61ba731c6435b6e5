//! One stream, from the welcome to its end: one task that reads, writes, and
//! waits for what changes.

mod ended;
mod enforce;
mod identity;
mod pace;
mod reports;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sidegate_config::control::{
    Confirmed, ForeignListener, FromOperator, FromSidecar, Hello, Purpose, Welcome,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub(super) use self::ended::{Ended, last_words};
use self::ended::{gone, replaced, token_ended};
use self::enforce::{BEHIND_REPORTED, Behind, tell};
use self::identity::{CertificateState, look_at_token};
use self::pace::Pace;
use self::reports::Reports;
use super::Shared;
use super::authenticate::Authenticated;
use super::delivery::Delivery;
use super::places::Place;
use super::rate::TooOften;
use super::refused::Refused;
use super::wire::{ReadError, Reader, Writer};
use crate::authority::{Trust, TrustReceiver};
use crate::board::{Assignment, PodRef, PodReport};

/// Versions of the format that a sidecar can name.
const MAX_SCHEMA_VERSIONS: usize = 64;
/// The end of a token is looked at this often at least.
const MAX_LOOK_SECONDS: u64 = 60;
/// One stream.
pub(super) struct Session<S> {
    shared: Arc<Shared>,
    pod: PodRef,
    service_account: Arc<str>,
    source: IpAddr,
    purpose: Purpose,
    reader: Reader<S>,
    writer: Writer<S>,
    place: Place,
    stopping: watch::Receiver<bool>,
    trust_changes: TrustReceiver,
    trust: Arc<Trust>,
    assignment: watch::Receiver<Assignment>,
    /// When it last changed, while that was not sent.
    changed: Option<Instant>,
    /// The last change that a watch told of what there is to enforce.
    told_at: Option<Instant>,
    began: Instant,
    delivery: Delivery,
    behind: Option<Behind>,
    pace: Pace,
    reports: Reports,
    token_ends_unix: i64,
    token_review: Option<Waiting<Result<i64, Refused>>>,
    certificate: CertificateState,
    listeners: Option<Vec<ForeignListener>>,
}

type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Event {
    Stopping,
    Replaced,
    Assigned { pod_is_there: bool },
    TrustChanged,
    Said(Result<FromSidecar, ReadError>),
    Written(io::Result<()>),
    TokenReviewed(Result<i64, Refused>),
    CaughtUp,
    Time,
}

/// What a stream begins with.
pub(super) struct Beginning<S> {
    pub(super) shared: Arc<Shared>,
    pub(super) source: IpAddr,
    pub(super) reader: Reader<S>,
    pub(super) writer: Writer<S>,
    pub(super) hello: Hello,
    pub(super) authenticated: Authenticated,
    pub(super) trust: Arc<Trust>,
}

// === impl Session ===

impl<S: AsyncRead + AsyncWrite> Session<S> {
    pub(super) fn new(beginning: Beginning<S>) -> Self {
        let Beginning {
            shared,
            source,
            mut reader,
            writer,
            hello,
            authenticated,
            trust,
        } = beginning;
        reader.recognized();
        let Hello {
            token: _,
            purpose,
            mut schema_versions,
            program: _,
            in_force,
        } = hello;
        let Authenticated {
            pod,
            service_account,
            token_ends_unix,
            shown,
            assignment,
        } = authenticated;
        let told_at = assignment.borrow().changed_at;
        schema_versions.truncate(MAX_SCHEMA_VERSIONS);
        schema_versions.shrink_to_fit();
        Self {
            place: shared.places.take(&pod.uid, purpose),
            stopping: shared.stopping.clone(),
            trust_changes: shared.trust.clone(),
            delivery: Delivery::new(schema_versions, in_force),
            shared,
            pod,
            service_account,
            source,
            purpose,
            reader,
            writer,
            trust,
            assignment,
            changed: None,
            told_at,
            began: Instant::now(),
            behind: None,
            pace: Pace::new(Instant::now()),
            reports: Reports::new(Instant::now()),
            token_ends_unix,
            token_review: None,
            certificate: CertificateState::of(shown),
            listeners: None,
        }
    }

    /// Serves the stream to its end.
    pub(super) async fn run(mut self) -> Ended {
        let ended = match self.talk().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        self.say_goodbye(&ended).await;
        let Self {
            place,
            shared,
            pod,
            purpose,
            assignment,
            mut reports,
            ..
        } = self;
        drop(assignment);
        shared.board().unfollowed(&pod);
        place.leave(|| {
            if purpose == Purpose::Identity {
                return;
            }
            while let Some(report) = reports.rest() {
                tell(&shared, &pod, report);
            }
            tell(&shared, &pod, PodReport::Disconnected);
        });
        ended
    }

    async fn talk(&mut self) -> Result<Infallible, Ended> {
        self.greet()?;
        loop {
            self.fill()?;
            let event = self.event().await;
            self.handle(event)?;
        }
    }

    fn greet(&mut self) -> Result<(), Ended> {
        self.put(&FromOperator::Welcome(Welcome {
            pod: self.pod.key.to_string(),
        }))?;
        self.put_authorities()?;
        if self.purpose == Purpose::Enforce {
            let report = match self.delivery.in_force() {
                Some(version) => PodReport::Confirmed(version.clone()),
                None => PodReport::NothingInForce,
            };
            self.reports.put(report);
        }
        if let Some(shown) = self.certificate.shown.clone() {
            self.reports.put(PodReport::Certificate(shown));
        }
        Ok(())
    }

    /// Puts what is due among what is written.
    fn fill(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        while let Some(report) = self.reports.next(now) {
            tell(&self.shared, &self.pod, report);
        }
        self.sign_if_wanted(now)?;
        self.ask_to_renew()?;
        if !self.writer.is_idle() {
            return Ok(());
        }
        if self.purpose == Purpose::Enforce {
            self.deliver(now)?;
        }
        if self.writer.is_idle() && self.pace.heartbeat_is_due(now) {
            self.put(&FromOperator::Heartbeat)?;
        }
        Ok(())
    }

    async fn event(&mut self) -> Event {
        let now = Instant::now();
        let until = self.next_look(now);
        let reads = self.pace.may_read(now);
        let writes = !self.writer.is_idle();
        let catching_up = self.behind.as_mut().and_then(|it| it.catching_up.as_mut());
        tokio::select! {
            _stopping = self.stopping.wait_for(|stopping| *stopping) => Event::Stopping,
            () = self.place.lost() => Event::Replaced,
            changed = self.assignment.changed() => Event::Assigned { pod_is_there: changed.is_ok() },
            Ok(()) = self.trust_changes.changed() => Event::TrustChanged,
            said = self.reader.next(), if reads => Event::Said(said),
            written = self.writer.advance(), if writes => Event::Written(written),
            reviewed = wait_for(self.token_review.as_mut()) => Event::TokenReviewed(reviewed),
            () = wait_for(catching_up) => Event::CaughtUp,
            () = sleep_until(until) => Event::Time,
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Ended> {
        let now = Instant::now();
        match event {
            Event::Stopping => Err(Refused::unavailable("this replica is stopping").into()),
            Event::Replaced => Err(replaced()),
            Event::Assigned { pod_is_there: true } => {
                let told_at = self.assignment.borrow().changed_at;
                // Something else about the pod changes here and now, as when it
                // moves to another gateway.
                let is_news = |at: &Instant| *at >= self.began && Some(*at) > self.told_at;
                self.changed = told_at.filter(is_news).or(Some(now));
                self.told_at = told_at;
                Ok(())
            }
            Event::Assigned {
                pod_is_there: false,
            } => {
                self.shared.certificates().forget(&self.pod.uid);
                Err(gone())
            }
            Event::TrustChanged => self.trust_changed(),
            Event::Said(Ok(message)) => {
                self.pace.heard(now);
                self.is_in_its_sandbox();
                self.check_certificate()?;
                self.said(message, now)
            }
            Event::Said(Err(error)) => Err(error.into()),
            Event::Written(Ok(())) => {
                self.pace.wrote(now);
                Ok(())
            }
            Event::Written(Err(error)) => Err(Ended::Broken(error)),
            Event::TokenReviewed(reviewed) => self.token_reviewed(reviewed),
            Event::CaughtUp => {
                if let Some(behind) = &mut self.behind {
                    behind.catching_up = None;
                }
                Ok(())
            }
            Event::Time => self.time(now),
        }
    }

    fn said(&mut self, message: FromSidecar, now: Instant) -> Result<(), Ended> {
        match message {
            FromSidecar::Hello(_) => {
                Err(Refused::protocol("a stream has one hello, and it was said").into())
            }
            FromSidecar::Token(token) => {
                let (shared, pod, source) =
                    (Arc::clone(&self.shared), self.pod.clone(), self.source);
                // A newer one takes the place of one that is being looked at.
                self.token_review = Some(Box::pin(async move {
                    look_at_token(&shared, &token.token, &pod, source).await
                }));
                Ok(())
            }
            FromSidecar::Confirmed(Confirmed { version }) => {
                self.confirmed(&version, now);
                Ok(())
            }
            FromSidecar::Rejected(rejected) => {
                self.rejected(rejected);
                Ok(())
            }
            FromSidecar::CertificateRequest(request) => {
                let at = match self.shared.may_sign(&self.pod.uid) {
                    Ok(()) => now,
                    Err(TooOften(wait)) => now + wait,
                };
                self.certificate.wanted = Some((request.request_pem, at));
                Ok(())
            }
            FromSidecar::Listeners(listeners) => {
                self.listeners(listeners.foreign);
                Ok(())
            }
            FromSidecar::Heartbeat | FromSidecar::Unknown => Ok(()),
        }
    }

    /// When to look at the time again.
    fn next_look(&self, now: Instant) -> Instant {
        let mut until = self.pace.next_look(now, !self.writer.is_idle());
        // In steps, because a machine's clock can be set.
        let left = self.token_ends_unix - self.shared.clock.unix_seconds();
        let left = u64::try_from(left)
            .unwrap_or_default()
            .min(MAX_LOOK_SECONDS);
        until = until.min(now + Duration::from_secs(left));
        if let Some((_, at)) = &self.certificate.wanted {
            until = until.min(*at);
        }
        // While something is being written, nothing is delivered.
        if let Some(behind) = &self.behind
            && !behind.is_reported
            && self.writer.is_idle()
        {
            until = until.min(behind.since + BEHIND_REPORTED);
        }
        if let Some(at) = self.reports.next_look() {
            until = until.min(at);
        }
        until
    }

    fn time(&mut self, now: Instant) -> Result<(), Ended> {
        if self.token_ends_unix <= self.shared.clock.unix_seconds() {
            return Err(token_ended());
        }
        if self.pace.is_silent(now) {
            return Err(Ended::Silent);
        }
        if !self.writer.is_idle() && self.pace.is_stuck(now) {
            return Err(Ended::Slow);
        }
        Ok(())
    }

    fn put(&mut self, message: &FromOperator) -> Result<(), Ended> {
        self.begin_to_write();
        self.writer.put(message).map_err(Ended::from)
    }

    /// Time counts from here when nothing was being written.
    fn begin_to_write(&mut self) {
        if self.writer.is_idle() {
            self.pace.wrote(Instant::now());
        }
    }

    async fn say_goodbye(&mut self, ended: &Ended) {
        let Ended::Refused(refused) = ended else {
            return;
        };
        if self
            .writer
            .put(&FromOperator::Refused(refused.clone().into()))
            .is_err()
        {
            return;
        }
        last_words(&mut self.reader, &mut self.writer).await;
    }
}

async fn wait_for<T>(waiting: Option<&mut Waiting<T>>) -> T {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}
