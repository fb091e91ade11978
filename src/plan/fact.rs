//! What is worth telling: the closed list of facts that the core reports.
//!
//! Each becomes one log line, whose name, level and fields `report.rs` gives it.

use std::time::Duration;

use super::binding::NamespacedName;
use super::budget::Grace;
use super::id::{InstanceId, PodRef, TargetGroupArn};
use super::notice::{InterruptionAction, Origin};
use super::pod::{Owner, Wave};
use super::preflight::Permission;
use super::time::WallTime;

/// Something that happened, or that did not.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The agent runs, and has polled once.
    Started {
        /// Whether it carries on an interruption that an earlier process began.
        origin: Origin,
    },
    /// The metadata service is not the default one.
    MetadataOverridden {
        /// Where it is.
        endpoint: String,
    },
    /// A sign of life.
    Heartbeat {
        /// What the agent is doing.
        state: AgentState,
        /// Polls of the metadata service so far.
        polls: u64,
        /// How many of them failed.
        failures: u64,
        /// How many failed since the last good one.
        consecutive_failures: u64,
    },
    /// The instance says that it is no spot instance.
    NotSpot {
        /// What it says it is.
        life_cycle: String,
    },
    /// Every permission that an interruption takes is there.
    PreflightPassed,
    /// Permissions are missing, or cannot be asked for.
    PreflightFailed {
        /// Which.
        missing: Vec<Permission>,
        /// Why, where somebody says so.
        reason: Option<String>,
    },
    /// The loop has ended as it was asked to.
    Stopping {
        /// Why now.
        reason: StopReason,
    },
    /// The metadata service cannot be read.
    MetadataUnreachable {
        /// Polls that failed since the last good one.
        consecutive_failures: u64,
        /// For how long.
        since: Duration,
        /// The likely cause.
        cause: MetadataCause,
        /// The status, when there was an answer.
        http_status: Option<u16>,
        /// The error.
        error: String,
    },
    /// The metadata service can be read again.
    MetadataRecovered {
        /// Polls that had failed.
        failures: u64,
        /// For how long.
        since: Duration,
    },
    /// The API server does not answer.
    ApiUnreachable {
        /// For how long.
        since: Duration,
        /// The error.
        error: String,
    },
    /// The API server answers again.
    ApiRecovered {
        /// For how long it had not.
        since: Duration,
    },
    /// The Node object is another instance's than the one the agent runs on.
    NodeMismatch {
        /// The instance that the metadata service names.
        expected: InstanceId,
        /// The instance that the Node names.
        found: InstanceId,
    },
    /// The node carries an annotation under our key that this version does not understand.
    AnnotationUnknown {
        /// Its text.
        found: String,
    },
    /// A notice was seen for the first time.
    InterruptionNoticed(NoticeFact),
    /// An interruption that an earlier process began is carried on.
    InterruptionResumed(NoticeFact),
    /// The notice is not what it should be, or not what it was.
    InterruptionChanged {
        /// In which way.
        reason: NoticeChange,
        /// T, as far as it is known.
        notice_time: Option<WallTime>,
    },
    /// The node is out of service.
    NodeCordoned {
        /// Whether the cordon is ours to undo.
        cordoned_by_us: bool,
        /// Whether it was cordoned before.
        already_cordoned: bool,
        /// Whether the exclusion label was set.
        label_set: bool,
        /// Since the notice was first seen.
        elapsed: Duration,
    },
    /// What an interruption left on the node is undone.
    NodeUncordoned {
        /// Whether the cordon was ours, and is undone.
        cordoned_by_us: bool,
        /// Whether it is another's, and stays.
        already_cordoned: bool,
        /// Whether the exclusion label was ours, and is as it was before.
        label_set: bool,
        /// Since the deadline that was recorded.
        elapsed: Duration,
    },
    /// The node could not be taken out of service; it is tried again.
    CordonFailed {
        /// Which attempt.
        attempt: u32,
        /// The status, when there was an answer.
        http_status: Option<u16>,
        /// The error.
        error: String,
    },
    /// What was ours on a node that outlived its interruption could not be taken back; it is tried again.
    UncordonFailed {
        /// Which attempt.
        attempt: u32,
        /// The status, when there was an answer.
        http_status: Option<u16>,
        /// The error.
        error: String,
    },
    /// Something happened to a pod.
    Pod(PodFact, PodNews),
    /// Something happened to a registration in a target group.
    Target(TargetFact, TargetNews),
    /// Target groups could not be looked for.
    TargetsUnresolved {
        /// Where.
        source: Source,
        /// The error.
        error: String,
    },
    /// The API server has others to serve: pods that have time are evicted over some of it.
    DrainSpread {
        /// How long it took to list the pods.
        listed_in: Duration,
        /// The time over which first evictions are spread, at the most.
        over: Duration,
    },
    /// How far the drain is.
    DrainProgress {
        /// Pods that are gone.
        pods_gone: u32,
        /// Pods that were to go.
        pods_total: u32,
    },
    /// The verdict on the drain.
    Verdict(Tally, Duration),
    /// The receipt.
    Summary(Box<Summary>),
}

