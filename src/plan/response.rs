//! Everything that is done about one interruption, from its first sight to the deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use super::action::{Failure, NodeEvent, NodeEventKind, Outcome, Request, WatchEvent};
use super::budget::{verdict_due, verdict_due_at_once};
use super::cordon::{CALL_TIMEOUT, Cordon};
use super::drain::{Drain, Terms, Wish};
use super::fact::{
    Fact, InterruptionContext, NoticeChange, NoticeFact, Sighting, Summary, Tally, TargetTally,
};
use super::id::{InstanceId, NodeName, PodUid};
use super::node::NodeView;
use super::notice::{AnnouncedAction, Announcement, Interruption, InterruptionAction};
use super::policy::{Effect, Mode};
use super::sight::Sight;
use super::targets::{ConfiguredGroup, Targets, tell_unnamed};
use super::task::{Agenda, Task, doubled};
use super::time::{Moment, Now};

/// A reader of the log sees the drain move, and the log stays short: at most eleven such lines.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// An event that cannot be published is not worth more than this.
const PUBLISH_TRIES: u32 = 5;

/// A notice that only moved by the seconds of a `Date` header has not been tightened.
const TIGHTENING_WORTH_ACTING_ON: Duration = Duration::from_secs(2);

/// What an interruption is answered with.
#[derive(Debug)]
pub(super) struct Response {
    interruption: Interruption,
    /// When this process began to act, which in one that was restarted is after its first sight of the notice.
    begun: Moment,
    mode: Mode,
    node: NodeName,
    cordon: Cordon,
    sight: Sight,
    drain: Drain,
    targets: TargetsStep,
    verdict: VerdictStep,
    /// How often each event could not be published.
    publish_failures: BTreeMap<NodeEventKind, u32>,
    withdrawal: Withdrawal,
}

/// Deregistration needs the instance's id.
#[derive(Debug)]
enum TargetsStep {
    WaitingForInstance(Vec<ConfiguredGroup>, Effect),
    Begun(InstanceId, Targets),
}

#[derive(Debug, PartialEq, Eq)]
enum VerdictStep {
    Pending,
    Given,
}

/// Whether the notice's disappearance has been told.
#[derive(Debug, PartialEq, Eq)]
enum Withdrawal {
    Untold,
    Told,
}

impl Response {
    /// Starts everything at once: nothing of it waits for anything else of it.
    #[allow(clippy::too_many_arguments)] // each is one thing that only the planner knows
    pub(super) fn begin(
        interruption: Interruption,
        node: NodeName,
        terms: Terms,
        groups: Vec<ConfiguredGroup>,
        instance: Option<&InstanceId>,
        view: Option<NodeView>,
        mode: Mode,
        agenda: &mut Agenda,
        now: Now,
    ) -> Self {
        let effect = terms.effect;
        let cordon = Cordon::begin(
            &interruption,
            instance,
            view,
            (mode, effect),
            agenda,
            now.at,
        );
        let sight = match mode {
            Mode::Full => Sight::begin(agenda, now.at),
            Mode::DeregisterOnly | Mode::Observe => Sight::averted(now.at),
        };
        let mut drain = Drain::new(terms, &interruption);
        if let Some(done) = cordon.done_at() {
            drain.handle_cordoned(done);
        }
        let mut response = Self {
            begun: now.at,
            mode,
            node,
            cordon,
            sight,
            drain,
            targets: TargetsStep::WaitingForInstance(groups, effect),
            verdict: VerdictStep::Pending,
            publish_failures: BTreeMap::new(),
            withdrawal: Withdrawal::Untold,
            interruption,
        };
        if let Some(instance) = instance {
            response.handle_instance(instance, agenda, now.at);
        }
        if !response.interruption.is_resumed() {
            response.publish(NodeEventKind::SpotInterruption, agenda, now.at);
        }
        if mode == Mode::Full {
            agenda.wait(Task::Progress, now.at + PROGRESS_INTERVAL);
        }
        response.wait_for_the_end(agenda);
        response
    }

    /// The interruption this answers.
    pub(super) fn interruption(&self) -> &Interruption {
        &self.interruption
    }

    /// The instance's id is known now.
    pub(super) fn handle_instance(
        &mut self,
        instance: &InstanceId,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if let TargetsStep::WaitingForInstance(groups, effect) = &self.targets {
            let targets =
                Targets::begin(groups, &self.interruption, instance, *effect, agenda, now);
            self.targets = TargetsStep::Begun(instance.clone(), targets);
        }
    }

