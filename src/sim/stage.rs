//! A world in time: its clock, and those who wait for it to change.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::World;
use super::journal::{Call, Service};
use crate::clock::Clock;
use crate::plan::time::Now;

/// A world, its clock, and those who wait for it to change.
#[derive(Debug)]
pub struct Stage {
    world: Mutex<World>,
    clock: Clock,
    changed: watch::Sender<()>,
}

impl Stage {
    /// A stage for this world.
    #[must_use]
    pub fn new(world: World, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            world: Mutex::new(world),
            clock,
            changed: watch::Sender::new(()),
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
        self.changed.send_replace(());
        result
    }

    /// The clock of the world.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Wakes whoever waits for a change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Adds a call to the journal.
    pub(super) fn record(&self, service: Service, verb: &'static str, object: String, status: u16) {
        self.with(|world, now| {
            world.journal.record(Call {
                at: now.at,
                service,
                verb,
                object,
                status,
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
                    () = self.clock.sleep_until(due) => self.with(|_, _| ()),
                    _ = changes.changed() => {}
                },
                None => {
                    // The sender is this very stage's, and lives as long as it.
                    let _ = changes.changed().await;
                }
            }
        }
    }
}
