//! The only loop: it feeds the core what happened, and does what the core asks for.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{self, AbortHandle, JoinError, JoinSet};

use crate::attempt::{self, Ports, WatchEvents};
use crate::clock::Clock;
use crate::plan::Planner;
use crate::plan::action::{Action, AttemptId, Failure, FailureKind, Outcome, WatchEvent};
use crate::ports::{Balancer, Cluster, Metadata};
use crate::report::{Reporter, Standing};
use crate::watchdog::Pulse;

/// A watch brings at most one event per pod and change; the loop takes them in microseconds. A full queue only makes
/// the watch wait.
const WATCH_QUEUE: usize = 256;

/// The agent: a planner, its ports, its clock and its voice.
#[derive(Debug)]
pub struct Agent<M, C, B> {
    planner: Planner,
    ports: Arc<Ports<M, C, B>>,
    clock: Clock,
    reporter: Arc<Reporter>,
    pulse: Pulse,
    attempts: JoinSet<Outcome>,
    running: HashMap<AttemptId, AbortHandle>,
    names: HashMap<task::Id, AttemptId>,
    watched: mpsc::Receiver<(AttemptId, WatchEvent)>,
    watching: WatchEvents,
}

/// What wakes the loop. Each is one call into the core.
enum Wake {
    Stop,
    Attempt(Result<(task::Id, Outcome), JoinError>),
    Event(AttemptId, WatchEvent),
    Due,
}

impl<M: Metadata, C: Cluster, B: Balancer> Agent<M, C, B> {
    /// Puts the parts together; nothing happens before [`Self::run`].
    pub fn new(
        planner: Planner,
        ports: Ports<M, C, B>,
        clock: Clock,
        reporter: Arc<Reporter>,
    ) -> Self {
        let (watching, watched) = mpsc::channel(WATCH_QUEUE);
        Self {
            planner,
            ports: Arc::new(ports),
            clock,
            reporter,
            pulse: Pulse::default(),
            attempts: JoinSet::new(),
            running: HashMap::new(),
            names: HashMap::new(),
            watched,
            watching,
        }
    }

    /// What shows that the loop goes round, for a watchdog.
    #[must_use]
    pub const fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Runs until the core has stopped as asked: each message on `stops` is one request to stop, and the second ends the loop
    /// at once.
    pub async fn run(mut self, mut stops: mpsc::Receiver<()>) {
        let mut asked = false;
        loop {
            self.pulse.beat();
            self.drain_outputs();
            if self.planner.is_stopped() {
                return;
            }
            match self.wake(&mut stops).await {
                Wake::Stop if asked => return,
                Wake::Stop => {
                    asked = true;
                    self.planner.handle_stop();
                }
                Wake::Attempt(finished) => self.handle_attempt(finished),
                Wake::Event(attempt, event) => {
                    self.planner
                        .handle_watch_event(attempt, event, self.clock.now());
                }
                Wake::Due => self.planner.handle_timeout(self.clock.now()),
            }
        }
    }

    /// Facts first, so that a line about an attempt is written before the attempt is made.
    fn drain_outputs(&mut self) {
        let now = self.clock.now();
        while let Some(fact) = self.planner.poll_fact() {
            let standing = Standing {
                identity: self.planner.identity(),
                interruption: self.planner.interruption(now.at),
                is_resumed: self.planner.is_resumed(),
            };
            self.reporter.report(&fact, &standing, now);
        }
        while let Some(action) = self.planner.poll_action() {
            match action {
                Action::Try {
                    attempt,
                    request,
                    give_up_at,
                } => {
                    let trying = attempt::run(
                        self.ports.clone(),
                        self.clock.clone(),
                        attempt,
                        request,
                        give_up_at,
                        self.watching.clone(),
                    );
                    let handle = self.attempts.spawn(trying);
                    self.names.insert(handle.id(), attempt);
                    self.running.insert(attempt, handle);
                }
                Action::Abandon(attempt) => {
                    if let Some(handle) = self.running.remove(&attempt) {
                        handle.abort();
                    }
                }
            }
        }
    }

    async fn wake(&mut self, stops: &mut mpsc::Receiver<()>) -> Wake {
        let due = self.planner.poll_timeout();
        let clock = &self.clock;
        let timer = async {
            match due {
                Some(moment) => clock.sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        // Each arm only takes what has already happened, so a dropped arm loses nothing.
        tokio::select! {
            biased;
            Some(()) = stops.recv() => Wake::Stop,
            Some(finished) = self.attempts.join_next_with_id(), if !self.attempts.is_empty() => Wake::Attempt(finished),
            Some((attempt, event)) = self.watched.recv() => Wake::Event(attempt, event),
            () = timer => Wake::Due,
        }
    }

    fn handle_attempt(&mut self, finished: Result<(task::Id, Outcome), JoinError>) {
        let (id, outcome) = match finished {
            Ok((id, outcome)) => (id, outcome),
            Err(error) if error.is_cancelled() => {
                self.names.remove(&error.id());
                return;
            }
            // The panic hook has told of it; the drain goes on.
            Err(error) => (
                error.id(),
                Outcome::Failed(Failure {
                    kind: FailureKind::Panicked,
                    http_status: None,
                    text: "the attempt panicked".to_owned(),
                }),
            ),
        };
        if let Some(attempt) = self.names.remove(&id) {
            self.running.remove(&attempt);
            self.planner
                .handle_outcome(attempt, outcome, self.clock.now());
        }
    }
}
