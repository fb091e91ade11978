//! What was asked of the world, and how it answered.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use crate::plan::time::Moment;

/// Who was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The instance metadata service.
    Metadata,
    /// The Kubernetes API server.
    Kubernetes,
    /// Elastic Load Balancing.
    Balancer,
}

impl Service {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Kubernetes => "kubernetes",
            Self::Balancer => "load balancer",
        }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it was answered.
    pub at: Moment,
    /// By whom.
    pub service: Service,
    /// What kind of call it was: `evict`, `watch`, `DeregisterTargets`.
    pub verb: &'static str,
    /// What it was about.
    pub object: String,
    /// The HTTP status of the answer; 0 when there was none.
    pub status: u16,
    /// The port of whoever asked over a socket.
    pub from: Option<u16>,
}

/// All calls, in the order of their answers.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    calls: Vec<Call>,
    room: Option<NonZeroUsize>,
}

impl Journal {
    /// A journal that keeps no more calls than this, and between half as many and that: the latest.
    #[must_use]
    pub const fn of_the_latest(room: NonZeroUsize) -> Self {
        Self {
            calls: Vec::new(),
            room: Some(room),
        }
    }

    /// Adds a call.
    pub fn record(&mut self, call: Call) {
        let is_full = self.room.is_some_and(|room| self.calls.len() >= room.get());
        if is_full {
            // Half at once, so that it is not moved at every call.
            self.calls.drain(..self.calls.len().div_ceil(2));
        }
        self.calls.push(call);
    }

    /// Every call.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// How often each kind of call was answered with each status.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(Service, &'static str, u16), usize> {
        let mut counts = BTreeMap::new();
        for call in &self.calls {
            *counts
                .entry((call.service, call.verb, call.status))
                .or_default() += 1;
        }
        counts
    }
}
