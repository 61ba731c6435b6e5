//! What roots are for.

use std::fmt;

/// Which roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Purpose {
    /// Those that sign for sidecars.
    Workload,
    /// Those that sign for the operator's endpoints.
    Endpoints,
}

// === impl Purpose ===

impl Purpose {
    pub(crate) const ALL: [Self; 2] = [Self::Workload, Self::Endpoints];

    /// The word for it, in the Secret, in metrics and for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Endpoints => "endpoints",
        }
    }

    /// What the common names of its roots begin with.
    pub(super) fn root_name(self) -> &'static str {
        match self {
            Self::Workload => "Sidegate workload root",
            Self::Endpoints => "Sidegate endpoint root",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
