//! How many calls for pods may be in flight: as many as the API server takes gladly.

use std::time::Duration;

use crate::plan::action::{Failure, FailureKind};
use crate::plan::time::Moment;

/// An eviction takes about 100 ms in the server whatever the load (measured), so this begins 320 a second.
const FIRST: usize = 32;

/// So many are left to a server in trouble: one every quarter of a second when each takes one.
const LEAST: usize = 4;

/// A call that takes longer than ten of its kind has waited for others.
const SLOW: Duration = Duration::from_secs(1);

/// One bad second is one piece of news, however many calls bring it.
const HALVING_INTERVAL: Duration = Duration::from_secs(2);

/// So many more are allowed with every second after a halving.
const RECOVERY_A_SECOND: u32 = 2;

/// The number of calls that may be in flight: one more with each success, half as many at a sign of distress, and from
/// then on slowly more.
#[derive(Debug)]
pub(super) struct Flow {
    allowed: usize,
    most: usize,
    halved: Option<Moment>,
}

impl Flow {
    /// A flow that never exceeds `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            allowed: FIRST.min(most),
            most,
            halved: None,
        }
    }

    /// How many calls may be in flight.
    pub(super) fn allowed(&self, now: Moment) -> usize {
        let recovered = self.halved.map_or(0, |halved| {
            let seconds = now.since(halved).as_millis() * u128::from(RECOVERY_A_SECOND) / 1_000;
            usize::try_from(seconds).unwrap_or(usize::MAX)
        });
        self.allowed.saturating_add(recovered).min(self.most)
    }

    /// A call was accepted that was sent at `sent`.
    pub(super) fn handle_success(&mut self, sent: Moment, now: Moment) {
        if now.since(sent) > SLOW {
            self.halve(sent, now);
        } else if self.halved.is_none() {
            self.allowed = (self.allowed + 1).min(self.most);
        }
    }

    /// A call failed that was sent at `sent`.
    pub(super) fn handle_failure(&mut self, failure: &Failure, sent: Moment, now: Moment) {
        let is_distress = matches!(
            failure.kind,
            FailureKind::Throttled(_) | FailureKind::ServerError | FailureKind::TimedOut
        );
        if is_distress || now.since(sent) > SLOW {
            self.halve(sent, now);
        }
    }

    /// What was sent before the last halving tells of the server as it was then.
    fn halve(&mut self, sent: Moment, now: Moment) {
        if self
            .halved
            .is_some_and(|halved| now < halved + HALVING_INTERVAL || sent < halved)
        {
            return;
        }
        self.allowed = (self.allowed(now) / 2).max(LEAST.min(self.most));
        self.halved = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttled() -> Failure {
        Failure {
            kind: FailureKind::Throttled(None),
            http_status: Some(429),
            text: "too many requests".to_owned(),
        }
    }

    #[test]
    fn each_success_allows_one_more_up_to_the_most() {
        let mut flow = Flow::new(34);
        assert_eq!(flow.allowed(Moment::ORIGIN), 32);
        for _ in 0..5 {
            flow.handle_success(Moment::ORIGIN, Moment::ORIGIN);
        }
        assert_eq!(flow.allowed(Moment::ORIGIN), 34);
        assert_eq!(Flow::new(2).allowed(Moment::ORIGIN), 2);
    }

    #[test]
    fn distress_halves_once_in_two_seconds_and_two_a_second_come_back() {
        let mut flow = Flow::new(64);
        for _ in 0..10 {
            flow.handle_failure(&throttled(), Moment::ORIGIN, Moment::ORIGIN);
        }
        assert_eq!(flow.allowed(Moment::ORIGIN), 16);
        flow.handle_success(Moment::ORIGIN, Moment::ORIGIN);
        assert_eq!(flow.allowed(Moment::ORIGIN), 16);
        assert_eq!(flow.allowed(Moment::at_secs(1)), 18);
        let later = Moment::at_secs(2);
        assert_eq!(flow.allowed(later), 20);
        flow.handle_failure(&throttled(), later, later);
        assert_eq!(flow.allowed(later), 10);
        assert_eq!(flow.allowed(Moment::at_secs(100)), 64);
    }

    #[test]
    fn answers_to_what_was_sent_before_a_halving_halve_no_further() {
        let mut flow = Flow::new(64);
        let at = Moment::at_secs;
        flow.handle_success(at(0), at(10));
        assert_eq!(flow.allowed(at(10)), 16);
        flow.handle_success(at(9), at(19));
        assert_eq!(flow.allowed(at(19)), 34);
        flow.handle_success(at(11), at(21));
        assert_eq!(flow.allowed(at(21)), 19);
    }

    #[test]
    fn a_server_in_trouble_is_left_four_calls() {
        let mut flow = Flow::new(64);
        for second in (0..20).step_by(2) {
            let now = Moment::at_secs(second);
            flow.handle_failure(&throttled(), now, now);
        }
        let now = Moment::at_secs(18);
        assert!(
            (4..=8).contains(&flow.allowed(now)),
            "{}",
            flow.allowed(now)
        );
        let mut small = Flow::new(2);
        small.handle_failure(&throttled(), now, now);
        assert_eq!(small.allowed(now), 2);
    }

    #[test]
    fn a_slow_answer_is_distress_whatever_it_says_and_a_refusal_is_none() {
        let after = Moment::ORIGIN + Duration::from_millis(1_001);
        let mut flow = Flow::new(64);
        flow.handle_success(Moment::ORIGIN, after);
        assert_eq!(flow.allowed(after), 16);
        let refusal = Failure {
            kind: FailureKind::BlockedByBudget,
            ..throttled()
        };
        let mut flow = Flow::new(64);
        flow.handle_failure(&refusal, Moment::ORIGIN, Moment::ORIGIN);
        assert_eq!(flow.allowed(Moment::ORIGIN), 32);
        flow.handle_failure(&refusal, Moment::ORIGIN, after);
        assert_eq!(flow.allowed(after), 16);
    }
}
