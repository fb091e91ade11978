//! What can only be judged when everything is over.

use std::time::Duration;

use super::front::LET_GO;
use super::{Judge, MOST_OTHER_CALLS, Process, is_evictable, is_excluded};
use crate::plan::Mode;
use crate::plan::time::Moment;
use crate::sim::World;
use crate::sim::balancer::Registration;
use crate::sim::faults::{Trouble, Weather};
use crate::sim::journal::Service;
use crate::sim::pod::Pod;
use crate::sim::setting::{Deed, Happening, Setting};

/// When the weather has been clear for so long, whatever was under way has ended (twelve seconds at most), has been tried
/// again (two more), and has been answered.
const PATIENCE: Duration = Duration::from_secs(20);

/// The last (de)registration begins five seconds before the deadline; a controller is waited for ten at most, and the
/// bindings are asked for every four.
const FOUND_AND_LEFT: Duration = Duration::from_secs(5 + 10 + 5);
/// When the API server has been reachable for so long, a pod has been called again: a probe every two seconds finds that
/// out, or a retry after two and a half, or, after ten probes, one after twelve. Then it has been seen, and called.
const PATIENCE_FOR_PODS: Duration = Duration::from_secs(16);

/// A verdict may not know of what happened this shortly before it.
const NEWS_TAKE: Duration = Duration::from_secs(8);

impl Judge {
    /// Looks at the world after the deadline.
    pub fn conclude(&mut self, setting: &Setting, world: &World, weather: &Weather, now: Moment) {
        if !setting.is_full() {
            self.conclude_less(setting, world, weather, now);
            return;
        }
        for pod in world.cluster.everyone() {
            if pod.node == setting.node.name && is_evictable(pod) {
                self.a_pod_gets_its_stop_signal_as_soon_as_the_weather_allows(
                    setting, pod, weather, now,
                );
                // The server's word is taken for three seconds, and a webhook may make it worth nothing; a list may be old,
                // and the weather keep the watch from completing it.
                let is_told_the_truth =
                    !world.cluster.forces_dry_run(&pod.namespace) && !world.cluster.has_lagged();
                if is_told_the_truth {
                    self.a_verdict_of_completion_is_true(pod, weather, now);
                }
            }
        }
        self.the_node_is_cordoned_and_excluded_as_soon_as_the_weather_allows(world, weather, now);
        self.every_registered_port_is_draining_as_soon_as_the_weather_allows(
            setting, world, weather, now,
        );
        self.what_was_ours_is_undone_when_the_node_lives_on(setting, world, weather, now);
        self.after_a_wake_past_the_deadline_no_pod_is_called(weather);
        self.a_process_that_lives_gives_its_verdict(now);
        self.a_summary_counts_what_it_says(now);
        self.a_calm_interruption_has_neither_warnings_nor_errors(setting, now);
        self.calls_that_are_not_about_pods_are_few(world, now);
    }

    /// The first moment by which one process had known of the interruption, had lived, and had had clear weather to all of
    /// these neighbours, for long enough within the time that `owed` gives it, from its deadline.
    fn fair_chance(
        &self,
        weather: &Weather,
        services: &[Service],
        patience: Duration,
        owed: impl Fn(&Process, Moment) -> (Moment, Moment),
    ) -> Option<Moment> {
        let chances = self.processes.values().filter_map(|process| {
            let (from, end) = owed(process, self.deadline_awake(process, weather)?);
            let end = process.ended.unwrap_or(end).min(end);
            let end = self.carried_out_at().unwrap_or(end).min(end);
            let mut from = process.saw?.max(from);
            // Clear to each is not enough: it has to be at the same time.
            loop {
                let after = services
                    .iter()
                    .map(|service| weather.clear_for(*service, from, patience, end))
                    .try_fold(from, |latest, after| after.map(|after| after.max(latest)))?;
                let began = after - patience;
                if began <= from {
                    return Some(after);
                }
                from = began;
            }
        });
        chances.min()
    }

