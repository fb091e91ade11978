//! Everything that is tested from outside the crate, in one binary.
// Tests read the real clock and wait on real servers.
#![allow(clippy::disallowed_methods)]

mod agent_process;
mod alerts;
mod balancer_wire;
mod check;
mod cluster_wire;
mod conformance;
mod control_plane;
mod control_plane_smoke;
mod defects;
#[allow(dead_code)]
mod discovery;
// What the tests leave over of these two, the figures use.
#[allow(dead_code)]
mod dockerfile;
mod documents;
mod faults;
mod flags;
mod foretold;
mod image;
mod imds_wire;
mod landing;
mod live;
mod log_contract;
mod log_schema;
mod manifests;
mod metadata;
mod metadata_wire;
mod moto;
mod newcomer;
mod operations;
mod outage;
mod performance;
mod picture;
mod scripted;
mod seeds;
mod sim_api;
mod sim_balancer;
#[allow(dead_code)]
mod stage;
mod tidy;
mod watchdog;
mod whole_cluster;
mod workflows;
