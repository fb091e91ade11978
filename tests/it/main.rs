//! Everything that is tested from outside the crate, in one binary.

mod balancer_wire;
mod cluster_wire;
mod imds_wire;
mod sim_api;
mod tidy;
