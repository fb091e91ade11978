//! What would become of each pod "if this node were interrupted now": the planner itself is asked, not a second one.
//!
//! A planner gets a notice and lives through its two minutes in an instant. What it asks for is answered as the real
//! server would, as far as that is known: evictions as told, pods that stop take the whole of the grace they are given.

mod fate;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use self::fate::{Allowance, Fate, PodForecast, Question, Start};

use crate::plan::action::{
    Action, AttemptId, Failure, FailureKind, Outcome, Request, Target, TargetState, WatchEvent,
};
use crate::plan::budget::{Grace, LONGEST_NOTICE, Window};
use crate::plan::drain::JobPods;
use crate::plan::fact::{BlockReason, Fact, LeftReason, PodNews};
use crate::plan::id::{PodUid, ResourceVersion, TargetGroupArn};
use crate::plan::node::Annotation;
use crate::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};
use crate::plan::pod::{PodProgress, PodView, Termination, Wave};
use crate::plan::time::{Moment, Now};
use crate::plan::{Mode, Planner};

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
            Request::ReadNode | Request::Cordon(_) | Request::Undo(_) => {
                Outcome::Node(self.question.view.clone())
            }
            Request::Find(inquiry) => self.question.front.answer(&inquiry),
            Request::WarmBalancer => Outcome::Done,
            Request::ListPods(..) => Outcome::Pods {
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
