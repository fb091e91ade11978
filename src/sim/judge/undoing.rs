//! The rules about a node that outlives its interruption.

use std::time::Duration;

use super::{Judge, Process};
use crate::annotation::{EXCLUSION_LABEL, INTERRUPTION_ANNOTATION, read_annotation};
use crate::plan::node::{Annotation, CordonOwner, InterruptionRecord};
use crate::plan::time::{Moment, Now};
use crate::sim::World;
use crate::sim::faults::Weather;
use crate::sim::journal::Service;
use crate::sim::node::Node;
use crate::sim::setting::Setting;

/// A machine that is there so long after EC2's time has been spared.
const SPARED_AFTER: Duration = Duration::from_mins(5);

/// Times of day in records have whole seconds, and a `Date` has too.
const IMPRECISION: Duration = Duration::from_secs(3);

/// Taints of tools that take a node away.
const DEPARTURES: [&str; 2] = ["karpenter.sh/disrupted", "ToBeDeletedByClusterAutoscaler"];

/// Three polls, a reading and a patch: so long after a wake nobody works by what was known before it.
const WAKING_TAKES: Duration = Duration::from_secs(12);

/// Whoever was refused tries again within five minutes, a fifth more or less.
const RETRIES_TAKE: Duration = Duration::from_secs(375);

/// From a notice that comes just after a poll until the last patch by somebody who has not seen it arrives: a poll, and the
/// patch at a server that is slow.
const NEWS_TAKE: Duration = Duration::from_secs(30);

/// How the node came to outlive its interruption, as the world knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Survival {
    /// When the machine last woke up.
    woke: Option<Moment>,
    /// How long it has slept in all.
    slept: Duration,
    /// When EC2 had done what it announced, and the machine was there again.
    carried_out: Option<Moment>,
    /// Whether every process then took its deadline for past: EC2 may have moved it closer unheard.
    is_known_to_be_over: bool,
    /// Whether the node has been seen cordoned and excluded.
    pub(super) was_out_of_service: bool,
}

impl Judge {
    /// The machine has slept for so long; whether through EC2's time.
    pub fn machine_wakes(&mut self, asleep: Duration, is_carried_out: bool, now: Moment) {
        self.survival.woke = Some(now);
        // Every deadline is nearer than it was, and may have come before anybody says so.
        self.tightened = now;
        self.survival.slept += asleep;
        if is_carried_out && self.survival.carried_out.is_none() {
            self.survival.carried_out = Some(now);
            let slept = self.survival.slept;
            let mut deadlines = self.processes.values().filter_map(|known| known.deadline);
            self.survival.is_known_to_be_over = deadlines.all(|deadline| deadline - slept <= now);
        }
    }

    /// When EC2 had done what it announced, if the machine is there again.
    pub(super) const fn carried_out_at(&self) -> Option<Moment> {
        self.survival.carried_out
    }

    /// The deadline of a process, nearer by what the machine has slept where the process does not know that yet. There is
    /// none for a process that has not been able to ask since, or that was told of no notice any more.
    pub(super) fn deadline_awake(&self, process: &Process, weather: &Weather) -> Option<Moment> {
        let deadline = process.deadline?;
        match self.survival.woke {
            Some(woke) if process.deadline_moved < woke => {
                let known_by = woke + WAKING_TAKES;
                let is_told = weather.is_clear(Service::Metadata, woke, known_by)
                    && !self.setting.is_withdrawn_before(known_by);
                is_told.then(|| deadline - self.survival.slept)
            }
            Some(_) | None => Some(deadline),
        }
    }

    /// Whether the machine has slept at all.
    pub(super) const fn has_slept(&self) -> bool {
        self.survival.woke.is_some()
    }

    /// Whether the machine has just woken up.
    pub(super) fn has_just_woken(&self, now: Moment) -> bool {
        let woke = self.survival.woke;
        woke.is_some_and(|woke| now <= woke + WAKING_TAKES)
    }

