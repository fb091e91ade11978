//! A load balancer controller at its work: what its bindings show of it, and how long it is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Terms;
use super::group::Word;
use crate::plan::binding::{Binding, NamespacedName};
use crate::plan::notice::Interruption;
use crate::plan::time::{Moment, WallTime};

/// A controller that sees the label gets to its first group within this time.
const FIRST_GROUP: Duration = Duration::from_secs(2);

/// And does each further one in this: its own limit is four calls a second, one a group
/// (<https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/main/docs/deploy/configurations.md>).
const EACH_GROUP: Duration = Duration::from_millis(300);

/// A controller whose bindings do not move for this long does not work.
const STANDSTILL: Duration = Duration::from_secs(10);

/// A checkpoint that is written so soon after the label may be of work that had begun without it: two calls, at the
/// controller's own four a second with three workers, and its informer.
const WORK_UNDER_WAY: Duration = Duration::from_secs(2);

/// With less time left its groups are not left to it: what it has not done by then takes a call each.
const TIME_FOR_DIRECT_CALLS: Duration = Duration::from_secs(40);

/// What is seen of the controller since the node carries the label.
#[derive(Debug)]
pub(super) struct ControllerWatch {
    begun: Moment,
    /// The same in the balancer's time.
    begun_wall: WallTime,
    last_movement: Moment,
    /// The checkpoint each binding had when it was first listed.
    first: BTreeMap<NamespacedName, Option<WallTime>>,
    /// Bindings whose checkpoint has moved.
    moved: BTreeMap<NamespacedName, WallTime>,
    /// Checkpoints of work that had begun before the label: the node was still registered.
    dismissed: BTreeMap<NamespacedName, WallTime>,
    /// Bindings that had no checkpoint when they were last listed: it is taken away while they are worked on.
    at_work: BTreeSet<NamespacedName>,
}

impl ControllerWatch {
    pub(super) fn begin(interruption: &Interruption, now: Moment) -> Self {
        Self {
            begun: now,
            begun_wall: interruption.deadline_wall - interruption.deadline.since(now),
            last_movement: now,
            first: BTreeMap::new(),
            moved: BTreeMap::new(),
            dismissed: BTreeMap::new(),
            at_work: BTreeSet::new(),
        }
    }

    /// Whether so much time is left that leaving groups to it costs nothing.
    pub(super) fn is_worth_waiting_for(terms: &Terms, now: Moment) -> bool {
        now + TIME_FOR_DIRECT_CALLS < terms.deadline
    }

    /// How long it is waited for as things stand now, when so many groups are its.
    ///
    /// One that has shown that it works is waited for as long as it does: nodes that go within a few seconds of each
    /// other have it begin anew with each, and what is asked for beside it is taken from its own bucket.
    pub(super) fn until(&self, groups: usize, terms: &Terms) -> Moment {
        let patience = if self.moved.is_empty() {
            let groups = u32::try_from(groups).unwrap_or(u32::MAX);
            let all_done = self.begun + FIRST_GROUP + EACH_GROUP * groups;
            all_done.min(self.begun + STANDSTILL)
        } else {
            self.last_movement + STANDSTILL
        };
        patience.min(terms.deadline - TIME_FOR_DIRECT_CALLS)
    }

    /// Whether it has shown that it works, and not stood still since.
    pub(super) fn goes_on(&self, terms: &Terms, now: Moment) -> bool {
        !self.moved.is_empty() && now < self.until(0, terms)
    }

    /// Whether the controller has brought this binding up to date since the node carries the label.
    ///
    /// Its own clock may be off, so that a checkpoint that changed counts as well as one of a later time.
    pub(super) fn has_passed(&mut self, binding: &Binding, now: Moment) -> bool {
        let first = *self
            .first
            .entry(binding.name.clone())
            .or_insert(binding.checkpoint);
        let Some(checkpoint) = binding.checkpoint else {
            self.at_work.insert(binding.name.clone());
            return false;
        };
        if self.dismissed.get(&binding.name) == Some(&checkpoint) {
            return false;
        }
        let has_passed = Some(checkpoint) != first || checkpoint > self.begun_wall;
        if has_passed && self.moved.insert(binding.name.clone(), checkpoint) != Some(checkpoint) {
            self.last_movement = now;
        }
        has_passed
    }

    /// Whether the controller's work on this binding surely began when the node carried the label. A call that is
    /// throttled can take it any time, and then it has been seen at work.
    pub(super) fn word(&mut self, binding: &Binding) -> Word {
        let was_at_work = self.at_work.contains(&binding.name);
        match binding.checkpoint {
            Some(checkpoint) if checkpoint > self.begun_wall + WORK_UNDER_WAY && !was_at_work => {
                Word::Good
            }
            Some(_) | None => Word::Doubtful,
        }
    }

    /// The node is still registered: the binding's checkpoint has to move once more.
    pub(super) fn dismiss(&mut self, binding: &NamespacedName) {
        if let Some(checkpoint) = self.moved.get(binding) {
            self.dismissed.insert(binding.clone(), *checkpoint);
            self.at_work.remove(binding);
        }
    }
}
