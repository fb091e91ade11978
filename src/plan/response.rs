//! Everything that is done about one interruption, from its first sight to the deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use super::action::{
    Failure, FailureKind, NodeEvent, NodeEventKind, Outcome, Request, Route, WatchEvent,
};
use super::binding::{BindingApi, Settling};
use super::budget::{verdict_due, verdict_due_at_once};
use super::cordon::{CALL_TIMEOUT, Cordon};
use super::discovery::{CHECKPOINT_INTERVAL, Discovery, Topic};
use super::drain::{Drain, Terms, Wish};
use super::fact::{
    Fact, InterruptionContext, NoticeChange, NoticeFact, Sighting, Summary, Tally, TargetTally,
};
use super::front::Fronts;
use super::id::{InstanceId, NodeName, PodUid, ResourceVersion};
use super::node::NodeView;
use super::notice::{AnnouncedAction, Announcement, Interruption, InterruptionAction};
use super::pod::PodView;
use super::policy::{Effect, Mode};
use super::sight::Sight;
use super::targets::{Targets, tell_unnamed};
use super::task::{Agenda, Task, doubled};
use super::time::{Moment, Now, WallTime};
use super::wake::Recording;

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
    effect: Effect,
    settling: Settling,
    /// The instance that the Node names.
    provider: Option<InstanceId>,
    /// Whether target groups may still be found that nobody has named yet.
    is_in_the_dark: bool,
    /// How many target groups the operator named, as long as there is no instance to name in them.
    unnamed: u32,
    verdict: VerdictStep,
    failure_event: FailureEvent,
    /// How often each event could not be published.
    publish_failures: BTreeMap<NodeEventKind, u32>,
    withdrawal: Withdrawal,
}

/// Deregistration needs the instance's id.
#[derive(Debug)]
enum TargetsStep {
    WaitingForInstance,
    Begun(InstanceId, Targets),
    /// The Node is another machine's.
    Forbidden(Targets),
}

