//! A world in time: its clock, and those who wait for it to change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::World;
use super::journal::{Call, Service};
use crate::clock::Clock;
use crate::plan::time::Now;

/// A world, its clock, and those who wait for it to change.
#[derive(Debug)]
pub struct Stage {
    world: Mutex<World>,
    clock: Clock,
    ripple: Arc<Ripple>,
}

impl Stage {
    /// A stage for this world.
    #[must_use]
    pub fn new(world: World, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            world: Mutex::new(world),
            clock,
            ripple: Arc::default(),
        })
    }

    /// Looks at the world as it is now, or changes it.
    pub fn with<T>(&self, act: impl FnOnce(&mut World, Now) -> T) -> T {
        let result = {
            // A panic under this lock leaves a world that is still whole: its changes are single assignments.
            let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.now();
            world.advance(now);
            act(&mut world, now)
        };
        self.ripple.count.fetch_add(1, Ordering::SeqCst);
        self.ripple.waiting.notify_waiters();
        result
    }

    /// The clock of the world.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Wakes whoever waits for a change.
    pub(super) fn changes(&self) -> Changes {
        let mut changes = Changes {
            ripple: self.ripple.clone(),
            seen: 0,
        };
        changes.mark_unchanged();
        changes
    }

    /// Adds a call to the journal.
    pub(super) fn record(
        &self,
        service: Service,
        verb: &'static str,
        object: String,
        status: u16,
        from: Option<u16>,
    ) {
        self.with(|world, now| {
            world.journal.record(Call {
                at: now.at,
                service,
                verb,
                object,
                status,
                from,
            });
        });
    }

    /// Looks at the world, and changes nothing.
    pub(super) fn look<T>(&self, read: impl FnOnce(&World) -> T) -> T {
        read(&self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets happen what happens by itself, for ever.
    pub async fn keep_time(self: Arc<Self>) {
        let mut changes = self.changes();
        loop {
            let due = self.look(World::next_change);
            match due {
                Some(due) => tokio::select! {
                    biased;
                    () = self.clock.sleep_until(due) => self.with(|_, _| ()),
                    () = changes.changed() => {}
                },
                None => {
                    changes.changed().await;
                }
            }
        }
    }
}

/// How often the world was touched, and who waits for the next time. They are woken in the order in which they began to
/// wait: a watch channel of tokio wakes them in a random one, and a seed would have many stories.
#[derive(Debug, Default)]
struct Ripple {
    count: AtomicU64,
    waiting: Notify,
}

/// What one of those has seen.
#[derive(Debug)]
pub(super) struct Changes {
    ripple: Arc<Ripple>,
    seen: u64,
}

impl Changes {
    /// Waits until something has changed since it was last looked at.
    pub(super) async fn changed(&mut self) {
        let ripple = self.ripple.clone();
        loop {
            let touched = ripple.waiting.notified();
            let count = ripple.count.load(Ordering::SeqCst);
            if count != self.seen {
                self.seen = count;
                return;
            }
            touched.await;
        }
    }

    /// Everything up to now is seen.
    pub(super) fn mark_unchanged(&mut self) {
        self.seen = self.ripple.count.load(Ordering::SeqCst);
    }
}