    /// By the last useful moment, or the first moment the API server answered, whichever is later.
    fn a_pod_gets_its_stop_signal_as_soon_as_the_weather_allows(
        &mut self,
        setting: &Setting,
        pod: &Pod,
        weather: &Weather,
        now: Moment,
    ) {
        let is_refused = refuses_access(setting, Service::Kubernetes);
        let is_blocked = self.blocked.contains(&pod.uid) || is_refused;
        let is_exempt = is_blocked && self.waits(pod)
            || pod.is_finished_unasked()
            || self.conditions.seems_to_sleep;
        if is_exempt || pod.put_back_for().is_some() {
            return;
        }
        let arrived = self.arrived_at(pod);
        let owed = |process: &Process, deadline| {
            let last_start = self.window(pod, deadline).last_start;
            let is_held = !self.conditions.hibernates && self.is_bound(pod);
            let lead = if is_held {
                Some(LET_GO)
            } else {
                self.begins_before(pod)
            };
            let from = match lead {
                _ if is_blocked => arrived.max(last_start).max(self.tightened),
                Some(lead) => arrived.max(last_start - lead).max(self.tightened),
                None => arrived,
            };
            let put_off_to = self.put_off_to(process, pod, deadline);
            let from = put_off_to.map_or(from, |to| to.max(from));
            (from, deadline)
        };
        let Some(by) = self.fair_chance(weather, &[Service::Kubernetes], PATIENCE_FOR_PODS, owed)
        else {
            return;
        };
        let stopped = pod.stopped_at();
        if stopped.is_none_or(|at| at > by) {
            let detail = match stopped {
                Some(at) => format!("{} got it {:.1} s late", pod.name, at.seconds_from(by)),
                None => format!("{} never got it", pod.name),
            };
            let rule = "a pod gets its stop signal as soon as the weather allows";
            self.breaks(rule, detail, now);
        }
    }

    /// When the pod came to the node.
    pub(super) fn arrived_at(&self, pod: &Pod) -> Moment {
        let arrived = self.arrived.get(&pod.uid).copied();
        arrived.unwrap_or(Moment::ORIGIN)
    }

    /// Who says that all is done must not have left anybody behind.
    fn a_verdict_of_completion_is_true(&mut self, pod: &Pod, weather: &Weather, now: Moment) {
        if pod.is_finished_unasked() || pod.put_back_for().is_some() {
            return;
        }
        let arrived = self.arrived_at(pod);
        let untrue = self.processes.values().find_map(|process| {
            let summary = process.summary.filter(|summary| summary.is_complete)?;
            let news = arrived + NEWS_TAKE;
            // Of what comes when the pods have been listed only a watch can tell.
            let was_told = process.saw.is_some_and(|saw| arrived <= saw)
                || weather.is_clear(Service::Kubernetes, arrived, news);
            let had_arrived = was_told && news <= summary.at;
            let was_left = pod.stopped_at().is_none_or(|at| at > summary.at);
            (had_arrived && was_left).then_some(summary.at)
        });
        if let Some(at) = untrue {
            let detail = format!("{} had got no stop signal", pod.name);
            self.breaks("a verdict of completion is true", detail, at.min(now));
        }
    }

    /// It is the first thing to be done, and tried again until it is.
    fn the_node_is_cordoned_and_excluded_as_soon_as_the_weather_allows(
        &mut self,
        world: &World,
        weather: &Weather,
        now: Moment,
    ) {
        let services = [Service::Kubernetes];
        let chance = self.fair_chance(weather, &services, PATIENCE, |_, deadline| {
            (Moment::ORIGIN, deadline)
        });
        let is_out = world.cluster.node().unschedulable && is_excluded(world);
        if chance.is_some() && !is_out && !self.survival.was_out_of_service {
            let rule = "the node is cordoned and excluded as soon as the weather allows";
            self.breaks(rule, "it is not".to_owned(), now);
        }
    }

    /// Both halves of a target count: an id alone leaves ports in service.
    pub(super) fn every_registered_port_is_draining_as_soon_as_the_weather_allows(
        &mut self,
        setting: &Setting,
        world: &World,
        weather: &Weather,
        now: Moment,
    ) {
        if refuses_access(setting, Service::Balancer) {
            return;
        }
        let named = [Service::Balancer, Service::Metadata];
        let owed = |_: &Process, deadline| (Moment::ORIGIN, deadline - Duration::from_secs(5));
        let is_owed = self.fair_chance(weather, &named, PATIENCE, owed).is_some();
        // What only bindings name has to be found out first, and may be left to its controller for ten seconds.
        let found = [Service::Kubernetes, Service::Balancer, Service::Metadata];
        let owed = |_: &Process, deadline| (Moment::ORIGIN, deadline - FOUND_AND_LEFT);
        let is_owed_if_bound = !refuses_access(setting, Service::Kubernetes)
            && self.fair_chance(weather, &found, PATIENCE, owed).is_some();
        for (arn, group) in world.balancer.groups() {
            let is_bound = setting.front.bound(arn).is_some()
                || setting
                    .front
                    .gateway
                    .as_ref()
                    .is_some_and(|gateway| gateway.group == *arn);
            // Who asks for no pods does not know their addresses.
            let is_known =
                setting.mode == Mode::Full || setting.front.bound(arn).is_some() || !is_bound;
            let is_owed = is_known && if is_bound { is_owed_if_bound } else { is_owed };
            if !is_owed || !self.answers_for(arn) {
                continue;
            }
            for (target, registration) in &group.targets {
                let is_own = self.is_own_target(&target.id);
                if is_own && *registration == Registration::Healthy {
                    let detail = format!("{} of {}", target.port, arn.as_str());
                    let rule = "every registered port is draining as soon as the weather allows";
                    self.breaks(rule, detail, now);
                }
                if !is_own && *registration != Registration::Healthy {
                    let detail = format!("{} of {}", target.id, arn.as_str());
                    self.breaks("the targets of other instances stay", detail, now);
                }
            }
        }
    }

