//! The thread-per-core runtime: what a shard needs from kernel and hardware.
//!
//! Owns: rings, receive buffers, sockets, timers, the lanes between threads, what threads count
//! together, and where threads run.
//! Never: knows what the bytes mean.
//!
//! This is the only crate with `unsafe`. Everything unsafe is in [`ring`], [`buffers`] and
//! `entries`, but for one borrowed descriptor in [`portable`], two calls in [`scheduling`] and one
//! in [`disk`]; how long the kernel may look at which memory is argued once, at the top of
//! [`ring`].

pub mod buffers;
pub mod claims;
pub mod disk;
mod entries;
pub mod io;
pub mod lanes;
pub mod limits;
pub mod placement;
pub mod portable;
pub mod probe;
pub mod ring;
pub mod rings;
pub mod scheduling;
pub mod sleep;
mod slots;
pub mod sockets;
pub mod timers;

pub use io::{Chunk, Completion, Errno, Io, ReceiveEnd, SendBuffer, Wait};
pub use portable::Portable;
pub use ring::{Ring, RingOptions};
pub use rings::Rings;

/// The atomics of [`sleep`] and [`claims`], so that a test can put a model checker's in their
/// place.
mod sync {
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
}
