//! A planner on a stage, and the small vocabulary that its tests speak.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::plan::action::{
    Action, AttemptId, Failure, FailureKind, Finding, Freshness, Inquiry, MachineIdentity,
    NodeEvent, NodeEventKind, Outcome, Ports, Request, Route, Target, TargetState, WatchEvent,
};
use crate::plan::binding::{Binding, BindingApi, Labels, Service, TargetId};
use crate::plan::budget::{Grace, Margins};
use crate::plan::drain::OnBlocked;
use crate::plan::fact::{Fact, PodNews, Summary};
use crate::plan::id::{
    BootId, InstanceId, NodeName, PodRef, PodUid, ResourceVersion, TargetGroupArn,
};
use crate::plan::node::{Annotation, NodeView, Scheduling};
use crate::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};
use crate::plan::pod::{BlockedWish, Owner, PodProgress, PodView, StartWish, Termination};
use crate::plan::targets::ConfiguredGroup;
use crate::plan::time::{Moment, Now, WallTime};
use crate::plan::{Mode, Planner, Policy};

/// Time moves only forward here, and everything that leaves the core is kept.
pub struct Stage {
    pub planner: Planner,
    pub at: f64,
    /// By how much the time of day is ahead of what has passed: the machine slept, or its clock was set.
    pub ahead: f64,
    pub facts: Vec<Fact>,
    /// What is found at once of what leads requests to the node; with none, those questions stay open.
    pub front: Option<Front>,
    open: Vec<(AttemptId, Request, Option<Moment>)>,
    turns: u32,
}

/// What leads requests to the node.
#[derive(Clone, Default)]
pub struct Front {
    pub bindings: Vec<Binding>,
    pub services: Vec<Service>,
}

impl Front {
    /// The answer to a question about it; none when it is about something else.
    pub fn answer(&self, request: &Request) -> Option<Outcome> {
        let finding = match request {
            Request::Find(Inquiry::Bindings(BindingApi::Controller)) => {
                Finding::Bindings(self.bindings.clone())
            }
            Request::Find(Inquiry::Bindings(BindingApi::AutoMode)) => {
                return Some(failed(FailureKind::NotFound, 404));
            }
            Request::Find(Inquiry::Services) => Finding::Services(self.services.clone()),
            Request::WarmBalancer => return Some(Outcome::Done),
            _ => return None,
        };
        Some(Outcome::Found(finding))
    }
}

/// A planner that wants to be woken again and again at one moment hangs the agent, and would hang the test.
const MOST_TURNS: u32 = 10_000;

impl Stage {
    /// An agent that has just asked for everything for the first time.
    pub fn knowing_nothing(policy: Policy) -> Self {
        Self::before(policy, Some(Front::default()))
    }

    /// The same, before a front.
    pub fn before(policy: Policy, front: Option<Front>) -> Self {
        Self::started(policy, front, 0.0)
    }

    /// The same, started at this time.
    pub fn started(policy: Policy, front: Option<Front>, at: f64) -> Self {
        let node = NodeName::new("node-1");
        let planner = Planner::new(policy, node, Some(PodUid::new("uid-agent")), 7, now(at));
        let mut stage = Self {
            planner,
            at,
            front,
            ahead: 0.0,
            open: Vec::new(),
            facts: Vec::new(),
            turns: 0,
        };
        stage.drain();
        stage
    }

    /// An agent that knows its machine and has just asked for a notice for the first time.
    pub fn new(policy: Policy) -> Self {
        Self::knowing_nothing(policy).identified()
    }

    /// It knows its machine now.
    pub fn identified(mut self) -> Self {
        let stage = &mut self;
        let identity = MachineIdentity {
            instance_id: instance(),
            instance_type: None,
            zone: None,
            life_cycle: Some("spot".to_owned()),
        };
        stage.answer(&Request::ReadIdentity, Outcome::Identity(identity));
        self
    }

    /// An agent that has found no notice, and nothing of an earlier one on its node.
    pub fn watching(policy: Policy) -> Self {
        let looks = policy.mode != Mode::Observe;
        let mut stage = Self::new(policy);
        stage.answer(&Request::ReadNotice, Outcome::Notice(None));
        if looks {
            stage.answer(&Request::ReadNode, Outcome::Node(node()));
        }
        stage
    }

    /// The notice appears at the second poll, five seconds after the start, with `left` seconds to the deadline.
    pub fn interrupted(policy: Policy, left: f64) -> Self {
        let mut stage = Self::watching(policy);
        stage.forward_to(5.0);
        stage.answer(&Request::ReadNotice, stage.notice(left));
        stage
    }

