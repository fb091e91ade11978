//! The watchdog: a thread that ends the process when the loop stands still, so that the kubelet starts another one.
//!
//! It reads no clock. It counts its own looks, each a fixed wait after the one before: where the machine was suspended or
//! the process stopped, the watchdog stood still as well, and the loop gets the time it always has.

use std::io;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::clock::{self, Clock};
use crate::report::Reporter;

/// The writer thread needs some milliseconds for the last line; nobody is left to wait for it longer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the loop shows that it goes round. When its last copy is dropped, the loop has ended, and so does the watch.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// The loop has gone round once more.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long the loop may stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The wait before each look.
    pub look_every: Duration,
    /// So many looks in a row may find the loop where it was; with the last of them patience ends.
    pub looks: u32,
}

/// A minute. The loop goes round at each poll and each answer to it, so at least once in twelve seconds.
impl Default for Patience {
    fn default() -> Self {
        Self {
            // Each look wakes a processor, and most days there is nothing to see.
            look_every: Duration::from_secs(15),
            looks: 4,
        }
    }
}

impl Patience {
    /// The whole of it.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.look_every * self.looks
    }
}

/// Starts the thread that watches `pulse`. When patience ends, it tells so in one line and aborts the process.
///
/// # Errors
/// When no thread can be had.
pub fn watch(
    pulse: &Pulse,
    patience: Patience,
    reporter: Arc<Reporter>,
    clock: Clock,
) -> io::Result<()> {
    let beats = Arc::downgrade(&pulse.0);
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            if let Ending::StoodStill = keep_watch(&beats, patience, clock::block_for) {
                abort(patience, reporter, clock);
            }
        })?;
    Ok(())
}

/// Why a watch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The loop has ended.
    LoopEnded,
    /// It did not go round any more.
    StoodStill,
}

fn keep_watch(beats: &Weak<AtomicU64>, patience: Patience, wait: impl Fn(Duration)) -> Ending {
    let mut last = None;
    let mut still = 0;
    loop {
        wait(patience.look_every);
        let Some(beats) = beats.upgrade() else {
            return Ending::LoopEnded;
        };
        let count = Some(beats.load(Ordering::Relaxed));
        still = if count == last { still + 1 } else { 0 };
        last = count;
        if still >= patience.looks {
            return Ending::StoodStill;
        }
    }
}

fn abort(patience: Patience, reporter: Arc<Reporter>, clock: Clock) {
    // On a thread of its own: the loop may stand still with something in hand that the report needs.
    let _ = thread::Builder::new().spawn(move || {
        reporter.report_standstill(patience.duration(), clock.now());
    });
    clock::block_for(LAST_WORDS);
    process::abort();
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const PATIENCE: Patience = Patience {
        look_every: Duration::from_secs(15),
        looks: 4,
    };

    /// Watches a loop that goes round before the looks that `goes_round` picks, and ends before the look `ends`.
    fn watch_a_loop(goes_round: impl Fn(u32) -> bool, ends: u32) -> (Ending, u32) {
        let pulse = Pulse::default();
        let beats = Arc::downgrade(&pulse.0);
        let pulse = Cell::new(Some(pulse));
        let looks = Cell::new(0);
        let ending = keep_watch(&beats, PATIENCE, |_| {
            looks.set(looks.get() + 1);
            let alive = pulse.take().filter(|_| looks.get() < ends);
            if let Some(alive) = &alive
                && goes_round(looks.get())
            {
                alive.beat();
            }
            pulse.set(alive);
        });
        (ending, looks.get())
    }

    #[test]
    fn a_loop_that_stands_still_from_the_start_is_given_up_after_a_minute() {
        assert_eq!(
            watch_a_loop(|_| false, u32::MAX),
            (Ending::StoodStill, 1 + 4)
        );
        assert_eq!(PATIENCE.duration(), Duration::from_secs(60));
        assert_eq!(Patience::default(), PATIENCE);
    }

    #[test]
    fn a_loop_that_goes_round_once_in_forty_five_seconds_is_let_be_until_it_ends() {
        let once_in_three = |look| look % 3 == 0;
        assert_eq!(
            watch_a_loop(once_in_three, 1_000),
            (Ending::LoopEnded, 1_000)
        );
    }

    #[test]
    fn patience_begins_anew_with_every_round() {
        let until_twenty = |look| look <= 20;
        assert_eq!(
            watch_a_loop(until_twenty, u32::MAX),
            (Ending::StoodStill, 20 + 4)
        );
    }
}
