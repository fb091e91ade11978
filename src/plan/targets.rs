//! The target groups letting go of the node: look, deregister, look again, until it drains; and look once more later,
//! because others register too.
//!
//! ```text
//!   LeftToController ──it stands still──▶ Look ──registered──▶ Deregister ◀──registered again──┐
//!          │                               │ ◀──────────────────────┘                          │
//!          │                               └──draining──▶ Settled ─────────────────────────────┤
//!          └──it has been there──▶ Follow ──draining, or believed──▲ └──registered──▶ Deregister
//! ```

mod controller;
mod group;
mod pace;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use self::controller::ControllerWatch;
use self::group::{Acknowledgement, Group, Next, Step, Word};
use self::pace::{Pace, Turn};
use super::action::{Outcome, Ports, Request};
use super::binding::{Binding, BindingApi, NamespacedName, Settling, TargetId};
use super::discovery::{Care, KnownGroup};
use super::fact::{DeregisteredState, Fact, SkipReason, TargetErrorKind, TargetNews, TargetTally};
use super::id::TargetGroupArn;
use super::notice::Interruption;
use super::policy::Effect;
use super::task::{Agenda, Task};
use super::time::Moment;

/// The SDK ends an attempt by itself after 2.5 s; this is for what hangs before it, credentials above all.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The account's bucket refills at four tokens a second, shared by all agents and controllers: more calls at once
/// would only be throttled (<https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/api-throttling.html>).
const CALLS_AT_ONCE: usize = 4;

/// No (de)registration is begun later than this before the deadline.
const LAST_CALL_BEFORE_DEADLINE: Duration = Duration::from_secs(5);

/// So many groups of a controller are looked at before the others are believed, besides so many of held pods after each
/// listing of bindings, and so many groups are looked at again at all: fifty nodes that go together make a thousand looks
/// of that, the account has 200 and 50 more a second, and the controller looks from the same bucket.
const GROUPS_A_LOOK: usize = 20;

/// When a group that has let go is looked at again. A controller that had not seen the exclusion label yet registers the
/// node again within seconds; one that starts anew, within a minute.
const LOOKS_AGAIN: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(50),
];

/// A target group that the operator named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfiguredGroup {
    /// The group.
    pub arn: TargetGroupArn,
    /// Which of this instance's ports in it.
    pub ports: Ports,
}

/// What all groups of one interruption have in common.
#[derive(Debug)]
struct Terms {
    first_seen: Moment,
    deadline: Moment,
    effect: Effect,
    settling: Settling,
}

impl Terms {
    fn last_call(&self) -> Moment {
        self.deadline - LAST_CALL_BEFORE_DEADLINE
    }
}

/// All groups of one interruption.
#[derive(Debug)]
pub(super) struct Targets {
    groups: Vec<Group>,
    /// Where each registration is among them.
    places: BTreeMap<(TargetGroupArn, TargetId), usize>,
    terms: Terms,
    /// Groups whose time has come and that wait for a free call.
    ready: VecDeque<usize>,
    /// Groups that are ours to deregister and wait for their turn.
    lined_up: VecDeque<usize>,
    pace: Pace,
    /// The groups that calls are under way for, and since when.
    calling: BTreeMap<usize, Moment>,
    controller: ControllerWatch,
    /// Groups for which pods wait.
    held: BTreeSet<usize>,
    /// Groups that are looked at again after they have let go.
    reviewed: BTreeSet<usize>,
    /// How many groups were looked at because the controller had been there.
    followed: usize,
}

