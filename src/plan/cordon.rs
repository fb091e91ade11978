//! Taking the node out of service: one GET, one PATCH, and what they may claim as ours.

use std::time::Duration;

use super::action::{Failure, FailureKind, Outcome, Request};
use super::fact::Fact;
use super::id::InstanceId;
use super::node::{
    Annotation, CordonOwner, CordonPatch, InterruptionRecord, LabelWrite, NodeView, Scheduling,
    SchedulingWrite,
};
use super::notice::Interruption;
use super::policy::{Effect, Mode};
use super::recall::{earlier_record, own_record};
use super::task::{Agenda, Task, doubled};
use super::time::Moment;
use super::wake::Recording;

/// A reading or a patch of one small object; the API server answers in milliseconds or is in trouble.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// After that many readings lost against another writer, the patch goes without its lock and claims nothing.
const CONFLICTS_BEFORE_BLIND_PATCH: u32 = 2;

/// Two processes read the same deadline from `Date` headers of whole seconds.
const DEADLINES_DIFFER: Duration = Duration::from_secs(1);

/// The cordon of one interruption.
///
/// ```text
///   Reading ──view──▶ Patching ──view──▶ Done
///      ▲  ◀──conflict──┘   │
///      └─────failure, after a wait
/// ```
#[derive(Debug)]
pub(super) struct Cordon {
    mode: Mode,
    effect: Effect,
    step: Step,
    record: Record,
    attempts: u32,
    conflicts: u32,
}

/// Whether the deadline in the annotation is the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Current,
    /// It has moved closer since the patch was sent.
    Outdated,
    Rewriting,
}

#[derive(Debug)]
enum Step {
    Reading,
    Patching(Claim),
    Done { at: Moment, node_uid: String },
}

/// What a patch claims, for the fact that tells of it.
#[derive(Clone, Copy, Debug)]
struct Claim {
    owner: CordonOwner,
    before: Scheduling,
    label: LabelWrite,
}

impl Cordon {
    /// Starts with a reading of the node, or with one that is already at hand.
    pub(super) fn begin(
        interruption: &Interruption,
        instance: Option<&InstanceId>,
        view: Option<NodeView>,
        (mode, effect): (Mode, Effect),
        agenda: &mut Agenda,
        now: Moment,
    ) -> Self {
        let mut cordon = Self {
            mode,
            effect,
            step: Step::Reading,
            record: Record::Current,
            attempts: 0,
            conflicts: 0,
        };
        match view {
            Some(view) => cordon.handle_view(&view, interruption, instance, agenda, now),
            None => cordon.read(agenda, now),
        }
        cordon
    }

    /// Reads the node again after a wait.
    pub(super) fn handle_due(&mut self, agenda: &mut Agenda, now: Moment) {
        self.read(agenda, now);
    }

    /// The deadline has moved closer: a restarted agent has to find the one that is in force. What else the node carries
    /// stays as it is.
    pub(super) fn tighten(&mut self, agenda: &mut Agenda, now: Moment) {
        match self.step {
            // The patch to come has it.
            Step::Reading => {}
            Step::Patching(_) => self.record = Record::Outdated,
            Step::Done { .. } => {
                self.record = Record::Outdated;
                self.read(agenda, now);
            }
        }
    }

    /// Takes what came of a reading or of a patch.
    pub(super) fn handle_outcome(
        &mut self,
        outcome: Outcome,
        interruption: &Interruption,
        instance: Option<&InstanceId>,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        match outcome {
            Outcome::Node(view) => self.handle_view(&view, interruption, instance, agenda, now),
            Outcome::Failed(failure) => self.handle_failure(&failure, agenda, now),
            Outcome::Notice(_)
            | Outcome::Identity(_)
            | Outcome::Namespace(_)
            | Outcome::Access(_)
            | Outcome::Pods { .. }
            | Outcome::Found(_)
            | Outcome::Targets(_)
            | Outcome::Done => self.read(agenda, now),
        }
    }

