//! What would become of each pod "if this node were interrupted now": the planner itself is asked, not a second one.
//!
//! A planner gets a notice and lives through its two minutes in an instant. What it asks for is answered as the real
//! server would, as far as that is known: evictions as told, pods that stop take the whole of the grace they are given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::plan::action::{
    Action, AttemptId, Failure, FailureKind, MachineIdentity, Outcome, Request, Target,
    TargetState, WatchEvent,
};
use crate::plan::budget::{Grace, LONGEST_NOTICE, Window};
use crate::plan::drain::JobPods;
use crate::plan::fact::{BlockReason, Fact, LeftReason, PodNews};
use crate::plan::id::{NodeName, PodUid, ResourceVersion, TargetGroupArn};
use crate::plan::node::{Annotation, NodeView};
use crate::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};
use crate::plan::pod::{BlockedWish, Exemption, PodProgress, PodView, Termination, Wave};
use crate::plan::time::{Moment, Now, WallTime};
use crate::plan::{Mode, Planner, Policy};

/// How the API server would answer the eviction of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum EvictionAnswer {
    /// It would evict it.
    Accepted,
    /// It would refuse, again and again.
    Refused(Failure),
}

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

/// Asks the planner.
#[must_use]
pub fn forecast(question: Question) -> Vec<PodForecast> {
    let views = question.pods.clone();
    let policy = question.policy.clone();
    let agent = question.agent.clone();
    let mut node = World::of(question);
    node.live();
    let deadline = Moment::ORIGIN + LONGEST_NOTICE;
    views
        .into_iter()
        .map(|view| {
            let window = Window::before(deadline, view.grace, view.mounts_claim, &policy.margins);
            let fate = if let Some(exemption) = view.exemption(agent.as_ref()) {
                Fate::Exempt(exemption)
            } else if view.progress == PodProgress::Finished {
                Fate::Finished
            } else if policy.mode != Mode::Full {
                Fate::NotOurs
            } else if let Some(fate) = node.fates.get(&view.pod.uid) {
                *fate
            } else if view.termination.is_some() {
                Fate::Stopping
            } else {
                Fate::Left(LeftReason::Unreachable)
            };
            PodForecast {
                start: start(&view, policy.job_pods),
                stop_by: window.stop_by.since(Moment::ORIGIN),
                last_start: window.last_start.since(Moment::ORIGIN),
                fate,
                blocked: node.blocked.get(&view.pod.uid).copied(),
                view,
            }
        })
        .collect()
}

fn start(view: &PodView, job_pods: JobPods) -> Start {
    match view.wave() {
        Wave::Critical => Start::SecondWave,
        Wave::Ordinary if view.begins_late(job_pods) => Start::Late,
        Wave::Ordinary => Start::AtOnce,
    }
}

/// A node that lives through its interruption, with the planner in the place of the agent.
struct World {
    planner: Planner,
    question: Question,
    at: Moment,
    noticed: Option<Moment>,
    watch: Option<AttemptId>,
    /// When each terminating pod has used up its grace.
    ends: BTreeMap<PodUid, Moment>,
    deregistered: BTreeSet<TargetGroupArn>,
    fates: BTreeMap<PodUid, Fate>,
    blocked: BTreeMap<PodUid, BlockReason>,
    version: u64,
}

/// The planner settles in milliseconds of its own; nothing here takes more steps than this.
const MOST_STEPS: usize = 200_000;

impl World {
    fn of(mut question: Question) -> Self {
        // A record of an earlier interruption is no part of this one.
        question.view.annotation = Annotation::Absent;
        let at = Moment::ORIGIN;
        let now = Now {
            at,
            wall: question.wall,
        };
        let planner = Planner::new(
            question.policy.clone(),
            question.node.clone(),
            question.agent.clone(),
            0,
            now,
        );
        let ends = question
            .pods
            .iter()
            .filter_map(|view| {
                let termination = view.termination?;
                let left = termination.deletion_timestamp.since(question.wall);
                Some((view.pod.uid.clone(), at + left))
            })
            .collect();
        Self {
            planner,
            question,
            at,
            noticed: None,
            watch: None,
            ends,
            deregistered: BTreeSet::new(),
            fates: BTreeMap::new(),
            blocked: BTreeMap::new(),
            version: 1,
        }
    }