/// Whether the Node's event about the first registration that was given up is on its way.
#[derive(Debug, PartialEq, Eq)]
enum FailureEvent {
    NotDue,
    Sent,
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
        settling: Settling,
        instance: Option<&InstanceId>,
        discovery: &Discovery,
        view: Option<NodeView>,
        mode: Mode,
        agenda: &mut Agenda,
        now: Now,
    ) -> Self {
        let effect = terms.effect;
        let provider = view.as_ref().and_then(|view| view.provider.clone());
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
            targets: TargetsStep::WaitingForInstance,
            effect,
            settling,
            provider,
            is_in_the_dark: false,
            unnamed: discovery.unnamed().len().try_into().unwrap_or(u32::MAX),
            verdict: VerdictStep::Pending,
            failure_event: FailureEvent::NotDue,
            publish_failures: BTreeMap::new(),
            withdrawal: Withdrawal::Untold,
            interruption,
        };
        match instance {
            Some(instance) => response.name_instance(instance, discovery, agenda, now.at),
            None => response.face(discovery, agenda, now.at),
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
        discovery: &Discovery,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.name_instance(instance, discovery, agenda, now);
        self.conclude(agenda, now);
    }

    fn name_instance(
        &mut self,
        instance: &InstanceId,
        discovery: &Discovery,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if let Some(found) = self.provider.clone()
            && found != *instance
        {
            self.refuse_machine(instance, &found, discovery, agenda, now);
        }
        if matches!(self.targets, TargetsStep::WaitingForInstance) {
            let known = discovery.known(instance);
            let targets = Targets::begin(
                known,
                &self.interruption,
                self.effect,
                self.settling,
                agenda,
                now,
            );
            self.targets = TargetsStep::Begun(instance.clone(), targets);
        }
        self.face(discovery, agenda, now);
    }

    /// Something is known about the target groups that was not before.
    pub(super) fn handle_discovered(
        &mut self,
        topic: Topic,
        outcome: &Outcome,
        discovery: &Discovery,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if let TargetsStep::Begun(instance, targets) = &mut self.targets {
            targets.learn(discovery.known(instance), agenda, now);
            if let Topic::Bindings(api) = topic {
                // What was known before says nothing about what the controller does now.
                if let Outcome::Found(_) = outcome {
                    targets.handle_bindings(discovery.bindings(api), agenda, now);
                }
            }
        }
        self.unnamed = discovery.unnamed().len().try_into().unwrap_or(u32::MAX);
        self.face(discovery, agenda, now);
        self.conclude(agenda, now);
    }

    /// Lets pods go or has them wait, as the ways in to this node now stand; and registrations by address join the
    /// others when their pods are known.
    fn face(&mut self, discovery: &Discovery, agenda: &mut Agenda, now: Moment) {
        self.is_in_the_dark = discovery.may_find_more(agenda);
        if self.mode != Mode::Full {
            return;
        }
        if let TargetsStep::Begun(_, targets) = &mut self.targets {
            let staying = self.drain.staying();
            let known = staying.flat_map(|pod| discovery.known_by_address(pod));
            targets.learn(known.collect(), agenda, now);
        }
        let targets = match &self.targets {
            TargetsStep::Begun(_, targets) => Some(targets),
            TargetsStep::WaitingForInstance | TargetsStep::Forbidden(_) => None,
        };
        let fronts = Fronts::of(discovery, targets, agenda, self.begun);
        self.drain.face(fronts, agenda, now);
        if let TargetsStep::Begun(_, targets) = &mut self.targets {
            targets.hold(self.drain.groups_that_hold(), agenda, now);
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
        self.tighten(deadline, announcement.time, agenda, now.at);
    }

    /// The deadline came in the machine's sleep: whatever is told from here on is told after it.
    pub(super) fn handle_slept_through(&mut self, now: Moment) {
        self.interruption.deadline = self.interruption.deadline.min(now);
    }

    /// The machine has slept: the deadline is where it was, and less is left.
    pub(super) fn handle_sleep(&mut self, deadline: Moment, agenda: &mut Agenda, now: Moment) {
        self.tighten(deadline, self.interruption.time, agenda, now);
    }

    /// Whether this process knows its interruption to be recorded on the node.
    pub(super) fn recording(&self) -> Recording {
        self.cordon.recording()
    }

    fn tighten(
        &mut self,
        deadline: Moment,
        notice_time: Option<WallTime>,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.interruption.deadline = deadline;
        agenda.tell(Fact::InterruptionChanged {
            reason: NoticeChange::Tightened,
            notice_time,
        });
        self.cordon.tighten(agenda, now);
        self.drain.tighten(&self.interruption, agenda, now);
        if let TargetsStep::Begun(_, targets) = &mut self.targets {
            targets.tighten(deadline, agenda, now);
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
    pub(super) fn handle_due(
        &mut self,
        task: Task,
        discovery: &Discovery,
        agenda: &mut Agenda,
        now: Now,
    ) {
        match task {
            Task::Cordon => self.cordon.handle_due(agenda, now.at),
            Task::See => self.sight.list(Route::Shared, agenda, now.at),
            Task::WatchSilence => self.sight.list(Route::New, agenda, now.at),
            Task::Glance => self.sight.glance(agenda, now.at),
            Task::Probe => {
                if self.drain.handle_probe_due(agenda, now.at) == Wish::List {
                    // One that was asked for only just now has its own patience.
                    let _ = self.sight.list_again(Route::New, agenda, now.at);
                }
            }
            Task::Pod(uid) => {
                if self.drain.handle_due(&uid, agenda, now.at) == Wish::List
                    && let Some(later) = self.sight.list_again(Route::New, agenda, now.at)
                {
                    agenda.wait(Task::Pod(uid), later);
                }
            }
            Task::GiveUp(uid) => self.drain.handle_give_up_due(&uid, agenda, now.at),
            Task::Mark(uid) => self.drain.handle_mark_due(&uid, agenda, now.at),
            Task::Namespace(name) => Drain::handle_namespace_due(&name, agenda, now.at),
            Task::SecondWave => self.drain.handle_second_wave_due(agenda, now.at),
            Task::Group(index) => {
                if let TargetsStep::Begun(_, targets) = &mut self.targets {
                    targets.handle_due(index, agenda, now.at);
                }
            }
            Task::Turn => {
                if let TargetsStep::Begun(_, targets) = &mut self.targets {
                    targets.handle_turn(agenda, now.at);
                }
                self.face(discovery, agenda, now.at);
            }
            Task::Settling(index) => {
                if let TargetsStep::Begun(_, targets) = &self.targets {
                    targets.handle_settling_due(index, agenda, now.at);
                }
            }
            Task::Controller => {
                if let TargetsStep::Begun(_, targets) = &mut self.targets {
                    targets.handle_controller_due(agenda, now.at);
                }
                self.face(discovery, agenda, now.at);
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
            | Task::Discover(_)
            | Task::Warm
            | Task::Deadline
            | Task::Wake
            | Task::Reread
            | Task::Undo => {}
        }
        self.conclude(agenda, now.at);
    }

    /// An attempt made for this response has come to something.
    pub(super) fn handle_outcome(
        &mut self,
        task: Task,
        outcome: Outcome,
        instance: Option<&InstanceId>,
        discovery: &Discovery,
        agenda: &mut Agenda,
        now: Now,
    ) {
        match task {
            Task::Cordon => {
                self.handle_node_outcome(&outcome, instance, discovery, agenda, now.at);
                self.cordon
                    .handle_outcome(outcome, &self.interruption, instance, agenda, now.at);
                if let Some(done) = self.cordon.done_at() {
                    self.drain.handle_cordoned(done);
                }
            }
            Task::See => match outcome {
                Outcome::Pods { pods, version } => {
                    self.handle_list(pods, version, agenda, now);
                    self.face(discovery, agenda, now.at);
                }
                Outcome::Notice(_)
                | Outcome::Identity(_)
                | Outcome::Node(_)
                | Outcome::Namespace(_)
                | Outcome::Found(_)
                | Outcome::Access(_)
                | Outcome::Targets(_)
                | Outcome::Done => self.sight.handle_break(None, agenda, now.at),
                Outcome::Failed(failure) => {
                    self.sight.handle_break(Some(&failure), agenda, now.at);
                }
            },
            Task::Glance => {
                self.handle_glance(outcome, agenda, now);
                self.face(discovery, agenda, now.at);
            }
            Task::Pod(uid) => self.handle_pod_outcome(&uid, &outcome, agenda, now.at),
            Task::Namespace(name) => self.drain.handle_namespace(&name, &outcome, agenda, now.at),
            Task::Group(index) => {
                if let TargetsStep::Begun(_, targets) = &mut self.targets {
                    targets.handle_outcome(index, outcome, agenda, now.at);
                }
                self.face(discovery, agenda, now.at);
            }
            Task::Publish(kind) => self.handle_published(kind, &outcome, agenda, now.at),
            Task::Poll
            | Task::Identify
            | Task::Heartbeat
            | Task::Preflight
            | Task::Recall
            | Task::WatchSilence
            | Task::Probe
            | Task::GiveUp(_)
            | Task::Mark(_)
            | Task::SecondWave
            | Task::Turn
            | Task::Settling(_)
            | Task::Controller
            | Task::Discover(_)
            | Task::Warm
            | Task::Progress
            | Task::Verdict
            | Task::Deadline
            | Task::Wake
            | Task::Reread
            | Task::Undo => {}
        }
        self.conclude(agenda, now.at);
    }

    /// The watch has brought something.
    pub(super) fn handle_event(
        &mut self,
        event: WatchEvent,
        discovery: &Discovery,
        agenda: &mut Agenda,
        now: Now,
    ) {
        self.sight.handle_event(event.version(), agenda, now.at);
        let seen = match &event {
            WatchEvent::Seen(view, _) => Some(view.pod.uid.clone()),
            WatchEvent::Gone(..) | WatchEvent::Opened | WatchEvent::Bookmark(_) => None,
        };
        self.drain.handle_event(event, agenda, now);
        // It may have got its address just now.
        if seen.is_some_and(|uid| self.drain.is_staying(&uid)) {
            self.face(discovery, agenda, now.at);
        }
        self.conclude(agenda, now.at);
    }

    /// The deadline has come: what is still open is told, and ends.
    pub(super) fn handle_deadline(
        &mut self,
        discovery: &Discovery,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if self.verdict == VerdictStep::Pending {
            self.give_verdict(agenda, now);
        }
        self.drain.tell_left(agenda, now);
        match &mut self.targets {
            TargetsStep::WaitingForInstance => {
                tell_unnamed(discovery.unnamed(), agenda, now);
            }
            TargetsStep::Begun(_, targets) => targets.give_up_all(agenda, now),
            TargetsStep::Forbidden(_) => {}
        }
    }

    /// Whether nothing is left to do, so that an agent that was asked to stop may.
    pub(super) fn is_finished(&self) -> bool {
        self.sight.has_settled()
            && self.drain.is_empty()
            && self.cordon.done_at().is_some()
            && self.are_targets_settled()
            && !self.is_in_the_dark
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

    /// The Node says which machine it is, and whether the label is there that controllers heed.
    fn handle_node_outcome(
        &mut self,
        outcome: &Outcome,
        instance: Option<&InstanceId>,
        discovery: &Discovery,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if let Outcome::Node(view) = outcome {
            self.provider.clone_from(&view.provider);
            if let (Some(found), Some(expected)) = (&view.provider, instance)
                && found != expected
            {
                self.refuse_machine(expected, found, discovery, agenda, now);
            }
        }
        // A conflict is read again at once; any other failure may last, and nobody else knows that the node goes.
        let is_unlabelled = outcome
            .failure()
            .is_some_and(|failure| failure.kind != FailureKind::Conflict);
        if let (true, TargetsStep::Begun(_, targets)) = (is_unlabelled, &mut self.targets) {
            targets.handle_unlabelled(agenda, now);
        }
    }

    /// A Node that names another instance is not ours: whatever leads to it is none of this machine's business.
    fn refuse_machine(
        &mut self,
        expected: &InstanceId,
        found: &InstanceId,
        discovery: &Discovery,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if matches!(self.targets, TargetsStep::Forbidden(_)) {
            return;
        }
        agenda.tell(Fact::NodeMismatch {
            expected: expected.clone(),
            found: found.clone(),
        });
        let begun = std::mem::replace(&mut self.targets, TargetsStep::WaitingForInstance);
        let mut targets = match begun {
            TargetsStep::Begun(_, targets) => targets,
            TargetsStep::WaitingForInstance | TargetsStep::Forbidden(_) => Targets::refused(
                discovery.known(expected),
                &self.interruption,
                self.settling,
                now,
            ),
        };
        targets.forbid(&format!("the Node names the instance {found}"), agenda, now);
        self.targets = TargetsStep::Forbidden(targets);
    }

    fn handle_pod_outcome(
        &mut self,
        uid: &PodUid,
        outcome: &Outcome,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if self.drain.handle_outcome(uid, outcome, agenda, now) == Wish::List {
            // One that was asked for only just now does as well: each pod has its own patience.
            let _ = self.sight.list_again(Route::Shared, agenda, now);
        }
    }

    fn handle_list(
        &mut self,
        pods: Vec<PodView>,
        version: ResourceVersion,
        agenda: &mut Agenda,
        now: Now,
    ) {
        let first_in = (!self.sight.has_listed()).then(|| now.at.since(self.begun));
        self.sight.handle_list(version, agenda, now.at);
        self.wait_for_the_end(agenda);
        self.drain
            .handle_list(pods, self.sight.asked(), first_in, agenda, now);
    }

    /// The second of two LISTs has come to something.
    fn handle_glance(&mut self, outcome: Outcome, agenda: &mut Agenda, now: Now) {
        match outcome {
            Outcome::Pods { pods, version } => {
                self.sight.take_glance(agenda);
                self.handle_list(pods, version, agenda, now);
            }
            Outcome::Failed(failure) => {
                self.sight.handle_failed_glance(&failure, agenda, now.at);
            }
            Outcome::Notice(_)
            | Outcome::Identity(_)
            | Outcome::Node(_)
            | Outcome::Namespace(_)
            | Outcome::Access(_)
            | Outcome::Found(_)
            | Outcome::Targets(_)
            | Outcome::Done => {}
        }
    }

    /// As long as groups are left to a controller, its bindings are listed again and again.
    fn watch_controllers(&self, agenda: &mut Agenda, now: Moment) {
        let TargetsStep::Begun(_, targets) = &self.targets else {
            return;
        };
        for topic in BindingApi::ALL
            .into_iter()
            .filter(|api| targets.watches(*api))
            .map(Topic::Bindings)
        {
            if !agenda.is_open(&Task::Discover(topic)) {
                agenda.wait(Task::Discover(topic), now + CHECKPOINT_INTERVAL);
            }
        }
    }

    fn are_targets_settled(&self) -> bool {
        match &self.targets {
            TargetsStep::WaitingForInstance => self.unnamed == 0,
            TargetsStep::Begun(_, targets) | TargetsStep::Forbidden(targets) => {
                targets.is_settled()
            }
        }
    }

    fn has_given_up_a_registration(&self) -> bool {
        match &self.targets {
            TargetsStep::WaitingForInstance => false,
            TargetsStep::Begun(_, targets) | TargetsStep::Forbidden(targets) => {
                targets.has_failed()
            }
        }
    }

    fn target_tally(&self) -> TargetTally {
        match &self.targets {
            TargetsStep::WaitingForInstance => TargetTally {
                pending: self.unnamed,
                ..TargetTally::default()
            },
            TargetsStep::Begun(_, targets) | TargetsStep::Forbidden(targets) => targets.tally(),
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

    /// What follows from how things stand now, whatever has led there.
    fn conclude(&mut self, agenda: &mut Agenda, now: Moment) {
        self.watch_controllers(agenda, now);
        if self.failure_event == FailureEvent::NotDue && self.has_given_up_a_registration() {
            self.failure_event = FailureEvent::Sent;
            self.publish(NodeEventKind::TargetDeregistrationFailed, agenda, now);
        }
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
                TargetsStep::WaitingForInstance | TargetsStep::Forbidden(_) => None,
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
