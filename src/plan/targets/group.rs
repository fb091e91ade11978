//! One target group: what is registered there, and what became of each attempt to end it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{LOOKS_AGAIN, Terms};
use crate::plan::action::{Failure, FailureKind, Ports, Target, TargetState};
use crate::plan::discovery::{Care, KnownGroup};
use crate::plan::fact::{
    DeregisteredState, Deregistrar, Fact, TargetErrorKind, TargetFact, TargetNews,
};
use crate::plan::policy::Effect;
use crate::plan::task::{Agenda, doubled};
use crate::plan::time::Moment;

/// Full jitter over 0.25 s, doubled with each try, up to 5 s.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Group {
    pub(super) known: KnownGroup,
    pub(super) step: Step,
    /// Deregistrations sent.
    pub(super) deregistrations: u32,
    /// What came of the last of them.
    pub(super) last_one: Acknowledgement,
    failures: u32,
    has_renewed_credentials: bool,
    /// The ports that have ended, and how.
    pub(super) settled: BTreeMap<Option<u16>, DeregisteredState>,
    /// Of which ports that has been told.
    told: BTreeSet<Option<u16>>,
    seen: BTreeSet<u16>,
    has_been_looked_at: bool,
    last_failure: Option<Failure>,
    /// When it had let go, or was given up.
    pub(super) ended: Option<Moment>,
    /// How often it was looked at after it had let go.
    reviews: usize,
    pub(super) reregistered: u32,
    pub(super) tells_settling: bool,
}

/// What a controller's checkpoint is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is of work that began when the node carried the label.
    Good,
    /// It may be of work that had begun before.
    Doubtful,
}

/// Where a group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The controller that keeps its binding ends the registration, as long as it works.
    LeftToController,
    /// The controller has been there: whether it has done its part is to be read.
    Follow(Word),
    /// Its registrations are to be read.
    Look,
    /// These ports are being deregistered.
    Deregister(Vec<u16>),
    /// It has let go.
    Settled,
    /// It had let go, and is being looked at once more.
    LookAgain,
    /// It would not.
    Failed,
}

/// Whether the last deregistration was accepted, and nothing seen since that says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledgement {
    Missing,
    Given,
}

/// What a group needs next.
pub(super) enum Next {
    Now,
    After(Duration),
    /// When the account's bucket may have filled again.
    InTurn,
    /// Nothing, nor do others that are as little needed.
    Spared,
    Nothing,
}

impl Group {
    pub(super) fn new(known: KnownGroup) -> Self {
        Self {
            known,
            step: Step::Look,
            deregistrations: 0,
            last_one: Acknowledgement::Missing,
            failures: 0,
            has_renewed_credentials: false,
            settled: BTreeMap::new(),
            told: BTreeSet::new(),
            seen: BTreeSet::new(),
            has_been_looked_at: false,
            last_failure: None,
            ended: None,
            reviews: 0,
            reregistered: 0,
            tells_settling: false,
        }
    }

