//! Reads a host and writes what was planned, below a root folder.

mod apply;
mod read;
mod revert;
mod state;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::engine::{self, Form, Plan, Record, Refusal, Setting};

pub use apply::{Applied, apply};
pub use read::read;
pub use revert::{Reverted, revert};
pub use state::STATE;

/// A folder that stands for `/`, and what is below it.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

/// Why nothing could be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Root {
    /// This folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Where a path of the host lies.
    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }
}

/// What `apply` would do about these settings.
///
/// # Errors
///
/// What was applied before cannot be read, or is in the way; nothing was changed.
pub fn plan(
    root: &Root,
    host: &engine::Host,
    judged: (&[Setting], u64),
    form: Form,
) -> Result<Plan, Failure> {
    let record = state::load(root)?;
    let ground = read::ground(root);
    engine::plan(host, judged, record.as_ref(), (&ground, form)).map_err(|refusal| {
        Failure(match refusal {
            Refusal::OtherForm(other) => format!(
                "{} was applied, and both would contradict each other; run `ringway tune revert` \
                 first",
                match other {
                    Form::Files => "sysctl.d and tmpfiles.d",
                    Form::Tuned => "the profile of tuned (--tuned)",
                }
            ),
            Refusal::Foreign(path) => format!(
                "{path} was changed since it was applied; nothing was changed. Keep what you want \
                 of it elsewhere and run `ringway tune revert --force`, then apply again"
            ),
            Refusal::Place(path, why) => {
                format!("{path} cannot be written: {why}; nothing was changed. Move it away")
            }
        })
    })
}

/// What was applied and not reverted, if anything.
///
/// # Errors
///
/// It cannot be read.
pub fn applied(root: &Root) -> Result<Option<Record>, Failure> {
    state::load(root)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}