impl Targets {
    /// Starts with the groups that are known.
    pub(super) fn begin(
        known: Vec<KnownGroup>,
        interruption: &Interruption,
        effect: Effect,
        settling: Settling,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Self {
        let mut targets = Self::none(interruption, effect, settling, now);
        targets.learn(known, agenda, now);
        targets
    }

    /// Groups for which nothing may be done.
    pub(super) fn refused(
        known: Vec<KnownGroup>,
        interruption: &Interruption,
        settling: Settling,
        now: Moment,
    ) -> Self {
        Self {
            groups: known.into_iter().map(Group::new).collect(),
            ..Self::none(interruption, Effect::Real, settling, now)
        }
    }

    fn none(interruption: &Interruption, effect: Effect, settling: Settling, now: Moment) -> Self {
        let terms = Terms {
            first_seen: interruption.first_seen,
            deadline: interruption.deadline,
            effect,
            settling,
        };
        Self {
            groups: Vec::new(),
            places: BTreeMap::new(),
            ready: VecDeque::new(),
            lined_up: VecDeque::new(),
            pace: Pace::until(terms.last_call()),
            terms,
            calling: BTreeMap::new(),
            controller: ControllerWatch::begin(interruption, now),
            held: BTreeSet::new(),
            reviewed: BTreeSet::new(),
            followed: 0,
        }
    }

    /// Takes what is known now: new groups begin, and those that nothing was done for yet are known better.
    pub(super) fn learn(&mut self, known: Vec<KnownGroup>, agenda: &mut Agenda, now: Moment) {
        let before = self.groups.len();
        for group in known {
            let name = (group.arn.clone(), group.target.clone());
            let place = *self.places.entry(name).or_insert(self.groups.len());
            match self.groups.get_mut(place) {
                Some(twin) => twin.learn(group),
                None => self.groups.push(Group::new(group)),
            }
        }
        // In random order: agents that start together spread over the groups.
        let mut new: Vec<usize> = (before..self.groups.len()).collect();
        agenda.jitter().shuffle(&mut new);
        let is_left = ControllerWatch::is_worth_waiting_for(&self.terms, now);
        for index in new {
            let Some(group) = self.groups.get_mut(index) else {
                continue;
            };
            if is_left && let Care::Controller(_) = group.known.care {
                group.step = Step::LeftToController;
            } else {
                self.lined_up.push_back(index);
            }
        }
        self.wait_for_controller(agenda, now);
        self.fill_calls(agenda, now);
    }

    /// The deadline has moved closer.
    pub(super) fn tighten(&mut self, deadline: Moment, agenda: &mut Agenda, now: Moment) {
        self.terms.deadline = deadline;
        self.pace.tighten(self.terms.last_call());
        self.fill_calls(agenda, now);
        self.wait_for_controller(agenda, now);
    }

    /// The deadline has come: what has not let go is told.
    pub(super) fn give_up_all(&mut self, agenda: &mut Agenda, now: Moment) {
        for group in &mut self.groups {
            if !group.has_ended() {
                group.give_up(agenda, now);
            }
        }
    }

    /// The Node is another machine's: nothing is sent any more.
    pub(super) fn forbid(&mut self, error: &str, agenda: &mut Agenda, now: Moment) {
        self.ready.clear();
        self.lined_up.clear();
        agenda.close(&Task::Turn);
        for index in 0..self.groups.len() {
            agenda.close(&Task::Group(index));
        }
        self.calling.clear();
        for group in &mut self.groups {
            if !group.has_ended() {
                group.refuse(TargetErrorKind::Denied, error, agenda, now);
            }
        }
        agenda.close(&Task::Controller);
    }

    /// The node does not carry the exclusion label, so no controller knows.
    pub(super) fn handle_unlabelled(&mut self, agenda: &mut Agenda, now: Moment) {
        self.act_directly(agenda, now);
    }

    /// Bindings were listed: the checkpoints show what the controller has done.
    pub(super) fn handle_bindings(
        &mut self,
        bindings: &[Binding],
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let mut left: BTreeMap<&NamespacedName, Vec<usize>> = BTreeMap::new();
        for (index, group) in self.groups.iter().enumerate() {
            if let (Step::LeftToController, Some(name)) = (&group.step, &group.known.binding) {
                left.entry(name).or_default().push(index);
            }
        }
        let mut passed = Vec::new();
        for binding in bindings {
            if self.controller.has_passed(binding, now) {
                let word = self.controller.word(binding);
                let meant = left.get(&binding.name).into_iter().flatten();
                passed.extend(meant.map(|index| (*index, word)));
            }
        }
        passed.sort_by_key(|(index, _)| !self.held.contains(index));
        for (place, (index, word)) in passed.into_iter().enumerate() {
            let Some(group) = self.groups.get_mut(index) else {
                continue;
            };
            let is_looked_at = self.followed < GROUPS_A_LOOK
                || place < GROUPS_A_LOOK && (self.held.contains(&index) || word == Word::Doubtful);
            if is_looked_at {
                self.followed += 1;
                group.step = Step::Follow(word);
                self.ready.push_back(index);
            } else if word == Word::Good {
                group.trust_controller(&self.terms, agenda, now);
            }
        }
        self.wait_for_controller(agenda, now);
        self.fill_calls(agenda, now);
    }

    /// Whether a controller's bindings are worth being listed again.
    pub(super) fn watches(&self, api: BindingApi) -> bool {
        self.groups.iter().any(|group| {
            group.step == Step::LeftToController && group.known.care == Care::Controller(api)
        })
    }

    /// The controller has had its time.
    pub(super) fn handle_controller_due(&mut self, agenda: &mut Agenda, now: Moment) {
        self.wait_for_controller(agenda, now);
        self.fill_calls(agenda, now);
    }

    /// As long as it works, it is waited for; then its part is ours.
    fn wait_for_controller(&mut self, agenda: &mut Agenda, now: Moment) {
        let kept = self.groups.iter().filter(|group| {
            matches!(group.known.care, Care::Controller(_)) && group.step != Step::Failed
        });
        let until = self.controller.until(kept.count(), &self.terms);
        let is_waited_for = self
            .groups
            .iter()
            .any(|group| group.step == Step::LeftToController);
        if !is_waited_for {
            agenda.close(&Task::Controller);
        } else if until <= now {
            self.act_directly(agenda, now);
        } else {
            agenda.wait(Task::Controller, until);
        }
    }

    fn act_directly(&mut self, agenda: &mut Agenda, now: Moment) {
        agenda.close(&Task::Controller);
        let mut left: Vec<usize> = (0..self.groups.len()).collect();
        left.retain(|index| {
            self.groups
                .get(*index)
                .is_some_and(|group| group.step == Step::LeftToController)
        });
        agenda.jitter().shuffle(&mut left);
        left.sort_by_key(|index| !self.held.contains(index));
        for index in left {
            if let Some(group) = self.groups.get_mut(index) {
                group.step = Step::Look;
                self.lined_up.push_back(index);
            }
        }
        self.fill_calls(agenda, now);
    }

    /// A group's time has come.
    pub(super) fn handle_due(&mut self, index: usize, agenda: &mut Agenda, now: Moment) {
        self.ready.push_back(index);
        self.fill_calls(agenda, now);
    }

    /// The next of those that are ours to deregister may ask.
    pub(super) fn handle_turn(&mut self, agenda: &mut Agenda, now: Moment) {
        self.fill_calls(agenda, now);
    }

    /// What a group's load balancer had sent has had its time.
    pub(super) fn handle_settling_due(&self, index: usize, agenda: &mut Agenda, now: Moment) {
        let Some(group) = self.groups.get(index) else {
            return;
        };
        match group.closes(&self.terms) {
            // It was registered again meanwhile.
            Some(closes) if closes > now => agenda.wait(Task::Settling(index), closes),
            Some(_) if group.has_let_go() => {
                agenda.tell(Fact::Target(group.known.fact(), TargetNews::Settled));
            }
            Some(_) => {}
            None => agenda.wait(Task::Settling(index), now + Duration::from_secs(1)),
        }
    }

    /// Takes what came of a look or of a deregistration.
    pub(super) fn handle_outcome(
        &mut self,
        index: usize,
        outcome: Outcome,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let asked = self.calling.remove(&index).unwrap_or(now);
        let Some(group) = self.groups.get_mut(index) else {
            return;
        };
        let next = match outcome {
            Outcome::Targets(targets)
                if group.goes_back(&targets) && self.controller.goes_on(&self.terms, now) =>
            {
                group.step = Step::LeftToController;
                if let Some(binding) = &group.known.binding {
                    self.controller.dismiss(binding);
                }
                self.wait_for_controller(agenda, now);
                Next::Nothing
            }
            Outcome::Targets(targets) => {
                let is_first = group.step == Step::Look && group.deregistrations == 0;
                let next = group.handle_look(&targets, &self.terms, agenda, now);
                if is_first && group.has_ended() {
                    self.pace.handle_unneeded(now);
                }
                next
            }
            Outcome::Failed(failure) => group.handle_failure(failure, &self.terms, agenda, now),
            Outcome::Done
            | Outcome::Notice(_)
            | Outcome::Identity(_)
            | Outcome::Node(_)
            | Outcome::Namespace(_)
            | Outcome::Access(_)
            | Outcome::Found(_)
            | Outcome::Pods { .. } => {
                self.pace.handle_accepted();
                group.handle_deregistered(&self.terms, agenda, now)
            }
        };
        let Some(group) = self.groups.get_mut(index) else {
            return;
        };
        match next {
            Next::Now => self.ready.push_front(index),
            Next::After(wait) => {
                // What was acknowledged may be looked at to the end.
                let limit = if group.step == Step::Look && group.last_one == Acknowledgement::Given
                {
                    self.terms.deadline
                } else {
                    self.terms.last_call()
                };
                if now + wait > limit {
                    group.give_up(agenda, now);
                } else {
                    agenda.wait(Task::Group(index), now + wait);
                }
            }
            Next::InTurn => {
                self.pace.handle_throttled(asked, agenda.jitter(), now);
                self.lined_up.push_back(index);
            }
            Next::Spared => {
                self.review(index, agenda);
                self.spare(agenda, now);
            }
            Next::Nothing => {
                self.review(index, agenda);
            }
        }
        self.fill_calls(agenda, now);
    }

    /// The account's bucket of looks is empty, which the controller looks from as well: what waits for a look that only
    /// confirms what is known goes without.
    fn spare(&mut self, agenda: &mut Agenda, now: Moment) {
        for index in std::mem::take(&mut self.ready) {
            let group = self.groups.get_mut(index);
            if group.is_some_and(|group| group.leave_out(&self.terms, agenda, now)) {
                self.review(index, agenda);
            } else {
                self.ready.push_back(index);
            }
        }
        self.wait_for_controller(agenda, now);
    }

    /// Has a group that let go looked at again, if it is among those.
    fn review(&mut self, index: usize, agenda: &mut Agenda) {
        let Some(group) = self.groups.get(index) else {
            return;
        };
        let is_admitted = self.reviewed.contains(&index)
            || self.reviewed.len() < GROUPS_A_LOOK
            || self.held.contains(&index);
        if let (true, Some(due)) = (is_admitted, group.next_review())
            && due <= self.terms.last_call()
        {
            self.reviewed.insert(index);
            agenda.wait(Task::Group(index), due);
        }
    }

    /// How the registrations stand.
    pub(super) fn tally(&self) -> TargetTally {
        let mut tally = TargetTally::default();
        for group in &self.groups {
            tally.reregistered += group.reregistered;
            for state in group.settled.values() {
                match state {
                    DeregisteredState::Draining => tally.draining += 1,
                    DeregisteredState::NotRegistered | DeregisteredState::GroupGone => {
                        tally.gone += 1;
                    }
                }
            }
            match group.step {
                Step::Failed => tally.failed += group.unsettled_count(),
                Step::LeftToController | Step::Follow(_) | Step::Look | Step::Deregister(_) => {
                    tally.pending += group.unsettled_count();
                }
                Step::Settled | Step::LookAgain => {}
            }
        }
        tally
    }

    /// Whether a registration was given up.
    pub(super) fn has_failed(&self) -> bool {
        let mut failed = self
            .groups
            .iter()
            .filter(|group| group.step == Step::Failed);
        failed.any(|group| group.unsettled_count() > 0)
    }

    /// Whether every group has let go, or has been given up.
    pub(super) fn is_settled(&self) -> bool {
        self.groups.iter().all(Group::has_ended)
    }

    /// When the last registration was ended, if all are.
    pub(super) fn settled_at(&self) -> Option<Moment> {
        let let_go = self.groups.iter().filter(|group| group.has_let_go());
        let last = let_go.filter_map(|group| group.ended).max();
        last.filter(|_| self.is_settled())
    }

    /// The registrations, each with the ports it is known to have and when nothing comes through it any more, as far
    /// as that is known.
    pub(super) fn ways_in(&self) -> impl Iterator<Item = WayIn<'_>> {
        self.groups.iter().enumerate().map(|(index, group)| WayIn {
            index,
            known: &group.known,
            ports: group.ports(),
            is_left: group.step == Step::LeftToController,
            closes: group.closes(&self.terms),
        })
    }

