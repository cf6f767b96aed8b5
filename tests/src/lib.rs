//! The simulated world: shards with their gateways and partitions, a network and clients, on one thread
//! and from one seed.

pub mod clock;
pub mod network;
pub mod random;
pub mod sim_io;
