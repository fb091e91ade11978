//! The arithmetic of the two minutes: from the deadline back to what each pod may still have.

use std::time::Duration;

use super::time::Moment;

/// EC2 gives two minutes between the notice and the reclaim
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>).
pub const LONGEST_NOTICE: Duration = Duration::from_mins(2);

/// What we plan for when the notice is first seen late: enough for one grace period of twelve seconds before the
/// end margin. Shorter plans would only cut every pod.
pub const SHORTEST_PLAN: Duration = Duration::from_secs(20);

/// What we plan for when the notice does not say when: two minutes less what detection and doubt may have cost.
pub const UNTOLD_NOTICE: Duration = Duration::from_secs(100);

/// No eviction begins later than this before the deadline: the report of it might not leave the node any more.
const LAST_START_BEFORE_DEADLINE: Duration = Duration::from_secs(20);

/// The verdict leaves this long before the deadline: log shippers flush every five seconds, and then need the network.
const VERDICT_BEFORE_DEADLINE: Duration = Duration::from_secs(15);

/// A verdict this soon after the beginning says nothing yet.
const VERDICT_AFTER_BEGINNING: Duration = Duration::from_secs(3);

/// Past this point before the deadline a verdict may not leave the node at all.
const VERDICT_AT_LATEST_BEFORE_DEADLINE: Duration = Duration::from_secs(2);

/// Longer than any grace period that somebody means, and still a number of seconds that fits one: 2³¹ s are 68 years.
const NEVER: Duration = Duration::from_secs(1 << 31);

/// A pod's grace period in whole seconds, as the API server uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grace(u32);

impl Grace {
    /// What a pod gets that says nothing
    /// (<https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination>).
    pub const DEFAULT: Self = Self(30);

    /// No time at all: what the kubelet asks for when a pod's containers have stopped.
    pub const NONE: Self = Self(0);

    /// A grace period of `seconds`.
    #[must_use]
    pub const fn from_secs(seconds: u32) -> Self {
        Self(seconds)
    }

    /// A pod's `terminationGracePeriodSeconds`: absent means 30, and the API server makes 1 of a negative one (measured).
    #[must_use]
    pub fn of_spec(seconds: Option<i64>) -> Self {
        match seconds {
            None => Self::DEFAULT,
            Some(..0) => Self(1),
            Some(seconds) => Self(seconds.try_into().unwrap_or(u32::MAX)),
        }
    }

    /// In seconds.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

/// What the operator set about how the time before the deadline is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margins {
    /// Before the deadline every pod should have stopped: the kubelet unmounts, reports and cleans up in that time.
    pub end: Duration,
    /// The same for a pod that mounts a PersistentVolumeClaim: the volume has to be let go as well.
    pub volume: Duration,
    /// The most of a pod's grace period that is insisted on against a disruption budget.
    pub kept_grace: Duration,
}

/// When a pod has to stop, and how late its eviction may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The pod's own grace period.
    pub grace: Grace,
    /// S: the pod should have stopped by then.
    pub stop_by: Moment,
    /// L: the last useful moment to begin; later, the kept grace would be cut.
    pub last_start: Moment,
}

impl Window {
    /// The window of a pod with this grace period: `S = D − margin`, `L = min(S − min(g, kept), D − 20 s)`.
    #[must_use]
    pub fn before(deadline: Moment, grace: Grace, mounts_claim: bool, margins: &Margins) -> Self {
        let margin = if mounts_claim {
            margins.volume
        } else {
            margins.end
        };
        let stop_by = deadline - margin;
        let kept = grace.duration().min(margins.kept_grace);
        Self {
            grace,
            stop_by,
            last_start: (stop_by - kept).min(deadline - LAST_START_BEFORE_DEADLINE),
        }
    }

    /// Until when a stop signal leaves the pod its own grace period, whole.
    #[must_use]
    pub fn whole_until(&self) -> Moment {
        self.stop_by - self.grace.duration()
    }

    /// The same without a moment by which the pod should have stopped: it gets its own grace period, whole.
    #[must_use]
    pub fn without_end(self) -> Self {
        Self {
            stop_by: self.stop_by + NEVER,
            ..self
        }
    }

    /// The `gracePeriodSeconds` that a call made at `now` must carry: what is left until S where the pod's own grace
    /// period is longer than that, else none, so that the pod's own holds.
    ///
    /// Never 0, which removes the object without the kubelet, and never more than the pod's own. Rounded up, so that
    /// a call some milliseconds after L does not take a second of the kept grace.
    #[must_use]
    pub fn grace_to_send(&self, now: Moment) -> Option<Grace> {
        let left = u32::try_from(self.stop_by.whole_seconds_from(now))
            .unwrap_or(0)
            .max(1);
        (self.grace.as_secs() > left).then_some(Grace(left))
    }
}

