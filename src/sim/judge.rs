//! The invariants of an interruption, each a function with the sentence it holds.
//!
//! The judge sees every call as it leaves the agent and as it arrives, hears every line the agent says, and looks at the
//! world in the end. It knows the weather, and asks for nothing that the weather did not allow.

mod ending;
mod front;
mod scope;
mod spread;
mod undoing;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::World;
use super::journal::Service;
use super::node::Node;
use super::pod::Pod;
use super::ports::{PodCall, PodVerb, Witness};
use super::refused::Refused;
use super::setting::{FrontSetting, Setting};
use crate::annotation::{EXCLUSION_LABEL, INTERRUPTION_ANNOTATION, read_annotation};
use crate::plan::binding::TargetId;
use crate::plan::budget::{Grace, LONGEST_NOTICE, Margins, SHORTEST_PLAN, Window};
use crate::plan::drain::{JobPods, OnBlocked};
use crate::plan::id::{PodUid, TargetGroupArn};
use crate::plan::node::{Annotation, CordonOwner};
use crate::plan::time::{Moment, Now, WallTime};
use crate::plan::{Effect, Mode};
use crate::report::{Level, Line};
use crate::sim::pod::{Signal, Volume};
use undoing::Survival;

/// A call may wait this long at the server: the agent gives it up after twelve seconds, the server does not.
const ECHO: Duration = Duration::from_secs(15);

/// Lines say seconds with three digits.
const ROUNDING: Duration = Duration::from_millis(2);

/// How long an agent waits for its node's annotation before it acts without.
const RECALL: Duration = Duration::from_millis(3_100);

/// No pod is called more often by one process: an answer every two seconds for two minutes, and as much again.
const MOST_CALLS_FOR_A_POD: u32 = 120;

/// One account's load balancer calls are a small common good: a look and a deregistration every five seconds, by three
/// processes one after another, and as much again.
const MOST_CALLS_FOR_A_GROUP: u32 = 160;

/// Calls of one process that are not about one pod: LIST and WATCH again every two seconds at most, the cordon, events.
const MOST_OTHER_CALLS: usize = 400;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule, as a sentence.
    pub rule: &'static str,
    /// How it was broken.
    pub detail: String,
    /// When.
    pub at: Moment,
}

/// What one agent process did and said.
#[derive(Clone, Debug, Default)]
struct Process {
    ended: Option<Moment>,
    /// When it first knew of the interruption.
    saw: Option<Moment>,
    started: Moment,
    /// When it knew the node to be cordoned.
    cordoned: Option<WallTime>,
    /// D as it has it.
    deadline: Option<Moment>,
    /// When that last became another.
    deadline_moved: Moment,
    verdicts: u32,
    summary: Option<Summary>,
    /// When it said that it spreads evictions that can wait.
    spread: Option<Moment>,
    calls: BTreeMap<PodUid, u32>,
}

/// What matters of a summary.
#[derive(Clone, Copy, Debug)]
struct Summary {
    at: Moment,
    left: u64,
    is_complete: bool,
}

/// What the setting is like, as far as rules depend on it.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent of each other: any of them may hold
struct Conditions {
    /// The instance hibernates: nothing waits, and nothing is forced.
    hibernates: bool,
    /// Nothing happens but the interruption.
    is_calm: bool,
    /// The API server is always there and current, and the node's clock right.
    is_steady: bool,
    /// A call may be at the API server for long.
    is_slow: bool,
    /// What leads requests to the node can be found out at any time, and all that is asked of load balancers is done.
    knows_the_front: bool,
    /// Nothing goes wrong anywhere, and no process ends before its time.
    is_clear: bool,
    /// A clock that was set may have been taken for a sleep that ended the interruption.
    seems_to_sleep: bool,
}

