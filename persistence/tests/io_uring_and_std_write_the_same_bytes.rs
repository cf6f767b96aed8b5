//! Goal: both ways to the disk leave the same journal.
//! Method: the same appends and turns through both, and a comparison of all files.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use persistence::files::{Files, SegmentSource, StdFiles, UringFiles};
use persistence::{Turn, open_journal};
use support::{entry, journal_options};

async fn write(files: impl Files + SegmentSource) {
    let Ok(mut opened) = open_journal(&files, journal_options(8192)).await else {
        panic!("an empty folder")
    };
    for sequence in 1..=200 {
        let payload = vec![b'x'; (sequence * 7 % 300) as usize];
        opened.appender.append(1, &entry(1, sequence, &payload)).expect("room");
        if sequence % 5 == 0 {
            while opened.journal.turn().await == Turn::Busy {}
        }
    }
    opened.close();
    while opened.journal.turn().await != Turn::Done {}
    assert_eq!(opened.board.progress(protocol::ids::PartitionId(1)).synced, 200);
}

fn files(folder: &Path) -> BTreeMap<std::ffi::OsString, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a directory").map(|entry| {
        let entry = entry.expect("an entry");
        (entry.file_name(), std::fs::read(entry.path()).expect("a file"))
    });
    entries.collect()
}

#[test]
fn segment_by_segment() {
    let Ok(uring) = tokio_uring::Runtime::new(&tokio_uring::builder()) else {
        eprintln!("no io_uring here: nothing to compare");
        return;
    };
    let [one, other] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    uring.block_on(write(UringFiles::new(StdFiles::new(one.path()))));
    let std = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    std.block_on(write(StdFiles::new(other.path())));
    let (one, other) = (files(one.path()), files(other.path()));
    assert!(one.len() > 3, "there are several segments");
    assert!(one == other);
}