/// When the verdict about a hibernation is due: the machine may stand still at any moment.
#[must_use]
pub fn verdict_due_at_once(deadline: Moment, begun: Moment) -> Moment {
    (begun + VERDICT_AFTER_BEGINNING).min(deadline - VERDICT_AT_LATEST_BEFORE_DEADLINE)
}

/// When the verdict has to be given though there is still something to do: 15 s before the deadline, but not within
/// 3 s of the beginning, and never later than 2 s before the deadline.
#[must_use]
pub fn verdict_due(deadline: Moment, begun: Moment) -> Moment {
    (deadline - VERDICT_BEFORE_DEADLINE)
        .max(begun + VERDICT_AFTER_BEGINNING)
        .min(deadline - VERDICT_AT_LATEST_BEFORE_DEADLINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARGINS: Margins = Margins {
        end: Duration::from_secs(8),
        volume: Duration::from_secs(15),
        kept_grace: Duration::from_secs(60),
    };

    fn times(left: i64, grace: u32, mounts_claim: bool) -> (i64, i64, Option<u32>) {
        let window = Window::before(Moment::at_secs(left), Grace(grace), mounts_claim, &MARGINS);
        (
            window.stop_by.whole_seconds_from(Moment::ORIGIN),
            window.last_start.whole_seconds_from(Moment::ORIGIN),
            window.grace_to_send(Moment::ORIGIN).map(Grace::as_secs),
        )
    }

    #[test]
    fn the_worked_times_of_a_pod_without_a_claim_hold() {
        assert_eq!(times(120, 0, false), (112, 100, None));
        assert_eq!(times(120, 5, false), (112, 100, None));
        assert_eq!(times(120, 30, false), (112, 82, None));
        assert_eq!(times(120, 60, false), (112, 52, None));
        assert_eq!(times(120, 600, false), (112, 52, Some(112)));
        assert_eq!(times(60, 5, false), (52, 40, None));
        assert_eq!(times(60, 30, false), (52, 22, None));
        assert_eq!(times(60, 60, false), (52, -8, Some(52)));
        assert_eq!(times(30, 0, false), (22, 10, None));
        assert_eq!(times(30, 600, false), (22, -38, Some(22)));
        assert_eq!(times(20, 5, false), (12, 0, None));
        assert_eq!(times(20, 30, false), (12, -18, Some(12)));
    }

    #[test]
    fn the_worked_times_of_a_pod_with_a_claim_hold() {
        assert_eq!(times(120, 30, true), (105, 75, None));
        assert_eq!(times(120, 600, true), (105, 45, Some(105)));
        assert_eq!(times(60, 30, true), (45, 15, None));
        assert_eq!(times(30, 30, true), (15, -15, Some(15)));
        assert_eq!(times(20, 60, true), (5, -55, Some(5)));
    }

    #[test]
    fn a_grace_period_is_never_raised_never_nought_and_never_cut_by_a_call_just_after_l() {
        let window = Window::before(Moment::at_secs(120), Grace(30), false, &MARGINS);
        let just_after = window.last_start + Duration::from_millis(40);
        assert_eq!(window.grace_to_send(just_after), None);
        assert_eq!(
            window.grace_to_send(just_after + Duration::from_secs(1)),
            Some(Grace(29))
        );
        assert_eq!(window.grace_to_send(Moment::at_secs(500)), Some(Grace(1)));
        for grace in [0, 1] {
            let window = Window::before(Moment::at_secs(20), Grace(grace), false, &MARGINS);
            assert_eq!(window.grace_to_send(Moment::at_secs(500)), None);
        }
    }

    #[test]
    fn a_spec_without_a_grace_period_means_thirty_and_a_negative_one_means_one() {
        assert_eq!(Grace::of_spec(None), Grace(30));
        assert_eq!(Grace::of_spec(Some(-1)), Grace(1));
        assert_eq!(Grace::of_spec(Some(0)), Grace(0));
        assert_eq!(Grace::of_spec(Some(i64::MAX)), Grace(u32::MAX));
    }

    #[test]
    fn the_verdict_is_due_fifteen_seconds_before_the_deadline_and_later_only_when_the_notice_was_seen_late()
     {
        let due = |left: i64| {
            verdict_due(Moment::at_secs(left), Moment::ORIGIN).whole_seconds_from(Moment::ORIGIN)
        };
        assert_eq!([due(120), due(60), due(30), due(20)], [105, 45, 15, 5]);
        assert_eq!(due(17), 3);
        assert_eq!(due(4), 2);
    }
}
