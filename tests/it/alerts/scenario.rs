//! What happens to a node and its agent, in virtual time, and the lines that come of it: the real agent and its real report.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use spot_interrupt_handler::attempt::Ports;
use spot_interrupt_handler::plan::drain::{JobPods, OnBlocked};
use spot_interrupt_handler::plan::id::{PodUid, TargetGroupArn};
use spot_interrupt_handler::plan::notice::InterruptionAction;
use spot_interrupt_handler::plan::time::Moment;
use spot_interrupt_handler::report::{Line, Outlet};
use spot_interrupt_handler::sim::budget::Budget;
use spot_interrupt_handler::sim::faults::{Spell, Trouble};
use spot_interrupt_handler::sim::journal::Service;
use spot_interrupt_handler::sim::metadata::ScheduledNotice;
use spot_interrupt_handler::sim::pod::{Controller, Pod};
use spot_interrupt_handler::sim::ports::{SimBalancer, SimCluster, SimMetadata, Way};
use spot_interrupt_handler::sim::setting::{Happening, Setting};
use spot_interrupt_handler::simulate::interruption::{Cast, Honest, Telling, play_with};

use crate::log_schema;

/// When the simulated day begins, in milliseconds since 1970.
pub const DAY: i64 = 1_800_000_000_000;

const MINUTE: i64 = 60_000;

/// How long the alerts are evaluated.
pub const UNTIL: i64 = DAY + 75 * MINUTE;

/// When EC2 announces that it takes the instance, where it does: so shortly before a minute is over that the agent speaks of
/// it in the next one, and alarms look between the two.
const NOTICE_SECOND: u64 = 20 * 60 - 2;

/// When EC2 takes it.
const TAKEN_MINUTE: i64 = 22;

/// Longer than anything is looked at.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// What happened, as the systems that alert get to know it.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// The agents' lines, by the milliseconds of their time.
    pub lines: Vec<(i64, Value)>,
    /// EC2's warnings to EventBridge, by the same.
    pub warnings: Vec<(i64, Value)>,
    /// From when to when Kubernetes wants an agent on the node.
    pub desired: (i64, i64),
}

/// What differs from a quiet node.
struct Story {
    name: &'static str,
    notice: bool,
    on_blocked: OnBlocked,
    budget_closed: bool,
    spells: Vec<Spell>,
    happenings: Vec<(Moment, Happening)>,
    desired_minutes: (i64, i64),
    preflight_fails: bool,
}

impl Story {
    /// Nothing happens.
    fn quiet(name: &'static str) -> Self {
        Self {
            name,
            notice: false,
            on_blocked: OnBlocked::Delete,
            budget_closed: false,
            spells: Vec::new(),
            happenings: Vec::new(),
            desired_minutes: (-1, 75),
            preflight_fails: false,
        }
    }

    /// EC2 takes the node, which is no node any more two minutes later.
    fn interruption(name: &'static str) -> Self {
        Self {
            notice: true,
            desired_minutes: (-1, TAKEN_MINUTE + 2),
            ..Self::quiet(name)
        }
    }

    fn spell(mut self, service: Service, from: u64, until: u64, trouble: Trouble) -> Self {
        self.spells.push(Spell {
            service,
            from: second(from),
            until: second(until),
            trouble,
            percent: 100,
        });
        self
    }

    fn crash(mut self, at: u64, back_after: Duration) -> Self {
        self.happenings
            .push((second(at), Happening::Crash { back_after }));
        self
    }

    fn setting(&self) -> Setting {
        let drawn = Setting::of(0);
        let mut node = drawn.node.clone();
        node.unschedulable = false;
        node.taints.clear();
        let mut budget = Budget::allowing("shop", "db", if self.budget_closed { 0 } else { 9 });
        budget.selector = BTreeMap::from([("app".to_owned(), "db".to_owned())]);
        let own = drawn.pods.last().expect("the agent's own pod").clone();
        Setting {
            pods: vec![pod("web"), pod("cart"), pod("db"), own],
            budgets: vec![budget],
            groups: vec![(
                TargetGroupArn::parse(
                    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067",
                ).expect("an ARN"),
                vec![30_443],
            )],
            notice: ScheduledNotice {
                appears: second(if self.notice {
                    NOTICE_SECOND
                } else {
                    75 * 60
                }),
                warning: Duration::from_secs(120),
                action: InterruptionAction::Terminate,
            },
            spells: self.spells.clone(),
            latency: Duration::from_millis(20),
            happenings: self.happenings.clone(),
            skew_millis: 0,
            on_blocked: self.on_blocked,
            job_pods: JobPods::Now,
            waiting_namespaces: Vec::new(),
            node,
            ..drawn
        }
    }

    fn play(&self) -> Scenario {
        let heard = Heard::default();
        let ending = play_with(&heard, &self.setting(), Telling::Dropped);
        assert_eq!(ending.violations, Vec::new(), "{}", self.name);
        let lines = heard.0.lock().expect("no panic").clone();
        let mut lines: Vec<(i64, Value)> = lines
            .iter()
            .map(|line| log_schema::read(line))
            .map(|line| (time_of(&line), line))
            .collect();
        // What comes after EC2 has taken the instance only a simulation hears.
        let end = if self.notice {
            DAY + TAKEN_MINUTE * MINUTE
        } else {
            UNTIL
        };
        lines.retain(|(at, _)| *at < end);
        if self.preflight_fails {
            let first = lines[0].1.clone();
            lines.insert(1, (time_of(&first), preflight_failed(&first)));
        }
        let warning = self.notice.then(|| {
            let at = DAY + i64::try_from(NOTICE_SECOND).expect("small") * 1_000;
            (at, warning())
        });
        let (from, until) = self.desired_minutes;
        Scenario {
            name: self.name,
            lines,
            warnings: warning.into_iter().collect(),
            desired: (DAY + from * MINUTE, DAY + until * MINUTE),
        }
    }
}

