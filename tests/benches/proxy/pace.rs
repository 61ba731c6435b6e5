//! The open loop: requests are due at fixed times, whether or not the last one
//! was answered, and their latency counts from then. So a proxy that stalls
//! does not hide it by holding up the load.
//!
//! Threads, not tasks: the timer of an async runtime is a millisecond coarse.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::answer::AnswerReader;
use crate::connections::{Target, server_name};
use crate::exchange::Exchange;
use crate::load::Outcome;

/// Each has a connection, and a share of the rate.
const THREADS: u32 = 16;

/// What came of a paced load.
#[derive(Debug, Default)]
pub(crate) struct Paced {
    pub(crate) outcome: Outcome,
    /// One per right answer, in milliseconds, sorted.
    pub(crate) latencies: Vec<f64>,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Sends requests at this rate per second.
pub(crate) async fn run(
    target: &Target,
    exchange: &Exchange,
    rate: u32,
    length: Duration,
) -> anyhow::Result<Paced> {
    let (target, exchange) = (target.clone(), exchange.clone());
    // The issuer lives on this thread, so it must not wait.
    let threads = move || all_threads(&target, &exchange, rate, length);
    tokio::task::spawn_blocking(threads).await?
}

fn all_threads(
    target: &Target,
    exchange: &Exchange,
    rate: u32,
    length: Duration,
) -> anyhow::Result<Paced> {
    // Time for the connections to be opened.
    let begin = Instant::now() + Duration::from_millis(200);
    let between = Duration::from_secs(1) / rate;
    let mut all = Paced::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|index| {
                let first = begin + between * index;
                let pace = Pace {
                    first,
                    between: between * THREADS,
                    end: begin + length,
                };
                scope.spawn(move || pace.keep(target, exchange))
            })
            .collect();
        for thread in threads {
            let paced = thread
                .join()
                .map_err(|_panic| anyhow::anyhow!("a thread panicked"))?;
            all.outcome.add(paced.outcome);
            all.latencies.extend(paced.latencies);
        }
        anyhow::Ok(())
    })?;
    all.latencies.sort_by(f64::total_cmp);
    Ok(all)
}

/// When the requests of one thread are due.
struct Pace {
    first: Instant,
    between: Duration,
    end: Instant,
}

// === impl Pace ===

impl Pace {
    fn keep(&self, target: &Target, exchange: &Exchange) -> Paced {
        let mut paced = Paced::default();
        if let Err(error) = self.on_one_connection(target, exchange, &mut paced) {
            // A run with any failure is void, so there is no second try.
            paced.outcome.failed += 1;
            paced.outcome.fault = Some(format!("{error:#}"));
        }
        paced
    }

    fn on_one_connection(
        &self,
        target: &Target,
        exchange: &Exchange,
        paced: &mut Paced,
    ) -> anyhow::Result<()> {
        let mut stream = open(target)?;
        let mut reader = AnswerReader::default();
        let mut due = self.first;
        while due < self.end {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            stream.write_all(&exchange.request)?;
            stream.flush()?;
            loop {
                let read = stream.read(reader.room())?;
                if reader.advance(read)? {
                    break;
                }
            }
            paced.latencies.push(due.elapsed().as_secs_f64() * 1e3);
            exchange.check(&reader.take()?)?;
            paced.outcome.answered += 1;
            due += self.between;
        }
        Ok(())
    }
}

fn open(target: &Target) -> anyhow::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(target.address)?;
    stream.set_nodelay(true)?;
    Ok(match &target.tls {
        None => Box::new(stream),
        Some(config) => {
            let mut client = ClientConnection::new(Arc::clone(config), server_name()?)?;
            let mut stream = stream;
            while client.is_handshaking() {
                client.complete_io(&mut stream)?;
            }
            Box::new(StreamOwned::new(client, stream))
        }
    })
}

impl Paced {
    /// The latency under which this share of the answers stayed.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index between 0 and the length"
        )]
        let index = (self.latencies.len().saturating_sub(1) as f64 * share).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}
