//! What a partition decides. No socket, clock, lock, thread or `async`.

mod channel;
mod history;
mod idempotency;
mod interest;
mod partition;
mod pattern;
mod presence;
mod rpc;

pub use partition::{Action, Counters, Partition, PartitionOptions};
pub use rpc::{Method, Methods};
