//! One pod's way off the node: where it stands, and what happened to the calls made for it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{FORBIDDEN_TRIES, OnBlocked, Terms};
use crate::plan::action::{Failure, FailureKind};
use crate::plan::budget::{Grace, Window};
use crate::plan::fact::{
    BlockReason, DeleteReason, Fact, GoneOutcome, LeftReason, PodFact, PodNews,
};
use crate::plan::pod::{BlockedWish, Exemption, PodProgress, PodView, Termination};
use crate::plan::task::{Agenda, Task, doubled};
use crate::plan::time::{Moment, WallTime};

/// An acknowledged write shows in a watch within milliseconds; after this the watch is not believed any more.
pub(super) const ACKNOWLEDGEMENT: Duration = Duration::from_secs(3);

/// So long after a call was sent a slow server may still carry it out: a call is given up after 12 s (the server's own
/// limit for serialised evictions is 10 s), and the server does not stop at once when its client hangs up.
const STILL_AT_WORK: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) view: PodView,
    pub(super) window: Window,
    /// When its first call is due as far as others go that the server has to serve.
    pub(super) put_off_to: Option<Moment>,
    pub(super) on_blocked: OnBlocked,
    pub(super) course: Course,
    pub(super) record: Record,
    pub(super) registered: Registered,
}

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Course {
    /// It is left alone.
    Exempt(Exemption),
    /// It had finished before anything was done to it.
    Finished,
    /// It waits, for its time or for a slot.
    Waiting,
    /// A call is under way.
    Calling {
        call: Call,
        grace: Option<Grace>,
        sent: Moment,
    },
    /// The server says that it is done or that there is nothing to do; the watch has not shown it yet.
    Answered {
        answer: Answer,
        call: Call,
        sent: Moment,
        at: Moment,
    },
    /// It is terminating.
    Stopping {
        since: Moment,
        given: Grace,
        ends: WallTime,
    },
    /// It is gone.
    Gone(GoneOutcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Evict,
    Delete(DeleteReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 201 or 200.
    Accepted,
    /// 404, or the UID is another's.
    Vanished,
}

/// What happened to a pod's calls.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) attempts: u32,
    pub(super) first_call: Option<Moment>,
    /// Which call was sent last, and when.
    pub(super) last_call: Option<(Call, Moment)>,
    pub(super) was_answered: bool,
    pub(super) doubt: Doubt,
    /// When the last call was sent that nobody answered, or nobody who knows.
    pub(super) unanswered: Option<Moment>,
    pub(super) refusals: u32,
    pub(super) failures: u32,
    pub(super) forbidden: u32,
    /// Set when only a deletion can work.
    pub(super) must_delete: Option<DeleteReason>,
    pub(super) blocked: BTreeSet<BlockReason>,
    pub(super) deleted: bool,
    pub(super) stop: Option<StopSignal>,
    pub(super) last_error: Option<String>,
    pub(super) told_left: bool,
    /// The pod's condition.
    pub(super) mark: Mark,
    /// How often a termination that would outlive the node was shortened, or that was tried.
    pub(super) hurries: u32,
    /// As long as its namespace may forbid it.
    pub(super) delete_not_before: Option<Moment>,
    /// Its call was lost in a silence of the server: since when a list is to show whether it took effect.
    pub(super) looked_up: Option<Moment>,
    /// What the call under way, or the next one, follows.
    pub(super) occasion: Occasion,
}

/// What a call follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Occasion {
    #[default]
    Ordinary,
    /// One that was lost in a silence of the server. Should it be slow, it is so by itself, and is not cut short.
    Silence,
}

/// Whether an earlier call may have taken effect unseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Doubt {
    /// None has.
    #[default]
    Clear,
    /// One with this grace may have: a retry repeats it exactly, because a smaller one would shorten a termination that
    /// is already running.
    Sent(Option<Grace>),
}

/// The condition that tells why a pod is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    #[default]
    Unasked,
    /// It was asked for, or has its time.
    Asked,
}

/// The stop signal a pod got, for the receipt.
#[derive(Clone, Copy, Debug)]
pub(super) struct StopSignal {
    pub(super) given: Grace,
}

/// Whether requests come to a pod's own address, which its load balancer forgets only once it is terminating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Registered {
    ByAddress,
    Elsewhere,
}

impl Registered {
    pub(super) const fn of(by_address: bool) -> Self {
        if by_address {
            Self::ByAddress
        } else {
            Self::Elsewhere
        }
    }
}

/// Which of the ready pods goes first: what is registered by its address, what is not serving, then the least slack, then pods with claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency {
    pub(super) registered: Registered,
    pub(super) readiness: PodProgress,
    pub(super) last_start: Moment,
    pub(super) claim: ClaimOrder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClaimOrder {
    WithClaim,
    WithoutClaim,
}

