//! The pods on their way off the node: each a small state machine, all sharing a window of calls in flight.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::action::{Failure, FailureKind, Outcome, Request, WatchEvent};
use super::budget::{Grace, Margins, Window};
use super::fact::{
    BlockReason, DeleteReason, Fact, GoneOutcome, LeftReason, PodFact, PodNews, Tally,
};
use super::id::PodUid;
use super::notice::Interruption;
use super::pod::{Exemption, PodProgress, PodView, Termination};
use super::task::{Agenda, Task, doubled};
use super::time::{Moment, Now, WallTime};

/// The API server may hold an eviction for about ten seconds before it answers (reference: `eviction.go` retries
/// conflicts twenty times at 500 ms).
const CALL_TIMEOUT: Duration = Duration::from_secs(12);

/// How long one unanswered eviction may keep a pod from its deletion once the last useful moment has come.
const PATIENCE_AFTER_LAST_START: Duration = Duration::from_secs(2);

/// An acknowledged write shows in a watch within milliseconds; after this the watch is not believed any more.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(3);

/// Answers of 403 after which evicting is given up.
const FORBIDDEN_TRIES: u32 = 3;

/// What is done about a pod whose eviction is refused to the last useful moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBlocked {
    /// It is deleted then: it dies at the deadline anyway, and would die without a stop signal.
    Delete,
    /// Its eviction is tried to the end.
    Wait,
}

/// What the drain is told once.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) margins: Margins,
    pub(super) on_blocked: OnBlocked,
    pub(super) max_in_flight: usize,
    pub(super) agent: Option<PodUid>,
}

/// The pods of the node and where each stands.
#[derive(Debug)]
pub(super) struct Drain {
    terms: Terms,
    first_seen: Moment,
    deadline: Moment,
    deadline_wall: WallTime,
    pods: BTreeMap<PodUid, Pod>,
    /// Pods whose time has come and that wait for a free slot.
    ready: BTreeSet<(Urgency, PodUid)>,
    /// Pods with a call in flight.
    calling: BTreeSet<PodUid>,
    last_accepted_call: Option<Moment>,
    last_gone: Option<Moment>,
}

/// What is asked of the caller after an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Wish {
    /// Nothing.
    Nothing,
    /// The pods should be listed again: the watch and the answers disagree.
    List,
}

#[derive(Debug)]
struct Pod {
    view: PodView,
    window: Window,
    course: Course,
    record: Record,
}

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq)]
enum Course {
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
enum Call {
    Evict,
    Delete(DeleteReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// 201 or 200.
    Accepted,
    /// 404, or the UID is another's.
    Vanished,
}

/// What happened to a pod's calls.
#[derive(Debug, Default)]
struct Record {
    attempts: u32,
    first_call: Option<Moment>,
    was_answered: bool,
    doubt: Doubt,
    refusals: u32,
    failures: u32,
    forbidden: u32,
    /// Set when only a deletion can work.
    must_delete: Option<DeleteReason>,
    blocked: BTreeSet<BlockReason>,
    deleted: bool,
    stop: Option<StopSignal>,
    last_error: Option<String>,
    told_left: bool,
}

/// Whether an earlier call may have taken effect unseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doubt {
    /// None has.
    #[default]
    Clear,
    /// One with this grace may have: a retry repeats it exactly, because a smaller one would shorten a termination that
    /// is already running.
    Sent(Option<Grace>),
}

/// The stop signal a pod got, for the receipt.
#[derive(Clone, Copy, Debug)]
struct StopSignal {
    given: Grace,
}

/// Which of the ready pods goes first: what is not serving, then the least slack, then pods with claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Urgency {
    readiness: PodProgress,
    last_start: Moment,
    claim: ClaimOrder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ClaimOrder {
    WithClaim,
    WithoutClaim,
}

impl Drain {
    pub(super) fn new(terms: Terms, interruption: &Interruption) -> Self {
        Self {
            terms,
            first_seen: interruption.first_seen,
            deadline: interruption.deadline,
            deadline_wall: interruption.deadline_wall,
            pods: BTreeMap::new(),
            ready: BTreeSet::new(),
            calling: BTreeSet::new(),
            last_accepted_call: None,
            last_gone: None,
        }
    }

