//! The target groups letting go of the instance: look, deregister, look again, until it drains.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::action::{Failure, FailureKind, Outcome, Ports, Request, Target, TargetState};
use super::fact::{
    DeregisteredState, Deregistrar, Fact, SkipReason, TargetErrorKind, TargetFact, TargetNews,
    TargetTally,
};
use super::id::{InstanceId, TargetGroupArn};
use super::notice::Interruption;
use super::policy::Effect;
use super::task::{Agenda, Task, doubled};
use super::time::Moment;

/// The SDK ends an attempt by itself after 2.5 s; this is for what hangs before it, credentials above all.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The account's bucket refills at four tokens a second, shared by all agents and controllers: more calls at once
/// would only be throttled (<https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/api-throttling.html>).
const CALLS_AT_ONCE: usize = 4;

/// No (de)registration is begun later than this before the deadline.
const LAST_CALL_BEFORE_DEADLINE: Duration = Duration::from_secs(5);

/// Full jitter over 0.25 s, doubled with each try, up to 5 s.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A target group that the operator named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfiguredGroup {
    /// The group.
    pub arn: TargetGroupArn,
    /// Which of this instance's ports in it.
    pub ports: Ports,
}

/// All groups of one interruption.
#[derive(Debug)]
pub(super) struct Targets {
    groups: Vec<Group>,
    first_seen: Moment,
    last_call: Moment,
    /// Groups whose time has come and that wait for a free call.
    ready: VecDeque<usize>,
    calling: BTreeSet<usize>,
    last_settled: Option<Moment>,
    effect: Effect,
}

#[derive(Debug)]
struct Group {
    arn: TargetGroupArn,
    ports: Ports,
    step: Step,
    /// Deregistrations sent.
    deregistrations: u32,
    failures: u32,
    has_renewed_credentials: bool,
    /// The ports that were seen registered, and whether we had sent a deregistration for them.
    settled: BTreeMap<Option<u16>, DeregisteredState>,
    seen: BTreeSet<u16>,
    last_failure: Option<Failure>,
}

/// Where a group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Its registrations are to be read.
    Look,
    /// These ports are being deregistered.
    Deregister(Vec<u16>),
    /// It has let go.
    Settled,
    /// It would not.
    Failed,
}

impl Targets {
    /// Starts with a look at every group, in random order: agents that start together spread over the groups.
    pub(super) fn begin(
        groups: &[ConfiguredGroup],
        interruption: &Interruption,
        instance: &InstanceId,
        effect: Effect,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Self {
        let mut order: Vec<usize> = (0..groups.len()).collect();
        agenda.jitter().shuffle(&mut order);
        let mut targets = Self {
            groups: groups.iter().map(Group::new).collect(),
            first_seen: interruption.first_seen,
            last_call: interruption.deadline - LAST_CALL_BEFORE_DEADLINE,
            ready: order.into(),
            calling: BTreeSet::new(),
            last_settled: None,
            effect,
        };
        targets.fill_calls(instance, agenda, now);
        targets
    }

    /// The deadline has moved closer.
    pub(super) fn tighten(&mut self, deadline: Moment) {
        self.last_call = deadline - LAST_CALL_BEFORE_DEADLINE;
    }

    /// The deadline has come: what has not let go is told.
    pub(super) fn give_up_all(&mut self, agenda: &mut Agenda) {
        for group in &mut self.groups {
            if !matches!(group.step, Step::Settled | Step::Failed) {
                group.give_up(agenda);
            }
        }
    }

    /// A group's time has come.
    pub(super) fn handle_due(
        &mut self,
        index: usize,
        instance: &InstanceId,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.ready.push_back(index);
        self.fill_calls(instance, agenda, now);
    }

    /// Takes what came of a look or of a deregistration.
    pub(super) fn handle_outcome(
        &mut self,
        index: usize,
        outcome: Outcome,
        instance: &InstanceId,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.calling.remove(&index);
        let Some(group) = self.groups.get_mut(index) else {
            return;
        };
        let next = match outcome {
            Outcome::Targets(targets) => group.handle_look(&targets, self.first_seen, agenda, now),
            Outcome::Failed(failure) => group.handle_failure(failure, self.first_seen, agenda, now),
            Outcome::Done
            | Outcome::Notice(_)
            | Outcome::Identity(_)
            | Outcome::Node(_)
            | Outcome::Namespace(_)
            | Outcome::Access(_)
            | Outcome::Pods { .. } => group.handle_deregistered(self.first_seen, agenda, now),
        };
        match next {
            Next::Now => self.ready.push_front(index),
            Next::After(wait) => {
                if now + wait > self.last_call {
                    group.give_up(agenda);
                } else {
                    agenda.wait(Task::Group(index), now + wait);
                }
            }
            Next::Nothing => self.last_settled = Some(now),
        }
        self.fill_calls(instance, agenda, now);
    }

    /// How the registrations stand.
    pub(super) fn tally(&self) -> TargetTally {
        let mut tally = TargetTally::default();
        for group in &self.groups {
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
                Step::Look | Step::Deregister(_) => tally.pending += group.unsettled_count(),
                Step::Settled => {}
            }
        }
        tally
    }

