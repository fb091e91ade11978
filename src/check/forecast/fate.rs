//! What is asked of a forecast, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::plan::Policy;
use crate::plan::action::{Failure, MachineIdentity, Target};
use crate::plan::budget::Grace;
use crate::plan::discovery::Front;
use crate::plan::fact::{BlockReason, LeftReason};
use crate::plan::id::{NodeName, PodUid, TargetGroupArn};
use crate::plan::node::NodeView;
use crate::plan::pod::{BlockedWish, Exemption, PodView};
use crate::plan::time::WallTime;

/// What is known of a node, to be asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the operator decided.
    pub policy: Policy,
    /// The node.
    pub node: NodeName,
    /// The pod the agent runs in.
    pub agent: Option<PodUid>,
    /// Which machine it is, if that is known.
    pub identity: Option<MachineIdentity>,
    /// The node as it is.
    pub view: NodeView,
    /// Its pods.
    pub pods: Vec<PodView>,
    /// Which evictions would be refused; all others would be accepted.
    pub refusals: BTreeMap<PodUid, Failure>,
    /// So many evictions each budget still allows, and which pods it covers: the one after is refused.
    pub allowances: Vec<Allowance>,
    /// What namespaces want done about pods that are refused to the end.
    pub namespaces: BTreeMap<String, BlockedWish>,
    /// The registrations of the instance in each group.
    pub targets: BTreeMap<TargetGroupArn, Vec<Target>>,
    /// What leads requests to the node.
    pub front: Front,
    /// The time of day.
    pub wall: WallTime,
}

/// What a budget allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// `namespace/name`.
    pub budget: String,
    /// So many evictions.
    pub allowed: u32,
    /// Of these pods.
    pub pods: BTreeSet<PodUid>,
}

/// What would become of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodForecast {
    /// The pod.
    pub view: PodView,
    /// When it begins to be moved.
    pub start: Start,
    /// S after the notice: it should have stopped by then.
    pub stop_by: Duration,
    /// L after the notice: the last useful moment to begin.
    pub last_start: Duration,
    /// What would become of it.
    pub fate: Fate,
    /// Why its eviction would be refused at first.
    pub blocked: Option<BlockReason>,
}

/// When a pod begins to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the notice.
    AtOnce,
    /// As late as it can: its owner or the operator wants that.
    Late,
    /// After the others: the cluster itself needs it.
    SecondWave,
}

/// What would become of a pod. Times are after the notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is left alone.
    Exempt(Exemption),
    /// It has finished already.
    Finished,
    /// Pods are another's business in this mode.
    NotOurs,
    /// It is terminating already.
    Stopping,
    /// It is evicted.
    Evicted {
        /// When.
        after: Duration,
        /// With this grace.
        given: Grace,
    },
    /// It is deleted, because its eviction is refused.
    Deleted {
        /// When.
        after: Duration,
        /// With this grace.
        given: Grace,
    },
    /// It gets no stop signal.
    Left(LeftReason),
}

impl Fate {
    /// The grace that the pod would be given, if it is told to stop.
    #[must_use]
    pub const fn given(&self) -> Option<Grace> {
        match self {
            Self::Evicted { given, .. } | Self::Deleted { given, .. } => Some(*given),
            Self::Exempt(_) | Self::Finished | Self::NotOurs | Self::Stopping | Self::Left(_) => {
                None
            }
        }
    }
}