    /// Takes a complete list of the node's pods, asked for at `asked`.
    pub(super) fn handle_list(
        &mut self,
        pods: Vec<PodView>,
        asked: Moment,
        agenda: &mut Agenda,
        now: Now,
    ) {
        let listed: BTreeSet<PodUid> = pods.iter().map(|view| view.pod.uid.clone()).collect();
        let missing: Vec<PodUid> = self
            .pods
            .keys()
            .filter(|uid| !listed.contains(uid))
            .cloned()
            .collect();
        for uid in missing {
            self.handle_gone(&uid, agenda, now.at);
        }
        for view in pods {
            let uid = view.pod.uid.clone();
            self.handle_seen(view, agenda, now);
            self.handle_still_alive(&uid, asked, agenda, now.at);
        }
        self.fill_window(agenda, now.at);
    }

    /// Takes what a watch brings.
    pub(super) fn handle_event(&mut self, event: WatchEvent, agenda: &mut Agenda, now: Now) {
        match event {
            WatchEvent::Seen(view) => self.handle_seen(view, agenda, now),
            WatchEvent::Gone(uid) => self.handle_gone(&uid, agenda, now.at),
            WatchEvent::Bookmark => {}
        }
        self.fill_window(agenda, now.at);
    }

    /// A pod's time has come.
    pub(super) fn handle_due(&mut self, uid: &PodUid, agenda: &mut Agenda, now: Moment) -> Wish {
        let Some(pod) = self.pods.get(uid) else {
            return Wish::Nothing;
        };
        match pod.course {
            Course::Waiting => {
                self.ready.insert((pod.urgency(), uid.clone()));
                self.fill_window(agenda, now);
                Wish::Nothing
            }
            Course::Answered { .. } => {
                agenda.wait(Task::Pod(uid.clone()), now + ACKNOWLEDGEMENT);
                Wish::List
            }
            Course::Exempt(_)
            | Course::Finished
            | Course::Calling { .. }
            | Course::Stopping { .. }
            | Course::Gone(_) => Wish::Nothing,
        }
    }

    /// Takes what came of a call.
    pub(super) fn handle_outcome(
        &mut self,
        uid: &PodUid,
        outcome: &Outcome,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.calling.remove(uid);
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        if let Course::Calling { call, grace, sent } = pod.course {
            match outcome {
                Outcome::Failed(failure) => {
                    pod.record.note(failure, grace);
                    match self.terms.next_step(pod, call, failure, agenda, now) {
                        Next::Look => pod.answer(Answer::Vanished, call, sent, agenda, now),
                        Next::Again(moment) => {
                            pod.course = Course::Waiting;
                            agenda.wait(Task::Pod(uid.clone()), moment);
                        }
                    }
                    pod.tell_blocked(failure, self.first_seen, self.terms.on_blocked, agenda, now);
                }
                Outcome::Done
                | Outcome::Notice(_)
                | Outcome::Identity(_)
                | Outcome::Node(_)
                | Outcome::Pods { .. }
                | Outcome::Targets(_) => {
                    pod.record.was_answered = true;
                    pod.record.doubt = Doubt::Sent(grace);
                    self.last_accepted_call = self.last_accepted_call.max(Some(sent));
                    pod.answer(Answer::Accepted, call, sent, agenda, now);
                }
            }
        }
        self.fill_window(agenda, now);
    }

