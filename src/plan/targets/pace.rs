//! How often an agent asks for a deregistration, out of a bucket that it shares with agents of which it knows nothing.

use std::time::Duration;

use crate::plan::task::Jitter;
use crate::plan::time::Moment;

/// The account lets four through each second: after the first refusal an agent alone would be let through this much later.
const SHORTEST: Duration = Duration::from_millis(250);

/// Half of it on average: ten agents that ask this seldom take all that the bucket lets through, and a longer one would
/// leave some of that unused.
const LONGEST: Duration = Duration::from_secs(5);

/// Full jitter over an interval that each refusal makes half as long again and each deregistration halves: of three requests
/// two are refused then, however many ask, and the bucket never fills.
#[derive(Debug)]
pub(super) struct Pace {
    /// None as long as nothing is refused.
    interval: Option<Duration>,
    next: Moment,
    /// No later turn is given: it would come too late.
    last: Moment,
    /// When the interval was lengthened last.
    lengthened: Moment,
}

/// Whether one more may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    At(Moment),
    /// The time is up.
    Never,
}

impl Pace {
    pub(super) const fn until(last: Moment) -> Self {
        Self {
            interval: None,
            next: Moment::ORIGIN,
            last,
            lengthened: Moment::ORIGIN,
        }
    }

    /// The deadline has moved closer, and the next turn with it.
    pub(super) fn tighten(&mut self, last: Moment) {
        self.last = last;
        self.next = self.next.min(last);
    }

    /// When the next one may ask.
    pub(super) fn turn(&self, now: Moment) -> Turn {
        match self.interval {
            None => Turn::Now,
            Some(_) if self.next.max(now) > self.last => Turn::Never,
            Some(_) if self.next <= now => Turn::Now,
            Some(_) => Turn::At(self.next),
        }
    }

    /// One asks.
    pub(super) fn handle_begun(&mut self, jitter: &mut Jitter, now: Moment) {
        if let Some(interval) = self.interval {
            self.draw(interval, jitter, now);
        }
    }

    /// One that asked at `asked` was refused: those that ask together are refused together, for one and the same reason.
    pub(super) fn handle_throttled(&mut self, asked: Moment, jitter: &mut Jitter, now: Moment) {
        if self.interval.is_some() && asked <= self.lengthened {
            return;
        }
        let interval = self
            .interval
            .map_or(SHORTEST, |interval| (interval * 3 / 2).min(LONGEST));
        self.interval = Some(interval);
        self.lengthened = now;
        self.draw(interval, jitter, now);
    }

    /// One was let through.
    pub(super) fn handle_accepted(&mut self) {
        self.interval = self
            .interval
            .map(|interval| interval / 2)
            .filter(|interval| *interval >= SHORTEST);
    }

    /// One that had its turn had nothing to ask for.
    pub(super) fn handle_unneeded(&mut self, now: Moment) {
        self.next = self.next.min(now);
    }

    /// The shorter the time that is left, the sooner: the last requests are spread over it.
    fn draw(&mut self, interval: Duration, jitter: &mut Jitter, now: Moment) {
        let left = self.last.since(now);
        let longest = if left > SHORTEST {
            interval.min(left)
        } else {
            interval
        };
        self.next = now + jitter.up_to(longest);
    }
}
