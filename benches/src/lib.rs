//! The load generator of Ringway, as the program's `bench` command.
//!
//! The older load source, `load`, is a program of its own beside it (main.rs): the scripts of this
//! folder drive it.

pub mod bench;