impl Record {
    /// Keeps what a failure says about the calls made so far.
    pub(super) fn note(
        &mut self,
        failure: &Failure,
        grace: Option<Grace>,
        sent: Moment,
        now: Moment,
    ) {
        self.last_error = Some(failure.text.clone());
        self.was_answered |= failure.was_answered();
        if failure.may_have_acted() {
            self.doubt = Doubt::Sent(grace);
            self.unanswered = Some(sent);
        } else if matches!(
            failure.kind,
            FailureKind::BlockedByBudget | FailureKind::TwoBudgets
        ) {
            // Had an earlier call taken effect, the pod would be terminating and no budget would be asked; but one that a
            // slow server still works on may yet. A terminating namespace says nothing of the kind: it refuses before
            // the pod is looked at.
            if self
                .unanswered
                .is_none_or(|unanswered| now >= unanswered + STILL_AT_WORK)
            {
                self.doubt = Doubt::Clear;
            }
        }
    }

    /// When the last call was sent.
    pub(super) fn last_sent(&self) -> Option<Moment> {
        self.last_call.map(|(_, sent)| sent)
    }

    pub(super) fn failure_wait(&mut self, agenda: &mut Agenda) -> Duration {
        self.failures += 1;
        let wait = doubled(
            Duration::from_millis(200),
            self.failures,
            Duration::from_secs(2),
        );
        agenda.jitter().around(wait)
    }
}

impl Pod {
    pub(super) fn new(view: PodView, terms: &Terms, deadline: Moment) -> Self {
        Self {
            window: terms.window(&view, deadline),
            put_off_to: None,
            course: match view.exemption(terms.agent.as_ref()) {
                Some(exemption) => Course::Exempt(exemption),
                None if view.progress == PodProgress::Finished => Course::Finished,
                None => Course::Waiting,
            },
            on_blocked: match view.when_blocked {
                BlockedWish::Wait => OnBlocked::Wait,
                BlockedWish::AsConfigured => terms.on_blocked,
            },
            record: Record::default(),
            registered: Registered::Elsewhere,
            view,
        }
    }

    /// Whether `view` shows alive a pod that was taken for gone without ever having got a stop signal: a list from a
    /// cache that lagged behind did not show it yet.
    pub(super) fn has_come_back(&self, view: &PodView) -> bool {
        matches!(self.course, Course::Gone(_))
            && self.record.stop.is_none()
            && view.progress != PodProgress::Finished
    }

    /// Whether it is a DaemonSet's, and stays to the end.
    pub(super) fn stays(&self) -> bool {
        self.course == Course::Exempt(Exemption::DaemonSet)
    }

    pub(super) fn urgency(&self) -> Urgency {
        Urgency {
            registered: self.registered,
            readiness: self.view.progress.min(PodProgress::Ready),
            last_start: self.window.last_start,
            claim: if self.view.mounts_claim {
                ClaimOrder::WithClaim
            } else {
                ClaimOrder::WithoutClaim
            },
        }
    }

    pub(super) fn fact(&self, first_seen: Moment, now: Moment) -> PodFact {
        PodFact {
            pod: self.view.pod.clone(),
            owner: self.view.owner.clone(),
            grace: self.view.grace,
            elapsed: now.since(first_seen),
        }
    }

    pub(super) fn answer(
        &mut self,
        answer: Answer,
        call: Call,
        sent: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.course = Course::Answered {
            answer,
            call,
            sent,
            at: now,
        };
        agenda.wait(Task::Pod(self.view.pod.uid.clone()), now + ACKNOWLEDGEMENT);
    }

    /// A call that was only rehearsed was accepted: nothing of it will ever be seen.
    pub(super) fn rehearse(
        &mut self,
        call: Call,
        given: Grace,
        ends: WallTime,
        first_seen: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.tell_stopped(call, given, first_seen, agenda, now);
        self.record.stop = Some(StopSignal { given });
        self.course = Course::Stopping {
            since: now,
            given,
            ends,
        };
    }

    /// The pod is seen terminating, by whosever doing.
    pub(super) fn handle_termination(
        &mut self,
        termination: Termination,
        first_seen: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let (since, given) = match self.course {
            // The kubelet's own last deletion, with grace 0, comes when the containers have stopped.
            Course::Stopping { since, given, .. } if termination.grace == Grace::NONE => {
                (since, given)
            }
            Course::Stopping { since, .. } => (since, termination.grace),
            Course::Calling { call, sent, .. } | Course::Answered { call, sent, .. } => {
                let given = self.given_by(termination);
                self.tell_stopped(call, given, first_seen, agenda, now);
                (sent, given)
            }
            Course::Waiting => {
                let given = self.given_by(termination);
                match (self.record.doubt, self.record.last_call) {
                    // A call whose answer was lost has taken effect.
                    (Doubt::Sent(_), Some((call, sent))) => {
                        self.tell_stopped(call, given, first_seen, agenda, now);
                        (sent, given)
                    }
                    (Doubt::Sent(_) | Doubt::Clear, _) => (now, given),
                }
            }
            Course::Exempt(_) | Course::Finished | Course::Gone(_) => (now, termination.grace),
        };
        self.record.stop = Some(StopSignal { given });
        if !agenda.is_trying(&Task::Pod(self.view.pod.uid.clone())) {
            agenda.close(&Task::Pod(self.view.pod.uid.clone()));
        }
        self.course = Course::Stopping {
            since,
            given,
            ends: termination.deletion_timestamp,
        };
    }

