//! All the simulated sidecars, and what they have seen.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use sidegate_config::sidecar_config::SecretText;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::report::millis;
use crate::sidecar::{Event, News, Sidecar, tls};

const PATIENCE: Duration = Duration::from_secs(120);

/// Sidecars that live until it is dropped.
#[derive(Debug)]
pub(crate) struct Fleet {
    _tasks: JoinSet<()>,
    events_rx: UnboundedReceiver<Event>,
    seen: Vec<Seen>,
    /// How often they were told to come later, by the reason.
    pub(crate) refusals: BTreeMap<String, usize>,
    /// Bytes of the latest configuration.
    pub(crate) config_bytes: usize,
}

/// What one of them saw last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) welcomed: Option<Instant>,
    pub(crate) certified: Option<Instant>,
    /// The hash that it enforces, and since when.
    pub(crate) enforces: Option<(String, Instant)>,
}

// === impl Fleet ===

impl Fleet {
    /// Starts one for each token, all at once, each connected to one of the
    /// replicas.
    pub(crate) fn start(
        tokens: Vec<SecretText>,
        replicas: &[SocketAddr],
        endpoints_pem: &str,
    ) -> anyhow::Result<Self> {
        let tls = tls(endpoints_pem)?;
        let (events_tx, events_rx) = unbounded_channel();
        let seen = vec![Seen::default(); tokens.len()];
        let mut tasks = JoinSet::new();
        for ((index, token), operator) in tokens.into_iter().enumerate().zip(cycle(replicas)) {
            let sidecar = Sidecar {
                index,
                operator,
                source: source(index),
                token,
                tls: tls.clone(),
                events_tx: events_tx.clone(),
            };
            tasks.spawn(sidecar.live());
        }
        Ok(Self {
            _tasks: tasks,
            events_rx,
            seen,
            refusals: BTreeMap::new(),
            config_bytes: 0,
        })
    }

    /// Waits until all of them have seen what is wished. A stream that ends is
    /// an error.
    pub(crate) async fn until_all(
        &mut self,
        what: &str,
        wished: impl Fn(&Seen) -> bool,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut missing: Vec<_> = self.seen.iter().map(|seen| !wished(seen)).collect();
        let mut left = missing.iter().filter(|missing| **missing).count();
        while left > 0 {
            let event = timeout_at(end, self.events_rx.recv()).await;
            let event = event.with_context(|| format!("{left} sidecars: waited until {what}"))?;
            let index = self.take(event.context("they are all gone")?)?;
            let is_done = self.seen.get(index).is_some_and(&wished);
            if let Some(missing) = missing.get_mut(index)
                && *missing
                && is_done
            {
                *missing = false;
                left -= 1;
            }
        }
        Ok(())
    }

    /// What they enforce; none before they do.
    pub(crate) fn hash(&self) -> Option<&str> {
        let (hash, _) = self.seen.first()?.enforces.as_ref()?;
        Some(hash)
    }

    /// Times in milliseconds since `began` of what all of them have seen.
    pub(crate) fn times(
        &self,
        began: Instant,
        when: impl Fn(&Seen) -> Option<Instant>,
    ) -> Vec<f64> {
        let times = self.seen.iter().filter_map(when);
        times.map(|at| millis(at - began)).collect()
    }

    fn take(&mut self, event: Event) -> anyhow::Result<usize> {
        let Event { index, at, news } = event;
        let seen = self.seen.get_mut(index).context("nobody has this number")?;
        match news {
            News::Welcomed => seen.welcomed = Some(at),
            News::Certified => seen.certified = Some(at),
            News::Enforces(hash, bytes) => {
                seen.enforces = Some((hash, at));
                self.config_bytes = bytes;
            }
            News::Refused(reason) => {
                *self.refusals.entry(format!("{reason:?}")).or_default() += 1;
            }
            News::Ended(why) => bail!("the stream of sidecar {index} ended: {why}"),
        }
        Ok(index)
    }
}

fn cycle(replicas: &[SocketAddr]) -> impl Iterator<Item = SocketAddr> {
    replicas.iter().copied().cycle()
}

/// An address of loopback.
fn source(index: usize) -> Ipv4Addr {
    let [.., high, low] = index.to_be_bytes();
    // Neither .0 nor .255 at the end of the whole range matters on loopback.
    Ipv4Addr::new(127, 16, high, low)
}