    fn now(&self) -> Now {
        Now {
            at: self.at,
            wall: self.question.wall + self.at.since(Moment::ORIGIN),
        }
    }

    fn since_notice(&self) -> Duration {
        self.noticed
            .map_or(Duration::ZERO, |noticed| self.at.since(noticed))
    }

    /// Until the deadline.
    fn live(&mut self) {
        for _ in 0..MOST_STEPS {
            self.settle();
            let due = self.planner.poll_timeout();
            let ends = self.ends.values().min().copied();
            let Some(next) = due.into_iter().chain(ends).min() else {
                return;
            };
            self.at = next.max(self.at);
            if self.noticed.is_some() && self.since_notice() > LONGEST_NOTICE {
                return;
            }
            self.end_pods();
            self.planner.handle_timeout(self.now());
        }
    }

    /// Answers whatever is asked, until nothing is.
    fn settle(&mut self) {
        loop {
            while let Some(fact) = self.planner.poll_fact() {
                self.hear(fact);
            }
            match self.planner.poll_action() {
                None => return,
                Some(Action::Abandon(attempt)) => {
                    self.watch = self.watch.filter(|watch| *watch != attempt);
                }
                Some(Action::Try {
                    attempt, request, ..
                }) => self.answer(attempt, request),
            }
        }
    }

    fn answer(&mut self, attempt: AttemptId, request: Request) {
        let outcome = match request {
            Request::ReadNotice => self.read_notice(),
            Request::ReadIdentity => self.question.identity.clone().map_or_else(
                || Outcome::Failed(failure(FailureKind::TimedOut, None)),
                Outcome::Identity,
            ),
            Request::ReadNode | Request::Cordon(_) => Outcome::Node(self.question.view.clone()),
            Request::ListPods(_) => Outcome::Pods {
                pods: self.question.pods.clone(),
                version: self.version(),
            },
            Request::WatchPods(_) => {
                self.watch = Some(attempt);
                self.watched(WatchEvent::Opened);
                return;
            }
            Request::Evict(pod, grace) => return self.evict(attempt, &pod.uid, grace),
            Request::Delete(pod, grace) => return self.stop(attempt, &pod.uid, grace),
            Request::ReadNamespace(name) => {
                let wish = self.question.namespaces.get(&name).copied();
                Outcome::Namespace(wish.unwrap_or_default())
            }
            Request::DescribeTargets(group, ..) => Outcome::Targets(self.targets(&group)),
            Request::DeregisterTargets(group, ..) => {
                self.deregistered.insert(group);
                Outcome::Done
            }
            Request::MarkDisruption(_) | Request::PublishEvent(_) | Request::ReviewAccess(_) => {
                Outcome::Done
            }
        };
        self.planner.handle_outcome(attempt, outcome, self.now());
    }

    /// The first poll finds none, so that the notice is a new one.
    fn read_notice(&mut self) -> Outcome {
        if self.at == Moment::ORIGIN {
            return Outcome::Notice(None);
        }
        let noticed = *self.noticed.get_or_insert(self.at);
        let wall = self.question.wall + noticed.since(Moment::ORIGIN);
        Outcome::Notice(Some(Announcement {
            action: AnnouncedAction::Known(InterruptionAction::Terminate),
            time: Some(wall + LONGEST_NOTICE),
            server_date: Some(self.now().wall),
        }))
    }

    fn targets(&self, group: &TargetGroupArn) -> Vec<Target> {
        let targets = self.question.targets.get(group).cloned();
        let mut targets = targets.unwrap_or_default();
        if self.deregistered.contains(group) {
            for target in &mut targets {
                target.state = TargetState::Draining;
            }
        }
        targets
    }

    fn evict(&mut self, attempt: AttemptId, uid: &PodUid, grace: Option<Grace>) {
        let is_terminating = self.ends.contains_key(uid);
        let refused = if is_terminating {
            None
        } else {
            self.question.refusals.get(uid).cloned().or_else(|| {
                let is_spent =
                    |allowance: &&Allowance| allowance.allowed == 0 && allowance.pods.contains(uid);
                let spent = self.question.allowances.iter().find(is_spent)?;
                Some(failure(
                    FailureKind::BlockedByBudget,
                    Some(spent.budget.clone()),
                ))
            })
        };
        if let Some(failure) = refused {
            let outcome = Outcome::Failed(failure);
            self.planner.handle_outcome(attempt, outcome, self.now());
            return;
        }
        for allowance in &mut self.question.allowances {
            if !is_terminating && allowance.pods.contains(uid) {
                allowance.allowed = allowance.allowed.saturating_sub(1);
            }
        }
        self.stop(attempt, uid, grace);
    }

