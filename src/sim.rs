//! One model of a world in which an interruption happens: a node with its pods, the disruption budgets over them, the
//! target groups the instance is registered in, and the metadata service that announces the end.
//!
//! The model is typed, deterministic and knows neither sockets nor clocks: every question is asked with the time it is
//! asked at, and [`World::advance`] lets time pass. [`loopback`] serves it over HTTP to the real adapters; [`ports`] are
//! the agent's ports onto it without sockets, through whatever [`faults`] there are. What it answers follows what a real
//! API server, kubelet and load balancer were seen to answer.

pub mod balancer;
pub mod budget;
pub mod cluster;
pub mod controller;
pub mod faults;
pub mod journal;
pub mod judge;
pub mod loopback;
pub mod metadata;
pub mod node;
pub mod pod;
pub mod ports;
pub mod refused;
pub mod scenario;
pub mod setting;
pub mod stage;

use balancer::LoadBalancer;
use cluster::Cluster;
use controller::Controller;
use journal::Journal;
use metadata::MetadataService;

use crate::plan::binding::Service;
use crate::plan::time::{Moment, Now};

/// Everything there is.
#[derive(Clone, Debug)]
pub struct World {
    /// The API server, and the kubelet of its one node.
    pub cluster: Cluster,
    /// The target groups.
    pub balancer: LoadBalancer,
    /// Who keeps those that have bindings.
    pub controller: Controller,
    /// The Services.
    pub services: Vec<Service>,
    /// The metadata service of the instance.
    pub metadata: MetadataService,
    /// What was asked of all three.
    pub journal: Journal,
}

impl World {
    /// Lets time pass until `now`: pods stop, budgets recover, registrations end.
    pub fn advance(&mut self, now: Now) {
        self.cluster.advance(now);
        self.controller
            .advance(self.cluster.node(), &mut self.balancer, now);
        self.balancer.advance(now.at);
    }

    /// When something next happens by itself.
    #[must_use]
    pub fn next_change(&self) -> Option<Moment> {
        let changes = [
            self.cluster.next_change(),
            self.controller.next_change(self.cluster.node()),
            self.balancer.next_change(),
        ];
        changes.into_iter().flatten().min()
    }
}
