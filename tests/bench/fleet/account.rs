//! An AWS account as all nodes of a fleet share it: its target groups, and the buckets that its callers empty together.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::binding::TargetId;
use spot_interrupt_handler::plan::id::{InstanceId, TargetGroupArn};
use spot_interrupt_handler::plan::time::Moment;
use spot_interrupt_handler::sim::balancer::{
    Group, Health, LoadBalancer, NamedTarget, Registration, TargetKey,
};

/// Requests that a bucket lets through: so many at once, and so many more each second
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/api-throttling.html>).
#[derive(Debug)]
pub struct Bucket {
    tokens: f64,
    burst: f64,
    each_second: f64,
    filled: Moment,
}

impl Bucket {
    pub const fn new(burst: u32, each_second: u32) -> Self {
        Self {
            tokens: burst as f64,
            burst: burst as f64,
            each_second: each_second as f64,
            filled: Moment::ORIGIN,
        }
    }

    pub fn take(&mut self, now: Moment) -> bool {
        let gained = now.since(self.filled).as_secs_f64() * self.each_second;
        self.filled = now;
        self.tokens = (self.tokens + gained).min(self.burst);
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }
}

/// Registering and deregistering.
const CHANGES: Bucket = Bucket::new(20, 4);

/// Describing.
const LOOKS: Bucket = Bucket::new(200, 50);

/// A network and a service take this long, and up to twice as long.
const ONE_WAY: Duration = Duration::from_millis(15);

/// Why a call came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Throttled,
    NoGroup,
}

/// Calls of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    pub made: usize,
    pub throttled: usize,
}

impl Calls {
    const fn count(&mut self, is_let_through: bool) {
        self.made += 1;
        if !is_let_through {
            self.throttled += 1;
        }
    }
}

#[derive(Debug)]
pub struct Account {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    balancer: LoadBalancer,
    changes: Bucket,
    looks: Bucket,
    changed: Calls,
    looked: Calls,
    dice: Rng,
}

impl Account {
    pub fn new(clock: Clock, balancer: LoadBalancer, seed: u64) -> Self {
        let state = State {
            balancer,
            changes: CHANGES,
            looks: LOOKS,
            changed: Calls::default(),
            looked: Calls::default(),
            dice: Rng::with_seed(seed),
        };
        Self {
            clock,
            state: Mutex::new(state),
        }
    }

    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Half a round trip.
    async fn travel(&self) {
        let takes = ONE_WAY.mul_f64(1.0 + self.state().dice.f64());
        self.clock.sleep(takes).await;
    }

    /// A random part of this.
    pub fn part_of(&self, whole: Duration) -> Duration {
        whole.mul_f64(self.state().dice.f64())
    }

    /// `DescribeTargetHealth`.
    pub async fn describe(
        &self,
        group: &TargetGroupArn,
        named: &[NamedTarget],
    ) -> Result<Vec<Health>, Refusal> {
        self.look(|balancer| {
            balancer
                .describe(group, named)
                .map_err(|_| Refusal::NoGroup)
        })
        .await
    }

    /// A page of `DescribeTargetGroups`.
    pub async fn list_groups(&self) -> Result<(), Refusal> {
        self.look(|_| Ok(())).await
    }

    async fn look<T>(
        &self,
        read: impl FnOnce(&LoadBalancer) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.travel().await;
        let answer = {
            let mut state = self.state();
            let is_let_through = state.looks.take(self.clock.now().at);
            state.looked.count(is_let_through);
            if is_let_through {
                read(&state.balancer)
            } else {
                Err(Refusal::Throttled)
            }
        };
        self.travel().await;
        answer
    }

    /// `DeregisterTargets`.
    pub async fn deregister(
        &self,
        group: &TargetGroupArn,
        named: &[NamedTarget],
    ) -> Result<(), Refusal> {
        self.travel().await;
        let answer = {
            let mut state = self.state();
            let now = self.clock.now().at;
            let is_let_through = state.changes.take(now);
            state.changed.count(is_let_through);
            if is_let_through {
                let done = state.balancer.deregister(group, named, now);
                done.map_err(|_| Refusal::NoGroup)
            } else {
                Err(Refusal::Throttled)
            }
        };
        self.travel().await;
        answer
    }

    /// Whether this instance gets new requests through this group.
    pub fn is_registered(&self, group: &str, instance: &InstanceId) -> bool {
        let id = TargetId::Instance(instance.clone());
        self.state().balancer.groups().any(|(arn, held)| {
            arn.as_str() == group
                && held.targets.iter().any(|(key, registration)| {
                    key.id == id && *registration == Registration::Healthy
                })
        })
    }

    /// When each target began to drain, in that order, and how many have not.
    pub fn drained(&self) -> (Vec<Moment>, usize) {
        let state = self.state();
        let targets = state
            .balancer
            .groups()
            .flat_map(|(_, group)| &group.targets);
        let mut since = Vec::new();
        let mut left = 0;
        for (_, registration) in targets {
            match registration {
                Registration::Healthy => left += 1,
                Registration::Draining { since: at, .. } => since.push(*at),
            }
        }
        since.sort_unstable();
        (since, left)
    }

    /// (De)registrations.
    pub fn changed(&self) -> Calls {
        self.state().changed
    }

    /// Descriptions.
    pub fn looked(&self) -> Calls {
        self.state().looked
    }
}

/// A group in which these instances are registered on this port.
pub fn group_of(instances: &[InstanceId], port: u16, default_port: u16, delay: Duration) -> Group {
    let registered = instances.iter().map(|instance| {
        let id = TargetId::Instance(instance.clone());
        (TargetKey { id, port }, Registration::Healthy)
    });
    Group {
        default_port,
        deregistration_delay: delay,
        targets: registered.collect(),
    }
}
