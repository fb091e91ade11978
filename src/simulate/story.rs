//! The story of an interruption: each line of the agent as it comes, with the seconds that are left, and EC2's part in it.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::receipt::Receipt;
use crate::report::{Line, Outlet};
use crate::sim::scenario::Scenario;

/// Where the story is told.
pub(super) struct Story {
    telling: Mutex<Telling>,
}

struct Telling {
    out: Box<dyn Write + Send>,
    verdict: Option<String>,
    lines: Vec<String>,
}

/// What everything is about, before anything happens.
pub(super) fn introduce(out: &mut impl Write, scenario: &Scenario, speed: f64) -> io::Result<()> {
    writeln!(out, "{}", scenario.description)?;
    writeln!(
        out,
        "Node {}, instance {}, {} pods, {} disruption budgets, {} target groups; {speed} times as fast as life.\n",
        scenario.node_name(),
        scenario.instance.id,
        scenario.pods.len(),
        scenario.budgets.len(),
        scenario.groups.len(),
    )?;
    writeln!(out, "seconds left")
}

impl Story {
    pub(super) const fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            telling: Mutex::new(Telling {
                out,
                verdict: None,
                lines: Vec::new(),
            }),
        }
    }

    fn telling(&self) -> MutexGuard<'_, Telling> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what EC2 does.
    pub(super) fn ec2(&self, left: f64, what: &str) {
        self.telling().tell(Some(left), "EC2", what);
    }

    /// What the agent's summary said of the outcome.
    pub(super) fn verdict(&self) -> Option<String> {
        self.telling().verdict.clone()
    }

    /// Every line so far, as the agent prints it.
    pub(super) fn lines(&self) -> Vec<String> {
        self.telling().lines.clone()
    }

    /// Tells how it ended.
    pub(super) fn conclude(&self, receipt: &Receipt, surprises: &[String]) -> io::Result<()> {
        let out = &mut self.telling().out;
        writeln!(out, "\n{receipt}")?;
        if surprises.is_empty() {
            writeln!(out, "The outcome is the one the scenario states.")?;
        } else {
            writeln!(out, "The outcome is not the one the scenario states:")?;
            for surprise in surprises {
                writeln!(out, "  {surprise}")?;
            }
        }
        out.flush()
    }
}

impl Telling {
    fn tell(&mut self, left: Option<f64>, who: &str, what: &str) {
        let left = left.map(|left| format!("{left:.1}")).unwrap_or_default();
        // A reader who has left does not end the simulation; its exit code may be all that is wanted.
        let _ = writeln!(self.out, "{left:>12}  {who:<22}{what}");
    }
}

impl Outlet for std::sync::Arc<Story> {
    fn put(&self, line: &Line) {
        let mut telling = self.telling();
        telling.lines.push(line.to_json());
        if line.event == "interruption.summary" {
            telling.verdict = line
                .get("outcome")
                .and_then(Value::as_str)
                .map(str::to_owned);
        }
        let left = line.get("seconds_left").and_then(Value::as_f64);
        let what = format!("{}{}", line.msg, details(line));
        telling.tell(left, line.event, &what);
    }

    fn dropped(&self) -> u64 {
        0
    }
}

/// What the sentence of a line leaves to its fields.
fn details(line: &Line) -> String {
    let number = |name| line.get(name).and_then(Value::as_f64);
    let text = |name| line.get(name).and_then(Value::as_str);
    match line.event {
        "pod.evicted" | "pod.deleted" => {
            match (number("grace_given_seconds"), number("grace_seconds")) {
                (Some(given), Some(own)) if given < own => {
                    format!(", with {given} s of its {own} s")
                }
                (Some(given), _) => format!(", with {given} s"),
                (None, _) => String::new(),
            }
        }
        "pod.blocked" => text("reason").map_or_else(String::new, |reason| format!(" ({reason})")),
        "pod.gone" => number("stopped_after_seconds")
            .map_or_else(String::new, |seconds| format!(" after {seconds:.1} s")),
        "targets.deregistered" => {
            text("state").map_or_else(String::new, |state| format!(" ({state})"))
        }
        _ => text("error").map_or_else(String::new, |error| format!(": {error}")),
    }
}
