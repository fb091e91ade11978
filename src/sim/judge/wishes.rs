//! The rules about what pods, their owners and their controllers want.

use std::time::Duration;

use super::{Judge, ROUNDING, is_evictable};
use crate::annotation::{blocked_wish, start_wish};
use crate::plan::drain::{JobPods, OnBlocked};
use crate::plan::pod::{BlockedWish, StartWish};
use crate::plan::time::Moment;
use crate::sim::World;
use crate::sim::cluster::Writes;
use crate::sim::pod::{Pod, Signal, Way};
use crate::sim::ports::PodCall;

/// Late pods, and critical ones whose forerunners do not go, begin so long before the last useful moment.
const LEAD: Duration = Duration::from_secs(20);

/// The priority from which on a pod is critical.
const CRITICAL: i32 = 2_000_000_000;

/// A pod that would outlive the node is hurried so long before it should have stopped.
const HURRY: Duration = Duration::from_secs(2);

/// Of pods that their controller put onto the cordoned node, so many are evicted.
const RECREATIONS: usize = 3;

impl Judge {
    /// Whether the pod is not to be deleted although its eviction is refused.
    pub(super) fn waits(&self, pod: &Pod) -> bool {
        self.on_blocked == OnBlocked::Wait
            || blocked_wish(Some(&pod.annotations)) == BlockedWish::Wait
            || self.waiting_namespaces.contains(&pod.namespace.as_str())
    }

    /// How long before its last useful moment a pod's eviction has to begin, when not at once.
    pub(super) fn begins_before(&self, pod: &Pod) -> Option<Duration> {
        let follows = self.is_late(pod) || is_critical(pod);
        (follows && !self.conditions.hibernates).then_some(LEAD)
    }

    fn is_late(&self, pod: &Pod) -> bool {
        let is_job = pod.owner.as_ref().is_some_and(|owner| owner.kind == "Job");
        start_wish(Some(&pod.annotations)) == StartWish::Late
            || is_job && self.job_pods == JobPods::Late
    }

    /// Who asks not to be disturbed is disturbed as late as the deadline allows.
    pub(super) fn a_late_pod_is_left_alone_until_it_is_time(
        &mut self,
        call: &PodCall,
        pod: &Pod,
        now: Moment,
    ) {
        let Some(deadline) = self.deadline_of(call.process) else {
            return;
        };
        let start = self.window(pod, deadline).last_start - LEAD;
        let is_left_alone = self.is_late(pod) && !self.conditions.hibernates;
        if is_left_alone && pod.deletion.is_none() && now + ROUNDING < start {
            let detail = format!("{} {:.1} s early", pod.name, start.seconds_from(now));
            self.breaks("a late pod is left alone until it is time", detail, now);
        }
    }

    /// The cluster's own pods serve the others while these move: they go when the others are gone, or when they must.
    pub(super) fn critical_pods_follow_the_others(
        &mut self,
        call: &PodCall,
        pod: &Pod,
        world: &World,
        now: Moment,
    ) {
        let Some(deadline) = self.deadline_of(call.process) else {
            return;
        };
        // In a rehearsal nobody goes: an eviction that is accepted is as good as done.
        let is_free = !is_critical(pod)
            || pod.deletion.is_some()
            || self.conditions.hibernates
            || call.writes == Writes::DryRun;
        if is_free || world.cluster.has_lagged() {
            return;
        }
        let here = || world.cluster.pods().filter(|pod| is_evictable(pod));
        let critical = world.cluster.everyone().filter(|pod| is_critical(pod));
        let at_latest = critical.map(|pod| self.window(pod, deadline).last_start - LEAD);
        let is_time = at_latest
            .min()
            .is_some_and(|at_latest| now + ROUNDING >= at_latest);
        let was_there = |pod: &Pod| self.arrived.get(&pod.uid) == Some(&Moment::ORIGIN);
        let forerunner = here().find(|other| {
            !is_critical(other)
                && was_there(other)
                && other.deletion.is_none()
                && !other.is_finished()
        });
        if let Some(forerunner) = forerunner.filter(|_| !is_time) {
            let detail = format!("{} goes before {}", pod.name, forerunner.name);
            self.breaks("critical pods follow the others", detail, now);
        }
    }

    /// What hibernates goes on when it wakes: nobody has to be done by a deadline.
    pub(super) fn a_hibernation_cuts_no_grace_period(&mut self, call: &PodCall, now: Moment) {
        if self.conditions.hibernates && call.grace.is_some() {
            let detail = format!("{:?} s for {}", call.grace, call.pod.name);
            self.breaks("a hibernation cuts no grace period", detail, now);
        }
    }

    /// Whether this signal only ended a termination in time that would have outlived the node.
    pub(super) fn hurries(&self, process: u32, pod: &Pod, signal: &Signal) -> bool {
        let due = self
            .deadline_of(process)
            .map(|deadline| self.window(pod, deadline).stop_by - HURRY);
        signal.by == Way::Eviction
            && signal.grace == 1
            && due.is_some_and(|due| signal.at + ROUNDING >= due)
    }

    /// Evictions do not stop a controller whose pods tolerate the cordon.
    pub(super) fn a_controller_that_puts_its_pods_back_is_not_fought(
        &mut self,
        call: &PodCall,
        pod: &Pod,
        now: Moment,
    ) {
        let Some((stem, _)) = pod.put_back_for() else {
            return;
        };
        let cordoned = self
            .processes
            .get(&call.process)
            .and_then(|process| process.cordoned);
        // Creation has whole seconds: within that of the cordon nobody can tell.
        let came_later = cordoned.is_some_and(|cordoned| pod.created > Some(cordoned));
        if !came_later {
            return;
        }
        let key = (call.process, format!("{}/{stem}", pod.namespace));
        let evicted = self.put_back.entry(key).or_default();
        evicted.insert(pod.uid.clone());
        let count = evicted.len();
        if self.conditions.is_steady && count > RECREATIONS {
            let rule = "a controller that puts its pods back is not fought";
            self.breaks(rule, format!("{count} of {stem}"), now);
        }
    }

    /// Its controller, a Job above all, counts a disruption otherwise than a failure.
    pub(super) fn a_pod_that_is_deleted_says_why(
        &mut self,
        call: &PodCall,
        world: &World,
        now: Moment,
    ) {
        let pod = world.cluster.whoever(&call.pod.uid);
        let deadline = self.deadline_of(call.process);
        let (Some(pod), Some(deadline)) = (pod, deadline) else {
            return;
        };
        let was_deleted = pod
            .signals
            .first()
            .is_some_and(|signal| signal.by == Way::Deletion);
        let last_start = self.window(pod, deadline).last_start;
        let saw = self
            .processes
            .get(&call.process)
            .and_then(|process| process.saw);
        let had_time = saw.is_some_and(|saw| saw + Duration::from_secs(2) < last_start);
        let is_at_l = had_time && now >= last_start && now < last_start + Duration::from_secs(1);
        let is_owed = was_deleted && is_at_l && !world.cluster.is_terminating(&pod.namespace);
        // Of one that came just before, the condition and the deletion are asked for at once.
        if self.conditions.is_calm
            && is_owed
            && pod.created.is_none()
            && pod.disruption_target.is_none()
        {
            let detail = format!("{} does not", pod.name);
            self.breaks("a pod that is deleted says why", detail, now);
        }
    }
}

fn is_critical(pod: &Pod) -> bool {
    pod.priority >= CRITICAL
}
