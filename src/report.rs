//! The only place that reports facts: each becomes one line with a stable name, a fixed level and its own fields.
//!
//! The lines are the product's alerting interface. An event's level never depends on circumstances: `info` is a change
//! that a user sees, `warn` is worth a look tomorrow, `error` is worth waking someone.

mod fields;
mod headline;
mod line;
mod names;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

pub use self::headline::metadata_advice;
pub use self::line::{Level, Line};
use crate::clock::Clock;
use crate::plan::action::MachineIdentity;
use crate::plan::fact::{Fact, InterruptionContext};
use crate::plan::time::{Moment, Now};
use crate::plan::{Discover, Effect, Mode, Policy};

/// Where lines go: to a log, or to the story of a simulation.
pub trait Outlet: Send + Sync {
    /// Takes one line. It must not block.
    fn put(&self, line: &Line);

    /// Lines that were lost because nobody took them in time.
    fn dropped(&self) -> u64;
}

/// What stays the same for all lines of a process.
#[derive(Clone, Debug)]
pub struct Base {
    /// The node's name.
    pub node: String,
    /// The cluster's name, if it was given.
    pub cluster: Option<String>,
    /// What `agent.started` tells of the configuration.
    pub configuration: Configuration,
}

/// The configuration as `agent.started` tells it.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// How much of an interruption is answered.
    pub mode: Mode,
    /// Whether writes take effect.
    pub effect: Effect,
    /// How often the metadata service is polled.
    pub poll_interval_seconds: f64,
    /// Where it is.
    pub imds_endpoint: String,
    /// Where target groups are looked for besides.
    pub discover: BTreeSet<Discover>,
    /// How many target groups were named.
    pub target_groups: usize,
}

impl Configuration {
    /// That of an agent with this policy, which asks the metadata service here.
    #[must_use]
    pub fn of(policy: &Policy, imds_endpoint: impl Into<String>) -> Self {
        Self {
            mode: policy.mode,
            effect: policy.effect,
            poll_interval_seconds: policy.poll_interval.as_secs_f64(),
            imds_endpoint: imds_endpoint.into(),
            discover: policy.discover.clone(),
            target_groups: policy.groups.len(),
        }
    }
}

/// What the core knows at the moment of a fact.
#[derive(Clone, Debug, Default)]
pub struct Standing<'a> {
    /// Which machine this is.
    pub identity: Option<&'a MachineIdentity>,
    /// The interruption under way.
    pub interruption: Option<InterruptionContext>,
    /// Whether an earlier process began it.
    pub is_resumed: bool,
}

/// What the last fact stood in: whoever panics cannot say.
#[derive(Clone, Debug)]
struct Remembered {
    identity: Option<MachineIdentity>,
    interruption: Option<InterruptionContext>,
    at: Moment,
}

/// Turns facts into lines.
pub struct Reporter {
    base: Base,
    lowest: Level,
    started: Moment,
    outlet: Box<dyn Outlet>,
    last: Mutex<Option<Remembered>>,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter")
            .field("base", &self.base)
            .field("lowest", &self.lowest)
            .finish_non_exhaustive()
    }
}

impl Reporter {
    /// A reporter that lets lines of `lowest` and above through to `outlet`; its uptime counts from `started`.
    #[must_use]
    pub fn new(base: Base, lowest: Level, outlet: Box<dyn Outlet>, started: Moment) -> Self {
        Self {
            base,
            lowest,
            started,
            outlet,
            last: Mutex::new(None),
        }
    }

    /// Reports one fact.
    pub fn report(&self, fact: &Fact, standing: &Standing<'_>, now: Now) {
        self.remember(standing, now);
        let (event, level, msg) = headline::of(fact);
        let mut line = self.line(event, level, msg, standing, now);
        line.add_all(fields::of(fact, standing, &self.base.configuration));
        if let Fact::Heartbeat { .. } = fact {
            line.add("uptime_seconds", seconds(now.at.since(self.started)));
            line.add("log_lines_dropped", json!(self.outlet.dropped()));
        }
        self.put(&line);
    }

