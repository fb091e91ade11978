//! The pods on their way off the node: each a small state machine, all sharing a window of calls in flight.

mod blocked;
mod call;
mod crowd;
mod flow;
mod passage;
mod silence;
mod start;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::blocked::{Namespaces, note_refusal};
use self::call::{Next, Trouble, refusal_wait};
use self::flow::Flow;
use self::passage::{ACKNOWLEDGEMENT, Answer, Course, Doubt, Occasion, Pod, Record, Urgency};
use self::silence::Silence;
use self::start::SecondWave;
use super::action::{Failure, FailureKind, Outcome, Request, WatchEvent};
use super::budget::{Grace, Margins};
use super::cordon::CALL_TIMEOUT;
use super::fact::{BlockReason, Fact, GoneOutcome, PodNews, Tally};
use super::front::Fronts;
use super::id::PodUid;
use super::notice::Interruption;
use super::pod::{Exemption, Owner, PodProgress, PodView};
use super::policy::Effect;
use super::task::{Agenda, Task};
use super::time::{Moment, Now, WallTime};

/// A termination that would outlive the node is ended so long before the pod should have stopped: with a grace period
/// of one second the kubelet gives two.
const HURRY_BEFORE_STOP: Duration = Duration::from_secs(2);

/// The shortest grace period that is one: 0 would remove the object without the kubelet.
const HURRIED_GRACE: Grace = Grace::from_secs(1);

/// So often that is tried: there are two seconds for it, and then the node's end does it.
const HURRIES: u32 = 5;

/// So many pods of one controller are evicted that it put onto the cordoned node.
const RECREATIONS: usize = 3;

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

/// When the pods of Jobs are evicted: their work so far is lost, whenever that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobPods {
    /// With the others, so that they start again elsewhere the sooner.
    #[default]
    Now,
    /// As late as possible: the last seconds may be enough for the work to end.
    Late,
}

/// How the time that is left is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Planned backwards from the deadline.
    ToTheDeadline,
    /// Hibernation begins with its notice, and what it catches goes on when the instance wakes
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/hibernate-spot-instances.html>): everything is asked to leave
    /// at once, with its own grace period, and nothing is forced.
    AtOnce,
}

