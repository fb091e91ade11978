//! One interruption in virtual time: the real agent and the real loop over the ports of the world, no sockets and no waiting.
//! The same setting always has the same story.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::agent::Agent;
use crate::attempt::Ports;
use crate::clock::Clock;
use crate::plan::Effect;
use crate::plan::Planner;
use crate::plan::id::BootId;
use crate::plan::time::{Moment, WallTime};
use crate::ports::{Balancer, Cluster, Metadata};
use crate::report::{Base, Configuration, Level, Line, Outlet, Reporter};
use crate::sim::cluster::Writes;
use crate::sim::controller::Controller;
use crate::sim::faults::Weather;
use crate::sim::journal::Service;
use crate::sim::judge::{Judge, Violation};
use crate::sim::metadata::ScheduledNotice;
use crate::sim::ports::{SimBalancer, SimCluster, SimMetadata, Way};
use crate::sim::setting::{Deed, Happening, Setting};
use crate::sim::stage::Stage;

/// 2027-01-15T08:00:00Z: every simulated day is the same.
const DAY: WallTime = WallTime::from_millis(1_800_000_000_000);

/// How long after EC2's time the world goes on, so that what is done too late is seen.
const AFTERMATH: Duration = Duration::from_secs(30);

/// From the end of a process until the kubelet has started its successor.
const RESTART: Duration = Duration::from_secs(2);

/// Who plays: the agent's ports, its clock, and where its lines go. The honest ones, or, in tests of the judge, others.
pub trait Cast {
    /// The metadata service.
    type Metadata: Metadata;
    /// The API server.
    type Cluster: Cluster;
    /// The load balancer.
    type Balancer: Balancer;

    /// The ports of a process.
    fn ports(
        &self,
        way: &Way,
        setting: &Setting,
    ) -> Ports<Self::Metadata, Self::Cluster, Self::Balancer>;

    /// Its clock.
    fn clock(&self, clock: Clock) -> Clock {
        clock
    }

    /// What becomes of its lines.
    fn outlet(&self, outlet: Box<dyn Outlet>) -> Box<dyn Outlet> {
        outlet
    }
}

/// The ports of the world as they are.
#[derive(Clone, Copy, Debug)]
pub struct Honest;

impl Cast for Honest {
    type Metadata = SimMetadata;
    type Cluster = SimCluster;
    type Balancer = SimBalancer;

    fn ports(&self, way: &Way, setting: &Setting) -> Ports<SimMetadata, SimCluster, SimBalancer> {
        Ports {
            metadata: SimMetadata { way: way.clone() },
            cluster: SimCluster {
                way: way.clone(),
                node: setting.node_name(),
                writes: match setting.effect {
                    Effect::Real => Writes::Real,
                    Effect::Rehearsed => Writes::DryRun,
                },
            },
            balancer: SimBalancer { way: way.clone() },
        }
    }
}

/// How an interruption ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The rules that were broken.
    pub violations: Vec<Violation>,
    /// What the agents said and what happened, with the time of each; empty unless it was asked for.
    pub story: Vec<(Moment, String)>,
    /// Outcomes that the agents gave: none, `completed`, `incomplete`.
    pub outcome: Option<String>,
    /// How long after the notice appeared the last pod was told to stop.
    pub last_signal_after: Option<Duration>,
    /// Calls that reached the API server.
    pub calls: usize,
}

/// Whether the story is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// It is.
    Kept,
    /// Only what the judge says.
    Dropped,
}

/// Plays a setting with the honest cast.
#[must_use]
pub fn play(setting: &Setting, telling: Telling) -> Ending {
    play_with(&Honest, setting, telling)
}

/// Plays a setting.
///
/// # Panics
/// When no runtime can be built, for which there is no reason: it needs neither sockets nor threads.
#[must_use]
pub fn play_with<C: Cast>(cast: &C, setting: &Setting, telling: Telling) -> Ending {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("a runtime without sockets: {error}"));
    runtime.block_on(async {
        let mut play = Play::set(cast, setting, telling);
        play.run().await;
        play.conclude()
    })
}

