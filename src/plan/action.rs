//! The whole vocabulary between core and shell: what is to be tried, and what came of it.

use std::fmt;
use std::time::Duration;

use super::binding::{Binding, BindingApi, GroupTag, ListedGroup, Marker, Service, TargetId};
use super::budget::Grace;
use super::id::{InstanceId, PodRef, PodUid, ResourceVersion, TargetGroupArn};
use super::node::{CordonPatch, NodeView, UndoPatch};
use super::notice::Announcement;
use super::pod::{BlockedWish, PodView};
use super::preflight::{Access, Permission};
use super::time::Moment;

/// The number of one attempt; never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

/// What the shell is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make one attempt and report its outcome, at the latest at `give_up_at`.
    Try {
        /// Under which number to report it.
        attempt: AttemptId,
        /// What to try.
        request: Request,
        /// After this the outcome is [`FailureKind::TimedOut`]. A watch has none: it ends when the server or the core ends it.
        give_up_at: Option<Moment>,
    },
    /// End an attempt that is no longer wanted; its outcome is not reported.
    Abandon(AttemptId),
}

/// One call to the outside; each variant names the port it goes through.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Metadata: is there a notice?
    ReadNotice,
    /// Metadata: which machine is this?
    ReadIdentity,
    /// Cluster: GET our Node.
    ReadNode,
    /// Cluster: PATCH our Node.
    Cordon(CordonPatch),
    /// Cluster: PATCH our Node, to take back what an interruption left.
    Undo(UndoPatch),
    /// Cluster: LIST the pods of our node.
    ListPods(Freshness, Route),
    /// Cluster: WATCH the pods of our node from this version on; its events are inputs of their own.
    WatchPods(ResourceVersion),
    /// Cluster: POST an Eviction, with the UID as precondition.
    Evict(PodRef, Option<Grace>),
    /// Cluster: DELETE a pod, with the UID as precondition.
    Delete(PodRef, Option<Grace>),
    /// Cluster: PATCH the condition `DisruptionTarget` into a pod's status.
    MarkDisruption(PodRef),
    /// Cluster: GET a namespace, for its annotation.
    ReadNamespace(String),
    /// Cluster: POST an event about our Node.
    PublishEvent(NodeEvent),
    /// Cluster: are we allowed to do this?
    ReviewAccess(Permission),
    /// Either of the two: what leads requests to this node?
    Find(Inquiry),
    /// Balancer: get credentials and open the way, so that neither has to be waited for later.
    WarmBalancer,
    /// Balancer: which ports of this target are registered, and in which state?
    DescribeTargets(TargetGroupArn, TargetId, Ports),
    /// Balancer: deregister these ports of this target.
    DeregisterTargets(TargetGroupArn, TargetId, Vec<u16>),
}

impl Request {
    /// Which neighbour the request goes to.
    #[must_use]
    pub const fn port(&self) -> Port {
        match self {
            Self::ReadNotice | Self::ReadIdentity => Port::Metadata,
            Self::ReadNode
            | Self::Cordon(_)
            | Self::Undo(_)
            | Self::ListPods(..)
            | Self::WatchPods(_)
            | Self::Evict(..)
            | Self::Delete(..)
            | Self::MarkDisruption(_)
            | Self::ReadNamespace(_)
            | Self::ReviewAccess(_)
            | Self::PublishEvent(_) => Port::Cluster,
            Self::Find(inquiry) => inquiry.port(),
            Self::WarmBalancer | Self::DescribeTargets(..) | Self::DeregisterTargets(..) => {
                Port::Balancer
            }
        }
    }
}

/// A question about what leads requests to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// Cluster: LIST the bindings of every namespace.
    Bindings(BindingApi),
    /// Cluster: LIST the Services of every namespace.
    Services,
    /// Balancer: a page of the account's target groups.
    Groups(Option<Marker>),
    /// Balancer: the tags of these target groups, at most [`Self::GROUPS_PER_CALL`].
    Tags(Vec<TargetGroupArn>),
}

impl Inquiry {
    /// So many ARNs a call takes
    /// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html>).
    pub const GROUPS_PER_CALL: usize = 20;

    /// Whom it is put to.
    #[must_use]
    pub const fn port(&self) -> Port {
        match self {
            Self::Bindings(_) | Self::Services => Port::Cluster,
            Self::Groups(_) | Self::Tags(_) => Port::Balancer,
        }
    }
}

