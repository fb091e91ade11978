//! The queues before an API server, as API priority and fairness has them for the ServiceAccounts of kube-system: what is
//! over their length is answered 429.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::time::Moment;
use tokio::sync::oneshot;

/// Of the server's 600 seats the level `workload-high` has 40 of 245 shares
/// (<https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>); what it might borrow of others is theirs.
const SEATS: usize = 98;

/// As that level is configured in a cluster that was never touched.
const QUEUES: usize = 128;
const HAND: usize = 6;
const LENGTH: usize = 50;

/// A quarter of the server's limit for a request.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What a request is taken to cost its queue until it is over and the server knows (`estimatedServiceDuration` in its
/// package `fairqueuing/queueset`).
const ESTIMATE: Duration = Duration::from_millis(3);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Served,
    Refused,
}

/// A request that was made.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Seconds after the first notice.
    pub at: f64,
    pub answer: Answer,
}

/// The queues.
#[derive(Debug)]
pub struct Queues {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    queues: Vec<Queue>,
    /// What the queue had used whose turn it was last.
    turn: Duration,
    asked: Vec<Asked>,
}

/// The server lets those queues go first that have used the least of its seats' time.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<oneshot::Sender<Seat>>,
    used: Duration,
}

/// A place among those that are served; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    queues: Arc<Queues>,
    queue: usize,
    since: Moment,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let now = self.queues.clock.now().at;
        let next = {
            let mut state = self.queues.state();
            let queue = &mut state.queues[self.queue];
            queue.used = (queue.used + now.since(self.since)).saturating_sub(ESTIMATE);
            let next = state.next();
            if next.is_none() {
                state.free += 1;
            }
            next
        };
        if let Some((queue, next)) = next {
            // Who does not wait any more gives it back at once, by dropping it.
            let _ = next.send(Seat {
                queues: self.queues.clone(),
                queue,
                since: now,
            });
        }
    }
}

impl State {
    /// Whose turn it is, and in which queue.
    fn next(&mut self) -> Option<(usize, oneshot::Sender<Seat>)> {
        for queue in &mut self.queues {
            queue.waiting.retain(|waiting| !waiting.is_closed());
        }
        let next = (0..QUEUES)
            .filter(|queue| !self.queues[*queue].waiting.is_empty())
            .min_by_key(|queue| self.queues[*queue].used)?;
        self.turn = self.queues[next].used;
        let queue = &mut self.queues[next];
        queue.used += ESTIMATE;
        Some((next, queue.waiting.pop_front()?))
    }
}

impl Queues {
    pub fn new(clock: Clock) -> Self {
        let state = State {
            free: SEATS,
            queues: (0..QUEUES).map(|_| Queue::default()).collect(),
            turn: Duration::ZERO,
            asked: Vec::new(),
        };
        Self {
            clock,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Waits for a seat; none when the queues are full.
    pub async fn enter(self: &Arc<Self>, flow: &str) -> Option<Seat> {
        let now = self.clock.now().at;
        let at = now.seconds_from(super::NOTICE);
        let seat = match self.stand(flow) {
            Standing::Seated(queue) => Some(Seat {
                queues: self.clone(),
                queue,
                since: now,
            }),
            Standing::Refused => None,
            Standing::Waiting(seat) => {
                let waited = self.clock.until(now + LONGEST_WAIT, seat).await;
                waited.ok().and_then(Result::ok)
            }
        };
        let answer = if seat.is_some() {
            Answer::Served
        } else {
            Answer::Refused
        };
        self.state().asked.push(Asked { at, answer });
        seat
    }

    fn stand(&self, flow: &str) -> Standing {
        let mut state = self.state();
        let shortest = hand(flow)
            .min_by_key(|queue| state.queues[*queue].waiting.len())
            .expect("a hand");
        let (turn, is_free) = (state.turn, state.free > 0);
        let queue = &mut state.queues[shortest];
        if queue.waiting.is_empty() {
            // What a queue did not use while nobody stood in it, it has lost.
            queue.used = queue.used.max(turn);
        }
        if is_free {
            queue.used += ESTIMATE;
            state.free -= 1;
            return Standing::Seated(shortest);
        }
        queue.waiting.retain(|waiting| !waiting.is_closed());
        if queue.waiting.len() >= LENGTH {
            return Standing::Refused;
        }
        let (sender, seat) = oneshot::channel();
        queue.waiting.push_back(sender);
        Standing::Waiting(seat)
    }
}

enum Standing {
    Seated(usize),
    Waiting(oneshot::Receiver<Seat>),
    Refused,
}

/// The queues that this flow may stand in.
fn hand(flow: &str) -> impl Iterator<Item = usize> {
    (0..HAND).map(move |card| {
        let mut hasher = DefaultHasher::new();
        (flow, card).hash(&mut hasher);
        usize::try_from(hasher.finish() % QUEUES as u64).expect("a queue")
    })
}
