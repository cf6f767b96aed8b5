//! What the journal means: bytes of entries and segments, where the next write goes, what replay
//! may cut and must refuse, what retention forgets, which epochs are over. No file, clock, thread
//! or lock.

mod bytes;
pub mod generations;
pub mod record;
pub mod replay;
pub mod retention;
pub mod segment;
pub mod writer;