fn second(seconds: u64) -> Moment {
    Moment::ORIGIN + Duration::from_secs(seconds)
}

fn pod(app: &str) -> Pod {
    let uid = PodUid::new(format!("shop.{app}.1"));
    let mut pod = Pod::new("shop", &format!("{app}-0"), uid, Setting::of(0).node_name());
    pod.labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
    pod.owner = Some(Controller {
        api_version: "apps/v1".to_owned(),
        kind: "ReplicaSet".to_owned(),
        name: app.to_owned(),
    });
    pod.grace = 30;
    pod.stops_after = Duration::from_secs(3);
    pod
}

fn time_of(line: &Value) -> i64 {
    let text = line["ts"].as_str().expect("a time");
    let time: jiff::Timestamp = text.parse().expect("a time");
    time.as_millisecond()
}

/// The line of an agent that lacks a permission, at the moment of another line of its.
fn preflight_failed(other: &Value) -> Value {
    let mut line = json!({
        "level": "warn", "event": "preflight.failed", "msg": "permissions are missing: create pods/eviction",
        "missing": ["create pods/eviction"], "v": 1,
    });
    for field in ["ts", "node", "version"] {
        line[field] = other[field].clone();
    }
    log_schema::read(&line.to_string())
}

/// As EventBridge passes it on
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>).
fn warning() -> Value {
    json!({
        "version": "0", "id": "1e5527d7-bb36-4607-3370-4164db56a40e",
        "detail-type": "EC2 Spot Instance Interruption Warning", "source": "aws.ec2", "account": "111122223333",
        "time": "2027-01-15T08:20:00Z", "region": "eu-west-1",
        "resources": ["arn:aws:ec2:eu-west-1a:instance/i-0123456789abcdef0"],
        "detail": {"instance-id": "i-0123456789abcdef0", "instance-action": "terminate"},
    })
}

/// The honest agent, whose lines are kept.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

struct Keeper {
    heard: Heard,
    outlet: Box<dyn Outlet>,
}

impl Outlet for Keeper {
    fn put(&self, line: &Line) {
        let mut heard = self.heard.0.lock().expect("no panic");
        heard.push(line.to_json());
        self.outlet.put(line);
    }

    fn dropped(&self) -> u64 {
        0
    }
}

impl Cast for Heard {
    type Metadata = SimMetadata;
    type Cluster = SimCluster;
    type Balancer = SimBalancer;

    fn ports(&self, way: &Way, setting: &Setting) -> Ports<SimMetadata, SimCluster, SimBalancer> {
        Honest.ports(way, setting)
    }

    fn outlet(&self, outlet: Box<dyn Outlet>) -> Box<dyn Outlet> {
        Box::new(Keeper {
            heard: self.clone(),
            outlet,
        })
    }
}

/// Every scenario, in the order of the table.
pub fn all() -> &'static [Scenario] {
    static ALL: LazyLock<Vec<Scenario>> = LazyLock::new(play_all);
    &ALL
}

fn play_all() -> Vec<Scenario> {
    let notice = NOTICE_SECOND;
    let taken = notice + 120;
    let stories = [
        Story::quiet("quiet"),
        Story::interruption("good drain"),
        Story {
            budget_closed: true,
            ..Story::interruption("closed budget")
        },
        Story {
            budget_closed: true,
            on_blocked: OnBlocked::Wait,
            ..Story::interruption("closed budget that is waited for")
        },
        Story {
            budget_closed: true,
            on_blocked: OnBlocked::Wait,
            ..Story::interruption("the same, and the agent killed after its verdict")
                .crash(taken - 13, Duration::from_secs(1))
        },
        Story::interruption("agent killed in mid-drain").crash(notice + 8, Duration::from_secs(2)),
        Story::interruption("agent killed before it could write")
            .spell(Service::Kubernetes, notice, notice + 14, Trouble::Partition)
            .crash(notice + 10, Duration::from_secs(2)),
        Story::interruption("API server away").spell(
            Service::Kubernetes,
            notice - 10,
            taken + 60,
            Trouble::Partition,
        ),
        Story::interruption("load balancer denies").spell(
            Service::Balancer,
            notice - 10,
            taken + 60,
            Trouble::Status(403),
        ),
        Story::quiet("metadata service fails once").spell(
            Service::Metadata,
            600,
            604,
            Trouble::Partition,
        ),
        Story::quiet("metadata service down").spell(
            Service::Metadata,
            600,
            2_400,
            Trouble::Partition,
        ),
        Story {
            preflight_fails: true,
            ..Story::quiet("permission missing")
        },
        Story::quiet("agent dead").crash(600, NEVER),
        Story::interruption("agent dead when EC2 warns").crash(notice - 120, NEVER),
        Story {
            desired_minutes: (-1, 10),
            ..Story::quiet("scaled to zero").crash(600, NEVER)
        },
    ];
    let mut all: Vec<Scenario> = stories.iter().map(Story::play).collect();
    all.push(scaled_up_from_zero());
    all
}

/// The first node after a long time without any.
fn scaled_up_from_zero() -> Scenario {
    let mut scenario = Story::quiet("scaled up from zero").play();
    let begins = DAY + 40 * MINUTE;
    scenario.lines.retain(|(at, _)| *at >= begins + MINUTE);
    scenario.desired = (begins, UNTIL);
    scenario
}

/// No line at all.
pub fn silence() -> Scenario {
    Scenario {
        name: "silence",
        lines: Vec::new(),
        warnings: Vec::new(),
        desired: (DAY, DAY),
    }
}
