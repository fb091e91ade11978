//! When the API server leaves calls for pods unanswered: no new ones, but now and then a probe whether it is back.
//!
//! What was sent to a server that hung may never be answered, and who only waits finds that out after twelve seconds. A
//! probe is a call that has to be made anyway, sent again. Its answer says that the server is back, and that what was
//! sent before it is lost.

use std::time::Duration;

use super::passage::{Course, Doubt, Occasion, Urgency};
use super::{Drain, Terms, Wish};
use crate::plan::action::{Failure, FailureKind, Outcome};
use crate::plan::id::PodUid;
use crate::plan::task::{Agenda, Task};
use crate::plan::time::Moment;

/// An eviction takes 100 ms in the server (measured), and of many at once the first is answered as soon.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// From one probe to the next: a server that is back waits for us so long at most.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// So many probes in a row may cut short what is under way, and as many as the pause has may not: a webhook that delays
/// every eviction by ten seconds would otherwise never let one through.
const PROBES_IN_A_ROW: u32 = 10;

/// Ten seconds and the two before the next probe are the twelve that a call may take.
const PROBES_IN_A_PAUSE: u32 = 5;

/// The second probe, and every fifth after it, is followed by a LIST over a new connection: where several servers are
/// behind one address, another one may answer.
const PROBES_A_CONNECTION: u32 = 5;

/// What the LIST has not shown by then is sent again without it: the server answers a second eviction of a terminating
/// pod as it did the first, and asks no budget.
const LOOKING: Duration = Duration::from_secs(1);

/// Since when no call for a pod was answered.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// Since the last answer, or since the first call under way; none when none is.
    since: Option<Moment>,
    probes: u32,
}

/// What a probe that is due may do to the calls under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// It takes the place of one.
    InPlace,
    /// They are left the time that a call may take.
    Besides,
}

impl Silence {
    /// Whether no call begins but probes.
    pub(super) fn holds(&self, now: Moment) -> bool {
        self.since.is_some_and(|since| now >= since + SILENT_AFTER)
    }

    /// Counts the silence from now: something was heard, or the first call is under way.
    fn begin(&mut self, agenda: &mut Agenda, now: Moment) {
        self.since = Some(now);
        self.probes = 0;
        agenda.wait(Task::Probe, now + SILENT_AFTER);
    }

    fn end(&mut self, agenda: &mut Agenda) {
        self.since = None;
        self.probes = 0;
        agenda.close(&Task::Probe);
    }

    fn next_probe(&mut self, agenda: &mut Agenda, now: Moment) -> Probe {
        let place = self.probes % (PROBES_IN_A_ROW + PROBES_IN_A_PAUSE);
        self.probes += 1;
        agenda.wait(Task::Probe, now + PROBE_INTERVAL);
        if place < PROBES_IN_A_ROW {
            Probe::InPlace
        } else {
            Probe::Besides
        }
    }
}

impl Drain {
    /// Makes a call for a pod that waits.
    pub(super) fn start(&mut self, uid: PodUid, agenda: &mut Agenda, now: Moment) {
        let Some(pod) = self.pods.get_mut(&uid) else {
            return;
        };
        Terms::call(pod, self.deadline, agenda, now);
        self.calling.insert(uid);
        if self.silence.since.is_none() {
            self.silence.begin(agenda, now);
        }
    }

    /// Whether nothing is under way that could be answered: then there is no silence.
    pub(super) fn end_silence_if_idle(&mut self, agenda: &mut Agenda, now: Moment) {
        if self.calling.is_empty() && !self.silence.holds(now) {
            self.silence.end(agenda);
        }
    }