    /// The deadline has moved closer.
    pub(super) fn tighten(
        &mut self,
        interruption: &Interruption,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.deadline = interruption.deadline;
        self.deadline_wall = interruption.deadline_wall;
        self.ready.clear();
        for (uid, pod) in &mut self.pods {
            pod.window = Window::before(
                self.deadline,
                pod.view.grace,
                pod.view.mounts_claim,
                &self.terms.margins,
            );
            if pod.course == Course::Waiting {
                agenda.close(&Task::Pod(uid.clone()));
                self.ready.insert((pod.urgency(), uid.clone()));
            }
        }
        self.fill_window(agenda, now);
    }

    /// Tells of each pod that got no stop signal, once.
    pub(super) fn tell_left(&mut self, agenda: &mut Agenda, now: Moment) {
        for pod in self.pods.values_mut() {
            if pod.is_left() && !pod.record.told_left {
                pod.record.told_left = true;
                let news = PodNews::Left {
                    reason: pod.left_reason(self.terms.on_blocked),
                    error: pod.record.last_error.clone(),
                };
                agenda.tell(Fact::Pod(pod.fact(self.first_seen, now), news));
            }
        }
    }

    /// How the pods stand.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for pod in self.pods.values() {
            match &pod.course {
                Course::Exempt(_) | Course::Finished => {
                    tally.ignored += 1;
                    continue;
                }
                Course::Waiting | Course::Calling { .. } => tally.left += 1,
                // The server's word is taken until the watch shows the contrary.
                Course::Answered { .. } => match pod.record.doubt {
                    Doubt::Sent(Some(_)) => tally.cut += 1,
                    Doubt::Sent(None) | Doubt::Clear => tally.stopping += 1,
                },
                Course::Stopping { given, ends, .. } => {
                    if *given < pod.view.grace || self.ends_late(pod, *ends) {
                        tally.cut += 1;
                    } else {
                        tally.stopping += 1;
                    }
                }
                Course::Gone(GoneOutcome::Gone) => tally.gone += 1,
                Course::Gone(GoneOutcome::Cut) => tally.cut += 1,
            }
            tally.blocked += u32::from(!pod.record.blocked.is_empty());
            tally.deleted += u32::from(pod.record.deleted);
        }
        tally
    }

    /// The sum of the grace periods given and of what was cut of them, in seconds.
    pub(super) fn grace_sums(&self) -> (u64, u64) {
        self.pods
            .values()
            .filter_map(|pod| {
                pod.record
                    .stop
                    .map(|stop| (pod.view.grace.as_secs(), stop.given.as_secs()))
            })
            .fold((0, 0), |(given_sum, cut_sum), (own, given)| {
                (
                    given_sum + u64::from(given),
                    cut_sum + u64::from(own.saturating_sub(given)),
                )
            })
    }

    /// Whether every pod that was to go is gone.
    pub(super) fn is_empty(&self) -> bool {
        self.pods.values().all(|pod| {
            matches!(
                pod.course,
                Course::Exempt(_) | Course::Finished | Course::Gone(_)
            )
        })
    }

    /// When the last call that took effect was sent.
    pub(super) fn last_accepted_call(&self) -> Option<Moment> {
        self.last_accepted_call
    }

    /// When the last pod was gone, if all are.
    pub(super) fn all_gone_at(&self) -> Option<Moment> {
        self.last_gone.filter(|_| self.is_empty())
    }

    fn ends_late(&self, pod: &Pod, ends: WallTime) -> bool {
        // The timestamp has whole seconds and the grace was rounded up: up to a second past S is in time.
        let stop_by = self.deadline_wall - self.deadline.since(pod.window.stop_by);
        ends.since(stop_by) > Duration::from_secs(1)
    }

    fn handle_seen(&mut self, view: PodView, agenda: &mut Agenda, now: Now) {
        let uid = view.pod.uid.clone();
        let pod = match self.pods.entry(uid.clone()) {
            Entry::Occupied(known) if !known.get().has_come_back(&view) => {
                let pod = known.into_mut();
                pod.view = view;
                pod
            }
            entry @ (Entry::Vacant(_) | Entry::Occupied(_)) => {
                let pod = Pod::new(view, &self.terms, self.deadline);
                if pod.course == Course::Waiting {
                    self.ready.insert((pod.urgency(), uid.clone()));
                }
                entry.insert_entry(pod).into_mut()
            }
        };
        match pod.course {
            Course::Exempt(_) | Course::Finished | Course::Gone(_) => {}
            Course::Waiting
            | Course::Calling { .. }
            | Course::Answered { .. }
            | Course::Stopping { .. } => {
                if let Some(termination) = pod.view.termination {
                    pod.handle_termination(termination, self.first_seen, agenda, now.at);
                }
                if pod.view.progress == PodProgress::Finished {
                    self.handle_gone(&uid, agenda, now.at);
                }
            }
        }
    }

    /// A list asked for well after an answer still shows the pod alive: the answer meant nothing. A webhook that forces
    /// dry run does that.
    fn handle_still_alive(
        &mut self,
        uid: &PodUid,
        asked: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let Course::Answered {
            answer, call, at, ..
        } = pod.course
        else {
            return;
        };
        if asked < at + ACKNOWLEDGEMENT {
            return;
        }
        pod.record.doubt = Doubt::Clear;
        pod.record.refusals += 1;
        let wait = agenda.jitter().around(refusal_wait(pod.record.refusals));
        let moment = self
            .terms
            .not_past_last_start(pod, Refused(call), now + wait, now);
        pod.course = Course::Waiting;
        agenda.wait(Task::Pod(uid.clone()), moment);
        if answer == Answer::Accepted {
            pod.block(
                BlockReason::Unacknowledged,
                self.first_seen,
                self.terms.on_blocked,
                agenda,
                now,
            );
        }
    }

    fn handle_gone(&mut self, uid: &PodUid, agenda: &mut Agenda, now: Moment) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        match pod.course {
            Course::Exempt(_) | Course::Finished => {
                self.pods.remove(uid);
                return;
            }
            Course::Gone(_) => return,
            Course::Waiting
            | Course::Calling { .. }
            | Course::Answered { .. }
            | Course::Stopping { .. } => {}
        }
        pod.handle_gone(self.first_seen, agenda, now);
        self.calling.remove(uid);
        self.last_gone = Some(now);
        agenda.close(&Task::Pod(uid.clone()));
    }

    fn fill_window(&mut self, agenda: &mut Agenda, now: Moment) {
        if now >= self.deadline {
            return;
        }
        while self.calling.len() < self.terms.max_in_flight {
            let Some((_, uid)) = self.ready.pop_first() else {
                return;
            };
            // What has been seen terminating since is still in line, and is passed over.
            if let Some(pod) = self.pods.get_mut(&uid)
                && pod.course == Course::Waiting
            {
                self.terms.call(pod, self.deadline, agenda, now);
                self.calling.insert(uid);
            }
        }
    }
}

