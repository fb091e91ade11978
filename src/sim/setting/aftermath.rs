//! What is left of earlier interruptions, and how a node outlives this one.

use std::time::Duration;

use super::{Deed, Dice, Happening, Setting};
use crate::annotation::{
    EXCLUSION_LABEL, INTERRUPTION_ANNOTATION, read_annotation, write_annotation,
};
use crate::plan::id::{BootId, InstanceId, NoticeId};
use crate::plan::node::{Annotation, CordonOwner, InterruptionRecord};
use crate::plan::notice::{InterruptionAction, Machine};
use crate::plan::time::{Moment, WallTime};
use crate::sim::faults::Spell;
use crate::sim::journal::Service;
use crate::sim::metadata::ScheduledNotice;
use crate::sim::node::Node;

/// A time of day long before every simulated one: 2026-12-31.
const EARLIER: WallTime = WallTime::from_millis(1_798_700_000_000);

/// Five minutes past EC2's time a node has been spared; as long again for clocks that are wrong.
const SPARED_AFTER: Duration = Duration::from_mins(10);

/// An agent that was refused again and again tries at least this often.
const RETRIES_TAKE: Duration = Duration::from_mins(7);

impl Setting {
    /// When everything is over: some time after EC2 acts, or, on a node that outlives that, when the last of what was
    /// done to it should have been undone.
    #[must_use]
    pub fn ends(&self) -> Moment {
        let announced = self.notice.takes_effect();
        let is_outlived = self.happens(|_, happening| {
            matches!(
                happening,
                Happening::Sleep { .. }
                    | Happening::Reboot { .. }
                    | Happening::World(Deed::NoticeWithdrawn)
            )
        });
        if !is_outlived {
            return announced;
        }
        let spells = self.spells.iter().map(|spell| spell.until);
        let happenings = self.happenings.iter().map(|(at, _)| *at);
        let settled = spells.chain(happenings).max().unwrap_or(announced);
        (announced + SPARED_AFTER).max(settled) + RETRIES_TAKE
    }

    /// The record that an earlier interruption left on the node, if this version understands it.
    #[must_use]
    pub fn left_behind(&self) -> Option<InterruptionRecord> {
        let text = self.node.annotations.get(INTERRUPTION_ANNOTATION)?;
        match read_annotation(text) {
            Annotation::Record(record) => Some(record),
            Annotation::Absent | Annotation::Unknown(_) => None,
        }
    }

    /// By how much the node's clock may be off at most.
    #[must_use]
    pub fn clock_error(&self) -> Duration {
        let set = self
            .happenings
            .iter()
            .map(|(_, happening)| match happening {
                Happening::ClockSet(millis) => millis.unsigned_abs(),
                Happening::Crash { .. }
                | Happening::Stop
                | Happening::SecondAgent
                | Happening::Sleep { .. }
                | Happening::Reboot { .. }
                | Happening::World(_) => 0,
            });
        Duration::from_millis(self.skew_millis.unsigned_abs() + set.sum::<u64>())
    }
}

impl Dice {
    /// Something of an earlier interruption, now and then.
    pub(super) fn leave_behind(&mut self, node: &mut Node) {
        let text = match self.0.u8(..100) {
            0..6 => self.record(InstanceId::new("i-00000000000000001"), "boot-0", node),
            6..9 => self.record(Setting::instance_id(), "boot-0", node),
            9..11 => self.record(Setting::instance_id(), "boot-1", node),
            11..13 => "{\"v\":2,\"noticeId\":\"of another version\"}".to_owned(),
            _ => return,
        };
        node.annotations
            .insert(INTERRUPTION_ANNOTATION.to_owned(), text);
    }

    fn record(&mut self, instance: InstanceId, boot: &str, node: &mut Node) -> String {
        let action = InterruptionAction::Stop;
        let label_before = node.labels.get(EXCLUSION_LABEL).cloned();
        let cordon = if node.unschedulable || self.chance(20) {
            CordonOwner::Another
        } else {
            CordonOwner::Us
        };
        node.unschedulable |= cordon == CordonOwner::Us;
        if label_before.as_deref().is_none_or(|value| value == "false") {
            node.labels
                .insert(EXCLUSION_LABEL.to_owned(), "true".to_owned());
        }
        write_annotation(&InterruptionRecord {
            notice_id: NoticeId::of(Machine::Instance(&instance), action, Some(EARLIER)),
            action,
            time: Some(EARLIER),
            deadline: EARLIER,
            instance_id: Some(instance),
            boot_id: Some(BootId::new(boot)),
            cordon,
            label_before,
        })
    }

    /// How the node outlives the interruption, when it does, and what else happens then.
    pub(super) fn outlive(
        &mut self,
        notice: ScheduledNotice,
        happenings: &mut Vec<(Moment, Happening)>,
        spells: &mut Vec<Spell>,
    ) {
        let is_asleep = notice.action == InterruptionAction::Hibernate && self.chance(50);
        if !is_asleep && !self.chance(12) {
            return;
        }
        let acts_at = notice.takes_effect();
        let about = acts_at + Duration::from_secs(20);
        let at = notice.appears + self.seconds(0, about.since(notice.appears).as_secs());
        let asleep = if self.chance(30) {
            self.seconds(6, 60)
        } else {
            self.seconds(60, 7_200)
        };
        let happening = match self.0.u8(..10) {
            _ if is_asleep => Happening::Sleep { asleep },
            0..4 => Happening::World(Deed::NoticeWithdrawn),
            4..8 => Happening::Sleep { asleep },
            _ => Happening::Reboot {
                asleep,
                back_after: self.seconds(1, 60),
            },
        };
        happenings.push((at, happening));
        if self.chance(20) {
            let taint = self.of(&["karpenter.sh/disrupted", "ToBeDeletedByClusterAutoscaler"]);
            let tainted = at + self.seconds(0, 300);
            happenings.push((tainted, Happening::World(Deed::Tainted(taint))));
        }
        if self.chance(20) {
            let back_after = self.seconds(0, 20);
            let crashed = at + self.seconds(0, 330);
            happenings.push((crashed, Happening::Crash { back_after }));
        }
        if self.chance(20) {
            let touched = at + self.seconds(0, 310);
            happenings.push((touched, Happening::World(Deed::NodeTouched)));
        }
        if self.chance(30) {
            let mut spell = self.spell(acts_at);
            spell.service = self.of(&[Service::Kubernetes, Service::Metadata]);
            let length = spell.until.since(spell.from);
            spell.from = acts_at + self.seconds(240, 320);
            spell.until = spell.from + length;
            spells.push(spell);
        }
        happenings.sort_by_key(|(at, _)| *at);
    }
}
