//! The only writes there are.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use super::{Failure, Root};
use crate::engine::{Format, Reading};

/// What a file is called while it is written.
fn beside(path: &str) -> String {
    format!("{path}.ringway-new")
}

/// Replaces a file as a whole: whoever reads it sees the old one or the new one.
pub(super) fn replace(root: &Root, path: &str, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let target = root.at(path);
    let new = root.at(&beside(path));
    let written = (|| {
        let mut file = create(&new)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&new, &target)?;
        let directory = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
        File::open(directory)?.sync_all()
    })();
    written.map_err(|error| {
        // What was begun beside it is of no use. If it cannot be removed it was not made.
        let _ = fs::remove_file(&new);
        Failure(format!("{path} cannot be written: {error}"))
    })
}

/// Makes a file that was not there. What is left of an earlier write goes first, and no link that
/// somebody has put there is ever written through.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let no_links = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).custom_flags(no_links).mode(0o600).open(path)
}

/// Removes what a write that was interrupted left beside a file.
pub(super) fn tidy(root: &Root, path: &str) {
    // Mostly there is nothing; and if it stays, nobody reads a file of that name.
    let _ = fs::remove_file(root.at(&beside(path)));
}

/// Removes a file.
pub(super) fn remove(root: &Root, path: &str) -> Result<(), Failure> {
    fs::remove_file(root.at(path))
        .map_err(|error| Failure(format!("{path} cannot be removed: {error}")))
}

/// Makes a directory, if it is not there.
pub(super) fn make_directory(root: &Root, path: &str) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o755).create(root.at(path)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Failure(format!("{path} cannot be made: {error}")))
        }
        _ => Ok(()),
    }
}

/// Removes a directory if nothing is in it. One that is used by others stays, and is no failure.
pub(super) fn remove_directory(root: &Root, path: &str) -> bool {
    fs::remove_dir(root.at(path)).is_ok()
}

/// Writes a value of the running kernel, and looks whether it was taken.
pub(super) fn value(root: &Root, path: &str, format: Format, value: &str) -> Result<(), Failure> {
    // Not created: what the kernel does not have cannot be made.
    let written = OpenOptions::new().write(true).truncate(true).open(root.at(path));
    let written = written.and_then(|mut file| file.write_all(value.as_bytes()));
    written.map_err(|error| Failure(format!("{path} cannot be written: {error}")))?;
    match super::read::reading(root, path) {
        Reading::Text(now) if format.is_same(&now, value) => Ok(()),
        Reading::Text(now) => {
            let now = format.normal(&now);
            let now = if now.is_empty() { "nothing" } else { &now };
            Err(Failure(format!("{path} says {now} after {value} was written to it")))
        }
        Reading::Absent => Err(Failure(format!("{path} is gone"))),
        Reading::Unreadable(why) => Err(Failure(why)),
    }
}