    /// The pod is told to stop, and the answer says so, and then the watch.
    fn stop(&mut self, attempt: AttemptId, uid: &PodUid, grace: Option<Grace>) {
        let now = self.now();
        let view = self
            .question
            .pods
            .iter_mut()
            .find(|view| view.pod.uid == *uid);
        let Some(view) = view else {
            let outcome = Outcome::Failed(failure(FailureKind::NotFound, None));
            self.planner.handle_outcome(attempt, outcome, now);
            return;
        };
        let given = grace.map_or(view.grace, |grace| grace.min(view.grace));
        view.termination = Some(Termination {
            deletion_timestamp: now.wall + given.duration(),
            grace: given,
        });
        self.ends.insert(uid.clone(), now.at + given.duration());
        let seen = view.clone();
        self.planner.handle_outcome(attempt, Outcome::Done, now);
        self.version += 1;
        let version = self.version();
        self.watched(WatchEvent::Seen(seen, version));
    }

    /// Those whose grace is used up are gone.
    fn end_pods(&mut self) {
        let gone: Vec<PodUid> = self
            .ends
            .iter()
            .filter(|(_, end)| **end <= self.at)
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in gone {
            self.ends.remove(&uid);
            self.question.pods.retain(|view| view.pod.uid != uid);
            self.version += 1;
            let version = self.version();
            self.watched(WatchEvent::Gone(uid, version));
        }
    }

    fn watched(&mut self, event: WatchEvent) {
        if let Some(watch) = self.watch {
            self.planner.handle_watch_event(watch, event, self.now());
        }
    }

    fn version(&self) -> ResourceVersion {
        ResourceVersion::new(self.version.to_string())
    }

    fn hear(&mut self, fact: Fact) {
        let Fact::Pod(pod, news) = fact else {
            return;
        };
        let uid = pod.pod.uid;
        let after = self.since_notice();
        match news {
            PodNews::Evicted { grace_given, .. } => {
                self.fates.insert(
                    uid,
                    Fate::Evicted {
                        after,
                        given: grace_given,
                    },
                );
            }
            PodNews::Deleted { grace_given, .. } => {
                self.fates.insert(
                    uid,
                    Fate::Deleted {
                        after,
                        given: grace_given,
                    },
                );
            }
            PodNews::Left { reason, .. } => {
                self.fates.insert(uid, Fate::Left(reason));
            }
            PodNews::Blocked { reason, .. } => {
                self.blocked.entry(uid).or_insert(reason);
            }
            PodNews::Gone { .. } => {}
        }
    }
}

