//! `ringway bench`: load for Ringway, or for any server that speaks the Centrifuge protocol, and
//! what it shows.
//!
//! The process that was started (parent.rs) starts one or more workers (worker.rs), which connect,
//! begin together and report; it adds up and judges. The workers' sockets run on monoio's epoll,
//! another engine than the server's ring. Each run ends by itself, bounded in clients and time, and
//! refuses to report when it measured the generator rather than the server (health.rs).

mod cli;
mod client;
mod clock;
mod health;
mod load;
mod outcome;
mod parent;
mod plan;
mod readiness;
mod report;
mod samples;
mod server;
mod swarm;
mod target;
mod threshold;
mod wire;
mod worker;

pub use cli::{BenchCommand, run};