    /// Only what the record says is ours, and only when it is over.
    pub(super) fn nothing_foreign_is_undone(&mut self, before: &Node, world: &World, now: Now) {
        let after = world.cluster.node();
        let rule = "nothing foreign is undone";
        let Some(record) = record_of(before) else {
            if before.unschedulable && !after.unschedulable {
                let detail = "a cordon that nobody has recorded".to_owned();
                self.breaks(rule, detail, now.at);
            }
            return;
        };
        if record_of(after).is_some() {
            if before.unschedulable && !after.unschedulable {
                self.breaks(rule, "the record has stayed".to_owned(), now.at);
            }
            return;
        }
        let uncordons = before.unschedulable && !after.unschedulable;
        if uncordons && record.cordon != CordonOwner::Us {
            self.breaks(rule, "another's cordon".to_owned(), now.at);
        }
        if departs(before) {
            self.breaks(rule, "another tool takes the node".to_owned(), now.at);
        }
        let label = |node: &Node| node.labels.get(EXCLUSION_LABEL).cloned();
        let was_set = record
            .label_before
            .as_deref()
            .is_none_or(|value| value == "false");
        let expected = if was_set && label(before).as_deref() == Some("true") {
            record.label_before.clone()
        } else {
            label(before)
        };
        if label(after) != expected {
            let detail = format!("the label is {:?}", label(after));
            self.breaks(rule, detail, now.at);
        }
        // What is ours no more is not to be known as ours.
        self.claimed = false;
        self.a_node_is_given_back_only_when_it_has_outlived_its_notice(&record, before, world, now);
    }

    fn a_node_is_given_back_only_when_it_has_outlived_its_notice(
        &mut self,
        record: &InterruptionRecord,
        before: &Node,
        world: &World,
        now: Now,
    ) {
        if record.instance_id != Some(Setting::instance_id()) {
            return;
        }
        let time = record.time.unwrap_or(record.deadline);
        let is_spared = now.wall + self.clock_error + IMPRECISION >= time + SPARED_AFTER;
        let is_later = record.boot_id.as_ref() != Some(&before.boot)
            || self.survival.woke.is_some()
            || self.clock_error >= Duration::from_secs(5);
        // Whoever has polled just before the notice came cannot know, and its patch may be slow.
        let is_known =
            |appears: Moment| appears + NEWS_TAKE <= now.at && !self.has_just_woken(now.at);
        let notice = world.metadata.visible_notice(now);
        let is_there = notice.is_some_and(|notice| is_known(notice.appears));
        if is_there || !is_spared && !is_later {
            let rule = "a node is given back only when it has outlived its notice";
            let detail = if is_there {
                "the notice is there".to_owned()
            } else {
                format!("{:.0} s after its time", now.wall.seconds_after(time))
            };
            self.breaks(rule, detail, now.at);
        }
    }

    /// What was done to the node for an interruption that is over keeps it out of service for nothing.
    pub(super) fn what_was_ours_is_undone_when_the_node_lives_on(
        &mut self,
        setting: &Setting,
        world: &World,
        weather: &Weather,
        now: Moment,
    ) {
        let node = world.cluster.node();
        if record_of(node).is_none() || departs(node) || world.metadata.notice().is_some() {
            return;
        }
        let spared = setting.notice.takes_effect() + SPARED_AFTER + setting.clock_error();
        let due = spared.max(self.survival.woke.unwrap_or(spared)) + WAKING_TAKES;
        let spells = weather.spells().iter();
        let clear = spells
            .filter(|spell| spell.service != Service::Balancer)
            .map(|spell| spell.until)
            .max();
        let changed = setting.happenings.iter().map(|(at, _)| *at).max();
        let from = clear.into_iter().chain(changed).fold(due, Moment::max);
        let had_chance = self.processes.values().any(|process| {
            process.ended.is_none() && process.started.max(from) + RETRIES_TAKE <= now
        });
        if had_chance {
            let rule = "what was ours is undone when the node lives on";
            self.breaks(rule, format!("{:?}", node.annotations), now);
        }
    }

    /// What has been carried out cannot be got ready for any more.
    pub(super) fn after_a_wake_past_the_deadline_no_pod_is_called(&mut self, weather: &Weather) {
        let Some(carried_out) = self.survival.carried_out else {
            return;
        };
        // Who cannot ask for the notice cannot know, nor who finds the clock set back when the sleep is to be measured.
        let known_by = carried_out + WAKING_TAKES;
        let can_know = weather.is_clear(Service::Metadata, carried_out, known_by)
            && !self.setting.is_set_back_between(carried_out, known_by);
        let late = self.calls_left.iter().find(|(at, _)| *at >= carried_out);
        let is_owed = can_know && self.survival.is_known_to_be_over;
        if let Some((at, pod)) = late.filter(|_| is_owed) {
            let (at, detail) = (*at, pod.clone());
            let rule = "after a wake past the deadline no pod is called";
            self.breaks(rule, detail, at);
        }
    }
}

fn record_of(node: &Node) -> Option<InterruptionRecord> {
    match read_annotation(node.annotations.get(INTERRUPTION_ANNOTATION)?) {
        Annotation::Record(record) => Some(record),
        Annotation::Absent | Annotation::Unknown(_) => None,
    }
}

fn departs(node: &Node) -> bool {
    let is_departure = |key: &str| DEPARTURES.contains(&key);
    node.taints.iter().any(|(key, _, _)| is_departure(key))
}
