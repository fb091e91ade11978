//! One seed, one interruption: a node with its pods, the weather around it, and what happens meanwhile.

mod aftermath;
mod front;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;

pub use front::{Bound, FrontSetting, Gateway};

use super::World;
use super::balancer::{Group, LoadBalancer, Registration, TargetKey};
use super::budget::{Budget, Observation, UnreadyPolicy};
use super::cluster::Cluster;
use super::controller::Controller as TargetController;
use super::faults::{Spell, Trouble, Weather};
use super::journal::{Journal, Service};
use super::metadata::{Instance, MetadataService, ScheduledNotice};
use super::node::Node;
use super::pod::{Controller, MIRROR_ANNOTATION, Phase, Pod, Volume};
use crate::annotation::{
    DO_NOT_DISRUPT_ANNOTATION, EXCLUSION_LABEL, INTERRUPTION_ANNOTATION, ON_BLOCKED_ANNOTATION,
    SAFE_TO_EVICT_ANNOTATION,
};
use crate::plan::action::Ports;
use crate::plan::binding::TargetId;
use crate::plan::drain::{JobPods, OnBlocked};
use crate::plan::id::{BootId, InstanceId, NodeName, PodUid, TargetGroupArn};
use crate::plan::notice::InterruptionAction;
use crate::plan::targets::ConfiguredGroup;
use crate::plan::time::Moment;
use crate::plan::{Effect, Mode, Policy};

const NODE: &str = "ip-10-0-1-23.eu-west-1.compute.internal";
const INSTANCE: &str = "i-0123456789abcdef0";
const AGENT: &str = "kube-system.agent";
const NAMESPACES: [&str; 3] = ["shop", "payments", "batch"];
const APPS: [&str; 4] = ["web", "db", "cart", "search"];

/// Everything that decides how an interruption goes, besides the agent. Two runs of one setting are the same.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What it was drawn from.
    pub seed: u64,
    /// The node.
    pub node: Node,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// The budgets over them.
    pub budgets: Vec<Budget>,
    /// The target groups, each with the ports this instance is registered on.
    pub groups: Vec<(TargetGroupArn, Vec<u16>)>,
    /// What leads requests to the node.
    pub front: FrontSetting,
    /// The notice.
    pub notice: ScheduledNotice,
    /// The spells of bad weather.
    pub spells: Vec<Spell>,
    /// The round trip to everybody.
    pub latency: Duration,
    /// What happens, and when.
    pub happenings: Vec<(Moment, Happening)>,
    /// By how much the node's time of day is ahead of everybody else's.
    pub skew_millis: i64,
    /// What the agent is told about blocked pods.
    pub on_blocked: OnBlocked,
    /// What it is told about the pods of Jobs.
    pub job_pods: JobPods,
    /// Namespaces whose blocked pods are to wait.
    pub waiting_namespaces: Vec<&'static str>,
    /// How much the agent is to do.
    pub mode: Mode,
    /// Whether its writes take effect.
    pub effect: Effect,
}

/// Something that happens besides what the agent does.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The agent dies, and another is started after a while.
    Crash {
        /// How much later.
        back_after: Duration,
    },
    /// The agent is asked to stop (SIGTERM), and another is started when it has.
    Stop,
    /// A second agent runs beside the first: an update of the DaemonSet that surges.
    SecondAgent,
    /// Somebody sets the node's time of day by so many milliseconds.
    ClockSet(i64),
    /// The machine sleeps: time passes everywhere, but for its monotonic clock. When it wakes after EC2's time, the notice
    /// is gone.
    Sleep {
        /// For how long.
        asleep: Duration,
    },
    /// The machine is stopped and started: another boot, and no notice.
    Reboot {
        /// How much later.
        asleep: Duration,
        /// How long it takes until the agent runs again.
        back_after: Duration,
    },
    /// Somebody else does something.
    World(Deed),
}

