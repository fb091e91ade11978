//! The tables of `docs/load-balancer.md`, and where they stand there.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use spot_interrupt_handler::plan::binding::TrafficPolicy;

use super::requests::{self, Traffic};
use super::storm::{Course, Drainer, Keeper, Storm};

const PAGE: &str = "docs/load-balancer.md";
pub const PICTURE: &str = "docs/pictures/requests.svg";

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub fn text() -> String {
    std::fs::read_to_string(path(PAGE)).expect("the page")
}

/// Who deregisters, as the table names it; with the time from the first node's notice to the last one's.
pub const FLEETS: [(&str, Drainer, Keeper, Duration); 6] = [
    (
        "agents and controller",
        Drainer::Agent,
        Keeper::Alive,
        Duration::ZERO,
    ),
    (
        "the same, notices within 5 s",
        Drainer::Agent,
        Keeper::Alive,
        Duration::from_secs(5),
    ),
    (
        "agents, the controller dies after 20 s",
        Drainer::Agent,
        Keeper::Dies(Duration::from_secs(20)),
        Duration::ZERO,
    ),
    (
        "agents, no controller",
        Drainer::Agent,
        Keeper::Absent,
        Duration::ZERO,
    ),
    (
        "agents, groups named",
        Drainer::Directly,
        Keeper::Absent,
        Duration::ZERO,
    ),
    (
        "scan and deregister by id",
        Drainer::Naive,
        Keeper::Absent,
        Duration::ZERO,
    ),
];

/// A line of the table of fleets.
pub fn fleet_row(nodes: usize, groups: usize, who: &str, course: &Course) -> String {
    let last = course.last().map_or("never".to_owned(), |last| {
        format!("{:.1}", last.as_secs_f64())
    });
    format!(
        "| {nodes} × {groups} | {who} | {last} | {} | {:.2} | {} | {} | {} |",
        course.left,
        per_group(course, groups),
        course.changed.throttled,
        course.looked.made,
        course.looked.throttled
    )
}

#[allow(clippy::cast_precision_loss)] // some thousands
pub fn per_group(course: &Course, groups: usize) -> f64 {
    course.changed.made as f64 / groups as f64
}

/// The table of fleets of these sizes.
pub fn fleet_table(sizes: &[(usize, usize)]) -> String {
    let mut table = String::from(
        "| nodes × groups | who | last target draining, s after the notice | still registered at the reclaim | \
         (de)registrations asked for, per group | throttled | looks | throttled |\n\
         |---|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for &(nodes, groups) in sizes {
        for (who, drainer, keeper, spread) in FLEETS {
            let course = Storm {
                spread,
                ..Storm::of(nodes, groups, drainer, keeper)
            }
            .play();
            let _ = writeln!(table, "{}", fleet_row(nodes, groups, who, &course));
        }
    }
    table
}

/// Who drains the node that requests come to.
pub const DRAINERS: [(&str, Drainer, Keeper); 4] = [
    ("the agent and a controller", Drainer::Agent, Keeper::Alive),
    (
        "the agent, the controller is down",
        Drainer::Agent,
        Keeper::Absent,
    ),
    (
        "the agent, the group named",
        Drainer::Directly,
        Keeper::Absent,
    ),
    (
        "evict first, nobody deregisters",
        Drainer::EvictFirst,
        Keeper::Absent,
    ),
];

pub const POLICIES: [(&str, TrafficPolicy); 2] = [
    ("Cluster", TrafficPolicy::Cluster),
    ("Local", TrafficPolicy::Local),
];

/// The table of lost requests.
pub fn request_table() -> String {
    let mut table = String::from(
        "| `externalTrafficPolicy` | who drains | requests sent to the node | failed |\n|---|---|--:|--:|\n",
    );
    for (policy, traffic) in POLICIES {
        for (who, drainer, keeper) in DRAINERS {
            let outcome: Traffic = requests::play(drainer, keeper, traffic, 1);
            let _ = writeln!(
                table,
                "| {policy} | {who} | {} | {} |",
                outcome.sent(),
                outcome.lost()
            );
        }
    }
    table
}