    /// Whether every group has let go, or has been given up.
    pub(super) fn is_settled(&self) -> bool {
        self.groups
            .iter()
            .all(|group| matches!(group.step, Step::Settled | Step::Failed))
    }

    /// When the last registration was ended, if all are.
    pub(super) fn settled_at(&self) -> Option<Moment> {
        self.last_settled.filter(|_| self.is_settled())
    }

    fn fill_calls(&mut self, instance: &InstanceId, agenda: &mut Agenda, now: Moment) {
        while self.calling.len() < CALLS_AT_ONCE {
            let Some(index) = self.ready.pop_front() else {
                return;
            };
            let Some(group) = self.groups.get_mut(index) else {
                continue;
            };
            let request = match &group.step {
                Step::Look => {
                    Request::DescribeTargets(group.arn.clone(), instance.clone(), group.ports)
                }
                Step::Deregister(ports) if self.effect == Effect::Rehearsed => {
                    // Deregistering has no dry run.
                    for port in ports {
                        let target = group.target(Some(*port));
                        agenda.tell(Fact::Target(
                            target,
                            TargetNews::Skipped(SkipReason::DryRun),
                        ));
                    }
                    group.step = Step::Settled;
                    continue;
                }
                Step::Deregister(ports) => {
                    group.deregistrations += 1;
                    Request::DeregisterTargets(group.arn.clone(), instance.clone(), ports.clone())
                }
                Step::Settled | Step::Failed => continue,
            };
            self.calling.insert(index);
            agenda.attempt(Task::Group(index), request, Some(now + CALL_TIMEOUT));
        }
    }
}

/// What a group needs next.
enum Next {
    Now,
    After(Duration),
    Nothing,
}

impl Group {
    fn new(configured: &ConfiguredGroup) -> Self {
        Self {
            arn: configured.arn.clone(),
            ports: configured.ports,
            step: Step::Look,
            deregistrations: 0,
            failures: 0,
            has_renewed_credentials: false,
            settled: BTreeMap::new(),
            seen: BTreeSet::new(),
            last_failure: None,
        }
    }