    /// Reports a panic, wherever it happened.
    pub fn report_panic(&self, error: &str, location: &str, now: Now) {
        let msg = "a part of the agent panicked; the rest carries on";
        self.report_breakdown(msg, error, location, now);
    }

    /// Reports that the loop has stood still for so long, and that the process ends because of it.
    pub fn report_standstill(&self, still: Duration, now: Now) {
        let msg = "the agent stands still: it ends, to be started again";
        let error = format!("the loop has not gone round for {} s", still.as_secs());
        self.report_breakdown(msg, &error, "watchdog", now);
    }

    fn report_breakdown(&self, msg: &str, error: &str, location: &str, now: Now) {
        // Whoever panicked may hold the lock: then this line does without.
        let last = self.last.try_lock().ok().and_then(|last| last.clone());
        let mut standing = Standing::default();
        if let Some(last) = &last {
            let since = now.at.since(last.at).as_secs_f64();
            standing.identity = last.identity.as_ref();
            standing.interruption = last.interruption.clone().map(|then| InterruptionContext {
                seconds_left: then.seconds_left - since,
                ..then
            });
        }
        let mut line = self.line(
            "agent.panicked",
            Level::Error,
            msg.to_owned(),
            &standing,
            now,
        );
        line.add("error", json!(error));
        line.add("where", json!(location));
        self.put(&line);
    }

    fn remember(&self, standing: &Standing<'_>, now: Now) {
        if let Ok(mut last) = self.last.try_lock() {
            *last = Some(Remembered {
                identity: standing.identity.cloned(),
                interruption: standing.interruption.clone(),
                at: now.at,
            });
        }
    }

    fn line(
        &self,
        event: &'static str,
        level: Level,
        msg: String,
        standing: &Standing<'_>,
        now: Now,
    ) -> Line {
        let mut line = Line::new(event, level, msg, now.wall);
        line.add("node", json!(self.base.node));
        if let Some(identity) = standing.identity {
            line.add("instance_id", json!(identity.instance_id.as_str()));
            line.add_if("instance_type", identity.instance_type.as_deref());
            line.add_if("az", identity.zone.as_deref());
        }
        line.add_if("cluster", self.base.cluster.as_deref());
        line.add("version", json!(env!("CARGO_PKG_VERSION")));
        if let Some(interruption) = &standing.interruption {
            line.add("notice_id", json!(interruption.notice_id));
            line.add("action", json!(interruption.action.as_str()));
            line.add("deadline", json!(line::rfc3339(interruption.deadline)));
            line.add("seconds_left", rounded(interruption.seconds_left));
            if self.base.configuration.effect == Effect::Rehearsed {
                line.add("dry_run", json!(true));
            }
        }
        line
    }

    fn put(&self, line: &Line) {
        if line.level >= self.lowest {
            self.outlet.put(line);
        }
    }
}

/// Makes every panic of this process a line of the log, in place of the text that Rust prints.
pub fn report_panics(reporter: Arc<Reporter>, clock: Clock) {
    let busy = AtomicBool::new(false);
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        // A panic inside the reporter must not report itself for ever.
        if busy.swap(true, Ordering::SeqCst) {
            return;
        }
        let error = panic
            .payload()
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.payload().downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a value that is no text".to_owned());
        let location = panic
            .location()
            .map_or_else(|| "unknown".to_owned(), ToString::to_string);
        reporter.report_panic(&error, &location, clock.now());
        busy.store(false, Ordering::SeqCst);
    }));
}

/// A duration as a number of seconds with milliseconds.
fn seconds(duration: Duration) -> Value {
    rounded(duration.as_secs_f64())
}

/// A number of seconds with milliseconds: more digits only make a line longer.
fn rounded(seconds: f64) -> Value {
    json!((seconds * 1e3).round() / 1e3)
}
