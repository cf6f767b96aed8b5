//! The simulated world: shards with their gateways and partitions, a network and clients, on one
//! thread and from one seed.
//!
//! ```text
//!  clients ◄──► network ◄──► SimIo ─ Pump ─ GatewayShard ─ LocalBus ─ partitions    per shard
//!     │                                                       └── lanes and bells ──┘
//!     │                         disk ◄── journal ◄── NodeLog ─────────────┘    per partition
//!     │                           └──► follower ──► store ──► NodeLog
//!     └──► ledger: what was issued, what each client was told, and what must hold
//! ```
//!
//! Everything between `SimIo` and the partitions is the real thing, and so is everything between
//! the partitions and the disk; the rows of the store are simulated. A node may die at any time.
//! [`world::run`] runs one seed:
//! first with faults, then without, until everything is quiet and adds up.

pub mod channels;
pub mod client;
pub mod clock;
mod durable;
pub mod faults;
pub mod ledger;
pub mod network;
pub mod plants;
mod quiet;
pub mod random;
pub mod sim_io;
pub mod sim_log;
pub mod sim_shard;
pub mod sim_store;
pub mod slow_disk;
pub mod world;