    /// The notice is there again: only an earlier time means anything.
    pub(super) fn handle_notice(
        &mut self,
        announcement: &Announcement,
        agenda: &mut Agenda,
        now: Now,
    ) {
        // One that told no time is tightened by any that does.
        let is_later = self
            .interruption
            .time
            .is_some_and(|known| announcement.time >= Some(known));
        if announcement.time.is_none() || is_later {
            return;
        }
        let deadline = announcement.deadline(now);
        if deadline + TIGHTENING_WORTH_ACTING_ON > self.interruption.deadline {
            return;
        }
        self.interruption.deadline_wall =
            self.interruption.deadline_wall - self.interruption.deadline.since(deadline);
        self.interruption.deadline = deadline;
        agenda.tell(Fact::InterruptionChanged {
            reason: NoticeChange::Tightened,
            notice_time: announcement.time,
        });
        self.drain.tighten(&self.interruption, agenda, now.at);
        if let TargetsStep::Begun(_, targets) = &mut self.targets {
            targets.tighten(deadline);
        }
        self.wait_for_the_end(agenda);
    }

    /// The notice is not there any more. EC2 documents no withdrawal, so the plan stands.
    pub(super) fn handle_absence(&mut self, agenda: &mut Agenda) {
        if self.withdrawal == Withdrawal::Untold {
            self.withdrawal = Withdrawal::Told;
            agenda.tell(Fact::InterruptionChanged {
                reason: NoticeChange::Withdrawn,
                notice_time: self.interruption.time,
            });
        }
    }

    /// A task of this response has come up.
    pub(super) fn handle_due(&mut self, task: Task, agenda: &mut Agenda, now: Now) {
        match task {
            Task::Cordon => self.cordon.handle_due(agenda, now.at),
            Task::See | Task::WatchSilence => self.sight.list(agenda, now.at),
            Task::Pod(uid) => {
                if self.drain.handle_due(&uid, agenda, now.at) == Wish::List
                    && let Some(later) = self.sight.list_again(agenda, now.at)
                {
                    agenda.wait(Task::Pod(uid), later);
                }
            }
            Task::Mark(uid) => self.drain.handle_mark_due(&uid, agenda, now.at),
            Task::Namespace(name) => Drain::handle_namespace_due(&name, agenda, now.at),
            Task::SecondWave => self.drain.handle_second_wave_due(agenda, now.at),
            Task::Group(index) => {
                if let TargetsStep::Begun(instance, targets) = &mut self.targets {
                    targets.handle_due(index, instance, agenda, now.at);
                }
            }
            Task::Publish(kind) => self.publish(kind, agenda, now.at),
            Task::Progress => {
                let tally = self.drain.tally();
                agenda.tell(Fact::DrainProgress {
                    pods_gone: tally.gone,
                    pods_total: tally.total(),
                });
                agenda.wait(Task::Progress, now.at + PROGRESS_INTERVAL);
            }
            Task::Verdict => {
                self.sight.settle(now.at);
                if self.verdict == VerdictStep::Pending && now.at >= self.verdict_due() {
                    self.give_verdict(agenda, now.at);
                } else {
                    self.wait_for_the_end(agenda);
                }
            }
            Task::Poll
            | Task::Identify
            | Task::Heartbeat
            | Task::Preflight
            | Task::Recall
            | Task::Deadline => {}
        }
        self.check_for_the_end(agenda, now.at);
    }

    /// An attempt made for this response has come to something.
    pub(super) fn handle_outcome(
        &mut self,
        task: Task,
        outcome: Outcome,
        instance: Option<&InstanceId>,
        agenda: &mut Agenda,
        now: Now,
    ) {
        match task {
            Task::Cordon => {
                self.cordon
                    .handle_outcome(outcome, &self.interruption, instance, agenda, now.at);
                if let Some(done) = self.cordon.done_at() {
                    self.drain.handle_cordoned(done);
                }
            }
            Task::See => match outcome {
                Outcome::Pods { pods, version } => {
                    self.sight.handle_list(version, agenda, now.at);
                    self.wait_for_the_end(agenda);
                    self.drain
                        .handle_list(pods, self.sight.asked(), agenda, now);
                }
                Outcome::Notice(_)
                | Outcome::Identity(_)
                | Outcome::Node(_)
                | Outcome::Namespace(_)
                | Outcome::Access(_)
                | Outcome::Targets(_)
                | Outcome::Done => self.sight.handle_break(None, agenda, now.at),
                Outcome::Failed(failure) => {
                    self.sight.handle_break(Some(&failure), agenda, now.at);
                }
            },
            Task::Pod(uid) => self.handle_pod_outcome(&uid, &outcome, agenda, now.at),
            Task::Namespace(name) => self.drain.handle_namespace(&name, &outcome, agenda, now.at),
            Task::Group(index) => self.handle_group_outcome(index, outcome, agenda, now.at),
            Task::Publish(kind) => self.handle_published(kind, &outcome, agenda, now.at),
            Task::Poll
            | Task::Identify
            | Task::Heartbeat
            | Task::Preflight
            | Task::Recall
            | Task::WatchSilence
            | Task::Mark(_)
            | Task::SecondWave
            | Task::Progress
            | Task::Verdict
            | Task::Deadline => {}
        }
        self.check_for_the_end(agenda, now.at);
    }