/// What an [`Inquiry`] brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The bindings that can be read.
    Bindings(Vec<Binding>),
    /// The Services that have a node port or are behind a binding of addresses.
    Services(Vec<Service>),
    /// A page of target groups, and where the next one begins, if there is one.
    Groups(Vec<ListedGroup>, Option<Marker>),
    /// The tags of each target group.
    Tags(Vec<(TargetGroupArn, Vec<GroupTag>)>),
}

/// The three neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// The instance metadata service.
    Metadata,
    /// The Kubernetes API server.
    Cluster,
    /// Elastic Load Balancing.
    Balancer,
}

/// Which ports of the instance are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// Every port it is registered on.
    All,
    /// This one.
    Only(u16),
}

/// An event about our Node, for `kubectl describe node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEvent {
    /// Which of the four it is.
    pub kind: NodeEventKind,
    /// A sentence for people.
    pub note: String,
    /// The event's name, the same for the same event of the same notice, so that it exists once.
    pub name: String,
    /// The Node's UID where it is known.
    pub node_uid: Option<String>,
}

/// The events an interruption leaves on its Node, each at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeEventKind {
    /// The notice.
    SpotInterruption,
    /// The verdict, good.
    SpotDrainCompleted,
    /// The verdict, bad.
    SpotDrainIncomplete,
    /// A target group would not let go.
    TargetDeregistrationFailed,
}

impl NodeEventKind {
    /// The event's `reason`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::SpotInterruption => "SpotInterruption",
            Self::SpotDrainCompleted => "SpotDrainCompleted",
            Self::SpotDrainIncomplete => "SpotDrainIncomplete",
            Self::TargetDeregistrationFailed => "TargetDeregistrationFailed",
        }
    }

    /// The event's `type`, `Normal` or `Warning`.
    #[must_use]
    pub const fn severity(self) -> &'static str {
        match self {
            Self::SpotDrainCompleted => "Normal",
            Self::SpotInterruption
            | Self::SpotDrainIncomplete
            | Self::TargetDeregistrationFailed => "Warning",
        }
    }
}

/// What came of one attempt.
#[allow(clippy::large_enum_variant)] // it is made and taken apart in one turn of the loop, and never kept in numbers
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Of [`Request::ReadNotice`]: the notice, or that there is none.
    Notice(Option<Announcement>),
    /// Of [`Request::ReadIdentity`].
    Identity(MachineIdentity),
    /// Of [`Request::ReadNode`], [`Request::Cordon`] and [`Request::Undo`]: the node as it now is.
    Node(NodeView),
    /// Of [`Request::ReadNamespace`]: what it wants done about blocked pods.
    Namespace(BlockedWish),
    /// Of [`Request::ListPods`].
    Pods {
        /// Every pod of the node.
        pods: Vec<PodView>,
        /// Where a watch goes on from.
        version: ResourceVersion,
    },
    /// Of [`Request::Find`].
    Found(Finding),
    /// Of [`Request::DescribeTargets`]: the registered ports of this target.
    Targets(Vec<Target>),
    /// Of [`Request::ReviewAccess`].
    Access(Access),
    /// Of a write that the other side acknowledged.
    Done,
    /// Of any request.
    Failed(Failure),
}

impl Outcome {
    /// What went wrong, if something did.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Notice(_)
            | Self::Identity(_)
            | Self::Node(_)
            | Self::Namespace(_)
            | Self::Pods { .. }
            | Self::Found(_)
            | Self::Targets(_)
            | Self::Access(_)
            | Self::Done => None,
        }
    }
}

/// An attempt that did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// The HTTP status, when there was an answer.
    pub http_status: Option<u16>,
    /// The error and its causes, for people.
    pub text: String,
}