/// Looks on, and remembers what was wrong.
#[derive(Debug)]
pub struct Judge {
    margins: Margins,
    mode: Mode,
    on_blocked: OnBlocked,
    job_pods: JobPods,
    waiting_namespaces: Vec<&'static str>,
    conditions: Conditions,
    /// The pods that were put back by their controller, and evicted, by process and controller.
    put_back: BTreeMap<(u32, String), BTreeSet<PodUid>>,
    processes: BTreeMap<u32, Process>,
    under_way: BTreeSet<(u32, PodUid)>,
    /// Pods that were refused because of a budget, or that nothing was done about although it was said to be.
    blocked: BTreeSet<PodUid>,
    arrived: BTreeMap<PodUid, Moment>,
    /// Pods that another drainer evicts at some time.
    evicted_by_others: BTreeSet<PodUid>,
    /// When the deadline was last heard to have moved closer.
    tightened: Moment,
    /// When EC2 acts, if nobody changes that.
    announced: Option<Moment>,
    balancer_calls: BTreeMap<TargetGroupArn, u32>,
    setting: Box<Setting>,
    front: FrontSetting,
    /// Groups in which somebody registered the node again, and whether the agent can know.
    reregistered: BTreeMap<TargetGroupArn, bool>,
    was_cordoned_by_others: bool,
    claimed: bool,
    survival: Survival,
    clock_error: Duration,
    /// When calls about pods have left, and about which.
    calls_left: Vec<(Moment, String)>,
    foreign: BTreeMap<String, String>,
    warnings: Vec<String>,
    violations: Vec<Violation>,
}