/// What somebody else does.
#[derive(Clone, Debug)]
pub enum Deed {
    /// The scheduler had bound another pod before it saw the cordon.
    PodArrives(Box<Pod>),
    /// A controller puts a pod of the same name onto another node once this one is gone.
    Namesake(PodUid),
    /// Another drainer evicts a pod.
    ForeignEviction(PodUid),
    /// Somebody cordons the node.
    ForeignCordon,
    /// Somebody writes to the node something that is not ours.
    NodeTouched,
    /// Another tool taints the node to take it away.
    Tainted(&'static str),
    /// The notice disappears.
    NoticeWithdrawn,
    /// The notice says an earlier time.
    NoticeTightened(Duration),
    /// The API server forgets its history: watches from before get a 410.
    HistoryForgotten,
    /// The API server's cache lags behind by so many changes, from now on or, with 0, not any more.
    CacheLags(usize),
    /// Somebody deletes a namespace.
    NamespaceTerminates(&'static str),
    /// A webhook makes a dry run of every eviction in a namespace.
    WebhookForcesDryRun(&'static str),
    /// A budget allows so many more.
    BudgetOpens(usize),
    /// A controller that has not seen the node's label registers the node in a target group again.
    RegistersAgain(TargetGroupArn),
}

impl Setting {
    /// The setting of this seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice(Rng::with_seed(seed));
        let mut node = dice.node();
        let count = dice.number_of_pods();
        let mut pods: Vec<Pod> = (0..count).map(|index| dice.pod(index)).collect();
        pods.push(agent());
        let budgets = (0..dice.up_to(4)).map(|index| dice.budget(index)).collect();
        let mut groups: Vec<(TargetGroupArn, Vec<u16>)> =
            (0..dice.up_to(3)).map(|index| dice.group(index)).collect();
        let notice = dice.notice();
        let end = notice.takes_effect();
        let mut spells = dice.spells(end);
        let mut happenings = dice.happenings(&pods, end);
        // Thrown by dice of their own, so that older seeds keep their stories as far as they can.
        let mut later = Dice(Rng::with_seed(seed ^ 0x7761_7665_7300_0001));
        for pod in &mut pods {
            later.wishes(pod);
        }
        let mut scope = Dice(Rng::with_seed(seed ^ 0x7363_6f70_6500_0001));
        let (mode, effect) = match scope.0.u8(..100) {
            0..3 => (Mode::DeregisterOnly, Effect::Real),
            3..5 => (Mode::Observe, Effect::Real),
            5..8 => (Mode::Full, Effect::Rehearsed),
            _ => (Mode::Full, Effect::Real),
        };
        let notice = ScheduledNotice {
            action: if later.chance(3) {
                InterruptionAction::Hibernate
            } else {
                notice.action
            },
            ..notice
        };
        let mut outer = Dice(Rng::with_seed(seed ^ 0x7761_7973_5f69_6e02));
        let front = outer.front(&mut groups, end);
        pods.extend(front.gateway.as_ref().map(Gateway::pod));
        if let Some((group, _)) = groups.first().filter(|_| outer.chance(10)) {
            let again = Deed::RegistersAgain(group.clone());
            happenings.push((outer.moment(0, end), Happening::World(again)));
            happenings.sort_by_key(|(at, _)| *at);
        }
        let mut last = Dice(Rng::with_seed(seed ^ 0x756e_646f_0000_0001));
        last.leave_behind(&mut node);
        last.outlive(notice, &mut happenings, &mut spells);
        let mut crowd = Dice(Rng::with_seed(seed ^ 0x6372_6f77_6400_0001));
        spells.extend(crowd.crowd(notice));
        Self {
            seed,
            node,
            budgets,
            groups,
            front,
            notice,
            spells,
            latency: Duration::from_millis(dice.0.u64(1..60)),
            happenings,
            skew_millis: if dice.chance(25) {
                dice.0.i64(-300_000..=300_000)
            } else {
                0
            },
            on_blocked: if dice.chance(10) {
                OnBlocked::Wait
            } else {
                OnBlocked::Delete
            },
            job_pods: if later.chance(15) {
                JobPods::Late
            } else {
                JobPods::Now
            },
            waiting_namespaces: NAMESPACES.into_iter().filter(|_| later.chance(4)).collect(),
            mode,
            effect,
            pods,
        }
    }

    /// The world as it begins.
    #[must_use]
    pub fn world(&self) -> World {
        let mut cluster = Cluster::new(self.node.clone());
        for pod in &self.pods {
            cluster.add_pod(pod.clone());
        }
        for budget in &self.budgets {
            cluster.add_budget(budget.clone());
        }
        for namespace in &self.waiting_namespaces {
            cluster.annotate_namespace(namespace, ON_BLOCKED_ANNOTATION, "wait");
        }
        let mut balancer = LoadBalancer::default();
        for (arn, ports) in &self.groups {
            balancer.add_group(arn.clone(), registered(ports));
        }
        if let Some(gateway) = &self.front.gateway {
            balancer.add_group(gateway.group.clone(), gateway.registered());
        }
        let mut metadata = MetadataService::new(instance());
        metadata.schedule(self.notice);
        World {
            cluster,
            balancer,
            controller: TargetController::new(self.front.bindings(), self.front.conduct),
            services: self.front.services(),
            metadata,
            journal: Journal::default(),
        }
    }

    /// The weather.
    #[must_use]
    pub fn weather(&self) -> Weather {
        Weather::new(self.spells.clone(), self.latency, self.seed)
    }

    /// What the agent is told.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let named = self
            .groups
            .iter()
            .filter(|(arn, _)| self.front.bound(arn).is_none());
        let groups = named.map(|(arn, _)| ConfiguredGroup {
            arn: arn.clone(),
            ports: Ports::All,
        });
        Policy {
            mode: self.mode,
            effect: self.effect,
            on_blocked: self.on_blocked,
            job_pods: self.job_pods,
            groups: groups.collect(),
            ..Policy::default()
        }
    }

    /// The node's name.
    #[must_use]
    pub fn node_name(&self) -> NodeName {
        self.node.name.clone()
    }

    /// The UID of the agent's pod.
    #[must_use]
    pub fn agent_uid() -> PodUid {
        PodUid::new(AGENT)
    }

    /// The instance.
    #[must_use]
    pub fn instance_id() -> InstanceId {
        InstanceId::new(INSTANCE)
    }

    /// Every setting that lacks one thing of this one; large pieces first.
    pub fn smaller(&self) -> impl Iterator<Item = Self> + '_ {
        let halves = [0, 1]
            .into_iter()
            .filter(|_| self.pods.len() > 4)
            .map(|half| {
                let mut smaller = self.clone();
                let middle = smaller.pods.len() / 2;
                // The agent's own pod is the last.
                let agent = smaller.pods.pop();
                let rest = smaller.pods.split_off(middle);
                if half == 1 {
                    smaller.pods = rest;
                }
                smaller.pods.extend(agent);
                smaller
            });
        let pods = without(self, self.pods.len() - 1, |setting, index| {
            setting.pods.remove(index);
        });
        let budgets = without(self, self.budgets.len(), |setting, index| {
            setting.budgets.remove(index);
        });
        let groups = without(self, self.groups.len(), |setting, index| {
            let (group, _) = setting.groups.remove(index);
            setting.front.bound.retain(|bound| bound.group != group);
        });
        let spells = without(self, self.spells.len(), |setting, index| {
            setting.spells.remove(index);
        });
        let happenings = without(self, self.happenings.len(), |setting, index| {
            setting.happenings.remove(index);
        });
        let skew = without(self, usize::from(self.skew_millis != 0), |setting, _| {
            setting.skew_millis = 0;
        });
        halves
            .chain(spells)
            .chain(happenings)
            .chain(budgets)
            .chain(groups)
            .chain(skew)
            .chain(pods)
    }