struct Play<'a, C> {
    cast: &'a C,
    setting: &'a Setting,
    stage: Arc<Stage>,
    weather: Arc<Mutex<Weather>>,
    judge: Arc<Mutex<Judge>>,
    clock: Clock,
    agent_clock: Clock,
    story: Arc<Mutex<Vec<(Moment, String)>>>,
    telling: Telling,
    outcome: Arc<Mutex<Option<String>>>,
    agents: JoinSet<u32>,
    running: Vec<Running>,
    starts: Vec<Moment>,
    next_process: u32,
}

struct Running {
    process: u32,
    task: AbortHandle,
    stops: mpsc::Sender<()>,
}

/// Lines of one process on their way to the judge and into the story.
struct Ear {
    process: u32,
    clock: Clock,
    judge: Arc<Mutex<Judge>>,
    story: Arc<Mutex<Vec<(Moment, String)>>>,
    outcome: Arc<Mutex<Option<String>>>,
    telling: Telling,
}

impl Outlet for Ear {
    fn put(&self, line: &Line) {
        let now = self.clock.now().at;
        locked(&self.judge).hears(self.process, line, now);
        if line.event == "interruption.summary" {
            let outcome = line.get("outcome").and_then(|value| value.as_str());
            *locked(&self.outcome) = outcome.map(str::to_owned);
        }
        if self.telling == Telling::Kept {
            let text = format!("agent {}  {:<22}{}", self.process, line.event, line.msg);
            locked(&self.story).push((now, text));
        }
    }

    fn dropped(&self) -> u64 {
        0
    }
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a, C: Cast> Play<'a, C> {
    fn set(cast: &'a C, setting: &'a Setting, telling: Telling) -> Self {
        let clock = Clock::simulated(DAY);
        let agent_clock = cast.clock(clock.skewed_by(setting.skew_millis));
        Self {
            stage: Stage::new(setting.world(), clock.clone()),
            weather: Arc::new(Mutex::new(setting.weather())),
            judge: Arc::new(Mutex::new(Judge::new(setting))),
            story: Arc::default(),
            outcome: Arc::default(),
            agents: JoinSet::new(),
            running: Vec::new(),
            starts: vec![Moment::ORIGIN],
            next_process: 1,
            cast,
            setting,
            clock,
            agent_clock,
            telling,
        }
    }

    async fn run(&mut self) {
        let keeping_time = tokio::spawn(self.stage.clone().keep_time());
        let mut happenings = self.setting.happenings.iter();
        let mut next = happenings.next();
        loop {
            let now = self.clock.now().at;
            let end = self.end();
            if now >= end {
                break;
            }
            if self.starts.iter().any(|start| *start <= now) {
                self.starts.retain(|start| *start > now);
                self.start_agent();
            }
            while let Some((at, happening)) = next {
                if *at > now {
                    break;
                }
                self.perform(happening);
                next = happenings.next();
            }
            let due = self.starts.iter().chain(next.map(|(at, _)| at)).min();
            let due = due.copied().unwrap_or(end).min(end);
            let clock = self.clock.clone();
            tokio::select! {
                biased;
                Some(ended) = self.agents.join_next() => {
                    // One that was killed has been reported, and its successor is on its way.
                    if let Ok(process) = ended {
                        self.note_end(process);
                        self.starts.push(self.clock.now().at + RESTART);
                    }
                }
                () = clock.sleep_until(due) => {}
            }
        }
        keeping_time.abort();
    }

    /// When everything is over: after EC2's time, and after the deadline of an agent that saw the notice late.
    fn end(&self) -> Moment {
        let announced = self.setting.ends();
        let planned = locked(&self.judge).last_deadline().unwrap_or(announced);
        announced.max(planned) + AFTERMATH
    }

