//! What an interruption costs a fleet's account and its users, in virtual time.
//!
//! The tests hold the aims, and the tables and the picture of `docs/load-balancer.md`; `make fleet` prints and draws them.

mod account;
mod controller;
mod naive;
mod node;
mod storm;

use std::time::Duration;
use storm::{Drainer, Keeper, Storm};

/// The node port of the Service behind this group.
fn node_port(index: usize) -> u16 {
    30_000 + u16::try_from(index).expect("few groups")
}

#[test]
#[ignore = "a look"]
fn look() {
    for (nodes, groups) in [(50, 300)] {
        let big = groups > 100;
        for (drainer, keeper) in [
            (Drainer::Agent, Keeper::Alive),
            (Drainer::Agent, Keeper::Dies(Duration::from_secs(20))),
            (Drainer::Agent, Keeper::Absent),
            (Drainer::Directly, Keeper::Absent),
            (Drainer::Naive, Keeper::Absent),
        ] {
            if keeper != Keeper::Alive || drainer == Drainer::Naive { continue; }
            let course = Storm::of(nodes, groups, drainer, keeper).play();
            println!("{nodes} {groups} {drainer:?} {keeper:?} last {:?} n {} left {} changed {:?} per group {:.2} looked {:?} mistaken {}", course.drained.last(), course.drained.len(), course.left, course.changed, course.changed.made as f64/groups as f64, course.looked, course.mistaken);
        }
    }
}
