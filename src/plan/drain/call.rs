//! Which call a pod gets next, with which grace, and what follows when it fails.

use std::time::Duration;

use super::passage::{Call, Course, Doubt, Pod};
use super::{FORBIDDEN_TRIES, OnBlocked, Terms};
use crate::plan::action::{Failure, FailureKind, Request};
use crate::plan::fact::DeleteReason;
use crate::plan::task::{Agenda, Task, doubled};
use crate::plan::time::Moment;

/// The API server may hold an eviction for about ten seconds before it answers (reference: `eviction.go` retries
/// conflicts twenty times at 500 ms).
const CALL_TIMEOUT: Duration = Duration::from_secs(12);

/// How long one unanswered eviction may keep a pod from its deletion once the last useful moment has come.
const PATIENCE_AFTER_LAST_START: Duration = Duration::from_secs(2);

impl Pod {
    /// Until when a call that is sent at `sent` may take.
    pub(super) fn limit_of(&self, call: Call, sent: Moment, deadline: Moment) -> Moment {
        let patience = match (call, self.on_blocked) {
            (Call::Evict, OnBlocked::Delete) => {
                self.delete_from().max(sent + PATIENCE_AFTER_LAST_START)
            }
            (Call::Evict, OnBlocked::Wait) | (Call::Delete(_), _) => deadline,
        };
        patience.min(sent + CALL_TIMEOUT).min(deadline)
    }
}

/// What a failed call leads to.
pub(super) enum Next {
    /// The pod may be gone: the watch, or a list, has to say.
    Look,
    /// Another call, then.
    Again(Moment),
}

impl Terms {
    /// Makes the next call for a pod: an eviction, or its deletion once that is due.
    pub(super) fn call(pod: &mut Pod, deadline: Moment, agenda: &mut Agenda, now: Moment) {
        let call = Self::next_call(pod, now);
        let grace = match pod.record.doubt {
            Doubt::Sent(grace) => grace,
            Doubt::Clear => pod.window.grace_to_send(now),
        };
        let limit = pod.limit_of(call, now, deadline);
        let reference = pod.view.pod.clone();
        let task = Task::Pod(reference.uid.clone());
        let request = match call {
            Call::Evict => Request::Evict(reference, grace),
            Call::Delete(_) => Request::Delete(reference, grace),
        };
        pod.record.looked_up = None;
        pod.record.attempts += 1;
        pod.record.first_call.get_or_insert(now);
        pod.record.last_call = Some((call, now));
        pod.course = Course::Calling {
            call,
            grace,
            sent: now,
        };
        agenda.attempt(task, request, Some(limit));
    }

    fn next_call(pod: &Pod, now: Moment) -> Call {
        if let Some(reason) = pod.record.must_delete {
            return Call::Delete(reason);
        }
        let was_tried = pod.record.was_answered
            || pod
                .record
                .first_call
                .is_some_and(|first| now >= first + PATIENCE_AFTER_LAST_START);
        match pod.on_blocked {
            OnBlocked::Delete if now >= pod.delete_from() && was_tried => {
                Call::Delete(DeleteReason::Deadline)
            }
            OnBlocked::Delete | OnBlocked::Wait => Call::Evict,
        }
    }

    /// What follows a failure, and when.
    pub(super) fn next_step(
        pod: &mut Pod,
        call: Call,
        failure: &Failure,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Next {
        let wait = match failure.kind {
            FailureKind::NotFound | FailureKind::Conflict | FailureKind::Invalid => {
                return Next::Look;
            }
            FailureKind::NamespaceTerminating => {
                pod.record.must_delete = Some(DeleteReason::NamespaceTerminating);
                Duration::ZERO
            }
            FailureKind::BlockedByBudget => {
                pod.record.refusals += 1;
                agenda.jitter().around(refusal_wait(pod.record.refusals))
            }
            FailureKind::TwoBudgets => TWO_BUDGETS_WAIT,
            FailureKind::Throttled(asked) => {
                let asked = asked.unwrap_or(Duration::from_secs(1)).min(CALL_TIMEOUT);
                agenda
                    .jitter()
                    .around(asked.max(Duration::from_millis(500)))
            }
            FailureKind::Forbidden => {
                pod.record.forbidden += 1;
                if pod.record.forbidden < FORBIDDEN_TRIES || call != Call::Evict {
                    refusal_wait(pod.record.forbidden)
                } else {
                    // Evicting is not allowed; deleting may be, and its time is L.
                    pod.window
                        .last_start
                        .since(now)
                        .max(refusal_wait(pod.record.forbidden))
                }
            }
            FailureKind::Lost => {
                let is_first = pod.record.failures == 0;
                let wait = pod.record.failure_wait(agenda);
                if is_first { LOST_CONNECTION_WAIT } else { wait }
            }
            FailureKind::Unreachable(_)
            | FailureKind::TimedOut
            | FailureKind::Unauthenticated
            | FailureKind::Expired
            | FailureKind::ServerError
            | FailureKind::Unreadable
            | FailureKind::HopLimit
            | FailureKind::Panicked => pod.record.failure_wait(agenda),
        };
        let trouble = if failure.is_refusal() {
            Trouble::Refused(call)
        } else {
            Trouble::NotRefused
        };
        Next::Again(Self::not_past_last_start(pod, trouble, now + wait, now))
    }

    /// A wait never reaches past the last useful moment: the deletion is due then, and at once when an eviction is
    /// refused later.
    pub(super) fn not_past_last_start(
        pod: &Pod,
        trouble: Trouble,
        moment: Moment,
        now: Moment,
    ) -> Moment {
        let delete_from = pod.delete_from();
        match (pod.on_blocked, trouble) {
            (OnBlocked::Delete, _) if now <= delete_from => moment.min(delete_from),
            (OnBlocked::Delete, Trouble::Refused(Call::Evict)) => now,
            (OnBlocked::Delete | OnBlocked::Wait, _) => moment,
        }
    }
}

/// Whether a call came to nothing because the server would not have it.
pub(super) enum Trouble {
    Refused(Call),
    NotRefused,
}

/// A closed budget does not open within milliseconds; when it does, somebody's replacement has become ready.
pub(super) fn refusal_wait(refusals: u32) -> Duration {
    doubled(Duration::from_secs(1), refusals, Duration::from_secs(8))
}

/// Two budgets over one pod never heal by themselves; somebody may mend them.
pub(super) const TWO_BUDGETS_WAIT: Duration = Duration::from_secs(5);

/// After a first lost connection the watch shows whether the call had taken effect, and a new connection is there. Who
/// loses one after another waits longer, as after every failure.
pub(super) const LOST_CONNECTION_WAIT: Duration = Duration::from_millis(50);