/// What the agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// No notice is there, or nothing is to be done about it.
    Idle,
    /// An interruption is under way.
    Draining,
    /// The deadline has passed, and the node still lives.
    After,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was asked to and had nothing to do.
    Asked,
    /// It was asked to in an interruption, and has finished that.
    Drained,
    /// It was asked to in an interruption, whose deadline has come.
    Deadline,
}

/// Why the metadata service could not be read, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataCause {
    /// 403: it is switched off for this instance.
    Disabled,
    /// The token request gets no answer: the hop limit is 1 and the agent runs in a pod network.
    HopLimit,
    /// The connection is refused: a firewall.
    Refused,
    /// No answer in time.
    Timeout,
    /// An unexpected status.
    Status,
    /// An answer that cannot be read.
    Body,
}

/// How a notice was found or begun.
#[derive(Clone, Debug, PartialEq)]
pub struct NoticeFact {
    /// T; none when the notice does not say.
    pub notice_time: Option<WallTime>,
    /// Until the deadline.
    pub remaining: Duration,
    /// By how much the node's clock is ahead of the server's, when that is worth a word.
    pub clock_skew_seconds: Option<f64>,
}

/// What is odd about a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeChange {
    /// Its action is none that EC2 documents.
    UnknownAction(String),
    /// Its time is missing or cannot be read.
    BadTime,
    /// It now says an earlier time.
    Tightened,
    /// It disappeared before the deadline; nothing changes.
    Withdrawn,
}

/// Which pod a fact is about.
#[derive(Clone, Debug, PartialEq)]
pub struct PodFact {
    /// The pod.
    pub pod: PodRef,
    /// Its controller.
    pub owner: Option<Owner>,
    /// Its own grace period.
    pub grace: Grace,
    /// Since the notice was first seen.
    pub elapsed: Duration,
}

/// What happened to a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum PodNews {
    /// Its eviction took effect.
    Evicted {
        /// Calls made for it.
        attempts: u32,
        /// Which pods it left with.
        wave: Wave,
        /// The grace it was given.
        grace_given: Grace,
    },
    /// Its eviction is refused; it is tried again.
    Blocked {
        /// Why.
        reason: BlockReason,
        /// Calls made for it.
        attempts: u32,
        /// Seconds until it is deleted all the same; none when it will not be.
        delete_in: Option<f64>,
    },
    /// It was deleted because evicting it is not possible.
    Deleted {
        /// Why.
        reason: DeleteReason,
        /// Calls made for it.
        attempts: u32,
        /// The grace it was given.
        grace_given: Grace,
    },
    /// It is gone.
    Gone {
        /// How it went.
        outcome: GoneOutcome,
        /// Since its stop signal.
        stopped_after: Duration,
    },
    /// No stop signal got through to it.
    Left {
        /// Why.
        reason: LeftReason,
        /// The last error.
        error: Option<String>,
    },
}

/// What happened to a registration.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetNews {
    /// It is known to be this node's.
    Resolved,
    /// It gets no new requests any more.
    Deregistered {
        /// How it stands.
        state: DeregisteredState,
        /// Whose doing it was.
        by: Deregistrar,
        /// Deregistrations sent for it.
        attempts: u32,
        /// Since the notice was first seen.
        elapsed: Duration,
    },
    /// What its load balancer had sent has had the time to arrive: held pods may stop.
    Settled,
    /// Somebody registered it again after it was deregistered.
    Reregistered {
        /// How often, so far.
        count: u32,
    },
    /// It is left as it is.
    Skipped(SkipReason),
    /// It could not be ended. Final.
    Failed {
        /// Why.
        kind: TargetErrorKind,
        /// The last error.
        error: String,
        /// Deregistrations sent for it.
        attempts: u32,
    },
}

/// Why a registration is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// This is a rehearsal.
    DryRun,
    /// The group lives in another account: only the controller may take the role for it.
    OtherAccount,
}

/// Why an eviction is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockReason {
    /// A disruption budget allows none now.
    Budget,
    /// More than one budget covers the pod.
    TwoBudgets,
    /// The API server accepted it, and the pod still runs.
    Unacknowledged,
    /// It is not allowed.
    Forbidden,
}