    /// The pods that another drainer evicts at some time.
    #[must_use]
    pub fn evicted_by_others(&self) -> BTreeSet<PodUid> {
        let uids = self.happenings.iter().filter_map(|(_, happening)| {
            if let Happening::World(Deed::ForeignEviction(uid)) = happening {
                Some(uid.clone())
            } else {
                None
            }
        });
        uids.collect()
    }

    /// When EC2 acts, unless somebody changes that on the way.
    #[must_use]
    pub fn fixed_deadline(&self) -> Option<Moment> {
        let is_changed = self.happens(|_, happening| {
            matches!(
                happening,
                Happening::World(Deed::NoticeTightened(_)) | Happening::Sleep { .. }
            )
        });
        (!is_changed).then(|| self.notice.takes_effect())
    }

    /// Whether nothing goes wrong and nobody else does anything.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let is_new = !self.node.annotations.contains_key(INTERRUPTION_ANNOTATION);
        self.spells.is_empty() && self.happenings.is_empty() && self.skew_millis == 0 && is_new
    }

    /// Whether a process ends before the world does, or is not alone.
    #[must_use]
    pub fn ends_processes(&self) -> bool {
        self.happens(|_, happening| {
            matches!(
                happening,
                Happening::Crash { .. }
                    | Happening::Stop
                    | Happening::SecondAgent
                    | Happening::Sleep { .. }
                    | Happening::Reboot { .. }
            )
        })
    }

    /// Whether the agent is to do everything, and for good.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.mode == Mode::Full && self.effect == Effect::Real
    }

    /// Whether a clock that is set forward may be taken for a sleep: a notice that is gone tells neither from the other.
    #[must_use]
    pub fn seems_to_sleep(&self) -> bool {
        self.happens(|_, it| matches!(it, Happening::ClockSet(5_000..)))
            && self.happens(|_, it| matches!(it, Happening::World(Deed::NoticeWithdrawn)))
    }

    /// Whether somebody sets the node's clock back in this time.
    #[must_use]
    pub fn is_set_back_between(&self, from: Moment, until: Moment) -> bool {
        self.happens(|at, it| (from..until).contains(&at) && matches!(it, Happening::ClockSet(..0)))
    }

    /// Whether the notice has disappeared by then.
    #[must_use]
    pub fn is_withdrawn_before(&self, moment: Moment) -> bool {
        self.happens(|at, it| at < moment && matches!(it, Happening::World(Deed::NoticeWithdrawn)))
    }

    /// Whether there is such a happening at such a time.
    fn happens(&self, is_meant: impl Fn(Moment, &Happening) -> bool) -> bool {
        let mut happenings = self.happenings.iter();
        happenings.any(|(at, happening)| is_meant(*at, happening))
    }

    /// Whether EC2 hibernates the instance.
    #[must_use]
    pub fn hibernates(&self) -> bool {
        self.notice.action == InterruptionAction::Hibernate
    }

    /// Whether the API server is always there and current, and the node's clock right.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        let is_served = self
            .spells
            .iter()
            .all(|spell| spell.service != Service::Kubernetes);
        let disturbs = |happening: &Happening| {
            matches!(
                happening,
                Happening::ClockSet(_)
                    | Happening::Sleep { .. }
                    | Happening::Reboot { .. }
                    | Happening::World(Deed::CacheLags(_))
            )
        };
        let is_disturbed = self
            .happenings
            .iter()
            .any(|(_, happening)| disturbs(happening));
        is_served && !is_disturbed && self.skew_millis == 0
    }
}

