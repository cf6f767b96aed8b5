//! Does what was planned: remembers first, then writes.

use super::{Failure, Root, state, write};
use crate::engine::Plan;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Values and files that were written.
    pub written_count: usize,
    /// What could not be written, and why.
    pub failures: Vec<Failure>,
}

/// Does what was planned. One thing that cannot be written keeps nothing else back.
///
/// # Errors
///
/// What was there before cannot be remembered; then nothing was changed.
pub fn apply(root: &Root, plan: &Plan) -> Result<Applied, Failure> {
    if plan.is_empty() {
        return Ok(Applied { written_count: 0, failures: Vec::new() });
    }
    // Before all else: wherever this ends, `revert` knows what was there.
    let mut record = plan.record.clone();
    state::store(root, &mut record)
        .map_err(|Failure(why)| Failure(format!("{why}; nothing was changed. Run this as root")))?;
    let mut done = Vec::new();
    for live in &plan.live {
        done.push(write::value(root, &live.path, live.format, &live.value));
    }
    let made = plan.directories.iter().map(|path| write::make_directory(root, path));
    let failed: Vec<Failure> = made.filter_map(Result::err).collect();
    for file in &plan.files {
        done.push(write::replace(root, &file.path, file.contents.as_bytes(), file.mode));
    }
    let written_count = done.iter().filter(|one| one.is_ok()).count();
    let failures = failed.into_iter().chain(done.into_iter().filter_map(Result::err)).collect();
    Ok(Applied { written_count, failures })
}
