//! What will hurt on the disk: where the data directory lies, and how much room it has.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statfs};

use crate::doctor::{Finding, Pain};
use crate::limits::{DISK_FREE_BYTES_MIN, DISK_SEGMENTS_MIN};
use crate::settings::PersistenceSettings;

/// `statfs` of file systems that do not outlive the machine or its container.
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

/// What was read of the place.
#[derive(Clone, Debug)]
struct Disk {
    directory: PathBuf,
    file_system: u64,
    free_bytes: u64,
    is_writable: bool,
}

/// What is wrong with the configured data directory.
pub(crate) fn examine(settings: &PersistenceSettings) -> Vec<Finding> {
    let directory = &settings.directory;
    // A directory that the start will make lies where its nearest ancestor does.
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
    let existing = directory.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
    match statfs(existing) {
        Ok(found) => judge(
            settings,
            &Disk {
                directory: directory.clone(),
                file_system: found.f_type as u64,
                free_bytes: found.f_bavail * found.f_bsize as u64,
                is_writable: existing.is_dir() && access(existing, Access::WRITE_OK).is_ok(),
            },
        ),
        Err(error) => vec![Finding {
            pain: Pain::Stops,
            what: format!("{} (persistence.data_dir) cannot be read: {error}", directory.display()),
            why: "durable channels are kept there",
            fix: "create it for the server's user, or choose another directory".to_owned(),
        }],
    }
}

fn judge(settings: &PersistenceSettings, disk: &Disk) -> Vec<Finding> {
    let mut findings = Vec::new();
    let place = format!("{} (persistence.data_dir)", disk.directory.display());
    if !disk.is_writable {
        findings.push(Finding {
            pain: Pain::Stops,
            what: format!("{place} cannot be written by this user"),
            why: "durable channels are kept there",
            fix: "create it for the server's user, or choose another directory".to_owned(),
        });
    }
    let lies_in = match disk.file_system {
        TMPFS_MAGIC | RAMFS_MAGIC => Some("memory"),
        OVERLAYFS_MAGIC => Some("a container's own layer"),
        _ => None,
    };
    if let Some(lies_in) = lies_in {
        findings.push(Finding {
            pain: Pain::Loses,
            what: format!("{place} lies in {lies_in}"),
            why: "what was acknowledged is gone with it",
            fix: "put it on a disk, or mount a volume there".to_owned(),
        });
    }
    let wanted = (settings.segment_bytes * DISK_SEGMENTS_MIN + settings.backlog_bytes_max)
        .max(DISK_FREE_BYTES_MIN);
    if disk.free_bytes < wanted {
        findings.push(Finding {
            pain: Pain::Loses,
            what: format!("{place} has {} MiB free", disk.free_bytes >> 20),
            why: "without room durable publications are refused until there is some",
            fix: format!("free {} MiB in all; the store grows with the history", wanted >> 20),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use persistence::JournalIo;

    fn settings() -> PersistenceSettings {
        PersistenceSettings {
            directory: "/data".into(),
            journal_io: JournalIo::Standard,
            segment_bytes: 64 << 20,
            backlog_bytes_max: 256 << 20,
        }
    }

    fn pains(file_system: u64, free_bytes: u64, is_writable: bool) -> Vec<Pain> {
        let directory = "/data".into();
        let disk = Disk { directory, file_system, free_bytes, is_writable };
        judge(&settings(), &disk).into_iter().map(|finding| finding.pain).collect()
    }

    #[test]
    fn a_disk_with_room_is_in_order() {
        const EXT4: u64 = 0xef53;
        assert_eq!(pains(EXT4, 100 << 30, true), []);
        assert_eq!(pains(EXT4, 100 << 20, true), [Pain::Loses]);
        assert_eq!(pains(EXT4, 100 << 30, false), [Pain::Stops]);
        assert_eq!(pains(TMPFS_MAGIC, 100 << 30, true), [Pain::Loses]);
        assert_eq!(pains(OVERLAYFS_MAGIC, 0, false), [Pain::Stops, Pain::Loses, Pain::Loses]);
    }
}
