//! The only reader of clocks.
//!
//! Everything else is told the time or waits through here, so that a simulation can run faster than the world: a
//! clock of speed six makes six seconds of one real second, for every wait and every reading alike.
// What is forbidden elsewhere is this module's purpose.
#![allow(clippy::disallowed_methods)]

use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::plan::time::{Moment, Now, WallTime};

/// A pair of clocks that run at the same speed: a monotonic one and one on the wall.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    wall_at_start: SystemTime,
    speed: f64,
}

/// A wait that ended before what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time allowed for it ran out")]
pub struct Elapsed;

impl Clock {
    /// Starts a clock that keeps real time.
    #[must_use]
    pub fn real() -> Self {
        Self::at_speed(1.0)
    }

    /// Starts a clock on which `speed` seconds pass in each real one.
    #[must_use]
    pub fn at_speed(speed: f64) -> Self {
        Self {
            started: Instant::now(),
            wall_at_start: SystemTime::now(),
            speed,
        }
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let elapsed = Instant::now()
            .saturating_duration_since(self.started)
            .mul_f64(self.speed);
        // The wall clock is read, not derived, so that a jump of it is seen; only its speed is ours.
        let wall_elapsed = SystemTime::now()
            .duration_since(self.wall_at_start)
            .map_or(Duration::ZERO, |elapsed| elapsed.mul_f64(self.speed));
        Now {
            at: Moment::after_origin(elapsed),
            wall: wall_time(self.wall_at_start) + wall_elapsed,
        }
    }

    /// Waits until `moment` on this clock; returns at once when it has passed.
    pub async fn sleep_until(&self, moment: Moment) {
        let real = moment.since_origin().div_f64(self.speed);
        tokio::time::sleep_until(self.started + real).await;
    }

    /// Waits for `duration` on this clock.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration.div_f64(self.speed)).await;
    }

    /// Waits for `future`, at most until `moment`.
    ///
    /// # Errors
    /// When the moment came first. The future is dropped then.
    pub async fn until<F: Future>(&self, moment: Moment, future: F) -> Result<F::Output, Elapsed> {
        let real = moment.since_origin().div_f64(self.speed);
        tokio::time::timeout_at(self.started + real, future)
            .await
            .map_err(|_| Elapsed)
    }
}

fn wall_time(time: SystemTime) -> WallTime {
    let millis = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    };
    WallTime::from_millis(millis)
}
