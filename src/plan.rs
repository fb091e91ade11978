//! The pure core: it decides, the shell acts.
//!
//! ```text
//!   Watching ──notice──▶ (Recalling ──node read──▶) Responding ──deadline──▶ After
//!      ▲                                                                      │
//!      └────────────────────────── notice gone ───────────────────────────────┘
//! ```
//!
//! Inputs are `handle_*` calls, each with the time it happened. After every one of them the three outputs are to be
//! drained: [`Planner::poll_action`], [`Planner::poll_fact`] and [`Planner::poll_timeout`]. There is no I/O here, no
//! clock, nothing asynchronous; maps are ordered and jitter comes from a seed, so that the same inputs give the same
//! outputs.
//!
//! Beside the phases, what an interruption left on a node that outlives it is undone while no notice is there; and when
//! the clocks part, because the machine slept, nothing is written until notice and annotation have been read anew.
//!
//! Only an agent that sees a notice in its very first poll passes through `Recalling`: it may have been restarted in
//! mid-drain, and the node's annotation knows the deadline that is in force.

pub mod action;
pub mod binding;
pub mod budget;
mod cordon;
pub mod discovery;
pub mod drain;
pub mod fact;
mod front;
mod health;
pub mod id;
pub mod node;
pub mod notice;
pub mod pod;
mod policy;
pub mod preflight;
mod recall;
mod response;
mod sight;
pub mod targets;
pub mod task;
pub mod time;
mod undo;
mod wake;

#[cfg(test)]
mod tests;

pub use policy::{Discover, Effect, Mode, Policy, default_group_tags};

use std::time::Duration;

use action::{Action, AttemptId, MachineIdentity, Outcome, Request, WatchEvent};
use discovery::{Discovery, Topic};
use drain::{OnBlocked, Pace, Terms};
use fact::{AgentState, Fact, InterruptionContext, StopReason};
use health::{ApiHealth, MetadataHealth};
use id::{InstanceId, NodeName, PodUid};
use node::NodeView;
use notice::{Announcement, Interruption, InterruptionAction, Machine, Origin};
use preflight::{Preflight, permissions_needed};
use recall::{Recall, RecalledNode};
use response::{Response, tell_beginning};
use task::{Agenda, Task};
use time::{Moment, Now};
use undo::Undo;
use wake::{Clocks, Input, Standing, Wake};

/// A poll that takes longer has failed: the metadata service answers within milliseconds.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// Two polls are never nearer to each other than this part of their interval.
const POLLS_APART: u32 = 50;

/// As long as the identity is not known, it is asked for this often.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(5);

/// The agent's mind. See the module's documentation.
#[derive(Debug)]
pub struct Planner {
    policy: Policy,
    node: NodeName,
    /// The pod the agent runs in, which it must not evict.
    agent: Option<PodUid>,
    agenda: Agenda,
    metadata: MetadataHealth,
    api: ApiHealth,
    discovery: Discovery,
    identity: Option<MachineIdentity>,
    phase: Phase,
    undo: Undo,
    clocks: Clocks,
    /// In an interruption, after the machine slept.
    wake: Option<Wake>,
    stop: Stop,
    last_poll: Moment,
    arrival: Arrival,
    preflight: Preflight,
}

/// Whether the start has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    Untold,
    Told,
}

#[derive(Debug)]
enum Phase {
    /// Nothing has been heard yet: a notice in the first good poll may be an old one.
    Arriving,
    /// No notice is there.
    Watching,
    /// A notice was there from the start; the node's annotation is being read.
    Recalling(Box<Recall>),
    /// An interruption is under way.
    Responding(Box<Response>),
    /// The deadline has passed.
    After(Box<Interruption>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Unasked,
    Asked,
    Stopped,
}

impl Planner {
    /// A planner for the agent on `node`, running in the pod `agent` if it runs in one. Everything starts at `now`.
    #[must_use]
    pub fn new(policy: Policy, node: NodeName, agent: Option<PodUid>, seed: u64, now: Now) -> Self {
        let mut agenda = Agenda::new(seed);
        let discovery = match policy.mode {
            Mode::Full | Mode::DeregisterOnly => Discovery::begin(&policy, &mut agenda, now.at),
            Mode::Observe => Discovery::none(),
        };
        let mut planner = Self {
            agenda,
            discovery,
            metadata: MetadataHealth::default(),
            api: ApiHealth::default(),
            identity: None,
            phase: Phase::Arriving,
            undo: Undo::at_start(policy.mode),
            clocks: Clocks::new(now),
            wake: None,
            stop: Stop::Unasked,
            last_poll: now.at,
            arrival: Arrival::Untold,
            preflight: Preflight::default(),
            policy,
            node,
            agent,
        };
        planner.poll(now.at);
        planner.identify(now.at);
        planner
            .agenda
            .wait(Task::Heartbeat, now.at + planner.policy.heartbeat_interval);
        planner
    }

