//! A thousand nodes that go within a second, in virtual time: the real planner and the real loop on each, and one API server
//! before which all of them stand in its queues.

mod node;
mod queues;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use spot_interrupt_handler::agent::Agent;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::id::PodUid;
use spot_interrupt_handler::plan::time::{Moment, WallTime};
use spot_interrupt_handler::plan::{Planner, Policy};
use spot_interrupt_handler::report::{Base, Configuration, Level, Line, Outlet, Reporter};
use spot_interrupt_handler::sim::stage::Stage;

use queues::Queues;
pub use queues::{Answer, Asked};

/// 2027-01-15T08:00:00Z.
const DAY: WallTime = WallTime::from_millis(1_800_000_000_000);

/// What agents do at their start is over by then.
const NOTICE: Moment = Moment::at_secs(60);

/// Notices come within this.
const WITHIN: Duration = Duration::from_secs(1);

const WARNING: Duration = Duration::from_secs(120);

/// Agents poll once in this time, and are started over as long.
const RHYTHM: Duration = Duration::from_secs(5);

/// What is interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pub nodes: usize,
    /// Of each node.
    pub pods: usize,
    /// That pods are spread over.
    pub namespaces: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Course {
    pub crowd: Crowd,
    /// Every request since the first notice.
    pub asked: Vec<Asked>,
    /// When the last pod of each node was told to stop, in seconds after the first notice; none where one was not.
    pub drained: Vec<Option<f64>>,
}

struct Nobody;

impl Outlet for Nobody {
    fn put(&self, _: &Line) {}

    fn dropped(&self) -> u64 {
        0
    }
}

impl Crowd {
    /// Lets it happen.
    pub fn play(self) -> Course {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without sockets");
        runtime.block_on(self.happen())
    }

    async fn happen(self) -> Course {
        let clock = Clock::simulated(DAY);
        let queues = Arc::new(Queues::new(clock.clone()));
        let part = |whole: Duration, index: usize| {
            whole.mul_f64(crate::figure::count(index) / crate::figure::count(self.nodes))
        };
        let stages: Vec<Arc<Stage>> = (0..self.nodes)
            .map(|index| {
                // Neither in the order of their starts nor in that of their names.
                let notice = NOTICE + part(WITHIN, index * 7 % self.nodes);
                node::stage(index, self, notice, clock.clone())
            })
            .collect();
        let mut at_work = JoinSet::new();
        for (index, stage) in stages.iter().enumerate() {
            at_work.spawn(stage.clone().keep_time());
            let (stage, clock, queues) = (stage.clone(), clock.clone(), queues.clone());
            let starts = part(RHYTHM, index * 13 % self.nodes);
            at_work.spawn(async move {
                clock.sleep(starts).await;
                agent(index, stage, clock, queues).await;
            });
        }
        clock.sleep_until(NOTICE + WARNING).await;
        at_work.abort_all();
        let mut asked = queues.asked();
        asked.retain(|asked| asked.at >= 0.0);
        Course {
            crowd: self,
            asked,
            drained: stages.iter().map(|stage| drained(stage)).collect(),
        }
    }
}

/// When the last pod of a node was told to stop.
fn drained(stage: &Stage) -> Option<f64> {
    stage.with(|world, _| {
        let told = world.cluster.everyone().map(|pod| {
            let signal = pod.signals.first()?;
            Some(signal.at.seconds_from(NOTICE))
        });
        let told = told.collect::<Option<Vec<f64>>>()?;
        Some(told.into_iter().fold(0.0, f64::max))
    })
}

async fn agent(index: usize, stage: Arc<Stage>, clock: Clock, queues: Arc<Queues>) {
    let policy = Policy::default();
    let now = clock.now();
    let base = Base {
        node: node::name(index).to_string(),
        cluster: None,
        configuration: Configuration::of(&policy, "simulated"),
    };
    let reporter = Reporter::new(base, Level::Info, Box::new(Nobody), now.at);
    let own = Some(PodUid::new("kube-system.agent"));
    let mut planner = Planner::new(policy, node::name(index), own, index as u64, now);
    planner.look_over_permissions();
    let ports = node::ports(index, stage, queues);
    // Nobody asks it to stop.
    let (_stops, stop_requests) = mpsc::channel(1);
    Agent::new(planner, ports, clock, Arc::new(reporter))
        .run(stop_requests)
        .await;
}
