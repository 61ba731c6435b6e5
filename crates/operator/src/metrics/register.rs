//! From a definition to a family in the registry.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::definition::{Definition, Kind};

pub(super) fn counter(registry: &Registry, of: &Definition) -> IntCounter {
    register(registry, IntCounter::with_opts(opts(of)))
}

pub(super) fn counters(registry: &Registry, of: &Definition) -> IntCounterVec {
    register(registry, IntCounterVec::new(opts(of), &of.label_names()))
}

pub(super) fn gauge(registry: &Registry, of: &Definition) -> IntGauge {
    register(registry, IntGauge::with_opts(opts(of)))
}

pub(super) fn gauges(registry: &Registry, of: &Definition) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(opts(of), &of.label_names()))
}

pub(super) fn histogram(registry: &Registry, of: &Definition) -> Histogram {
    register(registry, Histogram::with_opts(histogram_opts(of)))
}

pub(super) fn histograms(registry: &Registry, of: &Definition) -> HistogramVec {
    let opts = histogram_opts(of);
    register(registry, HistogramVec::new(opts, &of.label_names()))
}

fn opts(of: &Definition) -> Opts {
    Opts::new(of.name, of.help)
}

fn histogram_opts(of: &Definition) -> HistogramOpts {
    let opts = HistogramOpts::new(of.name, of.help);
    match of.kind {
        Kind::Histogram(buckets) => opts.buckets(buckets.to_vec()),
        Kind::Counter | Kind::Gauge => opts,
    }
}

#[expect(
    clippy::expect_used,
    reason = "constants that a test registers; there is no operator without"
)]
fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    family: prometheus::Result<C>,
) -> C {
    let family = family.expect("a valid definition");
    registry
        .register(Box::new(family.clone()))
        .expect("each name once");
    family
}