    /// Nobody is woken by silence.
    pub(super) fn a_process_that_lives_gives_its_verdict(&mut self, now: Moment) {
        let silent = self.processes.iter().find_map(|(id, process)| {
            let (saw, deadline) = (process.saw?, process.deadline?);
            let lived = process.ended.is_none_or(|ended| ended > deadline);
            let had_time = saw + Duration::from_secs(4) < deadline;
            (lived && had_time && process.verdicts == 0).then_some(*id)
        });
        if let Some(process) = silent {
            let detail = format!("process {process} gave none");
            self.breaks("a process that lives gives its verdict", detail, now);
        }
    }

    /// A completed drain leaves nobody, and an incomplete one somebody.
    pub(super) fn a_summary_counts_what_it_says(&mut self, now: Moment) {
        let summaries = self
            .processes
            .values()
            .filter_map(|process| process.summary);
        let contradicts = |summary: &super::Summary| summary.is_complete && summary.left > 0;
        if let Some(summary) = summaries.into_iter().find(contradicts) {
            let detail = format!("completed with {} left", summary.left);
            self.breaks("a summary counts what it says", detail, now);
        }
    }

    /// Who is woken by nothing stops listening.
    fn a_calm_interruption_has_neither_warnings_nor_errors(
        &mut self,
        setting: &Setting,
        now: Moment,
    ) {
        // With less than the shortest plan left, something is always cut or left.
        let is_long = setting.notice.warning >= Duration::from_secs(60);
        let is_plain = setting.is_calm()
            && !setting.hibernates()
            && is_long
            && !setting
                .pods
                .iter()
                .any(|pod| self.waits(pod) || pod.comes_back);
        if let Some(warning) = self.warnings.first().filter(|_| is_plain) {
            let detail = warning.clone();
            let rule = "a calm interruption has neither warnings nor errors";
            self.breaks(rule, detail, now);
        }
    }

    /// Lists, watches, patches and events cost the server more than evictions do.
    pub(super) fn calls_that_are_not_about_pods_are_few(&mut self, world: &World, now: Moment) {
        let others = world.journal.calls().iter().filter(|call| {
            call.service == Service::Kubernetes
                && !["evict", "delete", "patch pod status", "review access"].contains(&call.verb)
        });
        let (count, processes) = (others.count(), self.processes.len().max(1));
        if count > MOST_OTHER_CALLS * processes {
            let rule = "calls that are not about pods are few";
            self.breaks(rule, format!("{count} by {processes} processes"), now);
        }
    }
}

/// Whether somebody takes the agent's rights away for a while: then it may give up.
fn refuses_access(setting: &Setting, service: Service) -> bool {
    let is_spell = setting.spells.iter().any(|spell| {
        spell.service == service && matches!(spell.trouble, Trouble::Status(401 | 403))
    });
    let is_lag = setting.happenings.iter().any(|(_, happening)| {
        service == Service::Kubernetes
            && matches!(happening, Happening::World(Deed::CacheLags(1..)))
    });
    is_spell || is_lag
}

impl Pod {
    /// When it was told to stop, or was gone.
    fn stopped_at(&self) -> Option<Moment> {
        let signal = self.signals.first().map(|signal| signal.at);
        signal.or(self.end.map(crate::sim::pod::End::at))
    }

    /// Whether it had ended before anybody asked it to.
    fn is_finished_unasked(&self) -> bool {
        self.is_finished() && self.signals.is_empty()
    }
}
