//! What the operator decided, and what holds when nobody did.

use std::collections::BTreeSet;
use std::time::Duration;

use super::binding::{GroupTag, Settling};
use super::budget::Margins;
use super::drain::{JobPods, OnBlocked};
use super::targets::ConfiguredGroup;

/// What the operator decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How much of an interruption is answered.
    pub mode: Mode,
    /// Whether writes take effect.
    pub effect: Effect,
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
    /// The target groups that are to let go of this instance, as far as they are named.
    pub groups: Vec<ConfiguredGroup>,
    /// Where others are looked for.
    pub discover: BTreeSet<Discover>,
    /// Any of which a target group has to carry to be found by its tags.
    pub group_tags: Vec<GroupTag>,
    /// How long pods that serve through this node only are held after their targets began to drain.
    pub settling: Settling,
}

/// Where target groups are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discover {
    /// In the bindings of the AWS Load Balancer Controller and of EKS Auto Mode.
    Bindings,
    /// Among the account's target groups, by their tags.
    Tag,
}

impl Discover {
    /// As the command line and the log have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bindings => "bindings",
            Self::Tag => "tag",
        }
    }
}

/// How much of an interruption is answered: beside another drainer, less than all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    #[default]
    Full,
    /// Only the load balancers' part: the pods are another's business.
    DeregisterOnly,
    /// Nothing: only the metadata service is read.
    Observe,
}

impl Mode {
    /// As the command line and the log have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::DeregisterOnly => "deregister-only",
            Self::Observe => "observe",
        }
    }
}

/// Whether writes take effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// They do.
    #[default]
    Real,
    /// The API server checks them and does nothing; what cannot be rehearsed is left out.
    Rehearsed,
}

/// The tags that mark a target group as one to let go; any one suffices.
#[must_use]
pub fn default_group_tags() -> Vec<GroupTag> {
    let enabled = |key: &str| GroupTag {
        key: key.to_owned(),
        value: "true".to_owned(),
    };
    vec![
        enabled("interrupt-handler/enabled"),
        enabled("spot-interrupt-handler/enabled"),
    ]
}

/// What an operator decides who decides nothing.
impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Full,
            effect: Effect::Real,
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
            discover: BTreeSet::from([Discover::Bindings]),
            group_tags: default_group_tags(),
            settling: Settling {
                application: Duration::from_secs(25),
                network: Duration::from_secs(30),
            },
        }
    }
}
