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
//! Only an agent that sees a notice in its very first poll passes through `Recalling`: it may have been restarted in
//! mid-drain, and the node's annotation knows the deadline that is in force.

pub mod action;
pub mod budget;
mod cordon;
pub mod drain;
pub mod fact;
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

#[cfg(test)]
mod tests;

pub use policy::{Effect, Mode, Policy};

use std::time::Duration;

use action::{Action, AttemptId, MachineIdentity, Outcome, Request, WatchEvent};
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

/// A poll that takes longer has failed: the metadata service answers within milliseconds.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

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
    identity: Option<MachineIdentity>,
    phase: Phase,
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
        let mut planner = Self {
            agenda: Agenda::new(seed),
            metadata: MetadataHealth::default(),
            api: ApiHealth::default(),
            identity: None,
            phase: Phase::Arriving,
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
            | Task::Progress
            | Task::Verdict
            | Task::Deadline
            | Task::SecondWave => {}
            Task::Cordon
            | Task::See
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
        if self.agenda.task_of(attempt) != Some(&Task::See) {
            return;
        }
        if let Some(fact) = self.api.handle_answer(now.at) {
            self.agenda.tell(fact);
        }
        if let Phase::Responding(response) = &mut self.phase {
            response.handle_event(event, &mut self.agenda, now);
        }
        self.stop_if_finished();
    }

    /// Does what is due. A call when nothing is due does nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(task) = self.agenda.take_due(now.at) {
            match task {
                Task::Poll => self.poll(now.at),
                Task::Identify => self.identify(now.at),
                Task::Heartbeat => self.beat(now.at),
                Task::Preflight => self.preflight.ask(&mut self.agenda, now.at),
                Task::Recall => self.finish_recall(now),
                Task::Deadline => self.handle_deadline(now.at),
                Task::Cordon
                | Task::See
                | Task::WatchSilence
                | Task::Pod(_)
                | Task::Mark(_)
                | Task::Namespace(_)
                | Task::SecondWave
                | Task::Group(_)
                | Task::Publish(_)
                | Task::Progress
                | Task::Verdict => {
                    if let Phase::Responding(response) = &mut self.phase {
                        response.handle_due(task, &mut self.agenda, now);
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
        let next = (self.last_poll + self.policy.poll_interval).max(now.at);
        self.agenda.wait(Task::Poll, next);
        match outcome {
            Outcome::Notice(notice) => {
                let recovered = self.metadata.handle_success(now.at);
                self.agenda.tell_if(recovered);
                if let Some(announcement) = notice {
                    self.handle_notice(announcement, now);
                } else {
                    self.tell_started(Origin::Begun);
                    self.handle_absence();
                }
            }
            Outcome::Failed(failure) => {
                let unreachable = self.metadata.handle_failure(&failure, now.at);
                self.tell_started(Origin::Begun);
                self.agenda.tell_if(unreachable);
            }
            Outcome::Identity(_)
            | Outcome::Node(_)
            | Outcome::Namespace(_)
            | Outcome::Pods { .. }
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
            Phase::Responding(response) => {
                response.handle_notice(&announcement, &mut self.agenda, now);
            }
            Phase::Recalling(_) | Phase::After(_) => {}
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
            response.handle_instance(&identity.instance_id, &mut self.agenda, now.at);
        }
        self.identity = Some(identity);
        self.finish_recall_if_ready(now);
    }

    fn handle_response_outcome(&mut self, task: Task, outcome: Outcome, now: Now) {
        match &mut self.phase {
            Phase::Responding(response) => {
                let instance = self.identity.as_ref().map(|identity| &identity.instance_id);
                response.handle_outcome(task, outcome, instance, &mut self.agenda, now);
            }
            Phase::Recalling(recall) => {
                recall.node = match outcome {
                    Outcome::Node(view) => RecalledNode::Read(Box::new(view)),
                    Outcome::Notice(_)
                    | Outcome::Identity(_)
                    | Outcome::Namespace(_)
                    | Outcome::Pods { .. }
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
            agent: self.agent.clone(),
        };
        let response = Response::begin(
            interruption,
            self.node.clone(),
            terms,
            self.policy.groups.clone(),
            self.identity.as_ref().map(|identity| &identity.instance_id),
            view,
            self.policy.mode,
            &mut self.agenda,
            now,
        );
        self.phase = Phase::Responding(Box::new(response));
    }

    fn handle_deadline(&mut self, now: Moment) {
        match std::mem::replace(&mut self.phase, Phase::Watching) {
            Phase::Responding(mut response) => {
                response.handle_deadline(&mut self.agenda, now);
                self.phase = Phase::After(Box::new(response.interruption().clone()));
                self.agenda.close_all_but(|task| {
                    matches!(
                        task,
                        Task::Poll | Task::Identify | Task::Heartbeat | Task::Publish(_)
                    )
                });
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
