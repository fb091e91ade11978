//! Nodes that are interrupted together, in virtual time: the real planner and the real loop on each, one account for all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use spot_interrupt_handler::agent::Agent;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::action::Ports as TargetPorts;
use spot_interrupt_handler::plan::binding::{
    Account as Owner, BalancerKind, Binding, Labels, NamespacedName, PortName, Selector, Service,
    ServicePort, TargetId, TargetType, TrafficPolicy,
};
use spot_interrupt_handler::plan::id::{InstanceId, PodUid, TargetGroupArn};
use spot_interrupt_handler::plan::targets::ConfiguredGroup;
use spot_interrupt_handler::plan::time::{Moment, WallTime};
use spot_interrupt_handler::plan::{Planner, Policy};
use spot_interrupt_handler::report::{Base, Configuration, Level, Line, Outlet, Reporter};
use spot_interrupt_handler::sim::balancer::LoadBalancer;
use spot_interrupt_handler::sim::pod::Pod;
use spot_interrupt_handler::sim::stage::Stage;

use super::account::{self, Account, Calls};
use super::controller::Controller;
use super::node::{self, Front};
use super::{naive, node_port};

/// 2027-01-15T08:00:00Z.
const DAY: WallTime = WallTime::from_millis(1_800_000_000_000);

/// By then every agent has found its target groups; the next poll of all is three seconds later.
const NOTICE: Moment = Moment::at_secs(62);

/// From the notice to the reclaim.
pub const WARNING: Duration = Duration::from_secs(120);

/// Agents are started over so long, and handlers of other kinds ask the metadata service each in its own rhythm.
const RHYTHM: Duration = Duration::from_secs(5);

/// The clocks of machines that ask a time service differ by less than this, in milliseconds.
const MOST_SKEW: i64 = 10;

/// What is interrupted.
#[derive(Clone, Debug)]
pub struct Storm {
    pub nodes: usize,
    pub groups: usize,
    pub drainer: Drainer,
    pub controller: Keeper,
    /// Where a node sends what comes to it.
    pub traffic: TrafficPolicy,
    /// Of each node.
    pub pods: fn(usize) -> Vec<Pod>,
    /// From the first node's notice to the last one's.
    pub spread: Duration,
    pub seed: u64,
}

/// Who deregisters the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drainer {
    /// Our agent, which finds the groups by their bindings.
    Agent,
    /// Our agent, to which the groups are named: nobody else keeps them.
    Directly,
    /// One that scans and deregisters one by one.
    Naive,
    /// Nobody: the pods are evicted, and that is all.
    EvictFirst,
}

/// What becomes of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    Absent,
    Alive,
    /// So long after the notice it dies.
    Dies(Duration),
}

/// What came of it.
#[derive(Debug)]
pub struct Course {
    /// When each target began to drain, after the notice.
    pub drained: Vec<Duration>,
    /// Targets that still got requests at the reclaim.
    pub left: usize,
    pub changed: Calls,
    pub looked: Calls,
    /// Targets that an agent called deregistered while they were not.
    pub mistaken: usize,
    /// The pods of each node as they ended.
    pub pods: Vec<Vec<Pod>>,
    pub notice: Moment,
}

impl Course {
    /// When the last target began to drain, if all have.
    pub fn last(&self) -> Option<Duration> {
        self.drained.last().copied().filter(|_| self.left == 0)
    }
}

/// An agent's lines: what it says of its targets is compared with the account.
struct Ear {
    account: Arc<Account>,
    instance: InstanceId,
    mistaken: Arc<Mutex<usize>>,
}

impl Outlet for Ear {
    fn put(&self, line: &Line) {
        if line.event != "targets.deregistered" {
            return;
        }
        let group = line.get("target_group_arn").and_then(|arn| arn.as_str());
        if self
            .account
            .is_registered(group.expect("a group"), &self.instance)
        {
            *self.mistaken.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    }

    fn dropped(&self) -> u64 {
        0
    }
}

impl Storm {
    pub fn of(nodes: usize, groups: usize, drainer: Drainer, controller: Keeper) -> Self {
        Self {
            nodes,
            groups,
            drainer,
            controller,
            traffic: TrafficPolicy::Cluster,
            pods: |_| Vec::new(),
            spread: Duration::ZERO,
            seed: 1,
        }
    }

    /// Lets it happen.
    pub fn play(&self) -> Course {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without sockets");
        runtime.block_on(self.happen())
    }

