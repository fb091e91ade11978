//! The AWS Load Balancer Controller in front of a fleet: it sees the labels of all nodes, and deregisters from each group, in
//! one call, whoever carries one by then.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use spot_interrupt_handler::plan::binding::{Binding, TargetId};
use spot_interrupt_handler::plan::id::InstanceId;
use spot_interrupt_handler::plan::time::WallTime;
use spot_interrupt_handler::sim::balancer::NamedTarget;

use super::account::{Account, Bucket, Refusal};

/// Its own workers for instance bindings (`--targetgroupbinding-max-concurrent-reconciles`).
pub const WORKERS: usize = 3;

/// From the label's PATCH until its informer has told it.
const INFORMED: Duration = Duration::from_millis(300);

/// Its client's own limit is the account's: twenty calls at once, and four a second.
const OWN_LIMIT: Bucket = Bucket::new(20, 4);

/// A throttled call is tried again by its SDK after a part of a second, doubled up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Controller {
    account: Arc<Account>,
    state: Mutex<State>,
    work: Notify,
}

#[derive(Debug)]
struct State {
    bindings: Vec<Binding>,
    labelled: BTreeSet<InstanceId>,
    /// Whom each group has let go.
    done: Vec<BTreeSet<InstanceId>>,
    queue: VecDeque<usize>,
    at_work: BTreeSet<usize>,
    /// Those that somebody asks for while they are worked on.
    again: BTreeSet<usize>,
    limit: Bucket,
}

impl Controller {
    pub fn new(account: Arc<Account>, bindings: Vec<Binding>) -> Arc<Self> {
        let state = State {
            done: vec![BTreeSet::new(); bindings.len()],
            bindings,
            labelled: BTreeSet::new(),
            queue: VecDeque::new(),
            at_work: BTreeSet::new(),
            again: BTreeSet::new(),
            limit: OWN_LIMIT,
        };
        Arc::new(Self {
            account,
            state: Mutex::new(state),
            work: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bindings as the API server has them.
    pub fn bindings(&self) -> Vec<Binding> {
        self.state().bindings.clone()
    }

    /// A node carries the label, of which the controller hears soon.
    pub fn labelled(self: &Arc<Self>, instance: &InstanceId) {
        let (controller, instance) = (self.clone(), instance.clone());
        tokio::spawn(async move {
            controller.account.clock().sleep(INFORMED).await;
            controller.hear_of(&instance);
        });
    }

    /// Every binding is to be looked at; one that is being looked at, once more afterwards.
    fn hear_of(&self, instance: &InstanceId) {
        let state = &mut *self.state();
        if !state.labelled.insert(instance.clone()) {
            return;
        }
        for index in 0..state.bindings.len() {
            if state.at_work.contains(&index) {
                state.again.insert(index);
            } else if !state.queue.contains(&index) {
                state.queue.push_back(index);
            }
        }
        self.work.notify_waiters();
    }

    /// Works until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            workers.spawn(self.clone().work());
        }
        workers.join_all().await;
    }

    async fn work(self: Arc<Self>) {
        loop {
            let more = self.work.notified();
            let next = self.take();
            if let Some((index, going)) = next {
                if !going.is_empty() {
                    self.reconcile(index, going).await;
                }
                self.put_back(index);
            } else {
                more.await;
            }
        }
    }

    /// The next binding, and the nodes that its group has to let go as its informer has them.
    fn take(&self) -> Option<(usize, BTreeSet<InstanceId>)> {
        let mut state = self.state();
        let index = state.queue.pop_front()?;
        state.at_work.insert(index);
        let going = state.labelled.difference(&state.done[index]).cloned();
        Some((index, going.collect()))
    }

    fn put_back(&self, index: usize) {
        let mut state = self.state();
        state.at_work.remove(&index);
        if state.again.remove(&index) {
            state.queue.push_back(index);
        }
    }

    async fn reconcile(&self, index: usize, going: BTreeSet<InstanceId>) {
        let binding = self.state().bindings[index].clone();
        let port = super::node_port(index);
        let named: Vec<NamedTarget> = going
            .iter()
            .map(|instance| NamedTarget {
                id: TargetId::Instance(instance.clone()),
                port: Some(port),
            })
            .collect();
        // What it has read of a group it keeps for five minutes.
        let is_known = !self.state().done[index].is_empty();
        let mut wait = Duration::from_secs(1);
        while !is_known
            && self.account.describe(&binding.group, &named).await == Err(Refusal::Throttled)
        {
            self.back_off(&mut wait).await;
        }
        // As long as it is at it, the binding has no checkpoint.
        self.state().bindings[index].checkpoint = None;
        let mut wait = Duration::from_secs(1);
        loop {
            self.wait_for_own_limit().await;
            match self.account.deregister(&binding.group, &named).await {
                Err(Refusal::Throttled) => self.back_off(&mut wait).await,
                Err(Refusal::NoGroup) | Ok(()) => break,
            }
        }
        let seconds = self.account.clock().now().wall.millis().div_euclid(1_000);
        let mut state = self.state();
        state.bindings[index].checkpoint = Some(WallTime::from_millis(seconds * 1_000));
        state.done[index].extend(going);
    }

    async fn back_off(&self, wait: &mut Duration) {
        let part = self.account.part_of(*wait);
        self.account.clock().sleep(part).await;
        *wait = (*wait * 2).min(LONGEST_WAIT);
    }

    async fn wait_for_own_limit(&self) {
        let clock = self.account.clock();
        loop {
            let is_let_through = self.state().limit.take(clock.now().at);
            if is_let_through {
                return;
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
    }
}
