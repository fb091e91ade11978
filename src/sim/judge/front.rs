//! What leads requests to the node: whose part a deregistration is, who waits for it, and what comes back.

use std::time::Duration;

use super::{Judge, ROUNDING};
use crate::plan::binding::TargetId;
use crate::plan::id::TargetGroupArn;
use crate::plan::time::Moment;
use crate::sim::World;
use crate::sim::balancer::Registration;
use crate::sim::controller::Conduct;
use crate::sim::pod::Pod;
use crate::sim::ports::{PodCall, PodVerb};
use crate::sim::setting::Setting;

/// From a pod's last useful moment back to when it is let go at the latest.
pub(super) const LET_GO: Duration = Duration::from_secs(2);

/// What has been found out within this time of the first sight of the notice is known to all of the agent.
const FOUND_OUT: Duration = Duration::from_secs(2);

/// The last look at a group that has let go comes fifty seconds after; a call and its answer are quicker than this.
const LAST_REVIEW: Duration = Duration::from_secs(45);

/// From the death of a controller to the first call: ten seconds from the listing that showed its last work, and two for
/// the calls before.
const TAKEN_OVER: Duration = Duration::from_secs(5 + 10 + 2);

/// As much time is needed from a group's letting go for all looks at it.
const ALL_REVIEWS: Duration = Duration::from_secs(75);

impl Judge {
    /// Who stops while requests still come through the node alone loses them.
    pub(super) fn a_pod_stops_only_when_the_ways_in_to_it_have_settled(
        &mut self,
        call: &PodCall,
        pod: &Pod,
        world: &World,
        now: Moment,
    ) {
        if call.verb != PodVerb::Evict
            || !self.is_first(call)
            || !self.conditions.knows_the_front
            || self.conditions.hibernates
            || pod.deletion.is_some()
        {
            return;
        }
        let Some(deadline) = self.deadline_of(call.process) else {
            return;
        };
        let at_latest = self.window(pod, deadline).last_start - LET_GO;
        let began = self
            .processes
            .get(&call.process)
            .and_then(|process| process.saw);
        // The first thing known of a notice that is there from the start is only what two seconds can tell.
        let is_known = began.is_some_and(|began| now < began + FOUND_OUT) || self.was_idle(call);
        if now + ROUNDING >= at_latest || !is_known {
            return;
        }
        let open = self.front.bound.iter().find(|bound| {
            bound.holds(pod)
                && !self.reregistered.contains_key(&bound.group)
                && !has_settled(world, &bound.group, bound.settling(&self.setting), now)
        });
        if let Some(bound) = open {
            let detail = format!("{} before {}", pod.name, bound.group);
            let rule = "a pod stops only when the ways in to it have settled";
            self.breaks(rule, detail, now);
        }
    }

    /// Whether the process had lived for a while without a notice.
    fn was_idle(&self, call: &PodCall) -> bool {
        self.processes.get(&call.process).is_some_and(|process| {
            process
                .saw
                .is_some_and(|saw| saw > process.started + Duration::from_secs(35))
        })
    }

    /// The account's bucket of deregistrations is small, and a controller needs one call for all the nodes that go.
    pub(super) fn the_groups_of_a_working_controller_are_left_to_it(
        &mut self,
        group: &TargetGroupArn,
        deregisters: &[u16],
        now: Moment,
    ) {
        self.the_part_of_a_dead_controller_is_taken_over(group, now);
        let is_kept = self.front.bound(group).is_some() && self.front.is_kept_well();
        let is_undisturbed = self.conditions.is_calm && !self.reregistered.contains_key(group);
        let had_time = self
            .processes
            .values()
            .filter_map(|process| Some((process.saw?, process.deadline?)))
            .all(|(saw, deadline)| saw + Duration::from_secs(50) < deadline);
        if !deregisters.is_empty() && is_kept && is_undisturbed && had_time {
            let detail = format!("{group} was deregistered directly");
            let rule = "the groups of a working controller are left to it";
            self.breaks(rule, detail, now);
        }
    }

    /// A controller that has stood still for ten seconds is waited for no longer; its bindings are listed every five.
    fn the_part_of_a_dead_controller_is_taken_over(&mut self, group: &TargetGroupArn, now: Moment) {
        let died = match self.front.conduct {
            Conduct::Absent => Moment::ORIGIN,
            Conduct::Working {
                dies: Some(dies), ..
            } => dies,
            Conduct::Working { dies: None, .. } => return,
        };
        let is_first = !self.balancer_calls.contains_key(group);
        let is_plain = self.conditions.is_calm && self.conditions.knows_the_front;
        let saw = self
            .processes
            .values()
            .filter_map(|process| process.saw)
            .min();
        if let Some(saw) = saw
            && is_first
            && is_plain
            && self.front.bound(group).is_some()
            && now > saw.max(died) + TAKEN_OVER
        {
            let rule = "the part of a dead controller is taken over";
            self.breaks(rule, format!("{group} after {saw}"), now);
        }
    }

    /// Somebody registers the node again.
    pub fn node_registered_again(&mut self, group: &TargetGroupArn, world: &World, now: Moment) {
        let since = own_registrations(world, group)
            .filter_map(|registration| match registration {
                Registration::Draining { since, .. } => Some(since),
                Registration::Healthy => None,
            })
            .min();
        let is_seen = since.is_some_and(|since| {
            let deadline = self.last_deadline().unwrap_or(Moment::ORIGIN);
            now >= since && now < since + LAST_REVIEW && since + ALL_REVIEWS < deadline
        });
        self.reregistered.insert(group.clone(), is_seen);
    }

    /// Whether the end of this registration can be asked for: a node that is registered again for the last time after
    /// the last look stays so.
    pub(super) fn answers_for(&self, group: &TargetGroupArn) -> bool {
        match self.reregistered.get(group) {
            None => true,
            Some(is_seen) => *is_seen && self.conditions.is_clear,
        }
    }

    /// Only itself, and the pods of this node that stay to its end.
    pub(super) fn is_own_target(&self, target: &TargetId) -> bool {
        let is_gateway = self
            .front
            .gateway
            .as_ref()
            .is_some_and(|gateway| gateway.target().id == *target);
        *target == TargetId::Instance(Setting::instance_id()) || is_gateway
    }
}

fn own_registrations<'a>(
    world: &'a World,
    group: &'a TargetGroupArn,
) -> impl Iterator<Item = Registration> + 'a {
    let own = TargetId::Instance(Setting::instance_id());
    world
        .balancer
        .groups()
        .filter(move |(arn, _)| *arn == group)
        .flat_map(|(_, group)| &group.targets)
        .filter(move |(target, _)| target.id == own)
        .map(|(_, registration)| *registration)
}

fn has_settled(world: &World, group: &TargetGroupArn, settling: Duration, now: Moment) -> bool {
    own_registrations(world, group).all(|registration| match registration {
        Registration::Healthy => false,
        Registration::Draining { since, .. } => since + settling <= now + ROUNDING,
    })
}
