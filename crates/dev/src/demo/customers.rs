//! Customers that do not exist.

use serde_json::{Value, json};

/// A customer.
pub(super) struct Customer {
    pub(super) id: &'static str,
    name: &'static str,
    plan: &'static str,
    since: u16,
    /// What they pay in a month, in cents.
    monthly_cents: u64,
    months: u64,
}

/// All of them.
pub(super) const CUSTOMERS: [Customer; 3] = [
    Customer {
        id: "C-1001",
        name: "Ada Fischer",
        plan: "enterprise",
        since: 2021,
        monthly_cents: 129_900,
        months: 58,
    },
    Customer {
        id: "C-1002",
        name: "Bruno Okafor",
        plan: "team",
        since: 2024,
        monthly_cents: 24_900,
        months: 19,
    },
    Customer {
        id: "C-1003",
        name: "Chiara Lindqvist",
        plan: "starter",
        since: 2026,
        monthly_cents: 2_900,
        months: 3,
    },
];

pub(super) fn find(id: &str) -> Option<&'static Customer> {
    CUSTOMERS.iter().find(|customer| customer.id == id)
}

// === impl Customer ===

impl Customer {
    pub(super) fn info(&self) -> Value {
        json!({"customer_id": self.id, "name": self.name, "plan": self.plan, "since": self.since})
    }

    /// What they paid so far.
    pub(super) fn value(&self) -> Value {
        let cents = self.monthly_cents * self.months;
        json!({"customer_id": self.id, "currency": "EUR", "value_cents": cents})
    }
}