/// What a failed call leads to.
enum Next {
    /// The pod may be gone: the watch, or a list, has to say.
    Look,
    /// Another call, then.
    Again(Moment),
}

impl Terms {
    /// Makes the next call for a pod: an eviction, or its deletion once that is due.
    fn call(&self, pod: &mut Pod, deadline: Moment, agenda: &mut Agenda, now: Moment) {
        let call = self.next_call(pod, now);
        let grace = match pod.record.doubt {
            Doubt::Sent(grace) => grace,
            Doubt::Clear => pod.window.grace_to_send(now),
        };
        let patience = match (call, self.on_blocked) {
            (Call::Evict, OnBlocked::Delete) => {
                pod.window.last_start.max(now + PATIENCE_AFTER_LAST_START)
            }
            (Call::Evict, OnBlocked::Wait) | (Call::Delete(_), _) => deadline,
        };
        let reference = pod.view.pod.clone();
        let task = Task::Pod(reference.uid.clone());
        let request = match call {
            Call::Evict => Request::Evict(reference, grace),
            Call::Delete(_) => Request::Delete(reference, grace),
        };
        pod.record.attempts += 1;
        pod.record.first_call.get_or_insert(now);
        pod.course = Course::Calling {
            call,
            grace,
            sent: now,
        };
        agenda.attempt(
            task,
            request,
            Some(patience.min(now + CALL_TIMEOUT).min(deadline)),
        );
    }