    fn handle_look(
        &mut self,
        targets: &[Target],
        first_seen: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Next {
        let mut registered = Vec::new();
        for target in targets {
            let state = match target.state {
                TargetState::Registered => {
                    self.seen.insert(target.port);
                    registered.push(target.port);
                    continue;
                }
                TargetState::Draining => DeregisteredState::Draining,
                TargetState::NotRegistered => DeregisteredState::NotRegistered,
            };
            self.settle(Some(target.port), state, first_seen, agenda, now);
        }
        // What was registered and is not listed any more has ended its deregistration delay.
        let ended: Vec<u16> = self
            .seen
            .iter()
            .copied()
            .filter(|port| !targets.iter().any(|target| target.port == *port))
            .collect();
        for port in ended {
            self.settle(
                Some(port),
                DeregisteredState::NotRegistered,
                first_seen,
                agenda,
                now,
            );
        }
        if !registered.is_empty() {
            self.step = Step::Deregister(registered);
            return Next::Now;
        }
        if self.settled.is_empty() {
            self.settle(
                None,
                DeregisteredState::NotRegistered,
                first_seen,
                agenda,
                now,
            );
        }
        self.step = Step::Settled;
        Next::Nothing
    }

    fn handle_deregistered(
        &mut self,
        first_seen: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Next {
        if self.is_blind() {
            // Nobody may look: the acknowledgement is all there is.
            if let Ports::Only(port) = self.ports {
                self.settle(
                    Some(port),
                    DeregisteredState::Draining,
                    first_seen,
                    agenda,
                    now,
                );
            }
            self.step = Step::Settled;
            return Next::Nothing;
        }
        self.step = Step::Look;
        Next::After(
            agenda
                .jitter()
                .up_to(doubled(FIRST_WAIT, self.deregistrations, LONGEST_WAIT)),
        )
    }

    fn handle_failure(
        &mut self,
        failure: Failure,
        first_seen: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Next {
        self.failures += 1;
        let kind = failure.kind;
        let was_looking = self.step == Step::Look;
        self.last_failure = Some(failure);
        match kind {
            FailureKind::NotFound => {
                let ports: Vec<Option<u16>> = if self.seen.is_empty() {
                    vec![None]
                } else {
                    self.seen.iter().copied().map(Some).collect()
                };
                for port in ports {
                    self.settle(port, DeregisteredState::GroupGone, first_seen, agenda, now);
                }
                self.step = Step::Settled;
                Next::Nothing
            }
            FailureKind::Forbidden => match self.ports {
                Ports::Only(port) if was_looking && self.deregistrations == 0 => {
                    self.step = Step::Deregister(vec![port]);
                    Next::Now
                }
                Ports::Only(_) | Ports::All => {
                    self.give_up(agenda);
                    Next::Nothing
                }
            },
            FailureKind::Invalid => {
                self.give_up(agenda);
                Next::Nothing
            }
            FailureKind::Unauthenticated if self.has_renewed_credentials => {
                self.give_up(agenda);
                Next::Nothing
            }
            FailureKind::Unauthenticated => {
                self.has_renewed_credentials = true;
                Next::Now
            }
            FailureKind::Unreachable(_)
            | FailureKind::Lost
            | FailureKind::TimedOut
            | FailureKind::BlockedByBudget
            | FailureKind::TwoBudgets
            | FailureKind::Throttled(_)
            | FailureKind::NamespaceTerminating
            | FailureKind::Conflict
            | FailureKind::Expired
            | FailureKind::ServerError
            | FailureKind::Unreadable
            | FailureKind::HopLimit
            | FailureKind::Panicked => {
                // The look has another and larger bucket, and maybe somebody else did it meanwhile.
                if !self.is_blind() {
                    self.step = Step::Look;
                }
                Next::After(
                    agenda
                        .jitter()
                        .up_to(doubled(FIRST_WAIT, self.failures, LONGEST_WAIT)),
                )
            }
        }
    }

    /// Whether the port to deregister is known although the group may not be looked at.
    fn is_blind(&self) -> bool {
        matches!(self.ports, Ports::Only(_))
            && self.seen.is_empty()
            && matches!(self.step, Step::Deregister(_))
    }

    fn settle(
        &mut self,
        port: Option<u16>,
        state: DeregisteredState,
        first_seen: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if self.settled.insert(port, state).is_some() {
            return;
        }
        let by = if self.deregistrations > 0 {
            Deregistrar::Us
        } else {
            Deregistrar::Other
        };
        let news = TargetNews::Deregistered {
            state,
            by,
            attempts: self.deregistrations,
            elapsed: now.since(first_seen),
        };
        agenda.tell(Fact::Target(self.target(port), news));
    }

    fn give_up(&mut self, agenda: &mut Agenda) {
        self.step = Step::Failed;
        let (kind, error) = self.last_failure.as_ref().map_or_else(
            || {
                let error = "the registration is still there after its deregistration".to_owned();
                (TargetErrorKind::Unreachable, error)
            },
            |failure| (error_kind(failure.kind), failure.text.clone()),
        );
        for port in self.unsettled() {
            let news = TargetNews::Failed {
                kind,
                error: error.clone(),
                attempts: self.deregistrations,
            };
            agenda.tell(Fact::Target(self.target(port), news));
        }
    }

    /// The registrations that have not ended; one without a port when none could be read.
    fn unsettled(&self) -> Vec<Option<u16>> {
        let named = match self.ports {
            Ports::Only(port) => Some(port),
            Ports::All => None,
        };
        let open: Vec<Option<u16>> = self
            .seen
            .iter()
            .copied()
            .map(Some)
            .filter(|port| !self.settled.contains_key(port))
            .collect();
        if open.is_empty() && self.settled.is_empty() {
            vec![named]
        } else {
            open
        }
    }

    fn unsettled_count(&self) -> u32 {
        self.unsettled().len().try_into().unwrap_or(u32::MAX)
    }

    fn target(&self, port: Option<u16>) -> TargetFact {
        TargetFact {
            group: self.arn.clone(),
            port,
        }
    }
}

/// Tells of groups that nothing could be done about, because the instance's id was never to be had.
pub(super) fn tell_unnamed(groups: &[ConfiguredGroup], agenda: &mut Agenda) {
    for configured in groups {
        let group = Group::new(configured);
        for port in group.unsettled() {
            let news = TargetNews::Failed {
                kind: TargetErrorKind::Unreachable,
                error: "the metadata service did not say which instance this is".to_owned(),
                attempts: 0,
            };
            agenda.tell(Fact::Target(group.target(port), news));
        }
    }
}

fn error_kind(kind: FailureKind) -> TargetErrorKind {
    match kind {
        FailureKind::Forbidden => TargetErrorKind::Denied,
        FailureKind::Throttled(_) => TargetErrorKind::Throttled,
        FailureKind::Invalid => TargetErrorKind::BadArn,
        FailureKind::Unauthenticated => TargetErrorKind::ExpiredToken,
        FailureKind::Unreachable(_)
        | FailureKind::Lost
        | FailureKind::TimedOut
        | FailureKind::BlockedByBudget
        | FailureKind::TwoBudgets
        | FailureKind::NamespaceTerminating
        | FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::Expired
        | FailureKind::ServerError
        | FailureKind::Unreadable
        | FailureKind::HopLimit
        | FailureKind::Panicked => TargetErrorKind::Unreachable,
    }
}