    /// What is known better now counts as long as nothing was done by what was known before.
    pub(super) fn learn(&mut self, known: KnownGroup) {
        if self.step == Step::LeftToController {
            self.known = known;
        } else {
            self.known.kind = self.known.kind.or(known.kind);
        }
    }

    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.step, Step::Settled | Step::LookAgain | Step::Failed)
    }

    pub(super) const fn has_let_go(&self) -> bool {
        matches!(self.step, Step::Settled | Step::LookAgain)
    }

    /// The node's ports it leads to; none as long as nobody knows.
    pub(super) fn ports(&self) -> Option<Vec<u16>> {
        match self.known.ports {
            Ports::Only(port) => Some(vec![port]),
            Ports::All if self.has_been_looked_at || self.step == Step::Failed => {
                // What drains already when it is first looked at led here as well.
                let ended = self.settled.keys().copied().flatten();
                let ports: BTreeSet<u16> = self.seen.iter().copied().chain(ended).collect();
                Some(ports.into_iter().collect())
            }
            Ports::All => None,
        }
    }

    /// When nothing comes through it any more. What never led here, or will not let go, is waited for no longer.
    pub(super) fn closes(&self, terms: &Terms) -> Option<Moment> {
        let ended = self.ended?;
        match self.step {
            Step::Failed => Some(ended),
            Step::Settled | Step::LookAgain => {
                let drains = self
                    .settled
                    .values()
                    .any(|state| *state == DeregisteredState::Draining);
                Some(
                    if drains || !self.seen.is_empty() && terms.effect == Effect::Real {
                        ended + terms.settling.of(self.known.kind)
                    } else {
                        ended
                    },
                )
            }
            Step::LeftToController | Step::Follow(_) | Step::Look | Step::Deregister(_) => None,
        }
    }

    /// When it is looked at again although it has let go.
    pub(super) fn next_review(&self) -> Option<Moment> {
        let is_there = self
            .settled
            .values()
            .any(|state| *state != DeregisteredState::GroupGone);
        if self.step != Step::Settled || !is_there || !self.has_been_looked_at {
            return None;
        }
        Some(self.ended? + *LOOKS_AGAIN.get(self.reviews)?)
    }

    pub(super) fn end(&mut self, step: Step, now: Moment) {
        self.step = step;
        self.ended = Some(now);
    }

    /// Whether what was seen shows that the controller has yet to come: it was not here since it knew of the node.
    pub(super) fn goes_back(&self, targets: &[Target]) -> bool {
        let mut states = targets.iter().map(|target| target.state);
        self.step == Step::Follow(Word::Doubtful)
            && states.any(|state| state == TargetState::Registered)
    }

    pub(super) fn handle_look(
        &mut self,
        targets: &[Target],
        terms: &Terms,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Next {
        let is_review = self.step == Step::LookAgain;
        self.has_been_looked_at = true;
        let mut registered = Vec::new();
        for target in targets {
            let state = match target.state {
                TargetState::Registered => {
                    registered.push(target.port);
                    continue;
                }
                TargetState::Draining => DeregisteredState::Draining,
                TargetState::NotRegistered => DeregisteredState::NotRegistered,
            };
            self.settle(Some(target.port), state, terms, agenda, now);
        }
        if is_review {
            self.reviews += 1;
            self.tell_registered_again(&registered, agenda);
        }
        self.seen.extend(&registered);
        self.settle_unlisted(targets, terms, agenda, now);
        if !registered.is_empty() {
            self.settled.remove(&None);
            for port in &registered {
                self.settled.remove(&Some(*port));
            }
            self.ended = None;
            self.last_one = Acknowledgement::Missing;
            self.step = Step::Deregister(registered);
            return Next::Now;
        }
        if self.settled.is_empty() {
            self.settle(None, DeregisteredState::NotRegistered, terms, agenda, now);
        }
        if is_review {
            self.step = Step::Settled;
        } else {
            self.end(Step::Settled, now);
        }
        Next::Nothing
    }

    /// What was registered and is not listed any more has ended its deregistration delay.
    fn settle_unlisted(
        &mut self,
        targets: &[Target],
        terms: &Terms,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let is_listed = |port: &u16| targets.iter().any(|target| target.port == *port);
        let ended: Vec<u16> = self
            .seen
            .iter()
            .copied()
            .filter(|port| !is_listed(port))
            .collect();
        for port in ended {
            self.settle(
                Some(port),
                DeregisteredState::NotRegistered,
                terms,
                agenda,
                now,
            );
        }
    }

    fn tell_registered_again(&mut self, registered: &[u16], agenda: &mut Agenda) {
        for port in registered {
            self.reregistered += 1;
            let news = TargetNews::Reregistered {
                count: self.reregistered,
            };
            agenda.tell(Fact::Target(self.fact(Some(*port)), news));
        }
    }

    pub(super) fn handle_deregistered(
        &mut self,
        terms: &Terms,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Next {
        if self.is_blind() {
            // Nobody may look: the acknowledgement is all there is.
            if let Ports::Only(port) = self.known.ports {
                self.settle(Some(port), DeregisteredState::Draining, terms, agenda, now);
            }
            self.end(Step::Settled, now);
            return Next::Nothing;
        }
        self.last_one = Acknowledgement::Given;
        self.step = Step::Look;
        Next::After(
            agenda
                .jitter()
                .up_to(doubled(FIRST_WAIT, self.deregistrations, LONGEST_WAIT)),
        )
    }

    /// The controller's checkpoint says that it has been here, and there are too many groups to look at each.
    pub(super) fn trust_controller(&mut self, terms: &Terms, agenda: &mut Agenda, now: Moment) {
        let port = match self.known.ports {
            Ports::All => None,
            Ports::Only(port) => Some(port),
        };
        self.settle(port, DeregisteredState::Draining, terms, agenda, now);
        self.end(Step::Settled, now);
    }

    pub(super) fn handle_failure(
        &mut self,
        failure: Failure,
        terms: &Terms,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Next {
        if self.step == Step::LookAgain {
            // It had let go; the next look tells whether that still holds.
            self.reviews += 1;
            self.step = Step::Settled;
            return if matches!(failure.kind, FailureKind::Throttled(_)) {
                Next::Spared
            } else {
                Next::Nothing
            };
        }
        self.failures += 1;
        let kind = failure.kind;
        let was_looking = matches!(self.step, Step::Look | Step::Follow(_));
        self.last_failure = Some(failure);
        match kind {
            FailureKind::NotFound => {
                let ports: Vec<Option<u16>> = if self.seen.is_empty() {
                    vec![None]
                } else {
                    self.seen.iter().copied().map(Some).collect()
                };
                for port in ports {
                    self.settle(port, DeregisteredState::GroupGone, terms, agenda, now);
                }
                self.end(Step::Settled, now);
                Next::Nothing
            }
            FailureKind::Forbidden => match self.known.ports {
                Ports::Only(port) if was_looking && self.deregistrations == 0 => {
                    self.step = Step::Deregister(vec![port]);
                    Next::Now
                }
                Ports::Only(_) | Ports::All => {
                    self.give_up(agenda, now);
                    Next::Nothing
                }
            },
            FailureKind::Invalid => {
                self.give_up(agenda, now);
                Next::Nothing
            }
            FailureKind::Unauthenticated if self.has_renewed_credentials => {
                self.give_up(agenda, now);
                Next::Nothing
            }
            FailureKind::Unauthenticated => {
                self.has_renewed_credentials = true;
                Next::Now
            }
            FailureKind::Throttled(_) => self.handle_throttled(terms, agenda, now),
            FailureKind::Unreachable(_)
            | FailureKind::Lost
            | FailureKind::TimedOut
            | FailureKind::BlockedByBudget
            | FailureKind::TwoBudgets
            | FailureKind::NamespaceTerminating
            | FailureKind::Conflict
            | FailureKind::Expired
            | FailureKind::ServerError
            | FailureKind::Unreadable
            | FailureKind::HopLimit
            | FailureKind::Panicked => {
                self.look_before_the_next_try();
                Next::After(
                    agenda
                        .jitter()
                        .up_to(doubled(FIRST_WAIT, self.failures, LONGEST_WAIT)),
                )
            }
        }
    }

    /// Many ask at once. What is needed is asked for again, in turn; what only confirms what is known, not.
    fn handle_throttled(&mut self, terms: &Terms, agenda: &mut Agenda, now: Moment) -> Next {
        match self.step {
            Step::Follow(_) => {
                self.leave_out(terms, agenda, now);
                Next::Spared
            }
            // What was accepted needs no turn: only a look that says so is missing.
            Step::Look if self.last_one == Acknowledgement::Given => {
                Next::After(agenda.jitter().up_to(LONGEST_WAIT))
            }
            Step::LeftToController
            | Step::Look
            | Step::Deregister(_)
            | Step::Settled
            | Step::LookAgain
            | Step::Failed => {
                self.look_before_the_next_try();
                Next::InTurn
            }
        }
    }

    /// It is not looked at this time, if all that is to be read is whether others have done their part: what the controller
    /// says is believed, or the next listing has it looked at. Whether that is so.
    pub(super) fn leave_out(&mut self, terms: &Terms, agenda: &mut Agenda, now: Moment) -> bool {
        match self.step {
            Step::Follow(Word::Good) => self.trust_controller(terms, agenda, now),
            Step::Follow(Word::Doubtful) => self.step = Step::LeftToController,
            Step::Settled => self.reviews += 1,
            Step::LeftToController
            | Step::Look
            | Step::Deregister(_)
            | Step::LookAgain
            | Step::Failed => return false,
        }
        true
    }

    /// The look has another and larger bucket, and maybe somebody else did it meanwhile.
    fn look_before_the_next_try(&mut self) {
        if !self.is_blind() && !matches!(self.step, Step::Follow(_)) {
            self.step = Step::Look;
        }
    }

    /// Whether the port to deregister is known although the group may not be looked at.
    fn is_blind(&self) -> bool {
        matches!(self.known.ports, Ports::Only(_))
            && self.seen.is_empty()
            && matches!(self.step, Step::Deregister(_))
    }

    fn settle(
        &mut self,
        port: Option<u16>,
        state: DeregisteredState,
        terms: &Terms,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        // While it drains nobody says so twice; later it is not there any more, which changes nothing.
        self.settled.entry(port).or_insert(state);
        if !self.told.insert(port) {
            return;
        }
        let by = match self.known.care {
            Care::Ours | Care::Controller(_) if self.deregistrations > 0 => Deregistrar::Us,
            Care::Controller(_) => Deregistrar::Controller,
            Care::Ours => Deregistrar::Other,
        };
        let news = TargetNews::Deregistered {
            state,
            by,
            attempts: self.deregistrations,
            elapsed: now.since(terms.first_seen),
        };
        agenda.tell(Fact::Target(self.fact(port), news));
    }

    pub(super) fn give_up(&mut self, agenda: &mut Agenda, now: Moment) {
        let (kind, error) = self.last_failure.as_ref().map_or_else(
            || {
                let error = "the registration is still there after its deregistration".to_owned();
                (TargetErrorKind::Unreachable, error)
            },
            |failure| (error_kind(failure.kind), failure.text.clone()),
        );
        self.refuse(kind, &error, agenda, now);
    }

    /// It is not tried any further.
    pub(super) fn refuse(
        &mut self,
        kind: TargetErrorKind,
        error: &str,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.end(Step::Failed, now);
        for port in self.unsettled() {
            let news = TargetNews::Failed {
                kind,
                error: error.to_owned(),
                attempts: self.deregistrations,
            };
            agenda.tell(Fact::Target(self.fact(port), news));
        }
    }

    /// The registrations that have not ended; one without a port when none could be read.
    fn unsettled(&self) -> Vec<Option<u16>> {
        let named = match self.known.ports {
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

    pub(super) fn unsettled_count(&self) -> u32 {
        self.unsettled().len().try_into().unwrap_or(u32::MAX)
    }

    pub(super) fn fact(&self, port: Option<u16>) -> TargetFact {
        TargetFact {
            port,
            ..self.known.fact()
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