/// What happened to an attempt; the policy for each is the core's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It never left: nobody could be connected to.
    Unreachable(ConnectFailure),
    /// It left and no answer came: it may have taken effect.
    Lost,
    /// No answer came in time: it may have taken effect.
    TimedOut,
    /// A disruption budget refuses, for now.
    BlockedByBudget,
    /// More than one disruption budget covers the pod: the API server refuses for ever.
    TwoBudgets,
    /// The other side is too busy; it asks to wait this long, if it says.
    Throttled(Option<Duration>),
    /// The credentials are not accepted; new ones may be.
    Unauthenticated,
    /// Not allowed.
    Forbidden,
    /// The namespace is being deleted: nothing may be created in it, evictions included.
    NamespaceTerminating,
    /// What was meant does not exist.
    NotFound,
    /// It is not what was expected: another UID, or a newer version.
    Conflict,
    /// The version to watch from is no longer kept (410).
    Expired,
    /// The request makes no sense to the other side.
    Invalid,
    /// The other side failed (5xx); a gateway's 502, 503 or 504 may have let the request through.
    ServerError,
    /// An answer that cannot be read.
    Unreadable,
    /// The metadata service gives no token: its reply does not survive the way into a pod network.
    HopLimit,
    /// The attempt panicked.
    Panicked,
}

/// Why nobody could be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The connection was refused.
    Refused,
    /// Anything else: no route, no name, TLS.
    Other,
}

impl Failure {
    /// Whether the attempt may have taken effect although it failed.
    #[must_use]
    pub const fn may_have_acted(&self) -> bool {
        match self.kind {
            FailureKind::Lost
            | FailureKind::TimedOut
            | FailureKind::HopLimit
            | FailureKind::Panicked
            | FailureKind::Unreadable => true,
            FailureKind::ServerError => matches!(self.http_status, Some(502..=504) | None),
            FailureKind::Unreachable(_)
            | FailureKind::BlockedByBudget
            | FailureKind::TwoBudgets
            | FailureKind::Throttled(_)
            | FailureKind::Unauthenticated
            | FailureKind::Forbidden
            | FailureKind::NamespaceTerminating
            | FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Expired
            | FailureKind::Invalid => false,
        }
    }

    /// Whether the eviction of a pod was refused for reasons that may stay.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self.kind,
            FailureKind::BlockedByBudget | FailureKind::TwoBudgets | FailureKind::Forbidden
        )
    }

    /// Whether there was an answer at all.
    #[must_use]
    pub const fn was_answered(&self) -> bool {
        !matches!(
            self.kind,
            FailureKind::Unreachable(_)
                | FailureKind::Lost
                | FailureKind::TimedOut
                | FailureKind::Panicked
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Which machine this is, as its metadata service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineIdentity {
    /// The instance's id.
    pub instance_id: InstanceId,
    /// Its type, `m6g.large`.
    pub instance_type: Option<String>,
    /// Its availability zone.
    pub zone: Option<String>,
    /// `spot`, `on-demand`, …; none when the metadata service does not say.
    pub life_cycle: Option<String>,
}

/// One registration in a target group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The port it is registered on.
    pub port: u16,
    /// Whether the balancer may still send it requests.
    pub state: TargetState,
}

/// The states that matter here
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetState {
    /// Any state but the two below, unknown ones included.
    Registered,
    /// `draining`: it gets no new requests, and stays so until the deregistration delay ends.
    Draining,
    /// `unused` with reason `Target.NotRegistered`.
    NotRegistered,
}

/// How new a LIST has to be
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Whatever the server's cache has: costs it nothing, and may be old.
    Cached,
    /// Not older than what was seen already. A server whose cache is behind waits up to three seconds for it, and then
    /// answers 504. Without this a second LIST may go back in time, and a pod that is there seems to be gone.
    NotOlderThan(ResourceVersion),
    /// As etcd has it: dear, and for when a server's cache does not catch up.
    Newest,
}

/// Over which connection a LIST goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The one that all calls share.
    Shared,
    /// A new one, which all calls share from then on: the old one brings nothing, although nobody has ended it. It may
    /// lead to another server.
    New,
}

/// What a watch brings.
#[allow(clippy::large_enum_variant)] // nearly all of them are the large one
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The server has taken the watch.
    Opened,
    /// A pod was added or changed.
    Seen(PodView, ResourceVersion),
    /// A pod's object is gone.
    Gone(PodUid, ResourceVersion),
    /// Nothing changed; the server is alive.
    Bookmark(ResourceVersion),
}

impl WatchEvent {
    /// The version it brings us to; none when that is the one the watch began at.
    #[must_use]
    pub const fn version(&self) -> Option<&ResourceVersion> {
        match self {
            Self::Opened => None,
            Self::Seen(_, version) | Self::Gone(_, version) | Self::Bookmark(version) => {
                Some(version)
            }
        }
    }
}
