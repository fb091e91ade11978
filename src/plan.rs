//! The pure core.
pub mod action;
pub mod budget;
pub mod id;
pub mod node;
pub mod notice;
pub mod pod;
pub mod time;
