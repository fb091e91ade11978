//! A PodDisruptionBudget and the controller that keeps its status.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::time::Moment;

/// A budget over the pods of a namespace that carry all its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The labels it selects by; none selects every pod of the namespace.
    pub selector: BTreeMap<String, String>,
    /// `disruptionsAllowed` of its status; negative is what no controller writes, and the server refuses by 403.
    pub allowed: i32,
    /// `currentHealthy` of its status.
    pub healthy: u32,
    /// `desiredHealthy` of its status.
    pub desired: u32,
    /// Whether the controller has seen the newest version of its spec.
    pub observation: Observation,
    /// What it says about pods that are not ready.
    pub unready: UnreadyPolicy,
    /// How long after an eviction a replacement is healthy, and allows another; none when nobody replaces.
    pub recovers_after: Option<Duration>,
    recoveries: Vec<Moment>,
}

/// How far the disruption controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// `observedGeneration` equals the generation.
    Current,
    /// It lags behind: the API server refuses, and asks to come again in 10 s.
    Lagging,
}

/// `unhealthyPodEvictionPolicy`
/// (<https://kubernetes.io/docs/tasks/run-application/configure-pdb/#unhealthy-pod-eviction-policy>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadyPolicy {
    /// The default: they may go as long as enough others are healthy.
    IfHealthyBudget,
    /// They may always go.
    AlwaysAllow,
}

impl Budget {
    /// A budget that allows this many disruptions now, and gets none back.
    #[must_use]
    pub fn allowing(namespace: &str, name: &str, allowed: i32) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            selector: BTreeMap::new(),
            allowed,
            healthy: 1,
            desired: 1,
            observation: Observation::Current,
            unready: UnreadyPolicy::IfHealthyBudget,
            recovers_after: None,
            recoveries: Vec::new(),
        }
    }

    /// Whether it covers a pod of this namespace with these labels.
    #[must_use]
    pub fn covers(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespace == namespace
            && self
                .selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Whether a pod that is not ready may go without being charged.
    #[must_use]
    pub const fn spares_unready(&self) -> bool {
        match self.unready {
            UnreadyPolicy::AlwaysAllow => true,
            UnreadyPolicy::IfHealthyBudget => self.healthy >= self.desired && self.desired > 0,
        }
    }

    /// Charges one disruption.
    pub fn spend(&mut self, now: Moment) {
        self.allowed -= 1;
        if let Some(after) = self.recovers_after {
            self.recoveries.push(now + after);
        }
    }

    /// Gives back what has been replaced by `now`.
    pub fn advance(&mut self, now: Moment) {
        let before = self.recoveries.len();
        self.recoveries.retain(|recovery| *recovery > now);
        let recovered = before - self.recoveries.len();
        self.allowed += i32::try_from(recovered).unwrap_or(i32::MAX);
    }

    /// When it next gives something back.
    #[must_use]
    pub fn next_change(&self) -> Option<Moment> {
        self.recoveries.iter().min().copied()
    }
}