    fn tell(&self, text: &str) {
        if self.telling == Telling::Kept {
            let now = self.clock.now().at;
            locked(&self.story).push((now, format!("world    {text}")));
        }
    }

    fn start_agent(&mut self) {
        let process = self.next_process;
        self.next_process += 1;
        let now = self.agent_clock.now();
        locked(&self.judge).process_starts(process, self.clock.now().at);
        self.tell(&format!("agent {process} starts"));
        let way = Way::new(
            process,
            self.stage.clone(),
            self.weather.clone(),
            self.judge.clone(),
        );
        let policy = self.setting.policy();
        let base = Base {
            node: self.setting.node.name.to_string(),
            cluster: None,
            configuration: Configuration::of(&policy, "simulated"),
        };
        let ear = self.cast.outlet(Box::new(Ear {
            process,
            clock: self.clock.clone(),
            judge: self.judge.clone(),
            story: self.story.clone(),
            outcome: self.outcome.clone(),
            telling: self.telling,
        }));
        let reporter = Arc::new(Reporter::new(base, Level::Info, ear, now.at));
        let mut planner = Planner::new(
            policy,
            self.setting.node_name(),
            Some(Setting::agent_uid()),
            self.setting.seed ^ u64::from(process),
            now,
        );
        planner.look_over_permissions();
        let ports = self.cast.ports(&way, self.setting);
        let agent = Agent::new(planner, ports, self.agent_clock.clone(), reporter);
        let (stops, stop_requests) = mpsc::channel(1);
        let task = self.agents.spawn(async move {
            agent.run(stop_requests).await;
            process
        });
        self.running.push(Running {
            process,
            task,
            stops,
        });
    }

    fn note_end(&mut self, process: u32) {
        locked(&self.judge).process_ends(process, self.clock.now().at);
        self.running.retain(|running| running.process != process);
        self.tell(&format!("agent {process} has ended"));
    }

    fn perform(&mut self, happening: &Happening) {
        match happening {
            Happening::Crash { back_after } => self.crash(*back_after),
            Happening::Stop => {
                if let Some(running) = self.running.first() {
                    self.tell(&format!("agent {} is asked to stop", running.process));
                    // The channel holds one request; a second one would change nothing.
                    let _ = running.stops.try_send(());
                }
            }
            Happening::SecondAgent => self.starts.push(self.clock.now().at),
            Happening::ClockSet(millis) => {
                self.tell(&format!("the node's time of day is set by {millis} ms"));
                self.agent_clock.set_by(*millis);
            }
            Happening::Sleep { asleep } => self.sleep(*asleep),
            Happening::Reboot { asleep, back_after } => {
                self.sleep(*asleep);
                self.stage.with(|world, now| {
                    world.metadata.withdraw();
                    world
                        .cluster
                        .change_node(|node| node.boot = BootId::new("boot-2"));
                    locked(&self.judge).machine_wakes(Duration::ZERO, true, now.at);
                });
                while !self.running.is_empty() {
                    self.crash(*back_after);
                }
                let back_at = self.clock.now().at + *back_after;
                self.starts.retain(|start| *start <= back_at);
                self.starts.truncate(1);
            }
            Happening::World(deed) => self.change_world(deed),
        }
    }

    /// Everybody's time of day goes on while the machine's monotonic clock stands still, which here is everybody's.
    fn sleep(&self, asleep: Duration) {
        self.tell(&format!("the machine sleeps for {} s", asleep.as_secs()));
        let millis = asleep.as_millis().try_into().unwrap_or(i64::MAX);
        self.clock.set_by(millis);
        self.agent_clock.set_by(millis);
        let planned = locked(&self.judge).last_deadline();
        self.stage.with(|world, now| {
            let notice = world.metadata.notice().map(|notice| ScheduledNotice {
                appears: notice.appears - asleep,
                ..*notice
            });
            // A notice that had disappeared before is taken for carried out when the sleep was that long.
            let is_over = notice.map_or_else(
                || planned.is_some_and(|planned| planned <= now.at + asleep),
                |notice| notice.takes_effect() <= now.at,
            );
            match notice {
                Some(notice) if !is_over => world.metadata.schedule(notice),
                Some(_) | None => world.metadata.withdraw(),
            }
            locked(&self.judge).machine_wakes(asleep, is_over, now.at);
        });
    }

