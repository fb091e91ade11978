//! The requests that a balancer sends to a node while it is interrupted, and which of them fail.
//!
//! The interruption is played first; then every request is held against what it left behind.

use std::time::Duration;

use fastrand::Rng;

use spot_interrupt_handler::plan::binding::TrafficPolicy;
use spot_interrupt_handler::plan::id::PodUid;
use spot_interrupt_handler::plan::time::Moment;
use spot_interrupt_handler::sim::pod::Pod;

use super::node;
use super::storm::{self, Course, Drainer, Keeper, Storm};

/// A balancer sends new requests for so long after the deregistration: 10 to 30 s are seen.
const BALANCER_TURNS: Duration = Duration::from_secs(20);

/// `deregistration_delay.timeout_seconds`: then the balancer cuts what is still open.
const DEREGISTRATION_DELAY: Duration = Duration::from_secs(110);

/// Two failed health checks, 15 s apart, are needed.
const UNHEALTHY_AFTER: Duration = Duration::from_secs(30);

/// A pod that was told to stop goes on taking requests for so long (`preStop`), …
const PRE_STOP: Duration = Duration::from_secs(5);

/// … and the nodes have stopped sending them by then.
const ENDPOINTS_TURN: Duration = Duration::from_secs(1);

/// From the signal to a pod's end: as long as its longest request takes after its `preStop`.
const STOPS_AFTER: Duration = Duration::from_secs(35);

const PODS: usize = 3;
/// Of the Service's pods one in so many is on this node.
const SPREAD: usize = 4;
const REQUESTS_A_SECOND: u32 = 20;

/// From how long before the notice to how long after it requests are counted.
pub const BEFORE: u32 = 20;
pub const AFTER: u32 = 180;

/// What became of the requests of each second, from `BEFORE` the notice on.
#[derive(Clone, Debug)]
pub struct Traffic {
    pub served: Vec<u32>,
    pub failed: Vec<u32>,
}

impl Traffic {
    pub fn sent(&self) -> u32 {
        self.served.iter().sum::<u32>() + self.lost()
    }

    pub fn lost(&self) -> u32 {
        self.failed.iter().sum()
    }
}

/// Interrupts a node behind one target group, under load.
pub fn play(drainer: Drainer, controller: Keeper, traffic: TrafficPolicy, seed: u64) -> Traffic {
    let course = Storm {
        traffic,
        pods,
        seed,
        ..Storm::of(1, 1, drainer, controller)
    }
    .play();
    let scene = Scene::of(&course, traffic);
    let mut dice = Rng::with_seed(seed);
    let mut outcome = Traffic {
        served: Vec::new(),
        failed: Vec::new(),
    };
    for second in 0..BEFORE + AFTER {
        let (mut served, mut failed) = (0, 0);
        for _ in 0..REQUESTS_A_SECOND {
            let at =
                Duration::from_secs(second.into()) + Duration::from_secs(1).mul_f64(dice.f64());
            let at = scene.notice + at - Duration::from_secs(BEFORE.into());
            let takes = length(&mut dice);
            let pod = dice.usize(..PODS * SPREAD);
            if !scene.is_sent_here(at) {
                continue;
            }
            if scene.is_answered(at, at + takes, pod) {
                served += 1;
            } else {
                failed += 1;
            }
        }
        outcome.served.push(served);
        outcome.failed.push(failed);
    }
    outcome
}

/// Most requests are short, and none is longer than 30 s.
fn length(dice: &mut Rng) -> Duration {
    let (least, most) = match dice.u8(..100) {
        0..80 => (0.05, 0.5),
        80..95 => (0.5, 5.0),
        _ => (5.0, 30.0),
    };
    Duration::from_secs_f64(least + (most - least) * dice.f64())
}

fn pods(index: usize) -> Vec<Pod> {
    let pods = (0..PODS).map(|place| {
        let name = format!("web-{place}");
        let mut pod = Pod::new("shop", &name, PodUid::new(name.clone()), node::name(index));
        pod.labels = storm::app(0);
        pod.grace = 45;
        pod.stops_after = STOPS_AFTER;
        pod
    });
    pods.collect()
}

/// What the requests meet.
struct Scene {
    notice: Moment,
    reclaim: Moment,
    deregistered: Option<Moment>,
    traffic: TrafficPolicy,
    /// When each pod was told to stop, and when it ended.
    pods: Vec<(Option<Moment>, Option<Moment>)>,
}

impl Scene {
    fn of(course: &Course, traffic: TrafficPolicy) -> Self {
        let pods = course.pods.iter().flatten().map(|pod| {
            let told = pod.signals.first().map(|signal| signal.at);
            (told, pod.end.map(spot_interrupt_handler::sim::pod::End::at))
        });
        Self {
            notice: course.notice,
            reclaim: course.notice + storm::WARNING,
            deregistered: course.last().map(|after| course.notice + after),
            traffic,
            pods: pods.collect(),
        }
    }

    /// Whether the balancer sends a request to the node now.
    fn is_sent_here(&self, at: Moment) -> bool {
        let has_turned = self
            .deregistered
            .is_some_and(|deregistered| at >= deregistered + BALANCER_TURNS);
        let is_unhealthy = at >= self.stops_answering() + UNHEALTHY_AFTER;
        !has_turned && !is_unhealthy
    }

    /// From when on nobody answers what comes to the node.
    fn stops_answering(&self) -> Moment {
        let takes_until = |told: &Option<Moment>| told.map(|told| told + PRE_STOP);
        let pods = self.pods.iter().map(|(told, _)| takes_until(told));
        let last = pods.max_by_key(|until| until.unwrap_or(self.reclaim));
        match self.traffic {
            TrafficPolicy::Cluster => self.reclaim,
            TrafficPolicy::Local => last.flatten().unwrap_or(self.reclaim).min(self.reclaim),
        }
    }

    /// Whether a request gets its answer that begins and ends then, and that the node gives to this pod if it can.
    fn is_answered(&self, begins: Moment, ends: Moment, pod: usize) -> bool {
        let is_cut = self
            .deregistered
            .is_some_and(|deregistered| ends > deregistered + DEREGISTRATION_DELAY);
        if ends > self.reclaim || is_cut {
            return false;
        }
        let takes = |&&(told, _): &&(Option<Moment>, Option<Moment>)| {
            told.is_none_or(|told| begins < told + PRE_STOP)
        };
        let is_endpoint = |&&(told, _): &&(Option<Moment>, Option<Moment>)| {
            told.is_none_or(|told| begins < told + ENDPOINTS_TURN)
        };
        let own = match self.traffic {
            // Another pod of the Service, wherever it is, when this one is not among its endpoints any more.
            TrafficPolicy::Cluster => match self.pods.get(pod).filter(is_endpoint) {
                None => return true,
                own => own,
            },
            TrafficPolicy::Local => self.pods.iter().rfind(takes),
        };
        own.is_some_and(|(_, ended)| ended.is_none_or(|ended| ends <= ended))
    }
}