impl Judge {
    /// A judge of this setting.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        let arrived = setting
            .pods
            .iter()
            .map(|pod| (pod.uid.clone(), Moment::ORIGIN));
        let left_behind = setting.left_behind();
        let is_ours = left_behind
            .as_ref()
            .is_some_and(|record| record.cordon == CordonOwner::Us);
        let mut foreign = setting.node.annotations.clone();
        if left_behind.is_some() {
            foreign.remove(INTERRUPTION_ANNOTATION);
        }
        Self {
            margins: setting.policy().margins,
            mode: setting.mode,
            on_blocked: if setting.hibernates() {
                OnBlocked::Wait
            } else {
                setting.on_blocked
            },
            job_pods: setting.job_pods,
            waiting_namespaces: setting.waiting_namespaces.clone(),
            conditions: Conditions {
                hibernates: setting.hibernates(),
                is_calm: setting.is_calm(),
                is_steady: setting.is_steady(),
                is_slow: setting
                    .spells
                    .iter()
                    .any(|spell| spell.service == Service::Kubernetes),
                knows_the_front: setting.is_steady()
                    && setting.spells.is_empty()
                    && setting.effect == Effect::Real,
                is_clear: setting.spells.is_empty() && !setting.ends_processes(),
                seems_to_sleep: setting.seems_to_sleep(),
            },
            setting: Box::new(setting.clone()),
            front: setting.front.clone(),
            reregistered: BTreeMap::new(),
            put_back: BTreeMap::new(),
            processes: BTreeMap::new(),
            under_way: BTreeSet::new(),
            blocked: BTreeSet::new(),
            arrived: arrived.collect(),
            evicted_by_others: setting.evicted_by_others(),
            tightened: Moment::ORIGIN,
            announced: setting.fixed_deadline(),
            balancer_calls: BTreeMap::new(),
            was_cordoned_by_others: setting.node.unschedulable && !is_ours,
            claimed: is_ours,
            survival: Survival::default(),
            clock_error: setting.clock_error(),
            calls_left: Vec::new(),
            foreign,
            warnings: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Everything that was wrong so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// A process begins.
    pub fn process_starts(&mut self, process: u32, now: Moment) {
        let process_now = Process {
            started: now,
            ..Process::default()
        };
        self.processes.insert(process, process_now);
    }

    /// A process ends, by whatever cause.
    pub fn process_ends(&mut self, process: u32, now: Moment) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.ended.get_or_insert(now);
        }
    }

    /// A pod has come to the node.
    pub fn pod_arrives(&mut self, pod: &Pod, now: Moment) {
        self.arrived.insert(pod.uid.clone(), now);
    }

    /// Somebody else has cordoned the node.
    pub const fn node_cordoned_by_others(&mut self) {
        self.was_cordoned_by_others = true;
    }

    /// Somebody else has written an annotation.
    pub fn node_annotated(&mut self, key: &str, value: &str) {
        self.foreign.insert(key.to_owned(), value.to_owned());
    }

    /// A process says something.
    pub fn hears(&mut self, process: u32, line: &Line, now: Moment) {
        let number = |name| line.get(name).and_then(Value::as_f64);
        if line.level > Level::Info {
            self.warnings.push(format!("{}: {}", line.event, line.msg));
        }
        let Some(heard) = self.processes.get_mut(&process) else {
            return;
        };
        if let Some(left) = number("seconds_left").filter(|left| *left >= 0.0) {
            let deadline = now + Duration::from_secs_f64(left);
            let nearer_by = heard.deadline.map(|known| known.seconds_from(deadline));
            if nearer_by.is_none_or(|nearer_by| nearer_by.abs() > 1.0) {
                heard.deadline_moved = now;
            }
            // Nobody can have met a deadline before it was known.
            if nearer_by.is_some_and(|nearer_by| nearer_by > 1.0) {
                self.tightened = now;
            }
            heard.deadline = Some(deadline);
        }
        match line.event {
            "interruption.notice" => {
                heard.saw.get_or_insert(now);
                let planned = heard.deadline;
                self.the_deadline_is_ec2s(planned, now);
            }
            "interruption.resumed" => {
                heard.saw.get_or_insert(now);
            }
            "node.cordoned" => heard.cordoned = Some(line.at),
            "interruption.changed" => self.tightened = now,
            "drain.spread" => {
                heard.spread = Some(now);
                self.nobody_waits_for_a_server_that_is_quick(process, now);
            }
            "drain.completed" | "drain.incomplete" => {
                heard.verdicts += 1;
                let (verdicts, saw) = (heard.verdicts, heard.saw);
                self.there_is_one_verdict_for_each_process(process, verdicts, now);
                self.the_verdict_is_in_time(saw, number("seconds_left"), now);
            }
            "interruption.summary" => {
                let left = line.get("pods_left").and_then(Value::as_u64).unwrap_or(0);
                let outcome = line.get("outcome").and_then(Value::as_str);
                heard.summary = Some(Summary {
                    at: now,
                    left,
                    is_complete: outcome == Some("completed"),
                });
            }
            _ => {}
        }
    }

    fn breaks(&mut self, rule: &'static str, detail: String, at: Moment) {
        self.violations.push(Violation { rule, detail, at });
    }

    /// D as the last to know has it.
    #[must_use]
    pub fn last_deadline(&self) -> Option<Moment> {
        let deadlines = self
            .processes
            .values()
            .filter_map(|process| process.deadline);
        deadlines.max()
    }

    /// Whether it is the first that its process makes for its pod.
    fn is_first(&self, call: &PodCall) -> bool {
        let process = self.processes.get(&call.process);
        process.is_some_and(|process| process.calls.get(&call.pod.uid) == Some(&1))
    }

    /// Whether requests come to the pod through its own node alone.
    fn is_bound(&self, pod: &Pod) -> bool {
        self.front.bound.iter().any(|bound| bound.holds(pod))
    }

    fn deadline_of(&self, process: u32) -> Option<Moment> {
        self.processes.get(&process)?.deadline
    }

    fn window(&self, pod: &Pod, deadline: Moment) -> Window {
        let grace = Grace::from_secs(pod.grace);
        Window::before(deadline, grace, pod.volume == Volume::Claim, &self.margins)
    }

    fn there_is_one_verdict_for_each_process(&mut self, process: u32, verdicts: u32, now: Moment) {
        if verdicts > 1 {
            self.breaks(
                "there is one verdict for each process",
                format!("process {process} gave {verdicts}"),
                now,
            );
        }
    }

    /// Whatever the node's own clock says: what EC2's says is left, from 20 s up to 120 s.
    fn the_deadline_is_ec2s(&mut self, planned: Option<Moment>, now: Moment) {
        let (Some(planned), Some(announced)) = (planned, self.announced) else {
            return;
        };
        // A process that may have been restarted tells of the notice up to three seconds after it has seen it.
        let as_seen_at =
            |seen: Moment| announced.clamp(seen + SHORTEST_PLAN, seen + LONGEST_NOTICE);
        let early = planned.seconds_from(as_seen_at(now - RECALL));
        let late = planned.seconds_from(as_seen_at(now));
        if early < -2.0 || late > 2.0 {
            let detail = format!("it is {late:.1} s off");
            self.breaks("the deadline is EC2's", detail, now);
        }
    }

    /// The verdict has to leave the node: two seconds before the deadline at the latest, unless the notice itself was
    /// seen only then.
    fn the_verdict_is_in_time(&mut self, saw: Option<Moment>, left: Option<f64>, now: Moment) {
        let is_early = left.is_some_and(|left| left >= 2.0 - 0.01);
        let is_soon = saw.is_some_and(|saw| now <= saw + Duration::from_millis(3_100))
            || self.has_just_woken(now);
        // A sleep may have lasted to the deadline and beyond.
        if !is_early && !is_soon && !self.has_slept() && !self.conditions.seems_to_sleep {
            let detail = format!("{left:?} s were left");
            self.breaks(
                "the verdict is given in time to leave the node",
                detail,
                now,
            );
        }
    }

    /// DaemonSet pods, mirror pods, the agent, and the pods of other nodes are none of its business.
    fn only_own_evictable_pods_are_touched(&mut self, call: &PodCall, world: &World, now: Moment) {
        let pod = world.cluster.whoever(&call.pod.uid);
        let wrong = match pod {
            None => Some("no pod was ever there with this UID"),
            Some(pod) if pod.node != world.cluster.node().name => Some("it is on another node"),
            Some(pod) if !is_evictable(pod) => Some("it is not to be evicted"),
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            let detail = format!("{:?} of {}: {wrong}", call.verb, call.pod.name);
            self.breaks("only own, evictable pods are touched", detail, now);
        }
    }

    /// Names come back, UIDs do not.
    fn every_call_about_a_pod_carries_its_uid(&mut self, call: &PodCall, now: Moment) {
        if call.precondition.as_ref() != Some(&call.pod.uid) {
            let detail = format!("{:?} of {}", call.verb, call.pod.name);
            self.breaks("every call about a pod carries its UID", detail, now);
        }
    }

    /// 0 would remove the object without the kubelet, and more than its own is not ours to give.
    fn a_grace_period_is_neither_zero_nor_raised(
        &mut self,
        call: &PodCall,
        world: &World,
        now: Moment,
    ) {
        let pod = world.cluster.whoever(&call.pod.uid);
        let (Some(grace), Some(pod)) = (call.grace, pod) else {
            return;
        };
        if grace < 1 || grace > i64::from(pod.grace) {
            let detail = format!(
                "{} s for {}, whose own are {} s",
                grace, pod.name, pod.grace
            );
            self.breaks("a grace period is neither 0 nor raised", detail, now);
        }
    }

    /// Both would be charged to the pod's budget.
    fn there_are_never_two_calls_for_one_pod_at_once(&mut self, call: &PodCall, now: Moment) {
        let key = (call.process, call.pod.uid.clone());
        if !self.under_way.insert(key) {
            let detail = format!("{:?} of {}", call.verb, call.pod.name);
            self.breaks("there are never two calls for one pod at once", detail, now);
        }
    }

    /// The node may be gone, and the pod's successor may have its name.
    fn nothing_is_done_to_pods_after_the_deadline(&mut self, call: &PodCall, now: Moment) {
        let deadline = self.deadline_of(call.process);
        if deadline.is_some_and(|deadline| now > deadline + ROUNDING) {
            let detail = format!("{:?} of {}", call.verb, call.pod.name);
            self.breaks("nothing is done to pods after the deadline", detail, now);
        }
    }

    /// Before the last useful moment a budget is asked, and its answer is respected.
    fn a_budget_is_broken_only_when_the_last_useful_moment_has_come(
        &mut self,
        call: &PodCall,
        world: &World,
        now: Moment,
    ) {
        if call.verb != PodVerb::Delete || world.cluster.is_terminating(&call.pod.namespace) {
            return;
        }
        let pod = world.cluster.whoever(&call.pod.uid);
        let window = pod
            .zip(self.deadline_of(call.process))
            .map(|(pod, deadline)| self.window(pod, deadline));
        let is_early = window.is_some_and(|window| now + ROUNDING < window.last_start);
        // Who cannot read a namespace in time cannot know what it wants.
        let is_known = pod.is_some_and(|pod| {
            self.conditions.is_calm || !self.waiting_namespaces.contains(&pod.namespace.as_str())
        });
        if is_early || is_known && pod.is_some_and(|pod| self.waits(pod)) {
            let detail = format!("{} was deleted", call.pod.name);
            let rule = "a budget is broken only when the last useful moment has come";
            self.breaks(rule, detail, now);
        }
    }

    /// Two calls may both take effect when an answer is lost; the second must not take from the first what it gave.
    fn a_pod_gets_one_stop_signal(&mut self, call: &PodCall, world: &World, now: Moment) {
        let pod = world.cluster.whoever(&call.pod.uid);
        // Each signal is judged when it comes: what excuses one may be over at the next call.
        let is_fresh = pod.is_some_and(|pod| {
            let last = pod.signals.last();
            last.is_some_and(|signal| signal.at == now)
        });
        if !is_fresh {
            return;
        }
        let signals = pod.map_or(0, |pod| {
            let own = |signal: &&Signal| !self.hurries(call.process, pod, signal);
            pod.signals.iter().filter(own).count()
        });
        // Who is shown a pod as it was cannot know that it is terminating, and two who call at the same moment do not either.
        let is_alone = !self.has_companion(call.process, now)
            && !self.evicted_by_others.contains(&call.pod.uid);
        if signals > 1 && is_alone && !world.cluster.has_lagged() {
            let detail = format!("{} got {signals}", call.pod.name);
            self.breaks("a pod gets one stop signal", detail, now);
        }
    }

    /// Whether another process works or has worked beside this one, or ended so lately that its last calls may still act.
    fn has_companion(&self, process: u32, now: Moment) -> bool {
        let Some(own) = self.processes.get(&process) else {
            return false;
        };
        self.processes.iter().any(|(id, other)| {
            let overlaps = other.ended.is_none_or(|ended| ended > own.started);
            let echoes =
                self.conditions.is_slow && other.ended.is_some_and(|ended| ended + ECHO > now);
            *id != process && (overlaps || echoes)
        })
    }

    /// A server that is asked all the time helps nobody.
    fn the_number_of_calls_is_bounded(&mut self, call: &PodCall, now: Moment) {
        let Some(process) = self.processes.get_mut(&call.process) else {
            return;
        };
        let calls = process.calls.entry(call.pod.uid.clone()).or_default();
        *calls += 1;
        if *calls == MOST_CALLS_FOR_A_POD {
            let detail = format!("{calls} for {}", call.pod.name);
            self.breaks("the number of calls is bounded", detail, now);
        }
    }

    /// A cordon that was there before is not ours to undo, and one that is ours stays known as ours.
    fn the_annotation_says_whose_the_cordon_is(&mut self, world: &World, now: Moment) {
        let annotations = &world.cluster.node().annotations;
        let text = annotations.get(INTERRUPTION_ANNOTATION);
        let Some(Annotation::Record(record)) = text.map(|text| read_annotation(text)) else {
            return;
        };
        let rule = "the annotation says whose the cordon is";
        let claims = record.cordon == CordonOwner::Us;
        if claims && !self.claimed && self.was_cordoned_by_others {
            self.breaks(rule, "it claims another's".to_owned(), now);
        }
        // Who leaves the cordon to another gives it up.
        if !claims && self.claimed && self.mode == Mode::Full {
            self.breaks(rule, "it has forgotten that it is ours".to_owned(), now);
        }
        self.claimed |= claims;
    }

    /// Labels, annotations and taints of others stay as they are.
    fn what_others_wrote_on_the_node_stays(&mut self, world: &World, now: Moment) {
        let node = world.cluster.node();
        let kept = self
            .foreign
            .iter()
            .all(|(key, value)| node.annotations.get(key) == Some(value));
        if !kept || !node.labels.contains_key("lifecycle") {
            let detail = format!("{:?}", node.annotations);
            self.breaks("what others wrote on the node stays", detail, now);
        }
    }
}