    /// When the node was out of service.
    pub(super) fn done_at(&self) -> Option<Moment> {
        match &self.step {
            Step::Done { at, .. } => Some(*at),
            Step::Reading | Step::Patching(_) => None,
        }
    }

    /// Whether the node carries this interruption's record.
    pub(super) const fn recording(&self) -> Recording {
        match (&self.step, self.effect) {
            (Step::Done { .. }, Effect::Real) => Recording::Written,
            (Step::Done { .. }, Effect::Rehearsed)
            | (Step::Reading | Step::Patching(_), Effect::Real | Effect::Rehearsed) => {
                Recording::Unwritten
            }
        }
    }

    /// The Node's UID, once it is known to be cordoned.
    pub(super) fn node_uid(&self) -> Option<&str> {
        match &self.step {
            Step::Done { node_uid, .. } => Some(node_uid),
            Step::Reading | Step::Patching(_) => None,
        }
    }

    fn read(&mut self, agenda: &mut Agenda, now: Moment) {
        if !matches!(self.step, Step::Done { .. }) {
            self.step = Step::Reading;
        }
        agenda.attempt(Task::Cordon, Request::ReadNode, Some(now + CALL_TIMEOUT));
    }

    fn handle_view(
        &mut self,
        view: &NodeView,
        interruption: &Interruption,
        instance: Option<&InstanceId>,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if let Step::Patching(claim) = self.step {
            self.settle(claim, view, interruption, agenda, now);
            if self.record == Record::Outdated {
                self.read(agenda, now);
            }
            return;
        }
        if let Step::Done { .. } = self.step {
            self.rewrite(view, interruption, instance, agenda, now);
            return;
        }
        if let Annotation::Unknown(found) = &view.annotation {
            agenda.tell(Fact::AnnotationUnknown {
                found: found.clone(),
            });
        }
        let (claim, patch) = self.patch(view, interruption, instance);
        match patch {
            Some(patch) => {
                self.step = Step::Patching(claim);
                agenda.attempt(
                    Task::Cordon,
                    Request::Cordon(patch),
                    Some(now + CALL_TIMEOUT),
                );
            }
            None => self.settle(claim, view, interruption, agenda, now),
        }
    }

    /// Brings the record up to date on a node that is out of service.
    fn rewrite(
        &mut self,
        view: &NodeView,
        interruption: &Interruption,
        instance: Option<&InstanceId>,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let (_, patch) = self.patch(view, interruption, instance);
        match patch.filter(|patch| self.record == Record::Outdated && patch.record.is_some()) {
            Some(patch) => {
                self.record = Record::Rewriting;
                agenda.attempt(
                    Task::Cordon,
                    Request::Cordon(patch),
                    Some(now + CALL_TIMEOUT),
                );
            }
            None => self.record = Record::Current,
        }
    }

    fn settle(
        &mut self,
        claim: Claim,
        view: &NodeView,
        interruption: &Interruption,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.step = Step::Done {
            at: now,
            node_uid: view.uid.clone(),
        };
        if self.mode == Mode::Full {
            agenda.tell(Fact::NodeCordoned {
                cordoned_by_us: claim.owner == CordonOwner::Us,
                already_cordoned: claim.before == Scheduling::Cordoned,
                label_set: claim.label == LabelWrite::Set,
                elapsed: now.since(interruption.first_seen),
            });
        }
    }

