//! The queues before an API server, as API priority and fairness has them for the ServiceAccounts of kube-system: what is
//! over their length is answered 429.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spot_interrupt_handler::clock::Clock;
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
    waiting: Vec<VecDeque<oneshot::Sender<Seat>>>,
    /// Whose turn it is.
    turn: usize,
    asked: Vec<Asked>,
}

/// A place among those that are served; given back when it is dropped.
#[derive(Debug)]
pub struct Seat(Arc<Queues>);

impl Drop for Seat {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state();
            let next = state.next();
            if next.is_none() {
                state.free += 1;
            }
            next
        };
        if let Some(next) = next {
            // Who does not wait any more gives it back at once, by dropping it.
            let _ = next.send(Seat(self.0.clone()));
        }
    }
}

impl State {
    fn next(&mut self) -> Option<oneshot::Sender<Seat>> {
        for _ in 0..QUEUES {
            self.turn = (self.turn + 1) % QUEUES;
            while let Some(next) = self.waiting[self.turn].pop_front() {
                if !next.is_closed() {
                    return Some(next);
                }
            }
        }
        None
    }
}

impl Queues {
    pub fn new(clock: Clock) -> Self {
        let state = State {
            free: SEATS,
            waiting: (0..QUEUES).map(|_| VecDeque::new()).collect(),
            turn: 0,
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
            Standing::Seated => Some(Seat(self.clone())),
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
        if state.free > 0 {
            state.free -= 1;
            return Standing::Seated;
        }
        let shortest = hand(flow)
            .min_by_key(|queue| state.waiting[*queue].len())
            .expect("a hand");
        let queue = &mut state.waiting[shortest];
        queue.retain(|waiting| !waiting.is_closed());
        if queue.len() >= LENGTH {
            return Standing::Refused;
        }
        let (sender, seat) = oneshot::channel();
        queue.push_back(sender);
        Standing::Waiting(seat)
    }
}

enum Standing {
    Seated,
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
