//! The metrics of every request: found by one look-up, because they are in the
//! path of each.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use super::RequestLabels;
use super::definition::{Kind, REQUEST_DURATION, REQUESTS};
use super::family::{Family, LabelSets, OTHER, fold, registered};
use super::quick_hash::QuickHash;

/// The words that the label `method` may have, sorted. What else a caller
/// sends is `other`.
const METHODS: [&str; 26] = [
    "completion/complete",
    "end_session",
    "initialize",
    "logging/setLevel",
    "none",
    "notification",
    "other",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "response",
    "server/discover",
    "stream",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// Longest name of a tool that becomes a label.
const MAX_TOOL_BYTES: usize = 128;

/// The metrics of requests.
pub(super) struct RequestMetrics {
    totals: IntCounterVec,
    durations: Family<HistogramVec>,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    tools: HashSet<Box<str>, QuickHash>,
    series: LabelSets<Series>,
}

/// What one combination of label values counts.
#[derive(Clone)]
struct Series {
    total: IntCounter,
    duration: Histogram,
}

// === impl RequestMetrics ===

impl RequestMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        let opts = Opts::new(REQUESTS.name, REQUESTS.help);
        let totals = registered(registry, IntCounterVec::new(opts, &REQUESTS.label_names()));
        let mut opts = HistogramOpts::new(REQUEST_DURATION.name, REQUEST_DURATION.help);
        if let Kind::Histogram(buckets) = REQUEST_DURATION.kind {
            opts = opts.buckets(buckets.to_vec());
        }
        let durations = HistogramVec::new(opts, &REQUEST_DURATION.label_names());
        Self {
            totals,
            durations: Family::register(registry, &REQUEST_DURATION, durations),
            table: RwLock::default(),
        }
    }

    /// The tools that may be named in labels from now on.
    pub(super) fn set_tools(&self, tools: &[String]) {
        let tools = tools.iter().filter(|tool| tool.len() <= MAX_TOOL_BYTES);
        let tools = tools.map(|tool| tool.as_str().into()).collect();
        self.table
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .tools = tools;
    }

    /// Counts one request.
    pub(super) fn count(&self, labels: &RequestLabels<'_>, duration: Duration) {
        let mut digits = [0; 3];
        let status = status_text(labels.status, &mut digits);
        let seconds = duration.as_secs_f64();
        {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            let values = table.values(labels, status);
            if let Some(series) = table.find(&values) {
                return series.count(seconds);
            }
        }
        if let Some(series) = self.add(labels, status) {
            series.count(seconds);
        }
    }

    fn add(&self, labels: &RequestLabels<'_>, status: &str) -> Option<Series> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let values = table.values(labels, status);
        // Another thread may have been here first.
        if let Some(series) = table.find(&values) {
            return Some(series.clone());
        }
        let folded;
        let values = if table.series.is_full(&REQUESTS) {
            folded = fold(&REQUESTS, &values);
            &*folded
        } else {
            &values[..]
        };
        let series = Series {
            total: self.totals.get_metric_with_label_values(values).ok()?,
            duration: self
                .durations
                .with(&[labels.listener, labels.decision.as_str()])?,
        };
        table.series.insert(values, series.clone());
        Some(series)
    }
}

// === impl Table ===

impl Table {
    /// The label values in the order of the definition.
    fn values<'a>(&self, labels: &RequestLabels<'a>, status: &'a str) -> [&'a str; 7] {
        let RequestLabels {
            listener,
            server,
            method,
            tool,
            decision,
            reason,
            status: _,
        } = *labels;
        let method = if METHODS.binary_search(&method).is_ok() {
            method
        } else {
            OTHER
        };
        let tool = match tool {
            Some(tool) if self.tools.contains(tool) => tool,
            Some(_) => OTHER,
            None => "",
        };
        [
            listener,
            server,
            method,
            tool,
            decision.as_str(),
            reason,
            status,
        ]
    }

    fn find(&self, values: &[&str]) -> Option<&Series> {
        self.series.find(values).or_else(|| {
            let is_full = self.series.is_full(&REQUESTS);
            is_full
                .then(|| self.series.find(&fold(&REQUESTS, values)))
                .flatten()
        })
    }
}

// === impl Series ===

impl Series {
    fn count(&self, seconds: f64) {
        self.total.inc();
        self.duration.observe(seconds);
    }
}

/// The three digits of a status.
fn status_text(status: u16, digits: &mut [u8; 3]) -> &str {
    if !(100..1000).contains(&status) {
        return OTHER;
    }
    let mut rest = status;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    std::str::from_utf8(digits).unwrap_or(OTHER)
}