    pub(super) fn handle_gone(&mut self, first_seen: Moment, agenda: &mut Agenda, now: Moment) {
        let given = self.sent_grace();
        let (since, given) = match self.course {
            Course::Stopping { since, given, .. } => (since, given),
            Course::Calling { call, sent, .. }
            | Course::Answered {
                call,
                sent,
                answer: Answer::Accepted,
                ..
            } => {
                self.tell_stopped(call, given, first_seen, agenda, now);
                self.record.stop = Some(StopSignal { given });
                (sent, given)
            }
            Course::Answered { .. }
            | Course::Waiting
            | Course::Exempt(_)
            | Course::Finished
            | Course::Gone(_) => (now, self.view.grace),
        };
        let stopped_after = now.since(since);
        let used_up = stopped_after + Duration::from_secs(1) >= given.duration();
        let outcome = if given < self.view.grace && used_up {
            GoneOutcome::Cut
        } else {
            GoneOutcome::Gone
        };
        self.course = Course::Gone(outcome);
        let news = PodNews::Gone {
            outcome,
            stopped_after,
        };
        agenda.tell(Fact::Pod(self.fact(first_seen, now), news));
    }

    /// What a termination gave the pod; the kubelet's own last one does not tell.
    fn given_by(&self, termination: Termination) -> Grace {
        if termination.grace == Grace::NONE {
            self.sent_grace()
        } else {
            termination.grace
        }
    }

    /// What the last call that may have taken effect gave the pod.
    fn sent_grace(&self) -> Grace {
        match self.record.doubt {
            Doubt::Sent(Some(grace)) => grace,
            Doubt::Sent(None) | Doubt::Clear => self.view.grace,
        }
    }

    pub(super) fn tell_stopped(
        &mut self,
        call: Call,
        given: Grace,
        first_seen: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let attempts = self.record.attempts;
        let news = match call {
            Call::Evict => PodNews::Evicted {
                attempts,
                grace_given: given,
                wave: self.view.wave(),
            },
            Call::Delete(reason) => {
                self.record.deleted = true;
                PodNews::Deleted {
                    reason,
                    attempts,
                    grace_given: given,
                }
            }
        };
        agenda.tell(Fact::Pod(self.fact(first_seen, now), news));
    }

    pub(super) fn tell_blocked(
        &mut self,
        failure: &Failure,
        first_seen: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let reason = match failure.kind {
            FailureKind::BlockedByBudget => BlockReason::Budget,
            FailureKind::TwoBudgets => BlockReason::TwoBudgets,
            FailureKind::Forbidden => BlockReason::Forbidden,
            FailureKind::Unreachable(_)
            | FailureKind::Lost
            | FailureKind::TimedOut
            | FailureKind::Throttled(_)
            | FailureKind::Unauthenticated
            | FailureKind::NamespaceTerminating
            | FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Expired
            | FailureKind::Invalid
            | FailureKind::ServerError
            | FailureKind::Unreadable
            | FailureKind::HopLimit
            | FailureKind::Panicked => return,
        };
        self.block(reason, first_seen, agenda, now);
    }

    pub(super) fn block(
        &mut self,
        reason: BlockReason,
        first_seen: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if !self.record.blocked.insert(reason) {
            return;
        }
        let news = PodNews::Blocked {
            reason,
            attempts: self.record.attempts,
            delete_in: match self.on_blocked {
                OnBlocked::Delete => Some(self.window.last_start.seconds_from(now).max(0.0)),
                OnBlocked::Wait => None,
            },
        };
        agenda.tell(Fact::Pod(self.fact(first_seen, now), news));
    }

    /// Until when the call under way may take.
    pub(super) fn limit_of_call_under_way(&self, deadline: Moment) -> Option<Moment> {
        match self.course {
            Course::Calling { call, sent, .. } => Some(self.limit_of(call, sent, deadline)),
            Course::Exempt(_)
            | Course::Finished
            | Course::Waiting
            | Course::Answered { .. }
            | Course::Stopping { .. }
            | Course::Gone(_) => None,
        }
    }

    pub(super) fn is_left(&self) -> bool {
        matches!(self.course, Course::Waiting | Course::Calling { .. })
    }

    pub(super) fn left_reason(&self) -> LeftReason {
        if self.record.forbidden >= FORBIDDEN_TRIES {
            LeftReason::Forbidden
        } else if self.on_blocked == OnBlocked::Wait && self.record.refusals > 0 {
            LeftReason::Wait
        } else {
            LeftReason::Unreachable
        }
    }
}