fn failure(kind: FailureKind, text: Option<String>) -> Failure {
    Failure {
        kind,
        http_status: None,
        text: text.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::drain::OnBlocked;
    use crate::plan::id::PodRef;
    use crate::plan::node::Scheduling;
    use crate::plan::pod::{Owner, StartWish};

    fn pod(name: &str, grace: u32) -> PodView {
        PodView {
            pod: PodRef {
                namespace: "shop".to_owned(),
                name: name.to_owned(),
                uid: PodUid::new(format!("uid-{name}")),
            },
            owner: Some(Owner {
                kind: "ReplicaSet".to_owned(),
                name: "web".to_owned(),
            }),
            grace: Grace::from_secs(grace),
            progress: PodProgress::Ready,
            termination: None,
            mounts_claim: false,
            priority: 0,
            is_mirror: false,
            start: StartWish::AtOnce,
            when_blocked: BlockedWish::AsConfigured,
            created: None,
        }
    }

    fn question(pods: Vec<PodView>) -> Question {
        Question {
            policy: Policy::default(),
            node: NodeName::new("node"),
            agent: Some(PodUid::new("uid-agent")),
            identity: None,
            view: NodeView {
                uid: "uid-node".to_owned(),
                resource_version: ResourceVersion::new("1"),
                scheduling: Scheduling::Open,
                exclusion_label: None,
                annotation: Annotation::Absent,
                boot_id: None,
            },
            pods,
            refusals: BTreeMap::new(),
            allowances: Vec::new(),
            namespaces: BTreeMap::new(),
            targets: BTreeMap::new(),
            wall: WallTime::from_millis(1_800_000_000_000),
        }
    }

    fn behind_a_closed_budget(name: &str) -> Question {
        let mut question = question(vec![pod(name, 30)]);
        let refused = failure(FailureKind::BlockedByBudget, None);
        question
            .refusals
            .insert(PodUid::new(format!("uid-{name}")), refused);
        question
    }

    /// The fates by name, times in whole seconds.
    fn fates(question: Question) -> Vec<(String, Fate)> {
        forecast(question)
            .into_iter()
            .map(|forecast| (forecast.view.pod.name, forecast.fate))
            .collect()
    }

    fn evicted(after: u64, given: u32) -> Fate {
        Fate::Evicted {
            after: Duration::from_secs(after),
            given: Grace::from_secs(given),
        }
    }

    fn deleted(after: u64, given: u32) -> Fate {
        Fate::Deleted {
            after: Duration::from_secs(after),
            given: Grace::from_secs(given),
        }
    }

    #[test]
    fn each_pod_has_the_fate_and_the_time_that_the_planner_gives_it() {
        let late = PodView {
            start: StartWish::Late,
            ..pod("late", 10)
        };
        let critical = PodView {
            priority: 2_000_000_000,
            ..pod("critical", 10)
        };
        let mirror = PodView {
            is_mirror: true,
            ..pod("mirror", 30)
        };
        let finished = PodView {
            progress: PodProgress::Finished,
            ..pod("finished", 30)
        };
        let pods = vec![
            pod("web", 30),
            pod("ledger", 600),
            late,
            critical,
            mirror,
            finished,
            pod("agent", 30),
        ];
        let fates: Vec<Fate> = fates(question(pods))
            .into_iter()
            .map(|(_, fate)| fate)
            .collect();
        assert_eq!(
            fates,
            [
                evicted(0, 30),
                evicted(0, 112),
                evicted(80, 10),
                evicted(80, 10),
                Fate::Exempt(Exemption::Mirror),
                Fate::Finished,
                Fate::Exempt(Exemption::Agent),
            ]
        );
    }

    #[test]
    fn behind_a_closed_budget_a_pod_is_deleted_at_l_or_left_where_that_is_asked_for() {
        let question = behind_a_closed_budget("db");
        assert_eq!(fates(question.clone())[0].1, deleted(82, 30));
        assert_eq!(
            forecast(question.clone())[0].blocked,
            Some(BlockReason::Budget)
        );
        let mut told_to_wait = question.clone();
        told_to_wait.policy.on_blocked = OnBlocked::Wait;
        assert_eq!(fates(told_to_wait)[0].1, Fate::Left(LeftReason::Wait));
        let mut namespace_waits = question;
        namespace_waits
            .namespaces
            .insert("shop".to_owned(), BlockedWish::Wait);
        assert_eq!(fates(namespace_waits)[0].1, Fate::Left(LeftReason::Wait));
    }

    #[test]
    fn of_two_pods_behind_a_budget_that_allows_one_the_second_is_deleted() {
        let mut question = question(vec![pod("web-0", 30), pod("web-1", 30)]);
        question.allowances.push(Allowance {
            budget: "shop/web".to_owned(),
            allowed: 1,
            pods: ["uid-web-0", "uid-web-1"].map(PodUid::new).into(),
        });
        let fates: Vec<Fate> = fates(question).into_iter().map(|(_, fate)| fate).collect();
        assert_eq!(fates, [evicted(0, 30), deleted(82, 30)]);
    }

    #[test]
    fn beside_another_drainer_every_pod_is_anothers() {
        let mut question = question(vec![pod("web", 30)]);
        question.policy.mode = Mode::DeregisterOnly;
        assert_eq!(fates(question)[0].1, Fate::NotOurs);
    }

    #[test]
    fn a_record_of_an_earlier_interruption_changes_nothing() {
        let mut question = question(vec![pod("web", 30)]);
        question.view.annotation = Annotation::Unknown("{}".to_owned());
        assert_eq!(fates(question)[0].1, evicted(0, 30));
    }
}