    /// The watch has brought something.
    pub(super) fn handle_event(&mut self, event: WatchEvent, agenda: &mut Agenda, now: Now) {
        self.sight.handle_event(event.version(), agenda, now.at);
        self.drain.handle_event(event, agenda, now);
        self.check_for_the_end(agenda, now.at);
    }

    /// The deadline has come: what is still open is told, and ends.
    pub(super) fn handle_deadline(&mut self, agenda: &mut Agenda, now: Moment) {
        if self.verdict == VerdictStep::Pending {
            self.give_verdict(agenda, now);
        }
        self.drain.tell_left(agenda, now);
        match &mut self.targets {
            TargetsStep::WaitingForInstance(groups, _) => tell_unnamed(groups, agenda),
            TargetsStep::Begun(_, targets) => targets.give_up_all(agenda),
        }
    }

    /// Whether nothing is left to do, so that an agent that was asked to stop may.
    pub(super) fn is_finished(&self) -> bool {
        self.sight.has_settled()
            && self.drain.is_empty()
            && self.cordon.done_at().is_some()
            && self.are_targets_settled()
    }

    /// What every line of this interruption carries.
    pub(super) fn context(&self, now: Moment) -> InterruptionContext {
        InterruptionContext {
            notice_id: self.interruption.id.to_string(),
            action: self.interruption.action,
            deadline: self.interruption.deadline_wall,
            seconds_left: self.interruption.deadline.seconds_from(now),
        }
    }

    fn handle_pod_outcome(
        &mut self,
        uid: &PodUid,
        outcome: &Outcome,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.drain.handle_outcome(uid, outcome, agenda, now);
    }

    fn handle_group_outcome(
        &mut self,
        index: usize,
        outcome: Outcome,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        let TargetsStep::Begun(instance, targets) = &mut self.targets else {
            return;
        };
        let failed_before = targets.tally().failed;
        targets.handle_outcome(index, outcome, instance, agenda, now);
        if failed_before == 0 && targets.tally().failed > 0 {
            self.publish(NodeEventKind::TargetDeregistrationFailed, agenda, now);
        }
    }

    fn are_targets_settled(&self) -> bool {
        match &self.targets {
            TargetsStep::WaitingForInstance(groups, _) => groups.is_empty(),
            TargetsStep::Begun(_, targets) => targets.is_settled(),
        }
    }

    fn target_tally(&self) -> TargetTally {
        match &self.targets {
            TargetsStep::WaitingForInstance(groups, _) => TargetTally {
                pending: groups.len().try_into().unwrap_or(u32::MAX),
                ..TargetTally::default()
            },
            TargetsStep::Begun(_, targets) => targets.tally(),
        }
    }

    fn wait_for_the_end(&self, agenda: &mut Agenda) {
        let verdict = (self.verdict == VerdictStep::Pending).then(|| self.verdict_due());
        if let Some(due) = self.sight.settles_at().into_iter().chain(verdict).min() {
            agenda.wait(Task::Verdict, due);
        }
        agenda.wait(Task::Deadline, self.interruption.deadline);
    }

    fn verdict_due(&self) -> Moment {
        match self.interruption.action {
            InterruptionAction::Terminate | InterruptionAction::Stop => {
                verdict_due(self.interruption.deadline, self.begun)
            }
            InterruptionAction::Hibernate => {
                verdict_due_at_once(self.interruption.deadline, self.begun)
            }
        }
    }

    fn check_for_the_end(&mut self, agenda: &mut Agenda, now: Moment) {
        if self.verdict == VerdictStep::Pending && self.is_finished() {
            self.give_verdict(agenda, now);
        }
    }