fn without<'a>(
    setting: &'a Setting,
    count: usize,
    remove: impl Fn(&mut Setting, usize) + 'a,
) -> impl Iterator<Item = Setting> + 'a {
    (0..count).map(move |index| {
        let mut smaller = setting.clone();
        remove(&mut smaller, index);
        smaller
    })
}

fn instance() -> Instance {
    Instance {
        id: Setting::instance_id(),
        kind: "m6i.large".to_owned(),
        zone: "eu-west-1a".to_owned(),
        account: "111122223333".to_owned(),
        address: "10.0.1.23".to_owned(),
    }
}

/// Our ports beside those of somebody else's instance.
fn registered(ports: &[u16]) -> Group {
    let target = |id: &str, port| TargetKey {
        id: TargetId::Instance(InstanceId::new(id)),
        port,
    };
    let mut targets: BTreeMap<TargetKey, Registration> = ports
        .iter()
        .map(|port| (target(INSTANCE, *port), Registration::Healthy))
        .collect();
    targets.insert(target("i-0fedcba9876543210", 80), Registration::Healthy);
    Group {
        default_port: 80,
        deregistration_delay: Duration::from_secs(300),
        targets,
    }
}

fn agent() -> Pod {
    let mut pod = Pod::new(
        "kube-system",
        "agent",
        Setting::agent_uid(),
        NodeName::new(NODE),
    );
    pod.owner = Some(Controller {
        api_version: "apps/v1".to_owned(),
        kind: "DaemonSet".to_owned(),
        name: "spot-interrupt-handler".to_owned(),
    });
    pod
}

/// Chance, the same for the same seed.
struct Dice(Rng);

impl Dice {
    fn chance(&mut self, percent: u8) -> bool {
        self.0.u8(..100) < percent
    }

