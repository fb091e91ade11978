//! First calls that are put off because the API server has others to serve: only then, and at nobody's expense.

use std::time::Duration;

use super::{Judge, Process};
use crate::plan::time::Moment;
use crate::sim::journal::Service;
use crate::sim::pod::Pod;
use crate::sim::ports::PodCall;

/// First calls are due so long after the notice at the latest, and have used up a quarter of what a pod can wait.
const LONGEST: Duration = Duration::from_secs(20);
const PART_OF_SLACK: u32 = 4;

/// So long after a spell every call that was due has been made: a probe every two seconds finds that it is over.
const ECHO_OF_A_SPELL: Duration = Duration::from_secs(6);

/// A pod with less to spare is cut by what the call itself takes.
const WORTH_MENTIONING: Duration = Duration::from_secs(2);

impl Judge {
    /// Only a server that is slow, or a machine that slept meanwhile, makes a LIST take long.
    pub(super) fn nobody_waits_for_a_server_that_is_quick(&mut self, process: u32, now: Moment) {
        let saw = self.processes.get(&process).and_then(|process| process.saw);
        let is_excused = saw.is_some_and(|saw| self.is_stormy(saw, now))
            || self.has_slept()
            || self.conditions.seems_to_sleep;
        if !is_excused {
            let rule = "nobody waits for a server that is quick";
            let detail = format!("process {process} spread its evictions");
            self.breaks(rule, detail, now);
        }
    }

    /// Where nothing else keeps it from being made, a first call that was put off leaves the pod its grace period.
    pub(super) fn who_is_put_off_loses_nothing(&mut self, call: &PodCall, pod: &Pod, now: Moment) {
        let Some(process) = self.processes.get(&call.process) else {
            return;
        };
        let (Some(from), Some(deadline)) = (process.spread, process.deadline) else {
            return;
        };
        let was_there = self.arrived_at(pod) <= from && pod.put_back_for().is_none();
        let could_wait = self.window(pod, deadline).whole_until() >= from + WORTH_MENTIONING;
        let is_cut = call.grace.is_some_and(|grace| grace < i64::from(pod.grace));
        let waits_otherwise = self.begins_before(pod).is_some() || self.is_bound(pod);
        let is_moved = process.deadline_moved > from;
        if self.is_first(call)
            && was_there
            && could_wait
            && is_cut
            && !waits_otherwise
            && !is_moved
            && !self.has_slept()
            && !self.is_stormy(from.max(now - ECHO_OF_A_SPELL), now)
        {
            let detail = format!("{} was put off and cut", pod.name);
            self.breaks("who is put off loses nothing", detail, now);
        }
    }

    /// When a pod's first call is due at the latest where a process spreads them.
    pub(super) fn put_off_to(
        &self,
        process: &Process,
        pod: &Pod,
        deadline: Moment,
    ) -> Option<Moment> {
        let from = process.spread?;
        let slack = self.window(pod, deadline).whole_until().since(from);
        let last = process.saw.unwrap_or(from) + LONGEST;
        Some(last.min(from + slack / PART_OF_SLACK))
    }

    /// Whether anything is wrong on the way to the API server at some time between these.
    fn is_stormy(&self, from: Moment, until: Moment) -> bool {
        let mut spells = self.setting.spells.iter();
        spells.any(|spell| spell.touches(Service::Kubernetes, from, until))
    }
}
