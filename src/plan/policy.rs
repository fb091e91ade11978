//! What the operator decided, and what holds when nobody did.

use std::time::Duration;

use super::budget::Margins;
use super::drain::{JobPods, OnBlocked};
use super::targets::ConfiguredGroup;

/// What the operator decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How often the metadata service is asked for a notice.
    pub poll_interval: Duration,
    /// How often a sign of life is given.
    pub heartbeat_interval: Duration,
    /// How the time before the deadline is used.
    pub margins: Margins,
    /// What is done about pods behind closed budgets.
    pub on_blocked: OnBlocked,
    /// When the pods of Jobs are evicted.
    pub job_pods: JobPods,
    /// How many evictions are in flight at most.
    pub max_in_flight: usize,
    /// The target groups that are to let go of this instance.
    pub groups: Vec<ConfiguredGroup>,
}

/// What an operator decides who decides nothing.
impl Default for Policy {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(5),
            heartbeat_interval: Duration::from_secs(60),
            margins: Margins {
                end: Duration::from_secs(8),
                volume: Duration::from_secs(15),
                kept_grace: Duration::from_secs(60),
            },
            on_blocked: OnBlocked::Delete,
            job_pods: JobPods::Now,
            max_in_flight: 64,
            groups: Vec::new(),
        }
    }
}