    fn up_to(&mut self, most: usize) -> usize {
        self.0.usize(..=most)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())]
    }

    /// Seconds with milliseconds, from `least` up to `most`.
    fn seconds(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.0.u64(least * 1_000..=most * 1_000))
    }

    fn moment(&mut self, least: u64, most: Moment) -> Moment {
        let most = most
            .since_origin()
            .as_millis()
            .try_into()
            .unwrap_or(u64::MAX);
        let least = least * 1_000;
        Moment::after_origin(Duration::from_millis(self.0.u64(least..=most.max(least))))
    }

    fn node(&mut self) -> Node {
        let mut labels = BTreeMap::from([("lifecycle".to_owned(), "Ec2Spot".to_owned())]);
        if self.chance(10) {
            let value = self.of(&["true", "false", ""]);
            labels.insert(EXCLUSION_LABEL.to_owned(), value.to_owned());
        }
        let note = ("example.com/note".to_owned(), "not ours".to_owned());
        Node {
            name: NodeName::new(NODE),
            uid: "node-uid".to_owned(),
            version: 0,
            labels,
            annotations: BTreeMap::from([note]),
            unschedulable: self.chance(10),
            taints: Vec::new(),
            instance: Setting::instance_id(),
            zone: "eu-west-1a".to_owned(),
            boot: BootId::new("boot-1"),
        }
    }

    fn number_of_pods(&mut self) -> usize {
        match self.0.u8(..100) {
            0..20 => self.up_to(2),
            20..75 => 2 + self.up_to(12),
            75..97 => 10 + self.up_to(50),
            _ => 60 + self.up_to(190),
        }
    }

    fn pod(&mut self, index: usize) -> Pod {
        let namespace = self.of(&NAMESPACES);
        let app = self.of(&APPS);
        let name = format!("{app}-{index}");
        let uid = PodUid::new(format!("{namespace}.{name}.1"));
        let mut pod = Pod::new(namespace, &name, uid, NodeName::new(NODE));
        pod.labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
        let kind = match self.0.u8(..100) {
            0..50 => "ReplicaSet",
            50..65 => "StatefulSet",
            65..75 => "Job",
            75..87 => "DaemonSet",
            87..92 => "Node",
            _ => "",
        };
        if kind == "Node" {
            let mirror = (MIRROR_ANNOTATION.to_owned(), "hash".to_owned());
            pod.annotations = BTreeMap::from([mirror]);
        }
        if !kind.is_empty() {
            pod.owner = Some(Controller {
                api_version: self.of(&["apps/v1", "apps.kruise.io/v1alpha1"]).to_owned(),
                kind: kind.to_owned(),
                name: app.to_owned(),
            });
        }
        pod.grace = self.of(&[0, 1, 5, 30, 30, 30, 30, 60, 120, 300, 600, 1_800, 3_600]);
        pod.stops_after = match self.0.u8(..10) {
            0..6 => self.seconds(0, 10),
            6..9 => self.seconds(5, 120),
            _ => Duration::from_secs(u64::from(pod.grace) + 30),
        };
        if self.chance(20) {
            pod.volume = Volume::Claim;
        }
        if self.chance(5) {
            pod.priority = 2_000_000_000;
        }
        pod.phase = match self.0.u8(..100) {
            0..80 => Phase::Ready,
            80..88 => Phase::NotReady,
            88..96 => Phase::Pending,
            96..98 => Phase::Succeeded,
            _ => Phase::Failed,
        };
        if self.chance(3) {
            pod.finalizers = BTreeSet::from(["example.com/hold".to_owned()]);
        }
        pod
    }

    /// What a pod's owner, or its controller, adds to the story.
    fn wishes(&mut self, pod: &mut Pod) {
        match self.0.u8(..100) {
            0..3 => pod.annotate(DO_NOT_DISRUPT_ANNOTATION, "true"),
            3..5 => pod.annotate(SAFE_TO_EVICT_ANNOTATION, "false"),
            5..8 => pod.annotate(ON_BLOCKED_ANNOTATION, "wait"),
            8..10 => pod.comes_back = pod.owner.is_some() && pod.finalizers.is_empty(),
            _ => {}
        }
    }

    fn budget(&mut self, index: usize) -> Budget {
        let namespace = self.of(&NAMESPACES);
        let allowed = self.of(&[0, 0, 1, 2, 5]);
        let mut budget = Budget::allowing(namespace, &format!("budget-{index}"), allowed);
        if self.chance(85) {
            let app = self.of(&APPS).to_owned();
            budget.selector = BTreeMap::from([("app".to_owned(), app)]);
        }
        budget.healthy = self.0.u32(0..4);
        budget.desired = self.0.u32(0..4);
        if self.chance(5) {
            budget.observation = Observation::Lagging;
        }
        if self.chance(20) {
            budget.unready = UnreadyPolicy::AlwaysAllow;
        }
        if self.chance(60) {
            budget.recovers_after = Some(self.seconds(2, 60));
        }
        budget
    }

    fn group(&mut self, index: usize) -> (TargetGroupArn, Vec<u16>) {
        let text = format!(
            "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/group-{index}/0123456789abcdef"
        );
        let ports = (0..self.up_to(3)).map(|_| self.0.u16(30_000..32_000));
        let ports = ports.collect::<BTreeSet<_>>().into_iter().collect();
        // The form is fixed: it parses.
        let arn = TargetGroupArn::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        (arn, ports)
    }

    fn notice(&mut self) -> ScheduledNotice {
        ScheduledNotice {
            appears: Moment::after_origin(self.seconds(0, 12)),
            warning: match self.0.u8(..10) {
                0..7 => Duration::from_secs(120),
                7..9 => self.seconds(20, 120),
                _ => self.seconds(0, 30),
            },
            action: self.of(&[
                InterruptionAction::Terminate,
                InterruptionAction::Terminate,
                InterruptionAction::Terminate,
                InterruptionAction::Stop,
            ]),
        }
    }

    fn spells(&mut self, end: Moment) -> Vec<Spell> {
        if self.chance(40) {
            return Vec::new();
        }
        (0..=self.up_to(3)).map(|_| self.spell(end)).collect()
    }

    /// Others are interrupted in the same second, and the server has all of them to serve for some seconds.
    fn crowd(&mut self, notice: ScheduledNotice) -> Option<Spell> {
        // A LIST then takes less than the three seconds from which on a server is taken for one that hung.
        let slow = Duration::from_millis(self.0.u64(100..1_500));
        // A poll sees the notice within five seconds, and the pods are listed in one or two more; some see it too late.
        let until = notice.appears + self.seconds(4, 9);
        self.chance(6).then_some(Spell {
            service: Service::Kubernetes,
            from: notice.appears,
            until,
            trouble: Trouble::Slow(slow),
            percent: 100,
        })
    }

    fn spell(&mut self, end: Moment) -> Spell {
        let service = self.of(&[
            Service::Kubernetes,
            Service::Kubernetes,
            Service::Balancer,
            Service::Metadata,
        ]);
        let from = self.moment(0, end);
        let length = match self.0.u8(..10) {
            0..5 => self.seconds(1, 10),
            5..9 => self.seconds(5, 40),
            _ => self.seconds(30, 200),
        };
        let slow = self.seconds(1, 15);
        let trouble = self.of(&[
            Trouble::Partition,
            Trouble::Silence,
            Trouble::MuteAnswer,
            Trouble::LostRequest,
            Trouble::LostAnswer,
            Trouble::Status(500),
            Trouble::Status(503),
            Trouble::Status(401),
            Trouble::Status(403),
            Trouble::GatewayAfterEffect(504),
            Trouble::Throttled,
            Trouble::Garbage,
            Trouble::Slow(slow),
        ]);
        Spell {
            service,
            from,
            until: from + length,
            trouble,
            percent: self.of(&[100, 100, 70, 30]),
        }
    }

    fn happenings(&mut self, pods: &[Pod], end: Moment) -> Vec<(Moment, Happening)> {
        if self.chance(40) {
            return Vec::new();
        }
        let count = 1 + self.up_to(4);
        let mut happenings: Vec<(Moment, Happening)> = (0..count)
            .map(|index| (self.moment(0, end), self.happening(pods, index)))
            .collect();
        happenings.sort_by_key(|(at, _)| *at);
        happenings
    }

    fn happening(&mut self, pods: &[Pod], index: usize) -> Happening {
        let uid = pods[self.0.usize(..pods.len())].uid.clone();
        let deed = match self.0.u8(..100) {
            0..25 => {
                return Happening::Crash {
                    back_after: self.seconds(0, 20),
                };
            }
            25..30 => return Happening::Stop,
            30..35 => return Happening::SecondAgent,
            35..48 => Deed::PodArrives(Box::new(self.pod(1_000 + index))),
            48..56 => Deed::Namesake(uid),
            56..64 => Deed::ForeignEviction(uid),
            64..68 => Deed::ForeignCordon,
            68..73 => Deed::NodeTouched,
            73..76 => Deed::NoticeWithdrawn,
            76..80 => Deed::NoticeTightened(self.seconds(1, 60)),
            80..84 => Deed::HistoryForgotten,
            84..88 => Deed::CacheLags(self.up_to(8)),
            88..91 => Deed::NamespaceTerminates(self.of(&NAMESPACES)),
            91..94 => Deed::WebhookForcesDryRun(self.of(&NAMESPACES)),
            94..97 => Deed::BudgetOpens(self.up_to(4)),
            _ => return Happening::ClockSet(self.0.i64(-60_000..=60_000)),
        };
        Happening::World(deed)
    }
}