    fn give_verdict(&mut self, agenda: &mut Agenda, now: Moment) {
        self.verdict = VerdictStep::Given;
        if self.sight.settles_at().is_none() {
            agenda.close(&Task::Verdict);
        }
        agenda.close(&Task::Progress);
        self.drain.tell_left(agenda, now);
        let pods = self.tally();
        let since = |moment: Moment| moment.since(self.interruption.first_seen);
        let duration = since(now);
        let (grace_given_seconds, grace_cut_seconds) = self.drain.grace_sums();
        let summary = Summary {
            pods,
            targets: self.target_tally(),
            requests: agenda.requests(),
            grace_given_seconds,
            grace_cut_seconds,
            cordoned_after: self
                .cordon
                .done_at()
                .filter(|_| self.mode == Mode::Full)
                .map(since),
            last_eviction_after: self.drain.last_accepted_call().map(since),
            last_target_after: match &self.targets {
                TargetsStep::WaitingForInstance(..) => None,
                TargetsStep::Begun(_, targets) => targets.settled_at().map(since),
            },
            all_gone_after: self.drain.all_gone_at().map(since),
            duration,
        };
        if self.mode != Mode::Full {
            agenda.tell(Fact::Summary(Box::new(summary)));
            return;
        }
        agenda.tell(Fact::Verdict(pods, duration));
        agenda.tell(Fact::Summary(Box::new(summary)));
        let kind = if pods.is_complete() {
            NodeEventKind::SpotDrainCompleted
        } else {
            NodeEventKind::SpotDrainIncomplete
        };
        self.publish(kind, agenda, now);
    }

    fn publish(&self, kind: NodeEventKind, agenda: &mut Agenda, now: Moment) {
        let event = NodeEvent {
            kind,
            note: self.note(kind),
            name: format!(
                "{}.{}.{}",
                self.node,
                self.interruption.id,
                kind.reason().to_ascii_lowercase()
            ),
            node_uid: self.cordon.node_uid().map(str::to_owned),
        };
        agenda.attempt(
            Task::Publish(kind),
            Request::PublishEvent(event),
            Some(now + CALL_TIMEOUT),
        );
    }

    fn handle_published(
        &mut self,
        kind: NodeEventKind,
        outcome: &Outcome,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if let Outcome::Failed(Failure { .. }) = outcome {
            let failures = self.publish_failures.entry(kind).or_default();
            *failures += 1;
            let failures = *failures;
            if failures < PUBLISH_TRIES {
                let wait = doubled(Duration::from_secs(1), failures, Duration::from_secs(8));
                agenda.wait(Task::Publish(kind), now + wait);
            }
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            sighting: if self.sight.has_listed() {
                Sighting::Listed
            } else {
                Sighting::Never
            },
            ..self.drain.tally()
        }
    }

    fn note(&self, kind: NodeEventKind) -> String {
        let tally = self.tally();
        match kind {
            NodeEventKind::SpotInterruption => format!(
                "EC2 is going to {} this spot instance: draining the node before the deadline",
                self.interruption.action
            ),
            NodeEventKind::SpotDrainCompleted => format!(
                "Every pod got its stop signal before the spot interruption: {} gone, {} stopping, {} cut",
                tally.gone, tally.stopping, tally.cut
            ),
            NodeEventKind::SpotDrainIncomplete if tally.sighting == Sighting::Never => {
                "The API server did not say in time which pods the spot interruption takes".to_owned()
            }
            NodeEventKind::SpotDrainIncomplete => format!(
                "{} of {} pods got no stop signal before the spot interruption",
                tally.left,
                tally.total()
            ),
            NodeEventKind::TargetDeregistrationFailed => {
                "A target group of a load balancer did not let go of this instance before the spot interruption"
                    .to_owned()
            }
        }
    }
}

/// What is told when an interruption begins or is found begun.
pub(super) fn tell_beginning(
    interruption: &Interruption,
    announcement: &Announcement,
    agenda: &mut Agenda,
    now: Now,
) {
    let fact = NoticeFact {
        notice_time: interruption.time,
        remaining: interruption.deadline.since(now.at),
        clock_skew_seconds: announcement.clock_skew_seconds(now),
    };
    agenda.tell(if interruption.is_resumed() {
        Fact::InterruptionResumed(fact)
    } else {
        Fact::InterruptionNoticed(fact)
    });
    if let AnnouncedAction::Unknown(action) = &announcement.action {
        agenda.tell(Fact::InterruptionChanged {
            reason: NoticeChange::UnknownAction(action.clone()),
            notice_time: announcement.time,
        });
    }
    if announcement.time.is_none() {
        agenda.tell(Fact::InterruptionChanged {
            reason: NoticeChange::BadTime,
            notice_time: None,
        });
    }
}