    fn crash(&mut self, back_after: Duration) {
        if self.running.is_empty() {
            return;
        }
        let running = self.running.remove(0);
        self.tell(&format!("agent {} is killed", running.process));
        running.task.abort();
        locked(&self.judge).process_ends(running.process, self.clock.now().at);
        self.starts.push(self.clock.now().at + back_after);
    }

    fn change_world(&self, deed: &Deed) {
        self.tell(&format!("{deed:?}"));
        let judge = self.judge.clone();
        self.stage.with(|world, now| {
            let mut judge = locked(&judge);
            if let Deed::RegistersAgain(group) = deed {
                judge.node_registered_again(group, world, now.at);
                let node = world.cluster.node();
                Controller::registers_again(group, node, &mut world.balancer);
                return;
            }
            let cluster = &mut world.cluster;
            match deed {
                Deed::PodArrives(pod) => {
                    let pod = (**pod).clone();
                    judge.pod_arrives(&pod, now.at);
                    cluster.add_pod(pod);
                }
                Deed::Namesake(uid) => cluster.replace_elsewhere(uid),
                Deed::ForeignEviction(uid) => cluster.evict_for_another(uid, now),
                Deed::ForeignCordon => {
                    judge.node_cordoned_by_others();
                    cluster.change_node(|node| node.unschedulable = true);
                }
                Deed::NodeTouched => {
                    let (key, value) = ("example.com/touched", "by somebody");
                    judge.node_annotated(key, value);
                    cluster.change_node(|node| {
                        node.annotations.insert(key.to_owned(), value.to_owned());
                    });
                }
                Deed::Tainted(taint) => cluster.change_node(|node| {
                    let taint = (*taint).to_owned();
                    node.taints
                        .push((taint, String::new(), "NoSchedule".to_owned()));
                }),
                Deed::NoticeWithdrawn => world.metadata.withdraw(),
                Deed::NoticeTightened(by) => {
                    if let Some(notice) = world.metadata.notice().copied() {
                        world.metadata.schedule(ScheduledNotice {
                            warning: notice.warning.saturating_sub(*by),
                            ..notice
                        });
                    }
                }
                Deed::HistoryForgotten => cluster.forget_history(),
                Deed::CacheLags(changes) => cluster.lag(*changes),
                Deed::NamespaceTerminates(namespace) => cluster.terminate_namespace(namespace),
                Deed::WebhookForcesDryRun(namespace) => cluster.force_dry_run(namespace),
                Deed::BudgetOpens(index) => cluster.open_budget(*index),
                Deed::RegistersAgain(_) => {}
            }
        });
    }

    fn conclude(mut self) -> Ending {
        self.agents.abort_all();
        let weather = locked(&self.weather).clone();
        let mut judge = locked(&self.judge);
        let appeared = self.setting.notice.appears;
        let (last_signal, calls) = self.stage.with(|world, now| {
            judge.conclude(self.setting, world, &weather, now.at);
            let signals = world.cluster.everyone().flat_map(|pod| &pod.signals);
            let calls = world.journal.calls().iter();
            (
                signals.map(|signal| signal.at).max(),
                calls
                    .filter(|call| call.service == Service::Kubernetes)
                    .count(),
            )
        });
        Ending {
            violations: judge.violations().to_vec(),
            story: std::mem::take(&mut *locked(&self.story)),
            outcome: locked(&self.outcome).clone(),
            last_signal_after: last_signal.map(|at| at.since(appeared)),
            calls,
        }
    }
}
