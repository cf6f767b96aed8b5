//! Goal: what a later version wrote is refused by name, and not a byte of it changes.
//! Method: raises one version at a time in a real directory and compares all files.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use persistence::open;
use sqlx::{ConnectOptions, Connection};
use support::{entry, options, wait_until};

/// All files but those that belong to the lock and to SQLite while it looks.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for part in ["", "journal"] {
        for entry in std::fs::read_dir(folder.join(part)).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.to_string_lossy().into_owned();
            if path.is_file() && !name.ends_with("LOCK") && !name.contains("-shm") {
                found.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

fn refused(change: impl FnOnce(&Path), expected: &str) {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open(options(folder.path())).expect("it opens");
    opened.appender.append(1, &entry(0, 1, b"{}")).expect("room");
    wait_until("stored", || opened.board.progress(protocol::ids::PartitionId(0)).stored == 1);
    opened.persistence.shutdown();
    change(folder.path());
    let before = files(folder.path());
    let error = open(options(folder.path())).expect_err("a later format").to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("run that version") || error.contains("run the version"), "{error}");
    let after = files(folder.path());
    assert_eq!(before.len(), after.len(), "{expected}");
    for (name, bytes) in after {
        assert!(before.get(&name) == Some(&bytes), "{expected}: {name} changed");
    }
}

#[test]
fn the_directory() {
    let change = |folder: &Path| {
        let path = folder.join("FORMAT");
        let text = std::fs::read_to_string(&path).expect("FORMAT");
        std::fs::write(path, text.replace("ringway-data 1", "ringway-data 2")).expect("written");
    };
    refused(change, "FORMAT has format 2");
}

#[test]
fn the_journal() {
    let change = |folder: &Path| {
        let path = folder.join("journal/00000000000000000001.log");
        let mut bytes = std::fs::read(&path).expect("a segment");
        bytes[8] = 2;
        std::fs::write(path, bytes).expect("written");
    };
    refused(change, "journal/00000000000000000001.log has format 2");
}

#[test]
fn the_database() {
    let change = |folder: &Path| {
        let path = folder.join("store.sqlite");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = options.connect().await.expect("a database");
            let newer = "UPDATE _sqlx_migrations SET version = 3 WHERE version = 2";
            sqlx::query(newer).execute(&mut connection).await.expect("changed");
            connection.close().await.expect("closed");
        });
    };
    refused(change, "store.sqlite has schema 3");
}
