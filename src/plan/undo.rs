//! Undoing what an interruption left on a node that outlives it.

use std::time::Duration;

use super::action::{Failure, FailureKind, Outcome, Request};
use super::cordon::CALL_TIMEOUT;
use super::fact::Fact;
use super::id::{InstanceId, NoticeId};
use super::node::{
    Annotation, CordonOwner, InterruptionRecord, LabelUndo, NodeView, Scheduling, SchedulingUndo,
    UndoPatch,
};
use super::notice::Interruption;
use super::policy::Mode;
use super::recall::is_of_another;
use super::task::{Agenda, Task, doubled};
use super::time::{Moment, Now, WallTime};

/// One reply without the notice may be a slip of the metadata service; three in a row are not.
const ABSENCES: u32 = 3;

/// EC2 acts within seconds of T. A machine that is there so long after it has been spared.
const SPARED_AFTER: Duration = Duration::from_mins(5);

/// Taints by which other tools take a node away for good: what they want cordoned stays so
/// (<https://karpenter.sh/docs/concepts/disruption/>, the cluster autoscaler's `taints` package).
const DEPARTURE_TAINTS: [&str; 2] = ["karpenter.sh/disrupted", "ToBeDeletedByClusterAutoscaler"];

/// How often it is looked whether such a taint is gone.
const DEPARTURE_INTERVAL: Duration = Duration::from_mins(1);

/// A server that cannot be asked is asked again after this, doubled up to [`LONGEST_WAIT`]: there is no hurry.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// See [`FIRST_WAIT`].
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// So often a lost race is run again at once.
const CONFLICTS_AT_ONCE: u32 = 3;

/// What becomes of the annotation of an interruption that is over.
///
/// ```text
///   Unlooked ──▶ Reading ──nothing of ours──▶ Clean
///                 ▲   │ └──not outlived yet──▶ Pending ──three polls, and the time──┐
///                 │   └──ours, or an older node's──▶ Patching ──▶ Clean             │
///                 ├──conflict, or a failure and a wait──┘                           │
///                 └─────────────────────────────────────────────────────────────────┘
/// ```
///
/// It is asked to act only while no notice is there.
#[derive(Debug)]
pub(super) struct Undo {
    mode: Mode,
    step: Step,
    /// Polls in a row that found no notice.
    absences: u32,
    /// Whether the machine has slept since the notice, as far as its clocks tell.
    has_slept: bool,
    /// The interruption this process has seen, and its T.
    known: Option<(NoticeId, Moment)>,
    failures: u32,
    conflicts: u32,
    /// Patches that failed, since the last that did not.
    refusals: u32,
    /// What a patch without an answer may have done.
    unanswered: Option<Claim>,
}

#[derive(Clone, Debug)]
enum Step {
    /// The node has not been looked at since the start.
    Unlooked,
    /// Nothing of ours is on the node.
    Clean,
    /// Something of ours is or may be on the node, and stays until then at least.
    Pending(Moment),
    Reading,
    Patching(Claim),
    /// The next reading waits for its time.
    Waiting,
}

/// What a patch takes back, for the fact that tells of it.
#[derive(Clone, Copy, Debug)]
struct Claim {
    owner: CordonOwner,
    before: Scheduling,
    takes_label: bool,
    deadline: WallTime,
}

impl Undo {
    /// What an agent that has just started has to find out.
    pub(super) const fn at_start(mode: Mode) -> Self {
        let step = match mode {
            Mode::Full | Mode::DeregisterOnly => Step::Unlooked,
            Mode::Observe => Step::Clean,
        };
        Self::beginning(mode, step, None)
    }

    /// What is left of this interruption, to be undone if the node outlives it.
    pub(super) fn after(interruption: &Interruption, mode: Mode) -> Self {
        let acts_at = interruption.acts_at().max(interruption.deadline);
        let known = (interruption.id.clone(), acts_at);
        Self::beginning(mode, Step::Pending(acts_at + SPARED_AFTER), Some(known))
    }