    /// Pods wait for these groups: they are dealt with first, and it is told when they have settled.
    pub(super) fn hold(&mut self, held: BTreeSet<usize>, agenda: &mut Agenda, now: Moment) {
        self.held = held;
        for index in &self.held {
            let Some(group) = self.groups.get_mut(*index) else {
                continue;
            };
            if let Some(closes) = group.closes(&self.terms)
                && closes > now
                && group.has_let_go()
                && !std::mem::replace(&mut group.tells_settling, true)
            {
                agenda.wait(Task::Settling(*index), closes);
            }
        }
    }

    /// The next group that a call may be made for: what was begun goes before what is not.
    fn next_to_call(&mut self, agenda: &mut Agenda, now: Moment) -> Option<usize> {
        if let Some(index) = self.ready.pop_front() {
            return Some(index);
        }
        if self.lined_up.is_empty() {
            return None;
        }
        match self.pace.turn(now) {
            Turn::Now => {
                self.pace.handle_begun(agenda.jitter(), now);
                self.lined_up.pop_front()
            }
            Turn::At(moment) => {
                agenda.wait(Task::Turn, moment);
                None
            }
            Turn::Never => {
                for index in std::mem::take(&mut self.lined_up) {
                    if let Some(group) = self.groups.get_mut(index) {
                        group.give_up(agenda, now);
                    }
                }
                None
            }
        }
    }