/// What the drain is told once.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) margins: Margins,
    pub(super) on_blocked: OnBlocked,
    pub(super) job_pods: JobPods,
    pub(super) effect: Effect,
    pub(super) pace: Pace,
    pub(super) max_in_flight: usize,
    /// How soon the API server answered an easy question when nothing was wrong; none when it was never asked one.
    pub(super) quickest_answer: Option<Duration>,
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
    /// Critical pods that wait for the others to be gone.
    held: BTreeSet<PodUid>,
    second_wave: SecondWave,
    namespaces: Namespaces,
    /// The ways in to this node that pods have to wait for.
    fronts: Fronts,
    /// When the node was cordoned, in the API server's time.
    cordoned: Option<WallTime>,
    /// The pods that each controller has put onto the cordoned node, and that are evicted all the same.
    recreated: BTreeMap<(String, Owner), BTreeSet<PodUid>>,
    /// Pods with a call in flight.
    calling: BTreeSet<PodUid>,
    flow: Flow,
    silence: Silence,
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
            first_seen: interruption.first_seen,
            deadline: interruption.deadline,
            deadline_wall: interruption.deadline_wall,
            pods: BTreeMap::new(),
            ready: BTreeSet::new(),
            held: BTreeSet::new(),
            second_wave: match terms.pace {
                Pace::ToTheDeadline => SecondWave::Held,
                Pace::AtOnce => SecondWave::Begun,
            },
            namespaces: Namespaces::default(),
            fronts: Fronts::default(),
            cordoned: None,
            recreated: BTreeMap::new(),
            calling: BTreeSet::new(),
            flow: Flow::new(terms.max_in_flight),
            silence: Silence::default(),
            last_accepted_call: None,
            last_gone: None,
            terms,
        }
    }

    /// Takes a complete list of the node's pods, asked for at `asked`; the first one with how long it was waited for.
    pub(super) fn handle_list(
        &mut self,
        pods: Vec<PodView>,
        asked: Moment,
        first_in: Option<Duration>,
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
            self.handle_looked_up(&uid, asked, agenda);
        }
        if let Some(listed_in) = first_in {
            self.make_room(listed_in, agenda, now.at);
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
            Course::Stopping { ends, .. } => {
                self.hurry(uid, ends, agenda, now);
                Wish::Nothing
            }
            Course::Exempt(_) | Course::Finished | Course::Calling { .. } | Course::Gone(_) => {
                Wish::Nothing
            }
        }
    }

    /// It may be time for the second wave.
    pub(super) fn handle_second_wave_due(&mut self, agenda: &mut Agenda, now: Moment) {
        self.fill_window(agenda, now);
    }

    /// The node takes no new pods: who still comes tolerates that.
    pub(super) fn handle_cordoned(&mut self, now: Moment) {
        self.cordoned.get_or_insert(self.wall_time_of(now));
    }

    /// Takes what came of a call.
    pub(super) fn handle_outcome(
        &mut self,
        uid: &PodUid,
        outcome: &Outcome,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Wish {
        self.calling.remove(uid);
        agenda.close(&Task::GiveUp(uid.clone()));
        let wall_now = self.wall_time_of(now);
        let failure = outcome.failure();
        let sent = self.pods.get(uid).and_then(|pod| pod.record.last_sent());
        let wish = self.hear(sent, outcome, agenda, now);
        let Some(pod) = self.pods.get_mut(uid) else {
            return wish;
        };
        pod.record.occasion = Occasion::Ordinary;
        if let Some(sent) = pod.record.last_sent() {
            match failure {
                Some(failure) => self.flow.handle_failure(failure, sent, now),
                None => self.flow.handle_success(sent, now),
            }
        }
        // The watch may have shown what the call did before the answer to it.
        if failure.is_none() {
            self.last_accepted_call = self.last_accepted_call.max(pod.record.last_sent());
        }
        if failure.is_some()
            && pod.record.hurries > 0
            && matches!(pod.course, Course::Stopping { .. })
        {
            let wait = pod.record.failure_wait(agenda);
            agenda.wait(Task::Pod(uid.clone()), now + wait);
        }
        if let Course::Calling { call, grace, sent } = pod.course {
            if let Some(failure) = failure {
                pod.record.note(failure, grace, sent, now);
                if failure.is_refusal() {
                    note_refusal(pod, &mut self.namespaces, agenda, now);
                }
                match Terms::next_step(pod, call, failure, agenda, now) {
                    Next::Look => pod.answer(Answer::Vanished, call, sent, agenda, now),
                    Next::Again(moment) => {
                        pod.course = Course::Waiting;
                        agenda.wait(Task::Pod(uid.clone()), moment);
                    }
                }
                pod.tell_blocked(failure, self.first_seen, agenda, now);
            } else {
                pod.record.was_answered = true;
                pod.record.doubt = Doubt::Sent(grace);
                if self.terms.effect == Effect::Rehearsed {
                    let given = grace.unwrap_or(pod.view.grace);
                    let ends = wall_now + given.duration();
                    pod.rehearse(call, given, ends, self.first_seen, agenda, now);
                } else {
                    pod.answer(Answer::Accepted, call, sent, agenda, now);
                }
            }
        }
        if let Some(Pod {
            course: Course::Stopping { ends, .. },
            record: Record { hurries: 0, .. },
            ..
        }) = self.pods.get(uid)
        {
            let ends = *ends;
            self.hurry(uid, ends, agenda, now);
        }
        self.fill_window(agenda, now);
        self.end_silence_if_idle(agenda, now);
        wish
    }

    /// The ways in are known better: pods that nothing was done for yet begin by what holds now.
    pub(super) fn face(&mut self, fronts: Fronts, agenda: &mut Agenda, now: Moment) {
        if self.fronts == fronts {
            return;
        }
        self.fronts = fronts;
        for uid in self.unstarted() {
            if let Some(pod) = self.pods.get(&uid) {
                self.ready.remove(&(pod.urgency(), uid.clone()));
            }
            self.line_up(&uid, agenda, now);
        }
        self.fill_window(agenda, now);
    }

    /// The target groups that pods have to wait for.
    pub(super) fn groups_that_hold(&self) -> BTreeSet<usize> {
        let waiting = self
            .pods
            .values()
            .filter(|pod| pod.course == Course::Waiting && pod.record.attempts == 0);
        let waiting: Vec<&PodView> = waiting.map(|pod| &pod.view).collect();
        self.fronts.groups_before(&waiting)
    }

    /// The pods of DaemonSets: they stay to the end, and so do the registrations of their addresses.
    pub(super) fn staying(&self) -> impl Iterator<Item = &PodView> {
        let of_daemon_sets = self.pods.values().filter(|pod| pod.stays());
        of_daemon_sets.map(|pod| &pod.view)
    }

    /// Whether this is the pod of a DaemonSet.
    pub(super) fn is_staying(&self, uid: &PodUid) -> bool {
        self.pods.get(uid).is_some_and(Pod::stays)
    }

    /// The deadline has moved closer.
    pub(super) fn tighten(
        &mut self,
        interruption: &Interruption,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let earlier = self.deadline;
        self.deadline = interruption.deadline;
        self.deadline_wall = interruption.deadline_wall;
        self.ready.clear();
        for (uid, pod) in &mut self.pods {
            let limit_then = pod.limit_of_call_under_way(earlier);
            pod.window = self.terms.window(&pod.view, self.deadline);
            pod.hasten(now);
            let limit = pod.limit_of_call_under_way(self.deadline);
            // What was sent keeps its grace period; it is only waited for as long as there is time for what follows.
            if let Some(limit) = limit.filter(|_| limit < limit_then) {
                agenda.wait(Task::GiveUp(uid.clone()), limit.max(now));
            }
            if pod.course == Course::Waiting && pod.record.attempts > 0 {
                agenda.close(&Task::Pod(uid.clone()));
                self.ready.insert((pod.urgency(), uid.clone()));
            }
            if let Course::Stopping { .. } = pod.course
                && !agenda.is_trying(&Task::Pod(uid.clone()))
            {
                agenda.wait(Task::Pod(uid.clone()), now);
            }
        }
        for uid in self.unstarted() {
            self.line_up(&uid, agenda, now);
        }
        self.fill_window(agenda, now);
    }

    /// A call has taken longer than a deadline that moved closer leaves it.
    pub(super) fn handle_give_up_due(&mut self, uid: &PodUid, agenda: &mut Agenda, now: Moment) {
        let is_calling = self.calling.contains(uid);
        if !is_calling || now >= self.deadline {
            return;
        }
        agenda.close(&Task::Pod(uid.clone()));
        let given_up = Outcome::Failed(Failure {
            kind: FailureKind::TimedOut,
            http_status: None,
            text: "the deadline has moved closer".to_owned(),
        });
        // No answer was heard, so nothing is to be looked up.
        let _ = self.handle_outcome(uid, &given_up, agenda, now);
    }

    /// Tells of each pod that got no stop signal, once.
    pub(super) fn tell_left(&mut self, agenda: &mut Agenda, now: Moment) {
        for pod in self.pods.values_mut() {
            if pod.is_left() && !pod.record.told_left {
                pod.record.told_left = true;
                let news = PodNews::Left {
                    reason: pod.left_reason(),
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

    /// Whether every pod that was to go is gone, or would be.
    pub(super) fn is_empty(&self) -> bool {
        let is_rehearsal = self.terms.effect == Effect::Rehearsed;
        self.pods.values().all(|pod| match pod.course {
            Course::Exempt(_) | Course::Finished | Course::Gone(_) => true,
            Course::Stopping { .. } => is_rehearsal,
            Course::Waiting | Course::Calling { .. } | Course::Answered { .. } => false,
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
        ends.since(self.wall_time_of(pod.window.stop_by)) > Duration::from_secs(1)
    }

    /// The API server's time at a moment.
    fn wall_time_of(&self, moment: Moment) -> WallTime {
        if moment > self.deadline {
            self.deadline_wall + moment.since(self.deadline)
        } else {
            self.deadline_wall - self.deadline.since(moment)
        }
    }

    /// The moment of a time of the API server's.
    fn moment_of(&self, time: WallTime) -> Moment {
        if time > self.deadline_wall {
            self.deadline + time.since(self.deadline_wall)
        } else {
            self.deadline - self.deadline_wall.since(time)
        }
    }

    /// Pods that wait and that nothing was done for yet.
    fn unstarted(&self) -> Vec<PodUid> {
        let waiting = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.course == Course::Waiting && pod.record.attempts == 0);
        waiting.map(|(uid, _)| uid.clone()).collect()
    }

    /// Ends a termination in time that somebody else began and that would outlive the node. A shorter grace acts on a
    /// pod that is terminating, and no budget is asked (measured).
    fn hurry(&mut self, uid: &PodUid, ends: WallTime, agenda: &mut Agenda, now: Moment) {
        let Some(pod) = self.pods.get(uid) else {
            return;
        };
        let is_short = pod
            .view
            .termination
            .is_none_or(|termination| termination.grace <= HURRIED_GRACE);
        let is_tried_out = pod.record.hurries >= HURRIES;
        // To wait for anything now would abandon a call that is under way, whose answer gives back its slot.
        let is_calling = self.calling.contains(uid);
        if is_calling
            || is_short
            || is_tried_out
            || !self.ends_late(pod, ends)
            || now >= self.deadline
        {
            return;
        }
        let due = pod.window.stop_by - HURRY_BEFORE_STOP;
        if now < due {
            agenda.wait(Task::Pod(uid.clone()), due);
            return;
        }
        let request = Request::Evict(pod.view.pod.clone(), Some(HURRIED_GRACE));
        let give_up = (now + CALL_TIMEOUT).min(self.deadline);
        agenda.attempt(Task::Pod(uid.clone()), request, Some(give_up));
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.record.hurries += 1;
        }
    }

    /// Whether this controller has put pods onto the cordoned node too often to go on evicting them.
    fn is_recreated_for_ever(&mut self, view: &PodView) -> bool {
        let came_later = self
            .cordoned
            .zip(view.created)
            .is_some_and(|(cordoned, created)| created > cordoned);
        let Some(owner) = view.owner.clone().filter(|_| came_later) else {
            return false;
        };
        let key = (view.pod.namespace.clone(), owner);
        let evicted = self.recreated.entry(key).or_default();
        if evicted.len() < RECREATIONS {
            evicted.insert(view.pod.uid.clone());
        }
        !evicted.contains(&view.pod.uid)
    }

    fn handle_seen(&mut self, view: PodView, agenda: &mut Agenda, now: Now) {
        let uid = view.pod.uid.clone();
        match self.pods.entry(uid.clone()) {
            Entry::Occupied(known) if !known.get().has_come_back(&view) => {
                let pod = known.into_mut();
                pod.heed(view.when_blocked, agenda);
                pod.view = view;
            }
            Entry::Vacant(_) | Entry::Occupied(_) => self.take_in(view, agenda, now.at),
        }
        let Some(pod) = self.pods.get_mut(&uid) else {
            return;
        };
        match pod.course {
            Course::Exempt(_) | Course::Finished | Course::Gone(_) => {}
            Course::Waiting
            | Course::Calling { .. }
            | Course::Answered { .. }
            | Course::Stopping { .. } => {
                let is_finished = pod.view.progress == PodProgress::Finished;
                if let Some(termination) = pod.view.termination {
                    if pod.course == Course::Waiting && pod.record.doubt != Doubt::Clear {
                        let sent = pod.record.last_sent();
                        self.last_accepted_call = self.last_accepted_call.max(sent);
                    }
                    pod.handle_termination(termination, self.first_seen, agenda, now.at);
                    self.hurry(&uid, termination.deletion_timestamp, agenda, now.at);
                }
                if is_finished {
                    self.handle_gone(&uid, agenda, now.at);
                }
            }
        }
    }

    /// Takes in a pod that was not here before.
    fn take_in(&mut self, view: PodView, agenda: &mut Agenda, now: Moment) {
        let uid = view.pod.uid.clone();
        let is_recreated = self.is_recreated_for_ever(&view);
        let mut pod = Pod::new(view, &self.terms, self.deadline);
        pod.heed(self.namespaces.wish(&pod.view.pod.namespace), agenda);
        let is_waiting = pod.course == Course::Waiting;
        if is_waiting && is_recreated {
            pod.course = Course::Exempt(Exemption::Recreated);
        }
        self.pods.insert(uid.clone(), pod);
        if is_waiting && !is_recreated {
            self.line_up(&uid, agenda, now);
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
        note_refusal(pod, &mut self.namespaces, agenda, now);
        let moment = Terms::not_past_last_start(pod, Trouble::Refused(call), now + wait, now);
        pod.course = Course::Waiting;
        agenda.wait(Task::Pod(uid.clone()), moment);
        if answer == Answer::Accepted {
            pod.block(BlockReason::Unacknowledged, self.first_seen, agenda, now);
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
        let ended_by_itself =
            pod.view.progress == PodProgress::Finished && pod.view.termination.is_none();
        pod.handle_gone(self.first_seen, agenda, now);
        if self.calling.remove(uid) && !ended_by_itself {
            self.hear_of_its_end(uid, agenda, now);
        }
        self.held.remove(uid);
        self.last_gone = Some(now);
        agenda.close(&Task::Pod(uid.clone()));
        agenda.close(&Task::Mark(uid.clone()));
        agenda.close(&Task::GiveUp(uid.clone()));
    }

    fn fill_window(&mut self, agenda: &mut Agenda, now: Moment) {
        if now >= self.deadline {
            return;
        }
        self.begin_second_wave_if_due(agenda, now);
        while !self.silence.holds(now) && self.calling.len() < self.flow.allowed(now) {
            let Some((_, uid)) = self.ready.pop_first() else {
                return;
            };
            // What has been seen terminating since is still in line, and is passed over.
            let pod = self.pods.get(&uid);
            if pod.is_some_and(|pod| pod.course == Course::Waiting) {
                self.start(uid, agenda, now);
            }
        }
    }
}