    const fn beginning(mode: Mode, step: Step, known: Option<(NoticeId, Moment)>) -> Self {
        Self {
            mode,
            step,
            absences: 0,
            has_slept: false,
            known,
            failures: 0,
            conflicts: 0,
            refusals: 0,
            unanswered: None,
        }
    }

    /// A poll has found no notice.
    pub(super) const fn handle_absence(&mut self) {
        self.absences = self.absences.saturating_add(1);
    }

    /// A poll has found a notice, or nothing that can be relied on.
    pub(super) const fn handle_doubt(&mut self) {
        self.absences = 0;
    }

    /// The machine may have slept: if it did, the interruption has been carried out, and is over.
    pub(super) fn handle_wake(&mut self, now: Moment) {
        self.has_slept = true;
        self.absences = 0;
        if let Step::Pending(from) = &mut self.step {
            *from = (*from).min(now);
        }
    }

    /// Looks at the node if it is time to, and no notice is there.
    pub(super) fn consider(
        &mut self,
        instance: Option<&InstanceId>,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let is_time = match self.step {
            Step::Unlooked => instance.is_some(),
            Step::Pending(from) => self.absences >= ABSENCES && now >= from,
            Step::Clean | Step::Reading | Step::Patching(_) | Step::Waiting => false,
        };
        if is_time {
            self.read(agenda, now);
        }
    }

    /// The wait for another reading is over.
    pub(super) fn handle_due(&mut self, agenda: &mut Agenda, now: Moment) {
        self.read(agenda, now);
    }

    /// Takes what came of a reading or of a patch.
    pub(super) fn handle_outcome(
        &mut self,
        outcome: Outcome,
        instance: Option<&InstanceId>,
        agenda: &mut Agenda,
        now: Now,
    ) {
        match (outcome, self.step.clone()) {
            (Outcome::Node(_), Step::Patching(claim)) => self.finish(claim, agenda, now),
            (Outcome::Node(view), _) => self.handle_view(&view, instance, agenda, now),
            (Outcome::Failed(failure), Step::Patching(claim)) => {
                if failure.may_have_acted() {
                    self.unanswered = Some(claim);
                }
                self.handle_patch_failure(&failure, agenda, now.at);
            }
            (Outcome::Failed(_), _) => {
                self.failures += 1;
                let wait = doubled(FIRST_WAIT, self.failures, LONGEST_WAIT);
                self.wait(wait, agenda, now.at);
            }
            (
                Outcome::Notice(_)
                | Outcome::Identity(_)
                | Outcome::Namespace(_)
                | Outcome::Pods { .. }
                | Outcome::Found(_)
                | Outcome::Access(_)
                | Outcome::Targets(_)
                | Outcome::Done,
                _,
            ) => self.wait(FIRST_WAIT, agenda, now.at),
        }
    }

    fn read(&mut self, agenda: &mut Agenda, now: Moment) {
        self.step = Step::Reading;
        agenda.attempt(Task::Undo, Request::ReadNode, Some(now + CALL_TIMEOUT));
    }

    fn wait(&mut self, wait: Duration, agenda: &mut Agenda, now: Moment) {
        self.step = Step::Waiting;
        let wait = agenda.jitter().around(wait);
        agenda.wait(Task::Undo, now + wait);
    }

    fn handle_patch_failure(&mut self, failure: &Failure, agenda: &mut Agenda, now: Moment) {
        if failure.kind == FailureKind::Conflict && self.conflicts < CONFLICTS_AT_ONCE {
            self.conflicts += 1;
            self.read(agenda, now);
            return;
        }
        self.conflicts = 0;
        self.refusals += 1;
        // As with a cordon: the first is news, and so is every doubling of its age.
        if self.refusals.is_power_of_two() {
            agenda.tell(Fact::UncordonFailed {
                attempt: self.refusals,
                http_status: failure.http_status,
                error: failure.text.clone(),
            });
        }
        let wait = doubled(FIRST_WAIT, self.refusals, LONGEST_WAIT);
        self.wait(wait, agenda, now);
    }