/// Whether a drain has anything to do with the pod.
pub(super) fn is_evictable(pod: &Pod) -> bool {
    let is_of_daemon_set = pod
        .owner
        .as_ref()
        .is_some_and(|owner| owner.kind == "DaemonSet");
    !is_of_daemon_set && !pod.is_mirror() && pod.uid != Setting::agent_uid()
}

impl Witness for Judge {
    fn pod_call_leaves(&mut self, call: &PodCall, world: &World, now: Now) {
        let now = now.at;
        self.calls_left.push((now, call.pod.name.clone()));
        self.only_own_evictable_pods_are_touched(call, world, now);
        self.every_call_about_a_pod_carries_its_uid(call, now);
        self.a_grace_period_is_neither_zero_nor_raised(call, world, now);
        self.there_are_never_two_calls_for_one_pod_at_once(call, now);
        self.nothing_is_done_to_pods_after_the_deadline(call, now);
        self.a_budget_is_broken_only_when_the_last_useful_moment_has_come(call, world, now);
        self.the_number_of_calls_is_bounded(call, now);
        self.a_hibernation_cuts_no_grace_period(call, now);
        self.who_leaves_the_pods_to_another_calls_none(call, now);
        let pod = world.cluster.whoever(&call.pod.uid);
        if let Some(pod) = pod {
            self.who_is_put_off_loses_nothing(call, pod, now);
            self.a_late_pod_is_left_alone_until_it_is_time(call, pod, now);
            self.critical_pods_follow_the_others(call, pod, world, now);
            self.a_pod_stops_only_when_the_ways_in_to_it_have_settled(call, pod, world, now);
            self.a_controller_that_puts_its_pods_back_is_not_fought(call, pod, now);
        }
    }

