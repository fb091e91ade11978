//! The closing table: what became of each pod and target as the world knows it, and what the agent asked for.

use std::fmt;

use super::left;
use crate::plan::binding::TargetId;
use crate::plan::budget::{Grace, Margins, Window};
use crate::plan::time::Moment;
use crate::sim::World;
use crate::sim::balancer::{Group, Registration};
use crate::sim::pod::{End, Pod, Volume, Way};
use crate::sim::scenario::{PodOutcome, Scenario, ScenarioGroup};

/// The end of an interruption.
#[derive(Clone, Debug)]
pub(super) struct Receipt {
    pods: Vec<[String; 7]>,
    targets: Vec<[String; 2]>,
    calls: Vec<[String; 4]>,
    /// What is not as the scenario states.
    pub(super) surprises: Vec<String>,
}

impl Receipt {
    /// Reads the world at its deadline.
    pub(super) fn of(
        scenario: &Scenario,
        world: &World,
        deadline: Moment,
        margins: &Margins,
    ) -> Self {
        let mut receipt = Self {
            pods: Vec::new(),
            targets: Vec::new(),
            calls: Vec::new(),
            surprises: Vec::new(),
        };
        for (stated, expected) in &scenario.pods {
            let found = world
                .cluster
                .everyone()
                .find(|pod| pod.uid == stated.uid)
                .unwrap_or(stated);
            receipt.add_pod(found, *expected, deadline, margins);
        }
        for group in &scenario.groups {
            let standing = world.balancer.groups().find(|(arn, _)| **arn == group.arn);
            for port in &group.ports {
                let standing = standing.map(|(_, group)| group);
                receipt.add_target(scenario, group, *port, standing, deadline);
            }
        }
        for ((service, verb, status), count) in world.journal.counts() {
            receipt.calls.push([
                service.name().to_owned(),
                verb.to_owned(),
                status.to_string(),
                count.to_string(),
            ]);
        }
        receipt
    }

    fn add_pod(&mut self, pod: &Pod, expected: PodOutcome, deadline: Moment, margins: &Margins) {
        let name = format!("{}/{}", pod.namespace, pod.name);
        let outcome = outcome(pod, expected);
        if outcome != expected {
            self.surprises.push(format!(
                "pod {name}: {expected} was stated, and it is {outcome}"
            ));
        }
        let grace = Grace::from_secs(pod.grace);
        let window = Window::before(deadline, grace, pod.volume == Volume::Claim, margins);
        let [start_by, stop_by] = if outcome == PodOutcome::Ignored {
            [String::new(), String::new()]
        } else {
            [window.last_start, window.stop_by].map(|moment| seconds(deadline, moment))
        };
        let signal = pod
            .signals
            .last()
            .map_or_else(String::new, |signal| seconds(deadline, signal.at));
        let end = match pod.end {
            Some(End::Killed(at)) => format!("{} killed", seconds(deadline, at)),
            Some(end) => seconds(deadline, end.at()),
            None => String::new(),
        };
        self.pods.push([
            name,
            pod.grace.to_string(),
            start_by,
            stop_by,
            signal,
            end,
            outcome.to_string(),
        ]);
    }

    fn add_target(
        &mut self,
        scenario: &Scenario,
        group: &ScenarioGroup,
        port: u16,
        standing: Option<&Group>,
        deadline: Moment,
    ) {
        let name = format!("{}:{port}", group.name());
        let registration = standing.and_then(|standing| {
            let mut targets = standing.targets.iter();
            targets
                .find(|(target, _)| {
                    target.id == TargetId::Instance(scenario.instance.id.clone())
                        && target.port == port
                })
                .map(|(_, registration)| *registration)
        });
        let outcome = match registration {
            Some(Registration::Healthy) => {
                self.surprises
                    .push(format!("target {name} is still in service"));
                "in service".to_owned()
            }
            Some(Registration::Draining { since, .. }) => {
                format!("draining since {}", seconds(deadline, since))
            }
            None => "not registered".to_owned(),
        };
        self.targets.push([name, outcome]);
    }
}

/// What became of a pod. One without a stop signal was left behind, unless that was meant.
fn outcome(pod: &Pod, expected: PodOutcome) -> PodOutcome {
    match pod.signals.last() {
        None if pod.deletion.is_some() => PodOutcome::Evicted,
        None if expected == PodOutcome::Ignored => PodOutcome::Ignored,
        None => PodOutcome::Left,
        Some(signal) if signal.by == Way::Deletion => PodOutcome::Deleted,
        Some(signal) if signal.grace < pod.grace => PodOutcome::Cut,
        Some(_) => PodOutcome::Evicted,
    }
}

fn seconds(deadline: Moment, moment: Moment) -> String {
    format!("{:.1}", left(deadline, moment))
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            "pod",
            "grace",
            "start by",
            "stop by",
            "stop signal",
            "ended",
            "outcome",
        ];
        table(f, heads, &self.pods)?;
        writeln!(
            f,
            "(grace in seconds, the other times in seconds left before EC2 takes the instance)\n"
        )?;
        if !self.targets.is_empty() {
            table(f, ["target", "outcome"], &self.targets)?;
            writeln!(f)?;
        }
        table(f, ["asked", "for", "answer", "times"], &self.calls)
    }
}

/// Columns as wide as their widest cell; the first is a name, and numbers stand on the right.
fn table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    heads: [&str; N],
    rows: &[[String; N]],
) -> fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.max().unwrap_or(0).max(heads[column].len())
    };
    let widths: [usize; N] = std::array::from_fn(width);
    line(f, &heads, &widths)?;
    for row in rows {
        line(
            f,
            &std::array::from_fn::<_, N, _>(|column| row[column].as_str()),
            &widths,
        )?;
    }
    Ok(())
}

fn line<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    cells: &[&str; N],
    widths: &[usize; N],
) -> fmt::Result {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let is_number = cell.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        let padded = if is_number {
            format!("{cell:>width$}  ")
        } else {
            format!("{cell:<width$}  ")
        };
        text.push_str(&padded);
    }
    writeln!(f, "{}", text.trim_end())
}