    fn fill_calls(&mut self, agenda: &mut Agenda, now: Moment) {
        while self.calling.len() < CALLS_AT_ONCE {
            let Some(index) = self.next_to_call(agenda, now) else {
                return;
            };
            let Some(group) = self.groups.get_mut(index) else {
                continue;
            };
            let known = &group.known;
            let request = match &group.step {
                Step::Settled => {
                    group.step = Step::LookAgain;
                    Request::DescribeTargets(known.arn.clone(), known.target.clone(), known.ports)
                }
                Step::Look | Step::LookAgain | Step::Follow(_) => {
                    Request::DescribeTargets(known.arn.clone(), known.target.clone(), known.ports)
                }
                Step::Deregister(ports) if self.terms.effect == Effect::Rehearsed => {
                    // Deregistering has no dry run.
                    for port in ports {
                        agenda.tell(Fact::Target(
                            group.fact(Some(*port)),
                            TargetNews::Skipped(SkipReason::DryRun),
                        ));
                    }
                    group.end(Step::Settled, now);
                    continue;
                }
                Step::Deregister(_) if now > self.terms.last_call() => {
                    group.give_up(agenda, now);
                    continue;
                }
                Step::Deregister(ports) => {
                    let request = Request::DeregisterTargets(
                        known.arn.clone(),
                        known.target.clone(),
                        ports.clone(),
                    );
                    group.deregistrations += 1;
                    request
                }
                Step::LeftToController | Step::Failed => continue,
            };
            self.calling.insert(index, now);
            agenda.attempt(Task::Group(index), request, Some(now + CALL_TIMEOUT));
        }
    }
}

/// How requests get to this node through one target group.
#[derive(Debug)]
pub(super) struct WayIn<'a> {
    pub(super) index: usize,
    pub(super) known: &'a KnownGroup,
    /// The node's ports it leads to; none as long as they have not been looked at.
    pub(super) ports: Option<Vec<u16>>,
    /// Whether it is left to its controller for now.
    pub(super) is_left: bool,
    /// When nothing comes through it any more; none as long as that cannot be told.
    pub(super) closes: Option<Moment>,
}

/// Tells of groups that nothing could be done about, because the instance's id was never to be had.
pub(super) fn tell_unnamed(groups: Vec<KnownGroup>, agenda: &mut Agenda, now: Moment) {
    for known in groups {
        let mut group = Group::new(known);
        let error = "the metadata service did not say which instance this is";
        group.refuse(TargetErrorKind::Unreachable, error, agenda, now);
    }
}
