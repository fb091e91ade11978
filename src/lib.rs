//! Spot interrupt handler.

pub mod plan;
pub mod ports;

pub mod clock;

pub mod balancer;
pub mod cluster;
pub mod imds;

pub mod sim;
