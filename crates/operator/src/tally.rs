//! How many gateways are in which condition, and their pods, for metrics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidegate_api::status::{ConditionStatus, McpGatewayStatus};

use crate::key::Key;
use crate::metrics::{GatewayCounts, Metrics, TOLD_CONDITIONS};

/// Counts what statuses say while this replica leads.
pub(crate) struct Tally {
    counts: Mutex<Counts>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Counts {
    gateways: HashMap<Key, GatewayCounts>,
    total: GatewayCounts,
}

// === impl Tally ===

impl Tally {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            counts: Mutex::default(),
            metrics,
        }
    }

    /// The status of a gateway is this.
    pub(crate) fn note(&self, gateway: &Key, status: &McpGatewayStatus) {
        let now = counts_of(status);
        let mut counts = self.lock();
        let before = counts.gateways.insert(gateway.clone(), now);
        counts.total.subtract(&before.unwrap_or_default());
        counts.total.add(&now);
        self.metrics.gateways(&counts.total);
    }

    /// A gateway is gone.
    pub(crate) fn forget(&self, gateway: &Key) {
        let mut counts = self.lock();
        if let Some(before) = counts.gateways.remove(gateway) {
            counts.total.subtract(&before);
            self.metrics.gateways(&counts.total);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tally {
    /// Whoever leads next counts.
    fn drop(&mut self) {
        self.metrics.gateways(&GatewayCounts::default());
    }
}

fn counts_of(status: &McpGatewayStatus) -> GatewayCounts {
    let mut counts = GatewayCounts::default();
    for (index, told) in TOLD_CONDITIONS.iter().enumerate() {
        let found = status
            .conditions
            .iter()
            .find(|it| it.condition_type == *told);
        let place = found.map(|it| match it.status {
            ConditionStatus::True => 0,
            ConditionStatus::False => 1,
            ConditionStatus::Unknown => 2,
        });
        let cell = counts.conditions.get_mut(index);
        if let (Some(place), Some(cell)) = (place, cell)
            && let Some(count) = cell.get_mut(place)
        {
            *count = 1;
        }
    }
    if let Some(plane) = &status.data_plane {
        counts.pods = [plane.matched, plane.injected, plane.programmed].map(i64::from);
    }
    counts
}

#[cfg(test)]
mod tests {
    use sidegate_api::status::{Condition, DataPlane};
    use sidegate_policy::clock::ManualClock;

    use super::*;

    fn status(ready: ConditionStatus, programmed: u32) -> McpGatewayStatus {
        McpGatewayStatus {
            conditions: vec![Condition {
                condition_type: "Ready".to_owned(),
                status: ready,
                observed_generation: None,
                last_transition_time: String::new(),
                reason: String::new(),
                message: String::new(),
            }],
            data_plane: Some(DataPlane {
                matched: 3,
                injected: 3,
                programmed,
                ..DataPlane::default()
            }),
            ..McpGatewayStatus::default()
        }
    }

    #[test]
    fn each_gateway_counts_once_as_it_is_now() {
        let metrics = Arc::new(Metrics::new(Arc::new(ManualClock::new(0))));
        let tally = Tally::new(Arc::clone(&metrics));
        let (one, other) = (Key::new("crm", "a"), Key::new("crm", "b"));
        tally.note(&one, &status(ConditionStatus::False, 0));
        tally.note(&one, &status(ConditionStatus::True, 3));
        tally.note(&other, &status(ConditionStatus::Unknown, 1));
        let has = |line: &str| {
            let text = metrics.render();
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        };
        has(r#"sidegate_operator_gateways{condition="Ready",status="True"} 1"#);
        has(r#"sidegate_operator_gateways{condition="Ready",status="False"} 0"#);
        has(r#"sidegate_operator_gateways{condition="Ready",status="Unknown"} 1"#);
        has(r#"sidegate_operator_gateways{condition="BypassPossible",status="True"} 0"#);
        has(r#"sidegate_operator_pods{state="matched"} 6"#);
        has(r#"sidegate_operator_pods{state="programmed"} 4"#);
        tally.forget(&one);
        tally.forget(&one);
        has(r#"sidegate_operator_pods{state="programmed"} 1"#);
        drop(tally);
        has(r#"sidegate_operator_pods{state="programmed"} 0"#);
    }
}
