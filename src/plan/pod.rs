//! A pod as the drain needs to know it, and whether it is ours to evict.

use std::net::IpAddr;

use super::binding::{Labels, PortName};
use super::budget::Grace;
use super::drain::JobPods;
use super::id::{PodRef, PodUid};
use super::time::WallTime;

/// What one state of a pod, listed or watched, says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Which pod.
    pub pod: PodRef,
    /// Its controller, from `metadata.ownerReferences`.
    pub owner: Option<Owner>,
    /// Its own grace period.
    pub grace: Grace,
    /// How far it has come.
    pub progress: PodProgress,
    /// Set once it is being deleted.
    pub termination: Option<Termination>,
    /// Whether it mounts a PersistentVolumeClaim.
    pub mounts_claim: bool,
    /// `spec.priority`, 0 when absent.
    pub priority: i32,
    /// Whether it is the mirror of a static pod: annotation `kubernetes.io/config.mirror`, or owned by the Node.
    pub is_mirror: bool,
    /// When it wants its eviction to begin.
    pub start: StartWish,
    /// What it wants done when its eviction is refused to the end.
    pub when_blocked: BlockedWish,
    /// `metadata.creationTimestamp`, in the API server's time.
    pub created: Option<WallTime>,
    /// `metadata.labels`: Services find it by them.
    pub labels: Labels,
    /// `status.podIP`.
    pub address: Option<IpAddr>,
    /// What its containers listen on, as far as that is told.
    pub ports: Vec<PodPort>,
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPort {
    /// Its name, which a Service may use.
    pub name: Option<String>,
    /// Its number.
    pub number: u16,
    /// The port of the node that leads to it: `hostPort`, or the port itself in the host's network.
    pub host: Option<u16>,
}

/// When an eviction should begin, as the pod's owner put it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartWish {
    /// As soon as there is reason to.
    #[default]
    AtOnce,
    /// As late as possible: annotation `karpenter.sh/do-not-disrupt: "true"` or
    /// `cluster-autoscaler.kubernetes.io/safe-to-evict: "false"`. Both are about disruptions that somebody chooses; this one
    /// comes anyway, but every second may be worth something to such a pod.
    Late,
}

/// What should become of a pod whose eviction is refused to the last useful moment, as its owner put it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockedWish {
    /// What the agent is configured to do.
    #[default]
    AsConfigured,
    /// No deletion: annotation `spot-interrupt-handler/on-blocked: wait` on the pod or its namespace.
    Wait,
}

/// System-critical pods serve the others while these move away: `system-cluster-critical` has this priority, and
/// `system-node-critical` a higher one
/// (<https://kubernetes.io/docs/tasks/administer-cluster/guaranteed-scheduling-critical-addon-pods/>).
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// Which pods leave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wave {
    /// All others.
    Ordinary,
    /// What the cluster itself needs.
    Critical,
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Its kind, of whatever API group.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// How far a pod has come, as its status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodProgress {
    /// Bound, but none of it runs yet.
    Pending,
    /// Running, not ready.
    NotReady,
    /// Running and ready.
    Ready,
    /// Phase Succeeded or Failed, or every container has stopped: nothing is left to stop.
    Finished,
}

/// A deletion that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// `metadata.deletionTimestamp`: when the grace period runs out, in the API server's time.
    pub deletion_timestamp: WallTime,
    /// `metadata.deletionGracePeriodSeconds`: what it was given.
    pub grace: Grace,
}

/// Why a pod is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// Its DaemonSet would put it back at once, and the other pods need it to the end.
    DaemonSet,
    /// Only the kubelet can stop a static pod.
    Mirror,
    /// It is the agent itself.
    Agent,
    /// Its controller puts one after the other onto the cordoned node: what tolerates that is not stopped by evictions.
    Recreated,
}

impl PodView {
    /// The wave it leaves with.
    #[must_use]
    pub const fn wave(&self) -> Wave {
        if self.priority >= CRITICAL_PRIORITY {
            Wave::Critical
        } else {
            Wave::Ordinary
        }
    }

    /// The number of the pod's port that a Service means.
    #[must_use]
    pub fn port(&self, name: &PortName) -> Option<u16> {
        match name {
            PortName::Number(number) => Some(*number),
            PortName::Name(name) => self
                .ports
                .iter()
                .find(|port| port.name.as_ref() == Some(name))
                .map(|port| port.number),
        }
    }

    /// Whether its eviction begins as late as it can: its owner wants that, or the operator does for the pods of Jobs.
    #[must_use]
    pub fn begins_late(&self, job_pods: JobPods) -> bool {
        let is_job = self.owner.as_ref().is_some_and(|owner| owner.kind == "Job");
        self.start == StartWish::Late || is_job && job_pods == JobPods::Late
    }

    /// Why this pod is not evicted, if it is not. A DaemonSet is known by the controller's kind in any API group: what
    /// recreates pods on a cordoned node does so whoever wrote it.
    #[must_use]
    pub fn exemption(&self, agent: Option<&PodUid>) -> Option<Exemption> {
        if self.is_mirror {
            Some(Exemption::Mirror)
        } else if self
            .owner
            .as_ref()
            .is_some_and(|owner| owner.kind == "DaemonSet")
        {
            Some(Exemption::DaemonSet)
        } else if agent == Some(&self.pod.uid) {
            Some(Exemption::Agent)
        } else {
            None
        }
    }
}