    /// Has the permissions looked over that an interruption would take: as soon as a poll has shown that there is none,
    /// and only as long as there is none.
    pub fn look_over_permissions(&mut self) {
        self.preflight = Preflight::about(permissions_needed(&self.policy));
    }

    /// Takes what came of an attempt. One that nobody waits for any more is ignored.
    pub fn handle_outcome(&mut self, attempt: AttemptId, outcome: Outcome, now: Now) {
        self.watch_clocks(now);
        let may_write = self.agenda.task_of(attempt).is_some_and(Task::may_write);
        if let Some(wake) = self.holding_wake().filter(|_| may_write) {
            wake.keep(Input::Outcome(attempt, outcome));
            return;
        }
        let Some(task) = self.agenda.finish(attempt, &outcome) else {
            return;
        };
        match task {
            Task::Poll => self.handle_poll(outcome, now),
            Task::Identify => self.handle_identity(outcome, now),
            Task::Preflight => {
                self.preflight
                    .handle_outcome(outcome, &mut self.agenda, now.at);
            }
            Task::Heartbeat
            | Task::Recall
            | Task::WatchSilence
            | Task::Probe
            | Task::GiveUp(_)
            | Task::Progress
            | Task::Verdict
            | Task::Deadline
            | Task::Controller
            | Task::Turn
            | Task::Settling(_)
            | Task::Wake
            | Task::SecondWave => {}
            Task::Warm => Discovery::handle_warmed(&mut self.agenda, now.at),
            Task::Discover(topic) => self.handle_discovered(topic, &outcome, now),
            Task::Reread => self.handle_reread(outcome, now),
            Task::Undo => {
                self.note_api_health(&outcome, now.at);
                if let Outcome::Node(view) = &outcome {
                    self.discovery.handle_node(&view.labels);
                }
                let instance = self.identity.as_ref().map(|identity| &identity.instance_id);
                self.undo
                    .handle_outcome(outcome, instance, &mut self.agenda, now);
            }
            Task::Cordon
            | Task::See
            | Task::Glance
            | Task::Pod(_)
            | Task::Mark(_)
            | Task::Namespace(_)
            | Task::Group(_)
            | Task::Publish(_) => {
                if !matches!(task, Task::Group(_)) {
                    self.note_api_health(&outcome, now.at);
                }
                self.handle_response_outcome(task, outcome, now);
            }
        }
        self.stop_if_finished();
    }

    /// Takes what a watch brings; `attempt` is the one that opened it.
    pub fn handle_watch_event(&mut self, attempt: AttemptId, event: WatchEvent, now: Now) {
        self.watch_clocks(now);
        if self.agenda.task_of(attempt) != Some(&Task::See) {
            return;
        }
        if let Some(wake) = self.holding_wake() {
            wake.keep(Input::Event(attempt, event));
            return;
        }
        if let Some(fact) = self.api.handle_answer(now.at) {
            self.agenda.tell(fact);
        }
        if let Phase::Responding(response) = &mut self.phase {
            response.handle_event(event, &self.discovery, &mut self.agenda, now);
        }
        self.stop_if_finished();
    }