    /// A call that was sent at `sent` has come to something. If that says that the server is back, what was sent before
    /// is lost.
    pub(super) fn hear(
        &mut self,
        sent: Option<Moment>,
        outcome: &Outcome,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Wish {
        let is_answer = outcome.failure().is_none_or(Failure::was_answered);
        // The connection has ended or there is none: whatever is sent next goes another way.
        let is_news = outcome.failure().is_some_and(|failure| {
            matches!(
                failure.kind,
                FailureKind::Lost | FailureKind::Unreachable(_)
            )
        });
        let probe = sent.filter(|sent| is_answer && self.silence.holds(*sent));
        if is_answer || is_news {
            self.silence.begin(agenda, now);
        }
        probe.map_or(Wish::Nothing, |sent| {
            self.recall_calls_before(sent, agenda, now)
        })
    }

    /// A pod is gone before its call was answered. Was that a probe, it has done what it was to do, and is as good as
    /// answered.
    pub(super) fn hear_of_its_end(&mut self, uid: &PodUid, agenda: &mut Agenda, now: Moment) {
        let sent = self.pods.get(uid).and_then(|pod| pod.record.last_sent());
        if let Some(sent) = sent.filter(|sent| self.silence.holds(*sent)) {
            self.silence.begin(agenda, now);
            // Whoever told of the end tells of the others too: no LIST is needed.
            let (Wish::List | Wish::Nothing) = self.recall_calls_before(sent, agenda, now);
        }
    }

    /// Another probe is due.
    pub(in crate::plan) fn handle_probe_due(&mut self, agenda: &mut Agenda, now: Moment) -> Wish {
        if now >= self.deadline {
            return Wish::Nothing;
        }
        let next = self.least_tried();
        if self.calling.is_empty() && next.is_none() {
            self.silence.end(agenda);
            return Wish::Nothing;
        }
        let probe = self.silence.next_probe(agenda, now);
        if let Some((urgency, uid)) = next
            && self.calling.len() < self.flow.allowed(now)
        {
            self.ready.remove(&(urgency, uid.clone()));
            self.start(uid, agenda, now);
        } else if probe == Probe::InPlace
            && let Some(uid) = self.oldest_call(agenda)
        {
            self.give_up_call(&uid, agenda);
            self.start(uid, agenda, now);
        }
        if self.silence.probes % PROBES_A_CONNECTION == 2 {
            Wish::List
        } else {
            Wish::Nothing
        }
    }

    /// Of the pods whose turn it is the one that was tried least often: what hangs may be about one namespace alone.
    fn least_tried(&self) -> Option<(Urgency, PodUid)> {
        let waiting = self.ready.iter().filter_map(|(urgency, uid)| {
            let pod = self.pods.get(uid)?;
            (pod.course == Course::Waiting).then_some((pod.record.attempts, *urgency, uid))
        });
        waiting
            .min()
            .map(|(_, urgency, uid)| (urgency, uid.clone()))
    }

    /// The oldest call under way that may be cut short. One about a pod that is seen terminating is not needed any more,
    /// and ends.
    fn oldest_call(&mut self, agenda: &mut Agenda) -> Option<PodUid> {
        let settled: Vec<PodUid> = self.calls(|course| !matches!(course, Course::Calling { .. }));
        for uid in &settled {
            self.give_up_call(uid, agenda);
        }
        let calls = self.calling.iter().filter_map(|uid| {
            let pod = self.pods.get(uid)?;
            (pod.record.occasion == Occasion::Ordinary).then_some((
                pod.record.last_sent(),
                pod.urgency(),
                uid,
            ))
        });
        calls.min().map(|(_, _, uid)| uid.clone())
    }

    fn calls(&self, pick: impl Fn(&Course) -> bool) -> Vec<PodUid> {
        let picked = self
            .calling
            .iter()
            .filter(|uid| self.pods.get(uid).is_none_or(|pod| pick(&pod.course)));
        picked.cloned().collect()
    }

    /// Ends the call under way for a pod without waiting for its answer; it may have taken effect.
    pub(super) fn give_up_call(&mut self, uid: &PodUid, agenda: &mut Agenda) {
        self.calling.remove(uid);
        agenda.close(&Task::Pod(uid.clone()));
        agenda.close(&Task::GiveUp(uid.clone()));
        if let Some(pod) = self.pods.get_mut(uid)
            && let Course::Calling { grace, sent, .. } = pod.course
        {
            pod.record.doubt = Doubt::Sent(grace);
            pod.record.unanswered = Some(sent);
            pod.course = Course::Waiting;
        }
    }

    /// Ends the calls that were sent before one that has been answered. Which of them took effect a LIST shows.
    fn recall_calls_before(&mut self, sent: Moment, agenda: &mut Agenda, now: Moment) -> Wish {
        let lost: Vec<PodUid> = self
            .calling
            .iter()
            .filter(|uid| {
                let pod = self.pods.get(uid);
                pod.is_some_and(|pod| {
                    pod.record.occasion == Occasion::Ordinary && pod.record.last_sent() < Some(sent)
                })
            })
            .cloned()
            .collect();
        for uid in &lost {
            self.give_up_call(uid, agenda);
            if let Some(pod) = self.pods.get_mut(uid)
                && pod.course == Course::Waiting
            {
                pod.record.occasion = Occasion::Silence;
                pod.record.looked_up = Some(now);
                agenda.wait(Task::Pod(uid.clone()), now + LOOKING);
            }
        }
        if lost.is_empty() {
            Wish::Nothing
        } else {
            Wish::List
        }
    }

    /// A list asked for at `asked` shows this pod alive: its call, if one was lost, is made again at once.
    pub(super) fn handle_looked_up(&mut self, uid: &PodUid, asked: Moment, agenda: &mut Agenda) {
        if let Some(pod) = self.pods.get(uid)
            && pod.course == Course::Waiting
            && pod.record.looked_up.is_some_and(|since| asked >= since)
        {
            agenda.close(&Task::Pod(uid.clone()));
            self.ready.insert((pod.urgency(), uid.clone()));
        }
    }
}
