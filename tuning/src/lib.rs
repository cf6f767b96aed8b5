//! What a host's settings should be for so many connections: check, apply, revert.
//!
//! [`engine`] judges what was read of a host and plans what to write; [`driver`] reads and writes
//! below a root folder. Nothing is ever changed but by [`driver::apply`] and [`driver::revert`].

pub mod driver;
pub mod engine;
pub mod limits;
mod report;

pub use report::{Report, plan_text};