    fn pod_call_ends(&mut self, call: &PodCall) {
        self.under_way.remove(&(call.process, call.pod.uid.clone()));
    }

    fn pod_call_arrives(
        &mut self,
        call: &PodCall,
        answer: Result<(), &Refused>,
        world: &World,
        now: Now,
    ) {
        let was_refused = matches!(
            answer,
            Err(Refused::Budget { .. }
                | Refused::BudgetUnobserved(_)
                | Refused::BudgetNegative { .. }
                | Refused::TwoBudgets)
        );
        if was_refused || world.cluster.forces_dry_run(&call.pod.namespace) {
            self.blocked.insert(call.pod.uid.clone());
        }
        self.a_pod_gets_one_stop_signal(call, world, now.at);
        if call.verb == PodVerb::Delete && answer.is_ok() {
            self.a_pod_that_is_deleted_says_why(call, world, now.at);
        }
    }

    fn node_patched(&mut self, before: &Node, world: &World, now: Now) {
        self.survival.was_out_of_service |=
            world.cluster.node().unschedulable && is_excluded(world);
        self.nothing_foreign_is_undone(before, world, now);
        // An open node is nobody's, whoever closed it before.
        self.was_cordoned_by_others &= world.cluster.node().unschedulable;
        self.the_annotation_says_whose_the_cordon_is(world, now.at);
        self.what_others_wrote_on_the_node_stays(world, now.at);
    }

    fn balancer_call_leaves(
        &mut self,
        group: &TargetGroupArn,
        target: &TargetId,
        deregisters: &[u16],
        now: Now,
    ) {
        if !self.is_own_target(target) {
            let detail = format!("{target} in {}", group.as_str());
            let rule = "only the own instance is ever named to a load balancer";
            self.breaks(rule, detail, now.at);
        }
        self.the_groups_of_a_working_controller_are_left_to_it(group, deregisters, now.at);
        let calls = self.balancer_calls.entry(group.clone()).or_default();
        *calls += 1;
        if *calls == MOST_CALLS_FOR_A_GROUP {
            let detail = format!("{calls} for {}", group.as_str());
            self.breaks("the number of calls is bounded", detail, now.at);
        }
        let is_twice = deregisters
            .iter()
            .enumerate()
            .any(|(index, port)| deregisters[..index].contains(port));
        if is_twice {
            let detail = format!("{deregisters:?} of {}", group.as_str());
            self.breaks("a port is deregistered once in a call", detail, now.at);
        }
    }
}

/// What the node's label says to load balancers.
fn is_excluded(world: &World) -> bool {
    let label = world.cluster.node().labels.get(EXCLUSION_LABEL);
    label.is_some_and(|value| value != "false")
}
