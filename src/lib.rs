//! Spot interrupt handler.

pub mod plan;
pub mod ports;

pub mod annotation;

pub mod agent;
pub mod attempt;

pub mod clock;
pub mod report;

pub mod balancer;
pub mod cluster;
pub mod imds;

pub mod sim;
pub mod simulate;

pub mod args;
pub mod duration;
pub mod telemetry;
