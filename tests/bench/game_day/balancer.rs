//! An Application Load Balancer: it knows its targets from the simulated API, checks their health, follows a
//! deregistration with a lag, and sends requests all the time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::binding::TargetId;
use spot_interrupt_handler::plan::id::{InstanceId, TargetGroupArn};
use spot_interrupt_handler::plan::time::Moment;
use spot_interrupt_handler::sim::balancer::{Group, NamedTarget, Registration};
use spot_interrupt_handler::sim::loopback::Loopback;
use spot_interrupt_handler::sim::scenario::Scenario;
use spot_interrupt_handler::sim::stage::Stage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::site::Site;

/// As `deploy/spot-node-group/kubernetes/spot-interrupt-handler` names it.
pub const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/httpbin/0123456789abcdef";

/// As `deploy/spot-node-group/cloudformation/load-balancer.yaml` has them.
pub const NODE_PORT: u16 = 32_194;
const DEREGISTRATION_DELAY: Duration = Duration::from_secs(60);
const CHECKED_EVERY: Duration = Duration::from_secs(10);
const CHECKED_WITHIN: Duration = Duration::from_secs(5);
const CHECKS: u32 = 2;

/// It sends new requests for so long after a deregistration: 10 to 30 s are seen.
const TURNS: Duration = Duration::from_secs(20);

/// One request each.
const RHYTHM: Duration = Duration::from_millis(40);

/// `idle_timeout.timeout_seconds`: then it answers 504.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A request that was not answered 200.
#[derive(Clone, Debug)]
pub struct Failure {
    pub at: Timestamp,
    pub instance: String,
    /// 502, 503 or 504, and why.
    pub answer: &'static str,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// When each that was answered 200 was sent.
    pub served: Vec<Timestamp>,
    pub failed: Vec<Failure>,
}

/// The balancer and the account's API to it.
#[derive(Debug)]
pub struct Balancer {
    stage: Arc<Stage>,
    servers: Loopback,
    arn: TargetGroupArn,
    site: Arc<Site>,
    targets: Mutex<BTreeMap<String, Health>>,
    traffic: Mutex<Traffic>,
}

/// What the last checks of a target said.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    is_healthy: bool,
    /// How many in a row said otherwise.
    against: u32,
}

impl Balancer {
    pub async fn start(site: Arc<Site>) -> Arc<Self> {
        let clock = Clock::real();
        let mut world = Scenario::bare().expect("a scenario").world(clock.now().at);
        let arn = TargetGroupArn::parse(ARN).expect("an ARN");
        let group = Group {
            default_port: NODE_PORT,
            deregistration_delay: DEREGISTRATION_DELAY,
            targets: BTreeMap::new(),
        };
        world.balancer.add_group(arn.clone(), group);
        let tag = "interrupt-handler/enabled";
        world.balancer.tag(arn.clone(), tag, "true");
        let stage = Stage::new(world, clock);
        let servers = Loopback::serve(&stage).await.expect("free ports");
        let balancer = Arc::new(Self {
            stage,
            servers,
            arn,
            site,
            targets: Mutex::default(),
            traffic: Mutex::default(),
        });
        tokio::spawn(balancer.clone().check());
        balancer
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        format!("http://{}", self.servers.balancer)
    }

    /// The Auto Scaling group registers an instance that it has launched.
    pub fn register(&self, instance: &str) {
        let target = NamedTarget {
            id: TargetId::Instance(InstanceId::new(instance)),
            port: Some(NODE_PORT),
        };
        let registered = self
            .stage
            .with(|world, _| world.balancer.register(&self.arn, &target));
        registered.expect("the group is there");
    }

    /// The registrations, and the time by the balancer's clock.
    fn registrations(&self) -> (Vec<(String, Registration)>, Moment) {
        self.stage.with(|world, now| {
            let healths = world.balancer.describe(&self.arn, &[]);
            let healths = healths.expect("the group is there").into_iter();
            let known = healths
                .filter_map(|health| Some((health.target.id.to_string(), health.registration?)));
            (known.collect(), now.at)
        })
    }

    /// How many targets get requests, of those that are there.
    pub fn in_service(&self) -> usize {
        let routed = self.routed();
        let there = routed.iter().filter(|name| self.site.port(name).is_some());
        there.count()
    }

