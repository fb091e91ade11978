//! The node as the cordon needs to know it, and the record of an interruption that its annotation keeps.

use super::binding::Labels;
use super::id::{BootId, InstanceId, NoticeId, ResourceVersion};
use super::notice::InterruptionAction;
use super::time::WallTime;

/// What one reading of our Node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// `metadata.uid`, for the events about it.
    pub uid: String,
    /// `metadata.resourceVersion`, for the optimistic lock of the patch.
    pub resource_version: ResourceVersion,
    /// `spec.unschedulable`.
    pub scheduling: Scheduling,
    /// The value of the label `node.kubernetes.io/exclude-from-external-load-balancers`, if it is there.
    pub exclusion_label: Option<String>,
    /// The annotation `spot-interrupt-handler/interruption`.
    pub annotation: Annotation,
    /// The keys of `spec.taints`.
    pub taints: Vec<String>,
    /// `status.nodeInfo.bootID`.
    pub boot_id: Option<BootId>,
    /// The instance that `spec.providerID` names; none where it is absent or of another provider.
    pub provider: Option<InstanceId>,
    /// `metadata.labels`.
    pub labels: Labels,
}

/// Whether the scheduler may put pods on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// It may.
    Open,
    /// The node is cordoned.
    Cordoned,
}

/// What stands in the annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// There is none.
    Absent,
    /// A record this version understands.
    Record(InterruptionRecord),
    /// Something else, of a later version or of somebody else; its text. It is left alone.
    Unknown(String),
}

/// What the node remembers of an interruption, so that a restarted agent knows it, and what may be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterruptionRecord {
    /// The id of the notice.
    pub notice_id: NoticeId,
    /// What EC2 will do.
    pub action: InterruptionAction,
    /// T as first seen; none when the notice did not say.
    pub time: Option<WallTime>,
    /// D in the server's time.
    pub deadline: WallTime,
    /// The instance it is about; none as long as its id was not known.
    pub instance_id: Option<InstanceId>,
    /// The boot it happened in.
    pub boot_id: Option<BootId>,
    /// Whose the cordon is.
    pub cordon: CordonOwner,
    /// The exclusion label's value before we set it; none when it was absent.
    pub label_before: Option<String>,
}

/// Whose a cordon is: only our own may ever be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CordonOwner {
    /// The node was open when we cordoned it.
    Us,
    /// It was cordoned already, or that cannot be told.
    Another,
}

/// The one merge patch that takes the node out of service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CordonPatch {
    /// The version read before, as optimistic lock; none patches whatever is there.
    pub expected: Option<ResourceVersion>,
    /// Whether the node is cordoned.
    pub scheduling: SchedulingWrite,
    /// Whether the exclusion label is set to `true`, or left as it is because it already says so.
    pub label: LabelWrite,
    /// What the annotation becomes; none leaves it alone.
    pub record: Option<InterruptionRecord>,
}

/// What happens to `spec.unschedulable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulingWrite {
    /// It becomes true.
    Cordon,
    /// It stays as it is.
    Keep,
}

/// What happens to the exclusion label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelWrite {
    /// It becomes `true`.
    Set,
    /// It stays as it is.
    Keep,
}

/// The one merge patch that takes back what an interruption left; the annotation goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoPatch {
    /// The version read before, as optimistic lock.
    pub expected: ResourceVersion,
    /// Whether the node is uncordoned.
    pub scheduling: SchedulingUndo,
    /// What becomes of the exclusion label.
    pub label: LabelUndo,
}

/// What happens to `spec.unschedulable` when an interruption is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulingUndo {
    /// It becomes false.
    Uncordon,
    /// It stays as it is.
    Keep,
}

/// What happens to the exclusion label when an interruption is undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelUndo {
    /// It is removed.
    Remove,
    /// It gets back the value it had.
    Restore(String),
    /// It stays as it is.
    Keep,
}
