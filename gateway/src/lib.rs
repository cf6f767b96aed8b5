//! The gateway tier: clients on one side, the router on the other.
//!
//! Owns: connections, sessions, subscriptions, outboxes, and what a client may do.
//! Never: the order of a channel, or another tier's code.

pub mod arrivals;
pub mod auth;
pub mod config;
pub mod driver;
pub mod engine;
pub mod limits;