    /// The same, with the node cordoned and these pods listed.
    pub fn draining(policy: Policy, left: f64, listed: Vec<PodView>) -> Self {
        let mut stage = Self::interrupted(policy, left);
        stage.answer(&Request::ReadNode, Outcome::Node(node()));
        stage.answer_first(
            |request| matches!(request, Request::Cordon(_)),
            Outcome::Node(node()),
        );
        stage.answer_first(
            |request| matches!(request, Request::PublishEvent(_)),
            Outcome::Done,
        );
        stage.answer(&first_list(), pods(listed));
        stage
    }

    /// A notice read now, with `left` seconds to its time.
    pub fn notice(&self, left: f64) -> Outcome {
        Outcome::Notice(Some(Announcement {
            action: AnnouncedAction::Known(InterruptionAction::Terminate),
            time: Some(wall(self.at + left)),
            server_date: Some(wall(self.at)),
        }))
    }

    /// Lets time pass to `seconds`, stopping at each moment the planner asks for. Attempts that reach their limit on the
    /// way time out.
    pub fn forward_to(&mut self, seconds: f64) {
        loop {
            let due = self.planner.poll_timeout();
            let limit = self
                .open
                .iter()
                .filter_map(|(_, _, give_up_at)| *give_up_at)
                .min();
            let next = due.into_iter().chain(limit).min();
            let Some(next) = next
                .map(|moment| moment.seconds_from(Moment::ORIGIN))
                .filter(|next| *next <= seconds)
            else {
                break;
            };
            self.at = next.max(self.at);
            self.turn();
            self.let_time_out();
            self.planner.handle_timeout(self.clocks());
            self.drain();
        }
        self.at = seconds;
    }

    /// Lets time pass to `seconds` in one step, with answers still to come that are due at that very moment.
    pub fn forward_to_without_limits(&mut self, seconds: f64) {
        self.at = seconds;
        self.planner.handle_timeout(self.clocks());
        self.drain();
    }

    /// Lets time pass to the next moment the planner asks for.
    pub fn forward_to_next_due(&mut self) {
        self.turn();
        let due = self.planner.poll_timeout().expect("something is due");
        self.forward_to(due.seconds_from(Moment::ORIGIN).max(self.at));
    }

    /// Lets time pass until a call for a pod is under way.
    pub fn forward_to_next_pod_call(&mut self) {
        while self.pod_calls().is_empty() {
            self.forward_to_next_due();
        }
    }

    pub fn answer(&mut self, request: &Request, outcome: Outcome) {
        self.answer_first(|open| open == request, outcome);
    }

    pub fn answer_first(&mut self, pick: impl Fn(&Request) -> bool, outcome: Outcome) {
        self.turn();
        let index = self
            .open
            .iter()
            .position(|(_, request, _)| pick(request))
            .unwrap_or_else(|| panic!("no such request is open: {:?}", self.open));
        let (attempt, _, _) = self.open.remove(index);
        self.planner.handle_outcome(attempt, outcome, self.clocks());
        self.drain();
    }

    /// Answers the youngest of several LISTs.
    pub fn answer_youngest_list(&mut self, outcome: Outcome) {
        let is_list = |request: &Request| matches!(request, Request::ListPods(..));
        let index = self.open.iter().rposition(|(_, open, _)| is_list(open));
        let (attempt, _, _) = self.open.remove(index.expect("a LIST is open"));
        self.planner.handle_outcome(attempt, outcome, now(self.at));
        self.drain();
    }

    pub fn answer_pod(&mut self, name: &str, outcome: Outcome) {
        self.answer_first(
            |request| matches!(request, Request::Evict(pod, _) | Request::Delete(pod, _) if pod.name == name),
            outcome,
        );
    }

    pub fn watch(&mut self, event: WatchEvent) {
        let (attempt, _, _) = self
            .open
            .iter()
            .find(|(_, request, _)| matches!(request, Request::WatchPods(_)))
            .unwrap_or_else(|| panic!("no watch is open at {} s: {:?}", self.at, self.open));
        self.planner
            .handle_watch_event(*attempt, event, self.clocks());
        self.drain();
    }

    /// The calls for pods under way, in the order they were made.
    pub fn pod_calls(&self) -> Vec<(&'static str, &str, Option<u32>)> {
        self.open
            .iter()
            .filter_map(|(_, request, _)| match request {
                Request::Evict(pod, grace) => {
                    Some(("evict", pod.name.as_str(), grace.map(Grace::as_secs)))
                }
                Request::Delete(pod, grace) => {
                    Some(("delete", pod.name.as_str(), grace.map(Grace::as_secs)))
                }
                _ => None,
            })
            .collect()
    }

