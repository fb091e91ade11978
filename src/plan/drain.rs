//! The pods on their way off the node: each a small state machine, all sharing a window of calls in flight.

mod call;
mod passage;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::call::{Next, Trouble, refusal_wait};
use self::passage::{ACKNOWLEDGEMENT, Answer, Course, Doubt, Pod, Urgency};
use super::action::{Outcome, WatchEvent};
use super::budget::{Margins, Window};
use super::fact::{BlockReason, Fact, GoneOutcome, PodNews, Tally};
use super::id::PodUid;
use super::notice::Interruption;
use super::pod::{PodProgress, PodView};
use super::task::{Agenda, Task};
use super::time::{Moment, Now, WallTime};

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
            WatchEvent::Seen(view, _) => self.handle_seen(view, agenda, now),
            WatchEvent::Gone(uid, _) => self.handle_gone(&uid, agenda, now.at),
            WatchEvent::Opened | WatchEvent::Bookmark(_) => {}
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
        // The watch may have shown what the call did before the answer to it.
        if !matches!(outcome, Outcome::Failed(_)) {
            self.last_accepted_call = self.last_accepted_call.max(pod.record.last_call);
        }
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
            .not_past_last_start(pod, Trouble::Refused(call), now + wait, now);
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
