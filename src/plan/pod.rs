//! A pod as the drain needs to know it, and whether it is ours to evict.

use super::budget::Grace;
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
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl PodView {
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
