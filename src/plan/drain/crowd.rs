//! When the API server has others to serve: pods that have time are evicted over some of it.
//!
//! A zone that is interrupted sends all its agents to one server within a second, and each of them alone would have its
//! evictions made at once. Those of a node that is interrupted alone are: nothing here acts before the pods are seen late.

use std::collections::BTreeSet;
use std::time::Duration;

use super::passage::{Pod, Urgency};
use super::{Drain, Pace};
use crate::plan::fact::Fact;
use crate::plan::id::PodUid;
use crate::plan::pod::PodProgress;
use crate::plan::sight::LIST_PATIENCE;
use crate::plan::task::Agenda;
use crate::plan::time::Moment;

/// Of the time that a pod can wait without losing any of its grace period, one part in so many is used: what is left is for
/// refusals, and for whoever takes the pod's place.
const PART_OF_SLACK: u32 = 4;

/// A quarter of the slack of a pod with the usual grace period: 120 s − 8 s − 30 s leave 82 s. However much time there is,
/// first calls are due so long after the notice.
const LONGEST: Duration = Duration::from_secs(20);

/// A LIST on a new connection takes three round trips (TCP, TLS 1.3, the LIST), and six more until a window that doubles
/// from ten segments has let 1.4 MB through, which is 250 pods (measured). An easy question on an old one takes one.
const ROUND_TRIPS: u32 = 9;

/// The server's own time for a LIST: milliseconds, or tens of them for 250 pods (measured). This is ten times as much.
const OF_ITS_OWN: Duration = Duration::from_millis(250);

impl Pod {
    /// How long its first call may be put off for others.
    fn patience(&self, now: Moment) -> Duration {
        match self.view.progress {
            // Nobody misses a pod that does not serve.
            PodProgress::Pending | PodProgress::NotReady => Duration::ZERO,
            PodProgress::Ready | PodProgress::Finished => {
                self.window.whole_until().since(now) / PART_OF_SLACK
            }
        }
    }

    /// The deadline has moved closer, and what the pod can wait with it.
    pub(super) fn hasten(&mut self, now: Moment) {
        self.put_off_to = self.put_off_to.map(|to| to.min(now + self.patience(now)));
    }
}

impl Drain {
    /// The pods were listed for the first time, and that took so long: if others are being served, first calls that can
    /// wait are spread, in the order of their urgency.
    ///
    /// One that took too long for that was with a server that hung, and is back: no pod waits any longer then.
    pub(super) fn make_room(&mut self, listed_in: Duration, agenda: &mut Agenda, now: Moment) {
        let Some(quickest) = self.terms.quickest_answer else {
            return;
        };
        let usual = quickest * ROUND_TRIPS + OF_ITS_OWN;
        let is_crowded = usual < listed_in && listed_in < LIST_PATIENCE;
        let over = (self.first_seen + LONGEST).since(now);
        if !is_crowded || over.is_zero() || self.terms.pace == Pace::AtOnce {
            return;
        }
        let (at_once, can_wait): (BTreeSet<_>, BTreeSet<_>) = std::mem::take(&mut self.ready)
            .into_iter()
            .partition(|(_, uid)| {
                let pod = self.pods.get(uid);
                pod.is_none_or(|pod| pod.patience(now).is_zero())
            });
        self.ready = at_once;
        if can_wait.is_empty() {
            return;
        }
        let draw = |_: &(Urgency, PodUid)| agenda.jitter().up_to(over);
        let mut moments: Vec<Duration> = can_wait.iter().map(draw).collect();
        moments.sort();
        for ((_, uid), moment) in can_wait.into_iter().zip(moments) {
            if let Some(pod) = self.pods.get_mut(&uid) {
                // Drawn from its own share, so that those who can wait for less do not all come at the end of it.
                let share = pod.patience(now).min(over).div_duration_f64(over);
                pod.put_off_to = Some(now + moment.mul_f64(share));
            }
            self.line_up(&uid, agenda, now);
        }
        agenda.tell(Fact::DrainSpread { listed_in, over });
    }
}
