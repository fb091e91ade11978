//! Drains an EC2 spot node of a Kubernetes cluster before EC2 takes it.
//!
//! ```text
//!  IMDS poll ──notice──▶ planner ──┬─▶ node: cordon, exclusion label, state annotation
//!   (5 s)               (pure,     ├─▶ target groups: deregister, look until draining
//!                        no I/O)   ├─▶ pods: evict ─▶ retry ─▶ delete at the last useful moment
//!                          ▲       └─▶ facts: log lines, Node events, a verdict before the node dies
//!                          └── outcomes of every attempt, watch events, clock
//! ```
//!
//! Read the modules in the order they are declared: first the core, which decides; then the ports, its contract with the
//! neighbours; then the loop, the clock and the voice; the adapters; the simulated world; the picture of an interruption;
//! and what a program needs besides.

pub mod plan;
pub mod ports;

pub mod annotation;

pub mod agent;
pub mod attempt;

pub mod report;

pub mod clock;

pub mod watchdog;

pub mod imds;

pub mod cluster;

pub mod balancer;

pub mod sim;

pub mod picture;

pub mod simulate;

pub mod check;
pub mod mock_imds;

pub mod args;
pub mod duration;
pub mod telemetry;
