//! The rules of an agent that is to do less than everything.

use super::Judge;
use crate::annotation::{EXCLUSION_LABEL, INTERRUPTION_ANNOTATION};
use crate::plan::time::Moment;
use crate::plan::{Effect, Mode};
use crate::sim::World;
use crate::sim::balancer::Registration;
use crate::sim::faults::Weather;
use crate::sim::journal::Service;
use crate::sim::ports::PodCall;
use crate::sim::setting::{Deed, Happening, Setting};

impl Judge {
    /// Another drainer moves the pods, or nobody does.
    pub(super) fn who_leaves_the_pods_to_another_calls_none(
        &mut self,
        call: &PodCall,
        now: Moment,
    ) {
        if self.mode != Mode::Full {
            let detail = format!("{:?} of {}", call.verb, call.pod.name);
            let rule = "who leaves the pods to another calls none";
            self.breaks(rule, detail, now);
        }
    }

    /// Looks at the world after the deadline of an agent that was not to do everything.
    pub(super) fn conclude_less(
        &mut self,
        setting: &Setting,
        world: &World,
        weather: &Weather,
        now: Moment,
    ) {
        self.a_summary_counts_what_it_says(now);
        self.calls_that_are_not_about_pods_are_few(world, now);
        match (setting.mode, setting.effect) {
            (Mode::Observe, _) => {
                self.an_observer_asks_nobody_but_the_metadata_service(world, now);
            }
            (_, Effect::Rehearsed) => {
                self.a_process_that_lives_gives_its_verdict(now);
                self.a_rehearsal_changes_nothing(setting, world, now);
            }
            (Mode::DeregisterOnly, Effect::Real) => {
                self.every_registered_port_is_draining_as_soon_as_the_weather_allows(
                    setting, world, weather, now,
                );
                self.who_leaves_the_pods_to_another_cordons_nothing(setting, world, now);
            }
            (Mode::Full, Effect::Real) => {}
        }
    }

    fn an_observer_asks_nobody_but_the_metadata_service(&mut self, world: &World, now: Moment) {
        let asked = world
            .journal
            .calls()
            .iter()
            .find(|call| call.service != Service::Metadata);
        if let Some(call) = asked {
            let rule = "an observer asks nobody but the metadata service";
            self.breaks(rule, call.verb.to_owned(), now);
        }
    }

    fn a_rehearsal_changes_nothing(&mut self, setting: &Setting, world: &World, now: Moment) {
        let rule = "a rehearsal changes nothing";
        let node = world.cluster.node();
        let is_cordoned_by_us =
            node.unschedulable && !setting.node.unschedulable && !cordons(setting);
        let has_label =
            node.labels.get(EXCLUSION_LABEL) != setting.node.labels.get(EXCLUSION_LABEL);
        let has_record = node.annotations.contains_key(INTERRUPTION_ANNOTATION)
            && !setting
                .node
                .annotations
                .contains_key(INTERRUPTION_ANNOTATION);
        if is_cordoned_by_us || has_label || has_record {
            self.breaks(rule, "the node is another".to_owned(), now);
        }
        let others = setting.evicted_by_others();
        let stopped = world.cluster.everyone().find(|pod| {
            let is_ours = !others.contains(&pod.uid) && pod.put_back_for().is_none();
            is_ours && (!pod.signals.is_empty() || pod.disruption_target.is_some())
        });
        if let Some(pod) = stopped {
            self.breaks(rule, format!("{} was touched", pod.name), now);
        }
        // What has a binding may be deregistered by its controller: somebody else may have set the label.
        let mut targets = world
            .balancer
            .groups()
            .filter(|(arn, _)| setting.front.bound(arn).is_none())
            .flat_map(|(_, group)| &group.targets);
        if let Some((target, _)) = targets.find(|(_, state)| **state != Registration::Healthy) {
            self.breaks(rule, format!("{} was deregistered", target.port), now);
        }
    }

    fn who_leaves_the_pods_to_another_cordons_nothing(
        &mut self,
        setting: &Setting,
        world: &World,
        now: Moment,
    ) {
        let is_cordoned = world.cluster.node().unschedulable;
        if is_cordoned && !setting.node.unschedulable && !cordons(setting) {
            let rule = "who leaves the pods to another cordons nothing";
            self.breaks(rule, "the node takes no new pods".to_owned(), now);
        }
    }
}

/// Whether somebody else cordons the node.
fn cordons(setting: &Setting) -> bool {
    setting
        .happenings
        .iter()
        .any(|(_, happening)| matches!(happening, Happening::World(Deed::ForeignCordon)))
}
