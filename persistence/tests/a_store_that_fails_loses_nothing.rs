//! Goal: while the store fails, everything stays in the journal; rows and checkpoint move together;
//! appends are refused when too much waits; nothing is there twice afterwards.
//! Method: a trigger makes the last statement of a commit fail; another connection removes it.

mod support;

use std::path::{Path, PathBuf};

use persistence::store::Store;
use persistence::store::sqlite::SqliteStore;
use persistence::{Full, open};
use protocol::ids::PartitionId;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use support::{entry, newest, options, wait_until, with_key};

async fn connect(path: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    options.busy_timeout(std::time::Duration::from_secs(10)).connect().await.expect("a database")
}

async fn execute(path: &Path, sql: &'static str) {
    let mut connection = connect(path).await;
    sqlx::query(sql).execute(&mut connection).await.expect("executed");
    connection.close().await.expect("closed");
}

async fn count(path: &Path, sql: &'static str) -> i64 {
    let mut connection = connect(path).await;
    let row = sqlx::query(sql).fetch_one(&mut connection).await.expect("a row");
    row.try_get(0).expect("a number")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

const FAIL: &str = "CREATE TRIGGER fail BEFORE INSERT ON partitions \
                    BEGIN SELECT RAISE(ABORT, 'planted'); END";
const MEND: &str = "DROP TRIGGER fail";

#[test]
fn rows_and_checkpoint_move_together() {
    let folder = tempfile::tempdir().expect("a directory");
    let path: PathBuf = folder.path().join("store.sqlite");
    run(async {
        let mut store = SqliteStore::open(&path).await.expect("a new store");
        let first: Vec<_> = (1..=10).map(|n| entry(0, n, b"{}")).collect();
        store.apply(&first, 5).await.expect("stored");
        execute(&path, FAIL).await;
        let second: Vec<_> =
            (11..=20).map(|n| with_key(entry(0, n, b"{}"), &format!("key {n}"))).collect();
        store.apply(&second, 9).await.expect_err("the trigger");
        assert_eq!(store.position().batch, 5);
        assert_eq!(count(&path, "SELECT count(*) FROM messages").await, 10);
        assert_eq!(count(&path, "SELECT count(*) FROM keys").await, 0);
        assert_eq!(count(&path, "SELECT batch FROM checkpoint").await, 5);
        execute(&path, MEND).await;
        store.apply(&second, 9).await.expect("stored");
        // A repeat of everything, as after a commit whose answer was lost.
        store.apply(&first, 9).await.expect("nothing to do");
        store.apply(&second, 9).await.expect("nothing to do");
        assert_eq!(count(&path, "SELECT count(*) FROM messages").await, 20);
        assert_eq!(count(&path, "SELECT batch FROM checkpoint").await, 9);
        store.close().await.expect("closed");
        let again = SqliteStore::open(&path).await.expect("the store");
        assert_eq!(again.position().batch, 9);
    });
}

#[test]
fn segments_wait_for_the_store() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut options = options(folder.path());
    options.segment_bytes = 16 << 10;
    options.unstored_bytes_max = 300 << 10;
    let opened = open(options.clone()).expect("it opens");
    let store = folder.path().join("store.sqlite");
    run(execute(&store, FAIL));
    let segments = || std::fs::read_dir(folder.path().join("journal")).expect("there").count();
    let progress = || opened.board.progress(PartitionId(0));
    let mut sequence = 0;
    while opened.appender.append(1, &entry(0, sequence + 1, &[b'x'; 1000])) != Err(Full) {
        sequence += 1;
        wait_until("synced", || progress().synced == sequence);
    }
    assert!((250..300).contains(&sequence), "the bound is in bytes: {sequence} of 1 KB");
    assert_eq!(progress().stored, 0);
    assert!(segments() > 15, "{} segments for 300 KB", segments());
    assert!(opened.persistence.counters().store_failures.value() > 0);
    // What a restart would find now is everything.
    let copied = tempfile::tempdir().expect("a directory");
    persistence::backup(folder.path(), copied.path()).expect("a copy");
    run(execute(&copied.path().join("store.sqlite"), MEND));
    std::fs::remove_file(copied.path().join("BACKUP")).expect("there");
    let again = open(support::options(copied.path())).expect("it opens");
    assert_eq!(again.recovered.entries.len() as u64, sequence);
    drop(again);
    run(execute(&store, MEND));
    wait_until("stored", || progress().stored == sequence);
    wait_until("trimmed", || segments() <= 3);
    assert_eq!(opened.persistence.unstored_bytes(), 0);
    opened.appender.append(1, &entry(0, sequence + 1, b"x")).expect("room again");
    wait_until("stored", || progress().stored == sequence + 1);
    assert_eq!(newest(&opened.reader, "chat:0").len() as u64, sequence + 1);
    opened.persistence.shutdown();
    let again = open(options).expect("trimming left a whole journal");
    assert_eq!(again.recovered.sequences[0], sequence + 1);
}

#[test]
fn nor_does_a_shutdown_wait_for_it() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut options = options(folder.path());
    options.shutdown_store_time = std::time::Duration::from_millis(100);
    let opened = open(options.clone()).expect("it opens");
    let store = folder.path().join("store.sqlite");
    run(execute(&store, FAIL));
    for sequence in 1..=10 {
        opened.appender.append(1, &entry(0, sequence, b"{}")).expect("room");
    }
    let counters = opened.persistence.counters();
    wait_until("a failure", || counters.store_failures.value() > 0);
    opened.persistence.shutdown();
    run(execute(&store, MEND));
    let again = open(options).expect("it opens");
    assert_eq!(again.recovered.entries.len(), 10, "the journal kept them");
    wait_until("stored", || again.board.progress(PartitionId(0)).stored == 10);
}
