//! What a partition decides. No socket, clock, lock, thread or `async`.

mod channel;
mod durable;
mod epochs;
mod history;
mod idempotency;
mod interest;
mod partition;
mod pattern;
mod presence;
mod queries;
mod reads;
mod rpc;
mod traffic;

pub use partition::{Action, Counters, Partition, PartitionOptions};
pub use reads::StoreUnavailable;
pub use rpc::{Method, Methods};
pub use traffic::{BusiestChannels, ChannelTraffic, TrafficOrder};