    /// Does what is due. A call when nothing is due does nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        self.watch_clocks(now);
        while let Some(task) = self.agenda.take_due(now.at) {
            match task {
                Task::Poll => self.poll(now.at),
                Task::Identify => self.identify(now.at),
                Task::Heartbeat => self.beat(now.at),
                Task::Preflight => self.preflight.ask(&mut self.agenda, now.at),
                Task::Recall => self.finish_recall(now),
                Task::Deadline => self.handle_deadline(now.at),
                Task::Warm => Discovery::warm(&mut self.agenda, now.at),
                Task::Discover(topic) => {
                    self.discovery.handle_due(topic, &mut self.agenda, now.at);
                }
                Task::Wake => self.finish_wake(now),
                Task::Reread => self.reread(now.at),
                Task::Undo => self.undo.handle_due(&mut self.agenda, now.at),
                Task::Cordon
                | Task::See
                | Task::WatchSilence
                | Task::Glance
                | Task::Probe
                | Task::GiveUp(_)
                | Task::Pod(_)
                | Task::Mark(_)
                | Task::Namespace(_)
                | Task::SecondWave
                | Task::Group(_)
                | Task::Turn
                | Task::Settling(_)
                | Task::Controller
                | Task::Publish(_)
                | Task::Progress
                | Task::Verdict => {
                    if let Phase::Responding(response) = &mut self.phase {
                        response.handle_due(task, &self.discovery, &mut self.agenda, now);
                    }
                }
            }
        }
        self.stop_if_finished();
    }

    /// Somebody asks the agent to end (SIGTERM, SIGINT). In an interruption it carries on until everything is done, or
    /// to the deadline.
    pub fn handle_stop(&mut self) {
        if self.stop == Stop::Unasked {
            self.stop = Stop::Asked;
        }
        self.stop_if_finished();
    }