    fn next_call(&self, pod: &Pod, now: Moment) -> Call {
        if let Some(reason) = pod.record.must_delete {
            return Call::Delete(reason);
        }
        let was_tried = pod.record.was_answered
            || pod
                .record
                .first_call
                .is_some_and(|first| now >= first + PATIENCE_AFTER_LAST_START);
        match self.on_blocked {
            OnBlocked::Delete if now >= pod.window.last_start && was_tried => {
                Call::Delete(DeleteReason::Deadline)
            }
            OnBlocked::Delete | OnBlocked::Wait => Call::Evict,
        }
    }

    /// What follows a failure, and when.
    fn next_step(
        &self,
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
            FailureKind::Lost => LOST_CONNECTION_WAIT.max(pod.record.failure_wait(agenda) / 4),
            FailureKind::Unreachable(_)
            | FailureKind::TimedOut
            | FailureKind::Unauthenticated
            | FailureKind::Expired
            | FailureKind::ServerError
            | FailureKind::Unreadable
            | FailureKind::HopLimit
            | FailureKind::Panicked => pod.record.failure_wait(agenda),
        };
        let refused = matches!(
            failure.kind,
            FailureKind::BlockedByBudget | FailureKind::TwoBudgets | FailureKind::Forbidden
        );
        let trouble = if refused { Refused(call) } else { NotRefused };
        Next::Again(self.not_past_last_start(pod, trouble, now + wait, now))
    }

    /// A wait never reaches past the last useful moment: the deletion is due then, and at once when an eviction is
    /// refused later.
    fn not_past_last_start(
        &self,
        pod: &Pod,
        trouble: Trouble,
        moment: Moment,
        now: Moment,
    ) -> Moment {
        let last_start = pod.window.last_start;
        match (self.on_blocked, trouble) {
            (OnBlocked::Delete, _) if now < last_start => moment.min(last_start),
            (OnBlocked::Delete, Refused(Call::Evict)) => now,
            (OnBlocked::Delete | OnBlocked::Wait, _) => moment,
        }
    }
}

/// Whether a call came to nothing because the server would not have it.
enum Trouble {
    Refused(Call),
    NotRefused,
}
use Trouble::{NotRefused, Refused};

/// A closed budget does not open within milliseconds; when it does, somebody's replacement has become ready.
fn refusal_wait(refusals: u32) -> Duration {
    doubled(Duration::from_secs(1), refusals, Duration::from_secs(8))
}

/// Two budgets over one pod never heal by themselves; somebody may mend them.
const TWO_BUDGETS_WAIT: Duration = Duration::from_secs(5);

/// After a lost connection the watch shows first whether the call had taken effect.
const LOST_CONNECTION_WAIT: Duration = Duration::from_millis(50);

impl Record {
    /// Keeps what a failure says about the calls made so far.
    fn note(&mut self, failure: &Failure, grace: Option<Grace>) {
        self.last_error = Some(failure.text.clone());
        self.was_answered |= failure.was_answered();
        if failure.may_have_acted() {
            self.doubt = Doubt::Sent(grace);
        } else if matches!(
            failure.kind,
            FailureKind::BlockedByBudget
                | FailureKind::TwoBudgets
                | FailureKind::NamespaceTerminating
        ) {
            // Had an earlier call taken effect, the pod would be terminating and no budget would be asked.
            self.doubt = Doubt::Clear;
        }
    }

