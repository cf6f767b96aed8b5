//! The router tier: one side talks to gateways, the other to the partition log.
//!
//! Owns: the order of every channel, its recent window, who is present, which gateways listen.
//! Never: a client's socket, or a decision about what a client may do (its gateway made it).

pub mod api;
pub mod engine;
pub mod limits;
