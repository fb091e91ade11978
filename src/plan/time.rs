//! Points in time as the core sees them: one monotonic, one on the wall.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the process's own monotonic clock, counted from the moment that clock was made.
///
/// It may lie before that origin: the last useful moment to evict a pod with a long grace period often does when
/// the agent starts in the middle of an interruption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    nanos: i64,
}

impl Moment {
    /// The moment the clock was made.
    pub const ORIGIN: Self = Self { nanos: 0 };

    /// The moment `seconds` after the origin.
    #[must_use]
    pub const fn at_secs(seconds: i64) -> Self {
        Self {
            nanos: seconds * NANOS_PER_SECOND,
        }
    }

    /// The moment `elapsed` after the origin.
    #[must_use]
    pub fn after_origin(elapsed: Duration) -> Self {
        Self::ORIGIN + elapsed
    }

    /// How long after the origin this is; zero when it lies before it.
    #[must_use]
    pub fn since_origin(self) -> Duration {
        self.since(Self::ORIGIN)
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(
            self.nanos
                .saturating_sub(earlier.nanos)
                .try_into()
                .unwrap_or(0),
        )
    }

    /// Seconds from `now` until this moment, negative when it has passed.
    #[must_use]
    pub fn seconds_from(self, now: Self) -> f64 {
        // Two minutes in nanoseconds need 37 bits: exact in a double's 53.
        #[allow(clippy::cast_precision_loss)]
        let nanos = self.nanos.saturating_sub(now.nanos) as f64;
        nanos / 1e9
    }

    /// Whole seconds from `now` until this moment, rounded up; negative or zero when it has passed.
    #[must_use]
    pub fn whole_seconds_from(self, now: Self) -> i64 {
        let nanos = self.nanos.saturating_sub(now.nanos);
        nanos.div_euclid(NANOS_PER_SECOND) + i64::from(nanos.rem_euclid(NANOS_PER_SECOND) > 0)
    }
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;

fn nanos(duration: Duration) -> i64 {
    duration.as_nanos().try_into().unwrap_or(i64::MAX)
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self {
            nanos: self.nanos.saturating_add(nanos(duration)),
        }
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(nanos(duration)),
        }
    }
}

/// A time of day in UTC, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime {
    millis: i64,
}

impl WallTime {
    /// The time `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self { millis }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.millis
    }

    /// Seconds from `earlier` to this time, negative when `earlier` is later.
    #[must_use]
    pub fn seconds_after(self, earlier: Self) -> f64 {
        // Milliseconds since 1970 stay below 2^53 until the year 287396.
        #[allow(clippy::cast_precision_loss)]
        let millis = self.millis.saturating_sub(earlier.millis) as f64;
        millis / 1e3
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(
            self.millis
                .saturating_sub(earlier.millis)
                .try_into()
                .unwrap_or(0),
        )
    }
}

impl WallTime {
    /// How long it is until this time, or the next after it, is a whole multiple of `interval` since the Unix epoch.
    #[must_use]
    pub fn until_next(self, interval: Duration) -> Duration {
        let millis = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        let past = self.millis.rem_euclid(millis.max(1));
        let left = if past == 0 { 0 } else { millis - past };
        Duration::from_millis(left.try_into().unwrap_or(0))
    }
}

impl Add<Duration> for WallTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = duration.as_millis().try_into().unwrap_or(i64::MAX);
        Self {
            millis: self.millis.saturating_add(millis),
        }
    }
}

impl Sub<Duration> for WallTime {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let millis = duration.as_millis().try_into().unwrap_or(i64::MAX);
        Self {
            millis: self.millis.saturating_sub(millis),
        }
    }
}

/// Both clocks, read together: what every input to the core comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For every wait and every deadline.
    pub at: Moment,
    /// For talking to people and other machines; it may jump.
    pub wall: WallTime,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.seconds_from(Self::ORIGIN))
    }
}