    fn handle_view(
        &mut self,
        view: &NodeView,
        instance: Option<&InstanceId>,
        agenda: &mut Agenda,
        now: Now,
    ) {
        self.failures = 0;
        let record = match &view.annotation {
            Annotation::Record(record) => record,
            Annotation::Absent => {
                if let Some(claim) = self.unanswered.take() {
                    self.finish(claim, agenda, now);
                }
                self.step = Step::Clean;
                return;
            }
            Annotation::Unknown(found) => {
                agenda.tell(Fact::AnnotationUnknown {
                    found: found.clone(),
                });
                self.step = Step::Clean;
                return;
            }
        };
        let from = self.undone_from(record, view, instance, now);
        if now.at < from || self.absences < ABSENCES && !is_of_another(record, instance) {
            self.step = Step::Pending(from);
        } else if is_departing(view) {
            self.wait(DEPARTURE_INTERVAL, agenda, now.at);
        } else {
            let (claim, patch) = self.patch(record, view);
            self.step = Step::Patching(claim);
            agenda.attempt(
                Task::Undo,
                Request::Undo(patch),
                Some(now.at + CALL_TIMEOUT),
            );
        }
    }

    /// From when on the node has outlived what the record tells of.
    fn undone_from(
        &self,
        record: &InterruptionRecord,
        view: &NodeView,
        instance: Option<&InstanceId>,
        now: Now,
    ) -> Moment {
        let is_rebooted =
            record.boot_id.is_some() && view.boot_id.is_some() && record.boot_id != view.boot_id;
        if is_rebooted || is_of_another(record, instance) {
            return now.at;
        }
        let acts_at = match &self.known {
            Some((id, acts_at)) if *id == record.notice_id => *acts_at,
            Some(_) | None => {
                let time = record.time.unwrap_or(record.deadline).max(record.deadline);
                now.at + time.since(now.wall) - now.wall.since(time)
            }
        };
        // Who wakes up before T was not taken yet. What a process has seen itself it knows by a clock that stood still
        // meanwhile.
        let woke_after = record.time.unwrap_or(record.deadline) <= now.wall;
        if self.has_slept && woke_after {
            return now.at;
        }
        acts_at + SPARED_AFTER
    }

    /// The patch that takes back what the record says is ours, and is as we left it.
    fn patch(&self, record: &InterruptionRecord, view: &NodeView) -> (Claim, UndoPatch) {
        let is_ours = record.cordon == CordonOwner::Us && self.mode == Mode::Full;
        let scheduling = match view.scheduling {
            Scheduling::Cordoned if is_ours => SchedulingUndo::Uncordon,
            Scheduling::Cordoned | Scheduling::Open => SchedulingUndo::Keep,
        };
        let is_as_we_left_it = view.exclusion_label.as_deref() == Some("true");
        let label = match record.label_before.as_deref() {
            None if is_as_we_left_it => LabelUndo::Remove,
            Some("false") if is_as_we_left_it => LabelUndo::Restore("false".to_owned()),
            None | Some(_) => LabelUndo::Keep,
        };
        let claim = Claim {
            owner: if is_ours {
                CordonOwner::Us
            } else {
                CordonOwner::Another
            },
            before: view.scheduling,
            takes_label: label != LabelUndo::Keep,
            deadline: record.deadline,
        };
        let patch = UndoPatch {
            expected: view.resource_version.clone(),
            scheduling,
            label,
        };
        (claim, patch)
    }

    fn finish(&mut self, claim: Claim, agenda: &mut Agenda, now: Now) {
        let is_ours = claim.owner == CordonOwner::Us;
        agenda.tell(Fact::NodeUncordoned {
            cordoned_by_us: is_ours,
            already_cordoned: !is_ours && claim.before == Scheduling::Cordoned,
            label_set: claim.takes_label,
            elapsed: now.wall.since(claim.deadline),
        });
        self.step = Step::Clean;
        self.unanswered = None;
        self.refusals = 0;
    }
}

/// Whether another tool is taking the node away.
fn is_departing(view: &NodeView) -> bool {
    let is_one = |taint: &String| DEPARTURE_TAINTS.contains(&taint.as_str());
    view.taints.iter().any(is_one)
}