    /// Ends the watch that is open.
    pub fn end_watch(&mut self) {
        self.answer_first(
            |request| matches!(request, Request::WatchPods(_)),
            Outcome::Done,
        );
    }

    /// Answers the event of this kind.
    pub fn answer_event(&mut self, kind: NodeEventKind, outcome: Outcome) {
        self.answer_first(
            |request| matches!(request, Request::PublishEvent(event) if event.kind == kind),
            outcome,
        );
    }

    /// The events that are being published.
    pub fn events(&self) -> Vec<&NodeEvent> {
        self.open
            .iter()
            .filter_map(|(_, request, _)| match request {
                Request::PublishEvent(event) => Some(event),
                _ => None,
            })
            .collect()
    }

    /// When the only open request that `pick` picks is given up, in seconds after the start.
    pub fn limit_of(&self, pick: impl Fn(&Request) -> bool) -> Option<f64> {
        let mut limits = self
            .open
            .iter()
            .filter(|(_, request, _)| pick(request))
            .map(|(_, _, limit)| limit.map(|limit| limit.seconds_from(Moment::ORIGIN)));
        let limit = limits.next().expect("such a request is open");
        assert_eq!(limits.next(), None, "one such request");
        limit
    }

    /// When each open request that `pick` picks is given up, in seconds after the start.
    pub fn limits_of(&self, pick: impl Fn(&Request) -> bool) -> Vec<Option<f64>> {
        let picked = self.open.iter().filter(|(_, request, _)| pick(request));
        picked
            .map(|(_, _, limit)| limit.map(|limit| limit.seconds_from(Moment::ORIGIN)))
            .collect()
    }

    /// When the planner wants to be woken next, in seconds after the start.
    pub fn due(&self) -> Option<f64> {
        let due = self.planner.poll_timeout();
        due.map(|due| due.seconds_from(Moment::ORIGIN))
    }

    /// What was told of this pod.
    pub fn news_of(&self, name: &str) -> Vec<&PodNews> {
        self.facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::Pod(told, news) if told.pod.name == name => Some(news),
                _ => None,
            })
            .collect()
    }

    pub fn open_requests(&self) -> Vec<&Request> {
        self.open.iter().map(|(_, request, _)| request).collect()
    }

    pub fn summary(&self) -> &Summary {
        self.facts
            .iter()
            .find_map(|fact| match fact {
                Fact::Summary(summary) => Some(summary.as_ref()),
                _ => None,
            })
            .expect("a summary was told")
    }

    pub fn count(&self, pick: impl Fn(&Fact) -> bool) -> usize {
        self.facts.iter().filter(|fact| pick(fact)).count()
    }

    /// Takes what the planner gives out without an input of ours.
    pub fn collect(&mut self) {
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.planner.poll_action() {
            match action {
                Action::Try {
                    attempt,
                    request,
                    give_up_at,
                } => match self.front.as_ref().and_then(|front| front.answer(&request)) {
                    Some(outcome) => {
                        self.planner.handle_outcome(attempt, outcome, now(self.at));
                    }
                    None => self.open.push((attempt, request, give_up_at)),
                },
                Action::Abandon(attempt) => self.open.retain(|(open, _, _)| *open != attempt),
            }
        }
        while let Some(fact) = self.planner.poll_fact() {
            self.facts.push(fact);
        }
    }

    fn clocks(&self) -> Now {
        Now {
            wall: wall(self.at + self.ahead),
            ..now(self.at)
        }
    }

    fn turn(&mut self) {
        self.turns += 1;
        assert!(
            self.turns < MOST_TURNS,
            "going round and round at {} s",
            self.at
        );
    }

    fn let_time_out(&mut self) {
        let at = self.clocks().at;
        while let Some(index) = self
            .open
            .iter()
            .position(|(_, _, give_up_at)| give_up_at.is_some_and(|moment| moment <= at))
        {
            let (attempt, _, _) = self.open.remove(index);
            self.planner
                .handle_outcome(attempt, silent(FailureKind::TimedOut), self.clocks());
            self.drain();
        }
    }
}

/// The time of day `seconds` after the planner's start.
pub fn wall(seconds: f64) -> WallTime {
    const START: WallTime = WallTime::from_millis(1_800_000_000_000);
    if seconds < 0.0 {
        START - Duration::from_secs_f64(-seconds)
    } else {
        START + Duration::from_secs_f64(seconds)
    }
}

