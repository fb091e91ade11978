//! When the API server has others to serve: pods that have time are evicted over some of it.
//!
//! A zone that is interrupted sends all its agents to one server within a second, and each of them alone would have its
//! evictions made at once. Those of a node that is interrupted alone are: nothing here acts before the server is slow.

use std::time::Duration;

use super::passage::Pod;
use super::{Drain, Pace};
use crate::plan::fact::Fact;
use crate::plan::sight::LIST_PATIENCE;
use crate::plan::task::Agenda;
use crate::plan::time::Moment;

/// Of the time that a pod can wait without losing any of its grace period, one part in so many is used: what is left is for
/// refusals, and for whoever takes the pod's place.
const PART_OF_SLACK: u32 = 4;

/// A quarter of the slack of a pod with the usual grace period: 120 s − 8 s − 30 s leave 82 s. However much time there is,
/// first calls have been made so long after the notice.
const LONGEST: Duration = Duration::from_secs(20);

/// A LIST on a new connection takes three round trips (TCP, TLS 1.3, the LIST), an easy question on an old one takes one.
const ROUND_TRIPS: u32 = 3;

/// The server's own time for a LIST: milliseconds, or tens of them for 250 pods (measured). This is ten times as much.
const OF_ITS_OWN: Duration = Duration::from_millis(250);

/// Whether the server has been seen to have others to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    Unseen,
    /// First calls are spread up to then.
    Until(Moment),
}

impl Drain {
    /// A LIST was answered: how long that took tells whether others are being served. One that took too long for that was
    /// with a server that hung, and is back.
    pub(super) fn heed_crowd(&mut self, asked: Moment, agenda: &mut Agenda, now: Moment) {
        let Some(quickest) = self.terms.quickest_answer else {
            return;
        };
        let listed_in = now.since(asked);
        let until = self.first_seen + LONGEST;
        let is_slow = listed_in > quickest * ROUND_TRIPS + OF_ITS_OWN;
        let is_crowded = is_slow && listed_in < LIST_PATIENCE && now < until;
        match (self.crowd, self.terms.pace) {
            (Crowd::Unseen, Pace::ToTheDeadline) if is_crowded => {
                self.crowd = Crowd::Until(until);
                agenda.tell(Fact::DrainSpread {
                    listed_in,
                    over: until.since(now),
                });
            }
            (Crowd::Unseen, Pace::ToTheDeadline | Pace::AtOnce) | (Crowd::Until(_), _) => {}
        }
    }
}

impl Crowd {
    /// When a pod's turn comes; none when that is at once. It is drawn once for each pod and deadline.
    pub(super) fn turn(self, pod: &mut Pod, agenda: &mut Agenda, now: Moment) -> Option<Moment> {
        let Self::Until(until) = self else {
            return None;
        };
        let part = pod.window.whole_until().since(now) / PART_OF_SLACK;
        let most = part.min(until.since(now));
        let turn = pod
            .turn
            .get_or_insert_with(|| now + agenda.jitter().up_to(most));
        Some(*turn)
    }
}
