//! Goal: who finds a damaged database at the start reads what to do, and which file it is.
//! Method: overwrites the database of a real directory, whole and in part, and opens it.

mod support;

use std::path::Path;

use persistence::open;
use protocol::ids::PartitionId;
use support::{entry, options, wait_until};

fn refusal(damage: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open(options(folder.path())).expect("it opens");
    opened.appender.append(1, &entry(0, 1, b"{}")).expect("room");
    wait_until("stored", || opened.board.progress(PartitionId(0)).stored == 1);
    opened.persistence.shutdown();
    damage(&folder.path().join("store.sqlite"));
    open(options(folder.path())).expect_err("a damaged database").to_string()
}

#[test]
fn of_a_file_that_is_no_database() {
    let text = refusal(|path| {
        std::fs::write(path, vec![0x5a; 64 * 1024]).expect("written");
    });
    assert!(text.contains("store.sqlite"), "{text}");
    assert!(text.contains("it is damaged: restore a backup"), "{text}");
}

#[test]
fn of_a_database_with_damaged_pages() {
    let text = refusal(|path| {
        let mut bytes = std::fs::read(path).expect("a database");
        bytes[100..].fill(0x5a);
        std::fs::write(path, bytes).expect("written");
    });
    assert!(text.contains("store.sqlite"), "{text}");
    assert!(text.contains("it is damaged: restore a backup"), "{text}");
}
