//! A pod of the world: what the API server stores of it, and what its containers do when they are asked to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::plan::id::{NodeName, PodUid};
use crate::plan::pod::PodPort;
use crate::plan::time::{Moment, Now, WallTime};

/// A grace period of one second means about two: the kubelet gives no container less
/// (`minimumGracePeriodInSeconds` of its pod workers).
const SHORTEST_KILL: Duration = Duration::from_secs(2);

/// From the last container's end until the API server has heard of it.
const REPORT: Duration = Duration::from_millis(300);

/// A pod none of whose containers runs has nothing to wait for.
const NOTHING_TO_STOP: Duration = Duration::from_millis(200);

/// The annotation the kubelet puts on the mirror of a static pod
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-config-mirror>).
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `spec.nodeName`.
    pub node: NodeName,
    /// `metadata.resourceVersion`.
    pub version: u64,
    /// Its controller.
    pub owner: Option<Controller>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.finalizers`.
    pub finalizers: BTreeSet<String>,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace: u32,
    /// `spec.priority`.
    pub priority: i32,
    /// Its volumes.
    pub volume: Volume,
    /// How far it has come.
    pub phase: Phase,
    /// How long its containers need from the stop signal to their end, when nobody kills them.
    pub stops_after: Duration,
    /// Its deletion, once it is being deleted.
    pub deletion: Option<Deletion>,
    /// `status.conditions` of type `DisruptionTarget`: its reason.
    pub disruption_target: Option<String>,
    /// Every stop signal that its containers got.
    pub signals: Vec<Signal>,
    /// How it ended.
    pub end: Option<End>,
    /// `metadata.creationTimestamp`, where it matters: in whole seconds.
    pub created: Option<WallTime>,
    /// `status.podIP`.
    pub address: Option<IpAddr>,
    /// What its containers listen on.
    pub ports: Vec<PodPort>,
    /// Whether its controller puts it back onto this node, cordoned or not, as soon as it is gone.
    pub comes_back: bool,
    kubelet: Kubelet,
}

/// What owns a pod and puts it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// `name`.
    pub name: String,
}

/// Whether a volume has to be let go when the pod ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// None.
    None,
    /// One of a PersistentVolumeClaim.
    Claim,
}

/// `status.phase`, with the readiness of a running pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Bound, and nothing of it runs.
    Pending,
    /// Running and ready.
    Ready,
    /// Running, not ready.
    NotReady,
    /// All containers have ended well.
    Succeeded,
    /// A container has ended badly.
    Failed,
}

/// A deletion under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// `metadata.deletionTimestamp`, in whole seconds.
    pub timestamp: WallTime,
    /// `metadata.deletionGracePeriodSeconds`.
    pub grace: u32,
}

/// One stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// When the kubelet heard of it.
    pub at: Moment,
    /// The grace period it came with, in seconds.
    pub grace: u32,
    /// By which call.
    pub by: Way,
}

/// The call that ended a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An eviction.
    Eviction,
    /// A deletion, which asks no disruption budget.
    Deletion,
}

/// How a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its containers stopped by themselves.
    Stopped(Moment),
    /// They were killed when the grace period was over.
    Killed(Moment),
    /// Nobody waited for its containers: the object was removed at once.
    Removed(Moment),
}

impl End {
    /// When.
    #[must_use]
    pub const fn at(self) -> Moment {
        match self {
            Self::Stopped(at) | Self::Killed(at) | Self::Removed(at) => at,
        }
    }
}

/// What the kubelet is doing about the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kubelet {
    Running,
    Stopping { done_at: Moment, end: End },
    Done,
}

impl Pod {
    /// A ready pod without a controller, with the default grace period.
    #[must_use]
    pub fn new(namespace: &str, name: &str, uid: PodUid, node: NodeName) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid,
            node,
            version: 0,
            owner: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            finalizers: BTreeSet::new(),
            grace: 30,
            priority: 0,
            volume: Volume::None,
            phase: Phase::Ready,
            stops_after: Duration::from_secs(3),
            deletion: None,
            disruption_target: None,
            signals: Vec::new(),
            end: None,
            created: None,
            address: None,
            ports: Vec::new(),
            comes_back: false,
            kubelet: Kubelet::Running,
        }
    }

    /// Adds an annotation.
    pub fn annotate(&mut self, key: &str, value: &str) {
        self.annotations.insert(key.to_owned(), value.to_owned());
    }

    /// Whether the API server asks no disruption budget before it evicts the pod: it does not run, or not any more.
    #[must_use]
    pub const fn needs_no_budget(&self) -> bool {
        matches!(
            self.phase,
            Phase::Pending | Phase::Succeeded | Phase::Failed
        ) || self.deletion.is_some()
    }

    /// The name of the pod in whose place its controller put it, and the how manieth it is there.
    pub(super) fn put_back_for(&self) -> Option<(&str, u32)> {
        let (stem, number) = self.name.rsplit_once("-again-")?;
        Some((stem, number.parse().ok()?))
    }

    /// The pod that its controller puts in its place.
    pub(super) fn successor(&self, now: Now) -> Self {
        let (stem, generation) = self.put_back_for().unwrap_or((&self.name, 0));
        let name = format!("{stem}-again-{}", generation + 1);
        let uid = PodUid::new(format!("{}.{name}.1", self.namespace));
        Self {
            owner: self.owner.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            grace: self.grace,
            priority: self.priority,
            volume: self.volume,
            stops_after: self.stops_after,
            created: Some(WallTime::from_millis(now.wall.millis() / 1_000 * 1_000)),
            comes_back: true,
            ..Self::new(&self.namespace, &name, uid, self.node.clone())
        }
    }

    /// Whether it is the mirror of a static pod, which only the kubelet can stop.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.annotations.contains_key(MIRROR_ANNOTATION)
            || self
                .owner
                .as_ref()
                .is_some_and(|owner| owner.kind == "Node")
    }

    /// Whether all its containers have ended.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Begins or shortens the pod's termination as the API server does, and has the kubelet act on it.
    ///
    /// The grace period is the one asked for, whatever the pod's own is; without one it is the pod's own. On a pod that is
    /// terminating only a shorter one has an effect: the timestamp is counted from the first request, and when that has
    /// passed by now, it becomes now and the grace period 1 (measured).
    pub fn terminate(&mut self, grace: Option<u32>, way: Way, now: Now) -> Deleted {
        let grace = if self.is_finished() {
            0
        } else {
            grace.unwrap_or(self.grace)
        };
        let deletion = match self.deletion {
            Some(deletion) if grace >= deletion.grace => return Deleted::Unchanged,
            Some(deletion) if grace > 0 => shortened(deletion, grace, now.wall),
            Some(_) | None => Deletion {
                timestamp: whole_seconds(now.wall + Duration::from_secs(grace.into())),
                grace,
            },
        };
        self.deletion = Some(deletion);
        if grace == 0 {
            self.end.get_or_insert(End::Removed(now.at));
            return Deleted::Removed;
        }
        self.signal(deletion.grace, way, now.at);
        Deleted::Stopping
    }

    fn signal(&mut self, grace: u32, way: Way, now: Moment) {
        let patience = Duration::from_secs(grace.into()).max(SHORTEST_KILL);
        let needs = match self.phase {
            Phase::Pending => NOTHING_TO_STOP,
            Phase::Ready | Phase::NotReady | Phase::Succeeded | Phase::Failed => self.stops_after,
        };
        let (mut stops_at, mut killed_at) = (now + needs, now + patience);
        // A second signal neither resets the clock of the first nor makes the containers slower.
        if let Some(first) = self.signals.first() {
            stops_at = stops_at.min(first.at + needs);
        }
        if let Kubelet::Stopping {
            end: End::Killed(at),
            ..
        } = self.kubelet
        {
            killed_at = killed_at.min(at);
        }
        let end = if stops_at <= killed_at {
            End::Stopped(stops_at)
        } else {
            End::Killed(killed_at)
        };
        self.signals.push(Signal {
            at: now,
            grace,
            by: way,
        });
        self.kubelet = Kubelet::Stopping {
            done_at: end.at() + REPORT,
            end,
        };
    }

    /// When the kubelet reports the end of the containers.
    #[must_use]
    pub const fn reported_at(&self) -> Option<Moment> {
        match self.kubelet {
            Kubelet::Stopping { done_at, .. } => Some(done_at),
            Kubelet::Running | Kubelet::Done => None,
        }
    }

    /// The kubelet reports that the containers have ended.
    pub fn finish(&mut self) {
        if let Kubelet::Stopping { end, .. } = self.kubelet {
            self.end.get_or_insert(end);
            self.phase = match end {
                End::Killed(_) => Phase::Failed,
                End::Stopped(_) | End::Removed(_) => Phase::Succeeded,
            };
            self.kubelet = Kubelet::Done;
        }
    }
}

/// What became of a pod that was asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It was terminating already, with no more time than this.
    Unchanged,
    /// Its containers have been told to stop.
    Stopping,
    /// Its object is to be removed at once.
    Removed,
}

fn shortened(deletion: Deletion, grace: u32, now: WallTime) -> Deletion {
    let saved = Duration::from_secs(deletion.grace.saturating_sub(grace).into());
    let timestamp = WallTime::from_millis(
        deletion.timestamp.millis() - i64::try_from(saved.as_millis()).unwrap_or(i64::MAX),
    );
    if timestamp < whole_seconds(now) {
        Deletion {
            timestamp: whole_seconds(now),
            grace: 1,
        }
    } else {
        Deletion { timestamp, grace }
    }
}

/// As the API server writes times: the fraction is dropped.
fn whole_seconds(time: WallTime) -> WallTime {
    WallTime::from_millis(time.millis().div_euclid(1_000) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        Pod::new("shop", "web", PodUid::new("u1"), NodeName::new("n"))
    }

    fn after(seconds: u64) -> Now {
        let elapsed = Duration::from_secs(seconds);
        Now {
            at: Moment::after_origin(elapsed),
            wall: WallTime::from_millis(1_800_000_000_000) + elapsed,
        }
    }

    fn grace(pod: &Pod) -> Option<(i64, u32)> {
        pod.deletion.map(|deletion| {
            let left = deletion.timestamp.millis() - 1_800_000_000_000;
            (left / 1_000, deletion.grace)
        })
    }

    #[test]
    fn a_pod_stops_by_itself_or_is_killed_when_its_grace_is_over() {
        let mut quick = pod();
        assert_eq!(
            quick.terminate(None, Way::Eviction, after(0)),
            Deleted::Stopping
        );
        assert_eq!(quick.reported_at(), Some(after(3).at + REPORT));
        quick.finish();
        assert_eq!(quick.end, Some(End::Stopped(after(3).at)));

        let mut slow = pod();
        slow.stops_after = Duration::from_secs(300);
        slow.terminate(None, Way::Eviction, after(0));
        slow.finish();
        assert_eq!(slow.end, Some(End::Killed(after(30).at)));
        assert_eq!(slow.phase, Phase::Failed);
    }

    #[test]
    fn a_longer_grace_is_taken_at_first_and_ignored_on_a_terminating_pod() {
        let mut pod = pod();
        pod.terminate(Some(60), Way::Eviction, after(0));
        assert_eq!(grace(&pod), Some((60, 60)));
        assert_eq!(
            pod.terminate(Some(90), Way::Eviction, after(1)),
            Deleted::Unchanged
        );
        assert_eq!(
            pod.terminate(Some(60), Way::Eviction, after(1)),
            Deleted::Unchanged
        );
        assert_eq!(pod.signals.len(), 1);
    }

    #[test]
    fn shortening_counts_from_the_first_request_and_signals_again() {
        let mut pod = pod();
        pod.terminate(Some(60), Way::Eviction, after(0));
        pod.terminate(Some(20), Way::Deletion, after(5));
        assert_eq!(grace(&pod), Some((20, 20)));
        assert_eq!(pod.signals.len(), 2);
    }

    #[test]
    fn shortening_into_the_past_leaves_one_second_from_now() {
        let mut pod = pod();
        pod.stops_after = Duration::from_secs(300);
        pod.terminate(Some(60), Way::Eviction, after(0));
        pod.terminate(Some(5), Way::Eviction, after(30));
        assert_eq!(grace(&pod), Some((30, 1)));
        pod.finish();
        assert_eq!(pod.end, Some(End::Killed(after(32).at)));
    }

    #[test]
    fn a_finished_pod_and_a_grace_of_zero_leave_nothing_to_wait_for() {
        let mut finished = pod();
        finished.phase = Phase::Succeeded;
        assert_eq!(
            finished.terminate(None, Way::Eviction, after(0)),
            Deleted::Removed
        );
        assert_eq!(
            pod().terminate(Some(0), Way::Deletion, after(0)),
            Deleted::Removed
        );
    }
}
