//! A machine that slept: its clocks part, and nothing is written until it is known what the time is.

use std::time::Duration;

use super::action::{AttemptId, Outcome, WatchEvent};
use super::node::{Annotation, NodeView};
use super::notice::{Announcement, Interruption};
use super::time::{Moment, Now};

/// The monotonic clock stands still while the machine sleeps, the one on the wall does not. Less than this is a clock
/// being corrected.
const SLEEP: Duration = Duration::from_secs(5);

/// How long the writes wait for the metadata service and the annotation; then it goes on by what is known.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A `Date` has whole seconds, and the reply took its time.
const IMPRECISION: Duration = Duration::from_secs(2);

/// A reading that failed is repeated after this: what broke is mostly a connection that did not survive the sleep.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Both clocks as they were last read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks(Now);

impl Clocks {
    pub(super) const fn new(now: Now) -> Self {
        Self(now)
    }

    /// How long the machine has slept since the last reading, if it seems so. A clock that is set forward looks the
    /// same; one that is set back does not.
    pub(super) fn slept_until(&mut self, now: Now) -> Option<Duration> {
        let before = std::mem::replace(&mut self.0, now);
        let gap = now.wall.since(before.wall);
        let slept = gap.saturating_sub(now.at.since(before.at));
        (slept > SLEEP).then_some(slept)
    }
}

/// The time after a wake in an interruption, until it is known how that stands.
#[derive(Debug)]
pub(super) struct Wake {
    /// How long the machine seems to have slept.
    slept: Duration,
    notice: Reading<Option<Announcement>>,
    node: Reading<Annotation>,
    hold: Hold,
}

/// What is read anew.
#[derive(Debug)]
enum Reading<T> {
    Awaited,
    Heard(T),
}

/// Whether the writes still wait.
#[derive(Debug)]
enum Hold {
    /// They do, and with them everything that would lead to one.
    Holding(Vec<Input>),
    /// They do not: only the notice has not been heard of yet.
    Released,
}

/// What came while the writes waited.
#[derive(Debug)]
pub(super) enum Input {
    Outcome(AttemptId, Outcome),
    Event(AttemptId, WatchEvent),
}

/// How an interruption stands after a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As before.
    Unchanged,
    /// This is left of it, by the server's clock.
    Until(Moment),
    /// Its time has come and gone.
    Over,
}

impl Wake {
    pub(super) fn after(slept: Duration, earlier: Option<Self>) -> Self {
        let (slept_before, inputs) = match earlier {
            Some(wake) => (wake.slept, wake.into_inputs()),
            None => (Duration::ZERO, Vec::new()),
        };
        Self {
            slept: slept_before + slept,
            notice: Reading::Awaited,
            node: Reading::Awaited,
            hold: Hold::Holding(inputs),
        }
    }

    /// Whether the writes still wait.
    pub(super) const fn is_holding(&self) -> bool {
        matches!(self.hold, Hold::Holding(_))
    }

    /// Keeps an input until the writes go on.
    pub(super) fn keep(&mut self, input: Input) {
        if let Hold::Holding(inputs) = &mut self.hold {
            inputs.push(input);
        }
    }

    pub(super) fn handle_notice(&mut self, notice: Option<Announcement>) {
        self.notice = Reading::Heard(notice);
    }

    pub(super) fn handle_node(&mut self, view: NodeView) {
        self.node = Reading::Heard(view.annotation);
    }

    /// Whether the notice has been heard of.
    pub(super) const fn has_heard_notice(&self) -> bool {
        matches!(self.notice, Reading::Heard(_))
    }

    /// Whether everybody has answered.
    pub(super) const fn has_heard_all(&self) -> bool {
        self.has_heard_notice() && matches!(self.node, Reading::Heard(_))
    }

    /// Lets the writes go on, and gives back what came meanwhile.
    pub(super) fn release(&mut self) -> Vec<Input> {
        match std::mem::replace(&mut self.hold, Hold::Released) {
            Hold::Holding(inputs) => inputs,
            Hold::Released => Vec::new(),
        }
    }

    fn into_inputs(mut self) -> Vec<Input> {
        self.release()
    }

    /// How the interruption stands, as far as it has been heard.
    ///
    /// A reply with a notice has the server's own time beside it, which a clock that was merely set forward cannot
    /// confuse: what is left of D by that is less than the monotonic clock says by as long as the machine slept. A notice
    /// that is gone has been carried out when the sleep was longer than what was left, or when the record that was
    /// written has been taken back.
    pub(super) fn standing(
        &self,
        interruption: &Interruption,
        record: Recording,
        now: Moment,
    ) -> Standing {
        let Reading::Heard(notice) = &self.notice else {
            return Standing::Unchanged;
        };
        let left = interruption.deadline.since(now);
        let left_to_time = interruption.acts_at().min(interruption.deadline).since(now);
        match notice.as_ref().map(|notice| notice.server_date) {
            Some(None) => Standing::Unchanged,
            Some(Some(date)) => {
                let left_there = interruption.deadline_wall.since(date);
                if left_there.is_zero() && left > IMPRECISION {
                    Standing::Over
                } else if left_there + IMPRECISION < left {
                    Standing::Until(now + left_there)
                } else {
                    Standing::Unchanged
                }
            }
            None => {
                let is_gone = matches!(self.node, Reading::Heard(Annotation::Absent));
                if self.slept >= left_to_time || is_gone && record == Recording::Written {
                    Standing::Over
                } else {
                    Standing::Unchanged
                }
            }
        }
    }
}

/// Whether this process knows its interruption to be recorded on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recording {
    /// It was.
    Written,
    /// Not yet, or it never will be.
    Unwritten,
}