/// Why a pod is deleted and not evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteReason {
    /// The last useful moment has come.
    Deadline,
    /// Nothing may be created in its namespace any more, evictions included.
    NamespaceTerminating,
}

/// How a pod went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoneOutcome {
    /// It stopped by itself within its grace period.
    Gone,
    /// It was given less than its own grace period, and used it up.
    Cut,
}

/// Why a pod got no stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftReason {
    /// Its budget is to be respected to the end.
    Wait,
    /// The agent is not allowed to.
    Forbidden,
    /// The API server did not let a call through in time.
    Unreachable,
}

/// Which registration a fact is about.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetFact {
    /// The group.
    pub group: TargetGroupArn,
    /// The port; none when the instance is not registered on any, or that could not be read.
    pub port: Option<u16>,
    /// How it became known.
    pub source: Source,
    /// The binding that a controller keeps it by.
    pub binding: Option<NamespacedName>,
}

/// How a target group became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The operator named it.
    Arn,
    /// A binding names it.
    Binding,
    /// It carries one of the tags.
    Tag,
}

/// How a registration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeregisteredState {
    /// It gets no new requests.
    Draining,
    /// It is not there.
    NotRegistered,
    /// The group is not there.
    GroupGone,
}

/// Who ended a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deregistrar {
    /// This agent.
    Us,
    /// The controller that keeps the group's binding.
    Controller,
    /// Somebody else.
    Other,
}

/// Why a registration could not be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetErrorKind {
    /// The policy does not allow it.
    Denied,
    /// The account's request bucket stayed empty.
    Throttled,
    /// The service could not be reached, or failed, to the end.
    Unreachable,
    /// The service cannot make sense of the ARN.
    BadArn,
    /// The credentials expired, and new ones did too.
    ExpiredToken,
}

/// How the pods stand. Each pod that was to go is in one of the first four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Gone within its own grace period.
    pub gone: u32,
    /// Stopping, with its own grace period, in time.
    pub stopping: u32,
    /// Stopped or stopping with less than its own grace period.
    pub cut: u32,
    /// No stop signal got through.
    pub left: u32,
    /// Were refused an eviction at least once.
    pub blocked: u32,
    /// Were deleted in the end.
    pub deleted: u32,
    /// Are not to be evicted: of a DaemonSet, static, finished, or the agent.
    pub ignored: u32,
    /// Whether there was anything to count.
    pub sighting: Sighting,
}

/// Whether the API server ever said which pods the node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sighting {
    /// It did.
    #[default]
    Listed,
    /// It did not: whatever pods there are got no stop signal.
    Never,
}

impl Tally {
    /// All pods that were to go.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.gone + self.stopping + self.cut + self.left
    }

    /// Whether every pod got its stop signal. Where no pod was ever seen, nobody can say so.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        match self.sighting {
            Sighting::Listed => self.left == 0,
            Sighting::Never => false,
        }
    }
}

/// How the registrations stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetTally {
    /// Registrations that get no new requests any more.
    pub draining: u32,
    /// Registrations that are not there, or whose group is not.
    pub gone: u32,
    /// Registrations that could not be ended.
    pub failed: u32,
    /// Groups that are not settled yet.
    pub pending: u32,
    /// How often somebody registered one again.
    pub reregistered: u32,
}

/// Requests made since the notice was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// To the API server.
    pub api: u32,
    /// Of these, answered 429.
    pub api_429: u32,
    /// To the load balancer.
    pub elb: u32,
    /// To the metadata service.
    pub imds: u32,
}

/// The receipt of an interruption, as of the verdict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The pods.
    pub pods: Tally,
    /// The registrations.
    pub targets: TargetTally,
    /// The requests.
    pub requests: Requests,
    /// The sum of the grace periods given.
    pub grace_given_seconds: u64,
    /// The sum of what was cut of them.
    pub grace_cut_seconds: u64,
    /// When the node was out of service, since the notice was first seen, as the next three.
    pub cordoned_after: Option<Duration>,
    /// When the last eviction or deletion that took effect was sent.
    pub last_eviction_after: Option<Duration>,
    /// When the last registration was ended.
    pub last_target_after: Option<Duration>,
    /// When the last pod was gone.
    pub all_gone_after: Option<Duration>,
    /// Since the notice was first seen.
    pub duration: Duration,
}

/// The standing of an interruption that every line after its notice carries.
#[derive(Clone, Debug, PartialEq)]
pub struct InterruptionContext {
    /// The notice's id.
    pub notice_id: String,
    /// What EC2 will do.
    pub action: InterruptionAction,
    /// D in the server's time.
    pub deadline: WallTime,
    /// Seconds to D on the monotonic clock, negative after it.
    pub seconds_left: f64,
}
