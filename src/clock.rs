//! The only reader of clocks.
//!
//! Everything else is told the time or waits through here, so that a simulation can run faster than the world: a
//! clock of speed six makes six seconds of one real second, for every wait and every reading alike.
// What is forbidden elsewhere is this module's purpose.
#![allow(clippy::disallowed_methods)]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::plan::time::{Moment, Now, WallTime};

/// Two readings take less than a microsecond, unless somebody else gets the processor in between.
const LONGEST_READING: Duration = Duration::from_millis(10);

/// A machine that never lets two readings follow each other has worse troubles.
const MOST_READINGS: u32 = 5;

/// A pair of clocks that run at the same speed: a monotonic one and one on the wall.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    wall: Wall,
    speed: f64,
}

/// Where the time of day comes from.
#[derive(Clone, Debug)]
enum Wall {
    /// The system's clock, read, not derived, so that a jump of it is seen; only its speed is ours.
    System { at_start: SystemTime },
    /// The monotonic clock, and what somebody has set the other one to besides.
    Simulated {
        at_start: WallTime,
        set_by_millis: Arc<AtomicI64>,
    },
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
            wall: Wall::System {
                at_start: SystemTime::now(),
            },
            speed,
        }
    }

    /// Starts a clock that runs with the runtime's own time, which a simulation has stopped and lets jump from one event to the next;
    /// `at_start` is the time of day.
    #[must_use]
    pub fn simulated(at_start: WallTime) -> Self {
        Self {
            started: Instant::now(),
            wall: Wall::Simulated {
                at_start,
                set_by_millis: Arc::default(),
            },
            speed: 1.0,
        }
    }

    /// The same clock as another machine has it, whose time of day differs by this much.
    #[must_use]
    pub fn skewed_by(&self, millis: i64) -> Self {
        let wall = match &self.wall {
            Wall::System { at_start } => Wall::System {
                at_start: *at_start,
            },
            Wall::Simulated { at_start, .. } => Wall::Simulated {
                at_start: *at_start,
                set_by_millis: Arc::new(AtomicI64::new(millis)),
            },
        };
        Self {
            started: self.started,
            wall,
            speed: self.speed,
        }
    }

    /// Somebody sets the time of day of this clock and its copies by this much; only a simulated one can be set.
    pub fn set_by(&self, millis: i64) {
        match &self.wall {
            Wall::System { .. } => {}
            Wall::Simulated { set_by_millis, .. } => {
                set_by_millis.fetch_add(millis, Ordering::Relaxed);
            }
        }
    }

    /// Reads both clocks, and again when a busy machine has let so much time pass between the two readings that they do
    /// not belong together: it would look as if the machine had slept.
    #[must_use]
    pub fn now(&self) -> Now {
        let mut readings = 1;
        loop {
            let begins = Instant::now();
            let elapsed = begins
                .saturating_duration_since(self.started)
                .mul_f64(self.speed);
            let now = Now {
                at: Moment::after_origin(elapsed),
                wall: self.wall.read(elapsed, self.speed),
            };
            if begins.elapsed() < LONGEST_READING || readings == MOST_READINGS {
                return now;
            }
            readings += 1;
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

impl Wall {
    fn read(&self, elapsed: Duration, speed: f64) -> WallTime {
        match self {
            Self::System { at_start } => {
                let start = wall_time(*at_start);
                match SystemTime::now().duration_since(*at_start) {
                    Ok(elapsed) => start + elapsed.mul_f64(speed),
                    // It was set back to before the start.
                    Err(error) => start - error.duration().mul_f64(speed),
                }
            }
            Self::Simulated {
                at_start,
                set_by_millis,
            } => {
                let now = *at_start + elapsed;
                WallTime::from_millis(now.millis() + set_by_millis.load(Ordering::Relaxed))
            }
        }
    }
}

/// Has this thread stand still for so long, in real time: for a thread beside the loop, never for the loop's own.
pub fn block_for(duration: Duration) {
    std::thread::sleep(duration);
}

fn wall_time(time: SystemTime) -> WallTime {
    let millis = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    };
    WallTime::from_millis(millis)
}