    fn failure_wait(&mut self, agenda: &mut Agenda) -> Duration {
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
    fn new(view: PodView, terms: &Terms, deadline: Moment) -> Self {
        Self {
            window: Window::before(deadline, view.grace, view.mounts_claim, &terms.margins),
            course: match view.exemption(terms.agent.as_ref()) {
                Some(exemption) => Course::Exempt(exemption),
                None if view.progress == PodProgress::Finished => Course::Finished,
                None => Course::Waiting,
            },
            record: Record::default(),
            view,
        }
    }

    /// Whether `view` shows alive a pod that was taken for gone without ever having got a stop signal: a list from a
    /// cache that lagged behind did not show it yet.
    fn has_come_back(&self, view: &PodView) -> bool {
        matches!(self.course, Course::Gone(_))
            && self.record.stop.is_none()
            && view.progress != PodProgress::Finished
    }

    fn urgency(&self) -> Urgency {
        Urgency {
            readiness: self.view.progress.min(PodProgress::Ready),
            last_start: self.window.last_start,
            claim: if self.view.mounts_claim {
                ClaimOrder::WithClaim
            } else {
                ClaimOrder::WithoutClaim
            },
        }
    }

    fn fact(&self, first_seen: Moment, now: Moment) -> PodFact {
        PodFact {
            pod: self.view.pod.clone(),
            owner: self.view.owner.clone(),
            grace: self.view.grace,
            elapsed: now.since(first_seen),
        }
    }

    fn answer(
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

    /// The pod is seen terminating, by whosever doing.
    fn handle_termination(
        &mut self,
        termination: Termination,
        first_seen: Moment,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let since = match self.course {
            Course::Stopping { since, .. } => since,
            Course::Calling { call, sent, .. } | Course::Answered { call, sent, .. } => {
                self.tell_stopped(call, termination.grace, first_seen, agenda, now);
                sent
            }
            Course::Waiting | Course::Exempt(_) | Course::Finished | Course::Gone(_) => now,
        };
        self.record.stop = Some(StopSignal {
            given: termination.grace,
        });
        if !agenda.is_trying(&Task::Pod(self.view.pod.uid.clone())) {
            agenda.close(&Task::Pod(self.view.pod.uid.clone()));
        }
        self.course = Course::Stopping {
            since,
            given: termination.grace,
            ends: termination.deletion_timestamp,
        };
    }

    fn handle_gone(&mut self, first_seen: Moment, agenda: &mut Agenda, now: Moment) {
        let given = match self.record.doubt {
            Doubt::Sent(Some(grace)) => grace,
            Doubt::Sent(None) | Doubt::Clear => self.view.grace,
        };
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

    fn tell_stopped(
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

    fn tell_blocked(
        &mut self,
        failure: &Failure,
        first_seen: Moment,
        on_blocked: OnBlocked,
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
        self.block(reason, first_seen, on_blocked, agenda, now);
    }

    fn block(
        &mut self,
        reason: BlockReason,
        first_seen: Moment,
        on_blocked: OnBlocked,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if !self.record.blocked.insert(reason) {
            return;
        }
        let news = PodNews::Blocked {
            reason,
            attempts: self.record.attempts,
            delete_in: match on_blocked {
                OnBlocked::Delete => Some(self.window.last_start.seconds_from(now).max(0.0)),
                OnBlocked::Wait => None,
            },
        };
        agenda.tell(Fact::Pod(self.fact(first_seen, now), news));
    }

    fn is_left(&self) -> bool {
        matches!(self.course, Course::Waiting | Course::Calling { .. })
    }

    fn left_reason(&self, on_blocked: OnBlocked) -> LeftReason {
        if self.record.forbidden >= FORBIDDEN_TRIES {
            LeftReason::Forbidden
        } else if on_blocked == OnBlocked::Wait && self.record.refusals > 0 {
            LeftReason::Wait
        } else {
            LeftReason::Unreachable
        }
    }
}