    fn handle_failure(&mut self, failure: &Failure, agenda: &mut Agenda, now: Moment) {
        if self.record == Record::Rewriting {
            self.record = Record::Outdated;
        }
        if failure.kind == FailureKind::Conflict && self.conflicts < CONFLICTS_BEFORE_BLIND_PATCH {
            self.conflicts += 1;
            self.read(agenda, now);
            return;
        }
        self.attempts += 1;
        // The first is news, and so is every doubling of its age; each single one would be noise.
        let is_cordoned = matches!(self.step, Step::Done { .. });
        if self.attempts.is_power_of_two() && !is_cordoned {
            agenda.tell(Fact::CordonFailed {
                attempt: self.attempts,
                http_status: failure.http_status,
                error: failure.text.clone(),
            });
        }
        let wait = doubled(
            Duration::from_millis(500),
            self.attempts,
            Duration::from_secs(5),
        );
        let wait = agenda.jitter().around(wait);
        if !is_cordoned {
            self.step = Step::Reading;
        }
        agenda.wait(Task::Cordon, now + wait);
    }

    /// The patch this reading asks for; none when the node already is as it should be.
    fn patch(
        &self,
        view: &NodeView,
        interruption: &Interruption,
        instance: Option<&InstanceId>,
    ) -> (Claim, Option<CordonPatch>) {
        let ours = own_record(
            view,
            interruption.action,
            instance,
            interruption.deadline_wall,
        );
        let earlier = earlier_record(view);
        let blind = self.conflicts >= CONFLICTS_BEFORE_BLIND_PATCH;
        let scheduling = match self.mode {
            Mode::Full => SchedulingWrite::Cordon,
            Mode::DeregisterOnly | Mode::Observe => SchedulingWrite::Keep,
        };
        let owner = match (ours, view.scheduling) {
            (Some(record), _) => record.cordon,
            (None, _) if scheduling == SchedulingWrite::Keep => CordonOwner::Another,
            (None, Scheduling::Cordoned) => {
                earlier.map_or(CordonOwner::Another, |record| record.cordon)
            }
            (None, Scheduling::Open) if blind => CordonOwner::Another,
            (None, Scheduling::Open) => CordonOwner::Us,
        };
        // Whatever the value, the controllers look only for the label's presence, except that people write `false`
        // and mean it.
        let label = match view.exclusion_label.as_deref() {
            None | Some("false") => LabelWrite::Set,
            Some(_) => LabelWrite::Keep,
        };
        let claim = Claim {
            owner,
            before: view.scheduling,
            label,
        };
        let is_scheduled_so =
            scheduling == SchedulingWrite::Keep || view.scheduling == Scheduling::Cordoned;
        let is_recorded_so = ours.is_some_and(|record| {
            record.deadline.since(interruption.deadline_wall) < DEADLINES_DIFFER
        });
        if is_recorded_so && is_scheduled_so && label == LabelWrite::Keep {
            return (claim, None);
        }
        let record = InterruptionRecord {
            notice_id: interruption.id.clone(),
            action: interruption.action,
            time: interruption.time,
            deadline: interruption.deadline_wall,
            instance_id: instance.or_else(|| ours?.instance_id.as_ref()).cloned(),
            boot_id: view.boot_id.clone(),
            cordon: owner,
            label_before: label_before(view, ours, earlier, blind),
        };
        // A rehearsal leaves nothing behind that a later process could take for its own.
        let is_recorded =
            self.effect == Effect::Real && !matches!(view.annotation, Annotation::Unknown(_));
        let patch = CordonPatch {
            expected: (!blind).then(|| view.resource_version.clone()),
            scheduling,
            label,
            record: is_recorded.then_some(record),
        };
        (claim, Some(patch))
    }
}

/// The exclusion label's value before it was ours: of an earlier interruption that is how it found it, as long as the label
/// is as it left it. Who patches blindly cannot tell, and claims nothing.
fn label_before(
    view: &NodeView,
    ours: Option<&InterruptionRecord>,
    earlier: Option<&InterruptionRecord>,
    blind: bool,
) -> Option<String> {
    match (ours, earlier, view.exclusion_label.as_deref()) {
        (Some(record), _, _) | (None, Some(record), Some("true")) => record.label_before.clone(),
        (None, _, None | Some("false")) if blind => Some("true".to_owned()),
        (None, _, label) => label.map(str::to_owned),
    }
}