    /// Where requests are sent: to what is healthy and registered, or was until just now; if there is nothing, to
    /// everything.
    fn routed(&self) -> Vec<String> {
        let (registrations, now) = self.registrations();
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let healthy = |instance: &String| {
            targets
                .get(instance)
                .is_some_and(|health| health.is_healthy)
        };
        let gets_requests = |registration: &Registration| match registration {
            Registration::Healthy => true,
            Registration::Draining { since, .. } => now.since(*since) < TURNS,
        };
        let routed: Vec<String> = registrations
            .iter()
            .filter(|(_, registration)| gets_requests(registration))
            .map(|(instance, _)| instance.clone())
            .collect();
        let fit: Vec<String> = routed
            .iter()
            .filter(|name| healthy(name))
            .cloned()
            .collect();
        if fit.is_empty() { routed } else { fit }
    }

    /// Checks the health of what is registered, for ever. Each target has its own rhythm.
    async fn check(self: Arc<Self>) {
        let mut rounds = interval(Duration::from_secs(1));
        let mut due: BTreeMap<String, tokio::time::Instant> = BTreeMap::new();
        loop {
            let now = rounds.tick().await;
            let (registrations, _) = self.registrations();
            due.retain(|instance, _| registrations.iter().any(|(other, _)| other == instance));
            for (instance, _) in registrations {
                let next = due.entry(instance.clone()).or_insert(now);
                if *next <= now {
                    *next = now + CHECKED_EVERY;
                    let balancer = self.clone();
                    tokio::spawn(async move {
                        let asked = balancer.ask(&instance, "/status/200");
                        let answer = timeout(CHECKED_WITHIN, asked).await;
                        balancer.note(&instance, matches!(answer, Ok(Ok(()))));
                    });
                }
            }
        }
    }

    fn note(&self, instance: &str, is_healthy: bool) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let health = targets.entry(instance.to_owned()).or_default();
        if health.is_healthy == is_healthy {
            health.against = 0;
            return;
        }
        health.against += 1;
        if health.against == CHECKS {
            *health = Health {
                is_healthy,
                against: 0,
            };
        }
    }

    /// Sends requests, for ever.
    pub async fn send(self: Arc<Self>) {
        let mut rhythm = interval(RHYTHM);
        loop {
            rhythm.tick().await;
            let routed = self.routed();
            let balancer = self.clone();
            tokio::spawn(async move {
                let at = Timestamp::now();
                let Some(instance) = fastrand::choice(routed) else {
                    return balancer.failed(at, String::new(), "503: no target");
                };
                let path = format!("/delay/{:.3}", length().as_secs_f64());
                match timeout(IDLE_TIMEOUT, balancer.ask(&instance, &path)).await {
                    Ok(Ok(())) => balancer.served(at),
                    Ok(Err(answer)) => balancer.failed(at, instance, answer),
                    Err(_) => balancer.failed(at, instance, "504: no answer in time"),
                }
            });
        }
    }

    /// What became of the requests so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn served(&self, at: Timestamp) {
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.served.push(at);
    }

    fn failed(&self, at: Timestamp, instance: String, answer: &'static str) {
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.failed.push(Failure {
            at,
            instance,
            answer,
        });
    }

    /// One request through the port of an instance.
    async fn ask(&self, instance: &str, path: &str) -> Result<(), &'static str> {
        let port: SocketAddr = self
            .site
            .port(instance)
            .ok_or("502: the instance is gone")?;
        let refused = |_| "502: the connection was refused";
        let mut stream = TcpStream::connect(port).await.map_err(refused)?;
        let broken = |_| "502: the connection broke";
        let request = format!("GET {path} HTTP/1.1\r\nHost: httpbin\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(broken)?;
        if answer.starts_with(b"HTTP/1.1 200 ") {
            Ok(())
        } else {
            Err("502: the connection ended without an answer")
        }
    }
}

/// Most requests are short, and none is longer than 10 s.
fn length() -> Duration {
    let (least, most) = match fastrand::u8(..100) {
        0..80 => (0.02, 0.5),
        80..95 => (0.5, 3.0),
        _ => (3.0, 10.0),
    };
    Duration::from_secs_f64(least + (most - least) * fastrand::f64())
}