pub fn now(seconds: f64) -> Now {
    Now {
        at: Moment::after_origin(Duration::from_secs_f64(seconds)),
        wall: wall(seconds),
    }
}

pub fn instance() -> InstanceId {
    InstanceId::new("i-0123456789abcdef0")
}

/// This machine as a target.
pub fn own() -> TargetId {
    TargetId::Instance(instance())
}

pub fn policy() -> Policy {
    Policy {
        discover: BTreeSet::new(),
        poll_interval: Duration::from_secs(5),
        heartbeat_interval: Duration::from_secs(60),
        margins: Margins {
            end: Duration::from_secs(8),
            volume: Duration::from_secs(15),
            kept_grace: Duration::from_secs(60),
        },
        on_blocked: OnBlocked::Delete,
        max_in_flight: 64,
        groups: Vec::new(),
        ..Policy::default()
    }
}

pub fn with_group(ports: Ports) -> Policy {
    Policy {
        groups: vec![ConfiguredGroup {
            arn: group(),
            ports,
        }],
        ..policy()
    }
}

pub fn group() -> TargetGroupArn {
    TargetGroupArn::parse(
        "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef",
    )
    .expect("a well-formed ARN")
}

pub fn describe(ports: Ports) -> Request {
    Request::DescribeTargets(group(), own(), ports)
}

pub fn target(port: u16, state: TargetState) -> Target {
    Target { port, state }
}

pub fn pod(name: &str, grace: u32) -> PodView {
    PodView {
        pod: PodRef {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            uid: PodUid::new(format!("uid-{name}")),
        },
        owner: Some(Owner {
            kind: "ReplicaSet".to_owned(),
            name: "web".to_owned(),
        }),
        grace: Grace::from_secs(grace),
        progress: PodProgress::Ready,
        termination: None,
        mounts_claim: false,
        priority: 0,
        is_mirror: false,
        start: StartWish::AtOnce,
        when_blocked: BlockedWish::AsConfigured,
        created: None,
        labels: Labels::new(),
        address: None,
        ports: Vec::new(),
    }
}

/// A pod whose termination began at `since` with the grace period `given`.
pub fn terminating(name: &str, own: u32, given: u32, since: f64) -> PodView {
    PodView {
        termination: Some(Termination {
            deletion_timestamp: wall(since + f64::from(given)),
            grace: Grace::from_secs(given),
        }),
        ..pod(name, own)
    }
}

pub fn node() -> NodeView {
    NodeView {
        uid: "node-uid".to_owned(),
        resource_version: ResourceVersion::new("7"),
        scheduling: Scheduling::Open,
        exclusion_label: None,
        annotation: Annotation::Absent,
        taints: Vec::new(),
        boot_id: Some(BootId::new("boot")),
        provider: Some(instance()),
        labels: Labels::new(),
    }
}

pub fn failed(kind: FailureKind, http_status: u16) -> Outcome {
    Outcome::Failed(Failure {
        kind,
        http_status: Some(http_status),
        text: "refused".to_owned(),
    })
}

pub fn silent(kind: FailureKind) -> Outcome {
    Outcome::Failed(Failure {
        kind,
        http_status: None,
        text: "silence".to_owned(),
    })
}

pub fn pods(pods: Vec<PodView>) -> Outcome {
    Outcome::Pods {
        pods,
        version: ResourceVersion::new("100"),
    }
}

/// The first LIST: whatever the server's cache has.
pub fn first_list() -> Request {
    Request::ListPods(Freshness::Cached, Route::Shared)
}

/// A LIST that follows: not older than what was seen of this version.
pub fn next_list(version: &str) -> Request {
    let version = ResourceVersion::new(version);
    Request::ListPods(Freshness::NotOlderThan(version), Route::Shared)
}

/// The same over a new connection: the old one was silent, or not believed.
pub fn list_anew(version: &str) -> Request {
    let version = ResourceVersion::new(version);
    Request::ListPods(Freshness::NotOlderThan(version), Route::New)
}

pub fn seen(view: PodView) -> WatchEvent {
    WatchEvent::Seen(view, ResourceVersion::new("101"))
}

pub fn gone(name: &str) -> WatchEvent {
    let uid = PodUid::new(format!("uid-{name}"));
    WatchEvent::Gone(uid, ResourceVersion::new("102"))
}

pub fn bookmark() -> WatchEvent {
    WatchEvent::Bookmark(ResourceVersion::new("103"))
}