    async fn happen(&self) -> Course {
        let clock = Clock::simulated(DAY);
        let account = Arc::new(Account::new(clock.clone(), self.balancer(), self.seed));
        let is_bound = self.drainer == Drainer::Agent;
        let bindings = (0..self.groups).filter(|_| is_bound).map(binding);
        let front = Front {
            account: account.clone(),
            controller: Controller::new(account.clone(), bindings.collect()),
            services: Arc::new((0..self.groups).map(|index| self.service(index)).collect()),
        };
        let stages: Vec<Arc<Stage>> = (0..self.nodes)
            .map(|index| {
                let notice = NOTICE + self.part(self.spread, index);
                node::stage(index, (self.pods)(index), notice, clock.clone())
            })
            .collect();
        let mistaken = Arc::new(Mutex::new(0));
        let mut at_work = JoinSet::new();
        for (index, stage) in stages.iter().enumerate() {
            at_work.spawn(stage.clone().keep_time());
            let starts = self.part(RHYTHM, index);
            match self.drainer {
                Drainer::Agent | Drainer::Directly => {
                    let agent = self.agent(index, stage.clone(), &front, mistaken.clone());
                    let clock = clock.clone();
                    at_work.spawn(async move {
                        clock.sleep(starts).await;
                        agent().await;
                    });
                }
                Drainer::Naive => {
                    let (account, clock) = (account.clone(), clock.clone());
                    let own = TargetId::Instance(node::instance(index));
                    let groups = (0..self.groups).map(arn).collect();
                    at_work.spawn(async move {
                        clock.sleep_until(NOTICE + starts).await;
                        naive::run(account, own, groups).await;
                    });
                }
                Drainer::EvictFirst => {
                    let (stage, clock) = (stage.clone(), clock.clone());
                    at_work.spawn(async move {
                        clock.sleep_until(NOTICE + starts).await;
                        evict_all(&stage);
                    });
                }
            }
        }
        if self.controller != Keeper::Absent {
            let life = front.controller.clone().run();
            let dies = match self.controller {
                Keeper::Dies(after) => NOTICE + after,
                Keeper::Alive | Keeper::Absent => NOTICE + WARNING,
            };
            let clock = clock.clone();
            at_work.spawn(async move {
                let _ = clock.until(dies, life).await;
            });
        }
        clock.sleep_until(NOTICE + WARNING).await;
        at_work.abort_all();
        let (since, left) = account.drained();
        let mistaken = *mistaken.lock().unwrap_or_else(PoisonError::into_inner);
        Course {
            drained: since.iter().map(|at| at.since(NOTICE)).collect(),
            left,
            changed: account.changed(),
            looked: account.looked(),
            mistaken,
            pods: stages.iter().map(|stage| pods_of(stage)).collect(),
            notice: NOTICE,
        }
    }

    /// As much of it as there are nodes before this one.
    fn part(&self, whole: Duration, index: usize) -> Duration {
        let count = |number: usize| u32::try_from(number).expect("few nodes");
        whole * count(index) / count(self.nodes)
    }

    fn balancer(&self) -> LoadBalancer {
        let instances: Vec<InstanceId> = (0..self.nodes).map(node::instance).collect();
        let mut balancer = LoadBalancer::default();
        for index in 0..self.groups {
            let port = node_port(index);
            // Every fifth was made by hand: its own port is not that of its targets.
            let default_port = if index % 5 == 4 { 80 } else { port };
            let delay = Duration::from_secs(300);
            balancer.add_group(
                arn(index),
                account::group_of(&instances, port, default_port, delay),
            );
        }
        balancer
    }

    fn service(&self, index: usize) -> Service {
        Service {
            name: named(index),
            selector: Some(Selector::of_labels(&app(index))),
            traffic: self.traffic,
            ports: vec![ServicePort {
                name: None,
                number: 80,
                node_port: Some(node_port(index)),
                target: PortName::Number(8080),
            }],
        }
    }

    fn agent(
        &self,
        index: usize,
        stage: Arc<Stage>,
        front: &Front,
        mistaken: Arc<Mutex<usize>>,
    ) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + use<> {
        let groups = (0..self.groups)
            .filter(|_| self.drainer == Drainer::Directly)
            .map(|index| ConfiguredGroup {
                arn: arn(index),
                ports: TargetPorts::Only(node_port(index)),
            });
        let policy = Policy {
            groups: groups.collect(),
            ..Policy::default()
        };
        let seed = self.seed.wrapping_mul(1_000) + index as u64;
        let skew = Rng::with_seed(seed).i64(-MOST_SKEW..=MOST_SKEW);
        let (front, clock) = (front.clone(), front.account.clock().skewed_by(skew));
        move || {
            let now = clock.now();
            let ear = Ear {
                account: front.account.clone(),
                instance: node::instance(index),
                mistaken,
            };
            let reporter = Reporter::new(base(index, &policy), Level::Info, Box::new(ear), now.at);
            let uid = Some(PodUid::new("kube-system.agent"));
            let planner = Planner::new(policy, node::name(index), uid, seed, now);
            let ports = node::ports(index, stage, &front);
            let agent = Agent::new(planner, ports, clock, Arc::new(reporter));
            Box::pin(async move {
                // Nobody asks it to stop.
                let (_stops, stop_requests) = mpsc::channel(1);
                agent.run(stop_requests).await;
            })
        }
    }
}

fn base(index: usize, policy: &Policy) -> Base {
    Base {
        node: node::name(index).to_string(),
        cluster: None,
        configuration: Configuration::of(policy, "simulated"),
    }
}

/// As `kubectl drain` does.
fn evict_all(stage: &Stage) {
    stage.with(|world, now| {
        let pods: Vec<PodUid> = world.cluster.pods().map(|pod| pod.uid.clone()).collect();
        for uid in pods {
            world.cluster.evict_for_another(&uid, now);
        }
    });
}

fn pods_of(stage: &Stage) -> Vec<Pod> {
    stage.with(|world, _| world.cluster.everyone().cloned().collect())
}

fn named(index: usize) -> NamespacedName {
    NamespacedName {
        namespace: "shop".to_owned(),
        name: format!("web-{index}"),
    }
}

/// The labels of the pods behind this group.
pub fn app(index: usize) -> Labels {
    [("app".to_owned(), format!("web-{index}"))].into()
}

fn arn(index: usize) -> TargetGroupArn {
    let text = format!(
        "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web-{index}/0123456789abcdef"
    );
    TargetGroupArn::parse(&text).expect("a well-formed ARN")
}

fn binding(index: usize) -> Binding {
    Binding {
        name: named(index),
        group: arn(index),
        target_type: TargetType::Instance,
        service: named(index),
        port: PortName::Number(80),
        node_selector: Selector::default(),
        account: Owner::Own,
        kind: Some(BalancerKind::Application),
        // An hour ago it was last touched.
        checkpoint: Some(WallTime::from_millis(DAY.millis() - 3_600_000)),
    }
}