    /// The next request to the shell, if there is one.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.agenda.next_action()
    }

    /// The next fact to report, if there is one.
    pub fn poll_fact(&mut self) -> Option<Fact> {
        self.agenda.next_fact()
    }

    /// When [`Self::handle_timeout`] is to be called next; it may change with every input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.agenda.next_due()
    }

    /// Whether the agent has ended as it was asked to.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop == Stop::Stopped
    }

    /// Which machine this is, once that is known.
    #[must_use]
    pub fn identity(&self) -> Option<&MachineIdentity> {
        self.identity.as_ref()
    }

    /// What every line of an interruption carries, as long as there is one.
    #[must_use]
    pub fn interruption(&self, now: Moment) -> Option<InterruptionContext> {
        match &self.phase {
            Phase::Responding(response) => Some(response.context(now)),
            Phase::After(interruption) => Some(InterruptionContext {
                notice_id: interruption.id.to_string(),
                action: interruption.action,
                deadline: interruption.deadline_wall,
                seconds_left: interruption.deadline.seconds_from(now),
            }),
            Phase::Arriving | Phase::Watching | Phase::Recalling(_) => None,
        }
    }

    /// Whether the interruption under way was begun by an earlier process.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        match &self.phase {
            Phase::Responding(response) => response.interruption().is_resumed(),
            Phase::After(interruption) => interruption.is_resumed(),
            Phase::Arriving | Phase::Watching | Phase::Recalling(_) => false,
        }
    }

    fn poll(&mut self, now: Moment) {
        self.last_poll = now;
        self.agenda.attempt(
            Task::Poll,
            Request::ReadNotice,
            Some(now + METADATA_TIMEOUT),
        );
    }

    /// When the metadata service is asked again: at whole multiples of the interval by the time of day.
    ///
    /// So all agents ask at once, and nodes that are interrupted together say so together: a load balancer controller,
    /// which begins anew with each node that it hears of, begins once.
    fn next_poll(&self, now: Now) -> Moment {
        let interval = self.policy.poll_interval;
        // A clock that is being corrected may have had it asked just before its time.
        let earliest = self.last_poll + interval / POLLS_APART;
        let wall = now.wall + earliest.since(now.at) - now.at.since(earliest);
        // Its time may have come while the last one was waited for.
        (earliest + wall.until_next(interval)).max(now.at)
    }

    fn identify(&mut self, now: Moment) {
        self.agenda.attempt(
            Task::Identify,
            Request::ReadIdentity,
            Some(now + METADATA_TIMEOUT),
        );
    }

    fn beat(&mut self, now: Moment) {
        let state = match self.phase {
            Phase::Arriving | Phase::Watching => AgentState::Idle,
            Phase::Recalling(_) | Phase::Responding(_) => AgentState::Draining,
            // An observer has nothing to do until then.
            Phase::After(_) if self.agenda.is_open(&Task::Deadline) => AgentState::Idle,
            Phase::After(_) => AgentState::After,
        };
        self.agenda.tell(Fact::Heartbeat {
            state,
            polls: self.metadata.polls,
            failures: self.metadata.failures,
            consecutive_failures: self.metadata.consecutive_failures,
        });
        self.agenda
            .wait(Task::Heartbeat, now + self.policy.heartbeat_interval);
    }

    fn handle_poll(&mut self, outcome: Outcome, now: Now) {
        let next = self.next_poll(now);
        self.agenda.wait(Task::Poll, next);
        match outcome {
            Outcome::Notice(notice) => {
                let recovered = self.metadata.handle_success(now.at);
                self.agenda.tell_if(recovered);
                let was_responding = matches!(self.phase, Phase::Responding(_));
                if let Some(wake) = &mut self.wake
                    && !wake.has_heard_notice()
                {
                    wake.handle_notice(notice.clone());
                    self.finish_wake_if_ready(now);
                }
                if let Some(announcement) = notice {
                    self.undo.handle_doubt();
                    self.handle_notice(announcement, now);
                } else {
                    self.tell_started(Origin::Begun);
                    self.undo.handle_absence();
                    // What a wake has just ended is told with the notice it was about; the next poll finds it gone.
                    let has_ended = was_responding && matches!(self.phase, Phase::After(_));
                    if !has_ended {
                        self.handle_absence();
                    }
                    self.undo_if_it_is_time(now.at);
                }
            }
            Outcome::Failed(failure) => {
                let unreachable = self.metadata.handle_failure(&failure, now.at);
                self.undo.handle_doubt();
                if self.holding_wake().is_some() {
                    self.agenda.wait(Task::Poll, now.at + wake::RETRY);
                }
                self.tell_started(Origin::Begun);
                self.agenda.tell_if(unreachable);
            }
            Outcome::Identity(_)
            | Outcome::Node(_)
            | Outcome::Namespace(_)
            | Outcome::Pods { .. }
            | Outcome::Found(_)
            | Outcome::Targets(_)
            | Outcome::Access(_)
            | Outcome::Done => {}
        }
        match self.phase {
            Phase::Arriving | Phase::Watching => {
                self.preflight.carry_on(&mut self.agenda, now.at);
            }
            Phase::Recalling(_) | Phase::Responding(_) | Phase::After(_) => {
                self.agenda.close(&Task::Preflight);
            }
        }
    }

    fn handle_notice(&mut self, announcement: Announcement, now: Now) {
        let is_new = matches!(self.phase, Phase::Arriving | Phase::Watching);
        if is_new && self.policy.mode == Mode::Observe {
            self.agenda.count_anew();
            self.observe(&announcement, now);
            return;
        }
        match &mut self.phase {
            Phase::Arriving => {
                self.agenda.count_anew();
                self.agenda.attempt(
                    Task::Cordon,
                    Request::ReadNode,
                    Some(now.at + recall::PATIENCE),
                );
                self.agenda.wait(Task::Recall, now.at + recall::PATIENCE);
                self.phase = Phase::Recalling(Box::new(Recall {
                    announcement,
                    seen: now,
                    node: RecalledNode::Unread,
                }));
            }
            Phase::Watching => {
                self.agenda.count_anew();
                self.respond(&announcement, now, None, now);
            }
            // While the writes wait nothing may be planned anew.
            Phase::Responding(response)
                if self.wake.as_ref().is_none_or(|wake| !wake.is_holding()) =>
            {
                response.handle_notice(&announcement, &mut self.agenda, now);
            }
            Phase::Recalling(_) | Phase::Responding(_) | Phase::After(_) => {}
        }
    }

    /// Tells of a notice, and leaves it at that: nothing was done, and nothing is left to do.
    fn observe(&mut self, announcement: &Announcement, now: Now) {
        let machine = self
            .instance()
            .map_or(Machine::Node(&self.node), Machine::Instance);
        let interruption = recall::interruption(machine, announcement, now, None, now);
        self.tell_started(interruption.origin);
        tell_beginning(&interruption, announcement, &mut self.agenda, now);
        self.agenda.tell(Fact::Summary(Box::default()));
        self.agenda.wait(Task::Deadline, interruption.deadline);
        self.phase = Phase::After(Box::new(interruption));
    }

    fn handle_absence(&mut self) {
        match &mut self.phase {
            Phase::Arriving | Phase::After(_) => self.phase = Phase::Watching,
            Phase::Responding(response) => response.handle_absence(&mut self.agenda),
            Phase::Watching | Phase::Recalling(_) => {}
        }
    }

    fn handle_identity(&mut self, outcome: Outcome, now: Now) {
        let Outcome::Identity(identity) = outcome else {
            self.agenda.wait(Task::Identify, now.at + IDENTITY_INTERVAL);
            return;
        };
        if let Some(life_cycle) = &identity.life_cycle
            && life_cycle != "spot"
        {
            self.agenda.tell(Fact::NotSpot {
                life_cycle: life_cycle.clone(),
            });
        }
        if let Phase::Responding(response) = &mut self.phase {
            response.handle_instance(
                &identity.instance_id,
                &self.discovery,
                &mut self.agenda,
                now.at,
            );
        }
        self.discovery.tell(&identity.instance_id, &mut self.agenda);
        self.identity = Some(identity);
        self.finish_recall_if_ready(now);
        self.undo_if_it_is_time(now.at);
    }

    fn handle_response_outcome(&mut self, task: Task, outcome: Outcome, now: Now) {
        match &mut self.phase {
            Phase::Responding(response) => {
                let instance = self.identity.as_ref().map(|identity| &identity.instance_id);
                if let Outcome::Node(view) = &outcome {
                    self.discovery.handle_node(&view.labels);
                }
                response.handle_outcome(
                    task,
                    outcome,
                    instance,
                    &self.discovery,
                    &mut self.agenda,
                    now,
                );
            }
            Phase::Recalling(recall) => {
                recall.node = match outcome {
                    Outcome::Node(view) => RecalledNode::Read(Box::new(view)),
                    Outcome::Notice(_)
                    | Outcome::Identity(_)
                    | Outcome::Namespace(_)
                    | Outcome::Pods { .. }
                    | Outcome::Found(_)
                    | Outcome::Targets(_)
                    | Outcome::Access(_)
                    | Outcome::Done
                    | Outcome::Failed(_) => RecalledNode::Unreadable,
                };
                self.finish_recall_if_ready(now);
            }
            Phase::Arriving | Phase::Watching | Phase::After(_) => {}
        }
    }

    /// Something is known about the target groups that was not before.
    fn handle_discovered(&mut self, topic: Topic, outcome: &Outcome, now: Now) {
        if topic != Topic::Groups {
            self.note_api_health(outcome, now.at);
        }
        self.discovery
            .handle_outcome(topic, outcome, &mut self.agenda, now.at);
        if let Some(instance) = self.identity.as_ref().map(|identity| &identity.instance_id) {
            self.discovery.tell(instance, &mut self.agenda);
        }
        if let Phase::Responding(response) = &mut self.phase {
            response.handle_discovered(topic, outcome, &self.discovery, &mut self.agenda, now.at);
        }
    }

    fn finish_recall_if_ready(&mut self, now: Now) {
        if let Phase::Recalling(recall) = &self.phase
            && self.identity.is_some()
            && !matches!(recall.node, RecalledNode::Unread)
        {
            self.finish_recall(now);
        }
    }

    fn finish_recall(&mut self, now: Now) {
        match std::mem::replace(&mut self.phase, Phase::Watching) {
            Phase::Recalling(recall) => {
                self.agenda.close(&Task::Recall);
                self.agenda.close(&Task::Cordon);
                let view = match recall.node {
                    RecalledNode::Read(view) => Some(*view),
                    RecalledNode::Unread | RecalledNode::Unreadable => None,
                };
                self.respond(&recall.announcement, recall.seen, view, now);
            }
            other
            @ (Phase::Arriving | Phase::Watching | Phase::Responding(_) | Phase::After(_)) => {
                self.phase = other;
            }
        }
    }

    /// Answers a notice that was first seen at `seen`.
    fn respond(
        &mut self,
        announcement: &Announcement,
        seen: Now,
        view: Option<NodeView>,
        now: Now,
    ) {
        let machine = self
            .instance()
            .map_or(Machine::Node(&self.node), Machine::Instance);
        let interruption = recall::interruption(machine, announcement, seen, view.as_ref(), now);
        self.tell_started(interruption.origin);
        tell_beginning(&interruption, announcement, &mut self.agenda, now);
        self.agenda.close(&Task::Undo);
        self.undo = Undo::after(&interruption, self.policy.mode);
        if interruption.deadline <= now.at {
            self.phase = Phase::After(Box::new(interruption));
            return;
        }
        let pace = match interruption.action {
            InterruptionAction::Terminate | InterruptionAction::Stop => Pace::ToTheDeadline,
            InterruptionAction::Hibernate => Pace::AtOnce,
        };
        let on_blocked = if announcement.is_stale(seen) || pace == Pace::AtOnce {
            OnBlocked::Wait
        } else {
            self.policy.on_blocked
        };
        let terms = Terms {
            margins: self.policy.margins,
            on_blocked,
            job_pods: self.policy.job_pods,
            effect: self.policy.effect,
            pace,
            max_in_flight: self.policy.max_in_flight,
            quickest_answer: self.preflight.quickest_answer(),
            agent: self.agent.clone(),
        };
        if let Some(view) = &view {
            self.discovery.handle_node(&view.labels);
        }
        self.discovery.hurry(&mut self.agenda, now.at);
        let response = Response::begin(
            interruption,
            self.node.clone(),
            terms,
            self.policy.settling,
            self.identity.as_ref().map(|identity| &identity.instance_id),
            &self.discovery,
            view,
            self.policy.mode,
            &mut self.agenda,
            now,
        );
        self.phase = Phase::Responding(Box::new(response));
    }

    /// The clocks may show that the machine has slept.
    fn watch_clocks(&mut self, now: Now) {
        let Some(slept) = self.clocks.slept_until(now) else {
            return;
        };
        self.undo.handle_wake(now.at);
        self.poll(now.at);
        match &self.phase {
            // What was heard before the sleep says nothing about what is left.
            Phase::Recalling(_) => {
                self.agenda.close(&Task::Recall);
                self.agenda.close(&Task::Cordon);
                self.phase = Phase::Arriving;
            }
            Phase::Responding(_) => {
                self.wake = Some(Wake::after(slept, self.wake.take()));
                self.agenda.hold_writes();
                self.agenda.wait(Task::Wake, now.at + wake::PATIENCE);
                self.reread(now.at);
            }
            Phase::Arriving | Phase::Watching | Phase::After(_) => {}
        }
    }

    fn holding_wake(&mut self) -> Option<&mut Wake> {
        self.wake.as_mut().filter(|wake| wake.is_holding())
    }

    fn reread(&mut self, now: Moment) {
        self.agenda
            .attempt(Task::Reread, Request::ReadNode, Some(now + wake::PATIENCE));
    }

    fn handle_reread(&mut self, outcome: Outcome, now: Now) {
        self.note_api_health(&outcome, now.at);
        let Some(wake) = self.holding_wake() else {
            return;
        };
        if let Outcome::Node(view) = outcome {
            wake.handle_node(view);
            self.finish_wake_if_ready(now);
        } else {
            self.agenda.wait(Task::Reread, now.at + wake::RETRY);
        }
    }

    fn finish_wake_if_ready(&mut self, now: Now) {
        if let Some(wake) = &self.wake
            && (wake.has_heard_all() || !wake.is_holding() && wake.has_heard_notice())
        {
            self.finish_wake(now);
        }
    }

    /// Goes on after a sleep, by what has been heard. A notice that has not been heard of yet is judged when it is.
    fn finish_wake(&mut self, now: Now) {
        let (Some(mut wake), Phase::Responding(response)) = (self.wake.take(), &mut self.phase)
        else {
            return;
        };
        self.agenda.close(&Task::Wake);
        self.agenda.close(&Task::Reread);
        self.agenda.release_writes();
        let inputs = wake.release();
        match wake.standing(response.interruption(), response.recording(), now.at) {
            Standing::Over => {
                response.handle_slept_through(now.at);
                self.handle_deadline(now.at);
            }
            Standing::Until(deadline) => {
                response.handle_sleep(deadline, &mut self.agenda, now.at);
            }
            Standing::Unchanged => {}
        }
        if !wake.has_heard_notice() && matches!(self.phase, Phase::Responding(_)) {
            self.wake = Some(wake);
        }
        for input in inputs {
            match input {
                Input::Outcome(attempt, outcome) => self.handle_outcome(attempt, outcome, now),
                Input::Event(attempt, event) => self.handle_watch_event(attempt, event, now),
            }
        }
    }

    /// Takes back what an interruption left, while no notice is there.
    fn undo_if_it_is_time(&mut self, now: Moment) {
        if let Phase::Watching = self.phase {
            let instance = self.identity.as_ref().map(|identity| &identity.instance_id);
            self.undo.consider(instance, &mut self.agenda, now);
        }
    }

    fn handle_deadline(&mut self, now: Moment) {
        self.wake = None;
        self.agenda.release_writes();
        match std::mem::replace(&mut self.phase, Phase::Watching) {
            Phase::Responding(mut response) => {
                response.handle_deadline(&self.discovery, &mut self.agenda, now);
                self.phase = Phase::After(Box::new(response.interruption().clone()));
                self.agenda.close_all_but(|task| {
                    matches!(
                        task,
                        Task::Poll | Task::Identify | Task::Heartbeat | Task::Publish(_)
                    )
                });
                self.discovery.rest(&mut self.agenda, now);
            }
            other @ (Phase::Arriving | Phase::Watching | Phase::Recalling(_) | Phase::After(_)) => {
                self.phase = other;
            }
        }
    }

    /// Tells that the agent runs, once the first poll has shown whether it carries on what another process began.
    fn tell_started(&mut self, origin: Origin) {
        if self.arrival == Arrival::Untold {
            self.arrival = Arrival::Told;
            self.agenda.tell(Fact::Started { origin });
        }
    }

    fn stop_if_finished(&mut self) {
        if self.stop != Stop::Asked {
            return;
        }
        let reason = match &self.phase {
            // The answer to the very first poll may show a drain that another process has left half done.
            Phase::Arriving if self.arrival == Arrival::Untold => return,
            Phase::Arriving | Phase::Watching => StopReason::Asked,
            Phase::Responding(response)
                if response.is_finished()
                    && !self
                        .agenda
                        .has_open(|task| matches!(task, Task::Publish(_))) =>
            {
                StopReason::Drained
            }
            Phase::After(_) if self.agenda.is_open(&Task::Deadline) => StopReason::Asked,
            Phase::After(_) => StopReason::Deadline,
            Phase::Responding(_) | Phase::Recalling(_) => return,
        };
        self.stop = Stop::Stopped;
        self.agenda.tell(Fact::Stopping { reason });
    }

    fn note_api_health(&mut self, outcome: &Outcome, now: Moment) {
        let fact = match outcome {
            Outcome::Failed(failure) if !failure.was_answered() => {
                self.api.handle_silence(failure, now)
            }
            Outcome::Failed(_)
            | Outcome::Notice(_)
            | Outcome::Identity(_)
            | Outcome::Node(_)
            | Outcome::Namespace(_)
            | Outcome::Pods { .. }
            | Outcome::Found(_)
            | Outcome::Targets(_)
            | Outcome::Access(_)
            | Outcome::Done => self.api.handle_answer(now),
        };
        self.agenda.tell_if(fact);
    }

    fn instance(&self) -> Option<&InstanceId> {
        self.identity.as_ref().map(|identity| &identity.instance_id)
    }
}
