//! Goal: a namespace has another generation after any time in which it was not durable, whether its
//! rules changed with a start or with a reload; a change that fails, or comes too late, is none; a
//! directory of the version before keeps what it has.
//! Method: real directories. A process that dies is a copy of its files while it lives; a database
//! that refuses, or takes its time, has a trigger.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use persistence::{Opened, PersistenceOptions, open};
use protocol::channels::{ChannelOptions, Durability, Namespaces};
use protocol::ids::PartitionId;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use support::{entry_in, newest, options, wait_until};

/// Channels without a namespace, and of `chat`, if it is there.
fn namespaces(without: Durability, chat: Option<Durability>) -> Arc<Namespaces> {
    let options = |durability| ChannelOptions {
        durability,
        history_size: 1000,
        history_ttl: Duration::from_secs(86_400),
        ..ChannelOptions::default()
    };
    let named = chat.map(|chat| ("chat".to_owned(), options(chat)));
    Arc::new(Namespaces { without: options(without), named: named.into_iter().collect() })
}

fn open_with(folder: &Path, namespaces: Arc<Namespaces>) -> Opened {
    open(PersistenceOptions { namespaces, ..options(folder) }).expect("it opens")
}

/// The generations of channels without a namespace, and of `chat`.
fn generations(namespaces: &Namespaces) -> (u64, u64) {
    let chat = namespaces.named.get("chat").map_or(u64::MAX, |options| options.generation);
    (namespaces.without.generation, chat)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

async fn connect(folder: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("store.sqlite"));
    options.busy_timeout(Duration::from_secs(10)).connect().await.expect("a database")
}

fn execute(folder: &Path, sql: &'static str) {
    run(async {
        let mut connection = connect(folder).await;
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("executed");
        connection.close().await.expect("closed");
    });
}

/// The rows as they are.
fn rows(folder: &Path) -> Vec<(String, i64)> {
    run(async {
        let mut connection = connect(folder).await;
        let query = sqlx::query("SELECT name, generation FROM namespaces ORDER BY name");
        let rows = query.fetch_all(&mut connection).await.expect("rows");
        connection.close().await.expect("closed");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    })
}

const LOG: Durability = Durability::Log;
const MEMORY: Durability = Durability::Memory;

#[test]
fn by_starts() {
    let folder = tempfile::tempdir().expect("a directory");
    let serve = |without, chat| {
        let opened = open_with(folder.path(), namespaces(without, chat));
        opened.persistence.shutdown();
        generations(&opened.namespaces)
    };
    assert_eq!(serve(LOG, Some(LOG)), (0, 0));
    assert_eq!(serve(Durability::Store, Some(LOG)), (0, 0), "no break");
    assert_eq!(serve(LOG, Some(MEMORY)), (0, 0));
    assert_eq!(serve(LOG, Some(LOG)), (0, 1));
    assert_eq!(serve(LOG, None), (0, u64::MAX), "it was deleted");
    assert_eq!(serve(LOG, Some(LOG)), (0, 2));
    assert_eq!(serve(Durability::None, Some(LOG)), (0, 2));
    assert_eq!(serve(LOG, Some(LOG)), (3, 2));
}

#[test]
fn by_reloads() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("data");
    let opened = open_with(&path, namespaces(LOG, Some(LOG)));
    let set = |without, chat| {
        let set = run(opened.persistence.set_namespaces(namespaces(without, chat)));
        generations(&set.expect("it is written down"))
    };
    assert_eq!(set(LOG, Some(MEMORY)), (0, 0));
    // A process that dies as soon as it was told so has written it down.
    let copied = folder.path().join("copied");
    persistence::backup(&path, &copied).expect("a copy");
    std::fs::remove_file(copied.join("BACKUP")).expect("it is there");
    let again = open_with(&copied, namespaces(LOG, Some(LOG)));
    assert_eq!(generations(&again.namespaces), (0, 1));
    assert_eq!(set(LOG, Some(LOG)), (0, 1));
    assert_eq!(set(LOG, Some(LOG)), (0, 1), "nothing has changed");
    opened.persistence.shutdown();
    let again = open_with(&path, namespaces(LOG, Some(LOG)));
    assert_eq!(generations(&again.namespaces), (0, 1));
}

#[test]
fn a_change_that_fails_is_none() {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open_with(folder.path(), namespaces(LOG, Some(LOG)));
    let set = |without, chat| run(opened.persistence.set_namespaces(namespaces(without, chat)));
    let before = rows(folder.path());
    assert_eq!(before, [(String::new(), 0), ("chat".to_owned(), 0)]);
    execute(
        folder.path(),
        "CREATE TRIGGER fail BEFORE INSERT ON namespaces BEGIN SELECT RAISE(ABORT, 'planted'); END",
    );
    let error = set(LOG, Some(MEMORY)).expect_err("the trigger").to_string();
    assert!(error.contains("planted"), "{error}");
    assert_eq!(rows(folder.path()), before);
    execute(folder.path(), "DROP TRIGGER fail");
    let set = set(LOG, Some(LOG)).expect("written down");
    assert_eq!(generations(&set), (0, 0), "it was durable all the time");
    opened.persistence.shutdown();
    // A start that cannot write it down is none either.
    execute(
        folder.path(),
        "CREATE TRIGGER fail BEFORE DELETE ON namespaces BEGIN SELECT RAISE(ABORT, 'planted'); END",
    );
    let refused =
        PersistenceOptions { namespaces: namespaces(MEMORY, Some(LOG)), ..options(folder.path()) };
    let error = open(refused).expect_err("the trigger").to_string();
    assert!(error.contains("planted"), "{error}");
    let again = open_with(folder.path(), namespaces(LOG, Some(LOG)));
    assert_eq!(generations(&again.namespaces), (0, 0));
}

#[test]
fn a_change_that_comes_too_late_is_undone() {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open_with(folder.path(), namespaces(LOG, Some(LOG)));
    let before = rows(folder.path());
    // A row takes as long as a million others.
    execute(
        folder.path(),
        "CREATE VIEW many AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c \
         WHERE x < 1000000) SELECT x FROM c; \
         CREATE TRIGGER slow BEFORE INSERT ON namespaces BEGIN SELECT sum(x) FROM many; END",
    );
    run(async {
        let change = opened.persistence.set_namespaces(namespaces(LOG, None));
        let late = tokio::time::timeout(Duration::from_millis(100), change).await;
        late.expect_err("nobody waits for it any more");
    });
    // Behind the change, for which this waits.
    execute(folder.path(), "DROP TRIGGER slow");
    wait_until("undone", || rows(folder.path()) == before);
    let chat = run(opened.persistence.set_namespaces(namespaces(LOG, Some(LOG))));
    assert_eq!(generations(&chat.expect("written down")), (0, 0), "it was durable all the time");
    assert_eq!(rows(folder.path()), before);
    opened.persistence.shutdown();
    let again = open_with(folder.path(), namespaces(LOG, Some(LOG)));
    assert_eq!(generations(&again.namespaces), (0, 0));
}

#[test]
fn the_rows_follow_what_is_served_without_another_change() {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open_with(folder.path(), namespaces(LOG, Some(LOG)));
    let before = rows(folder.path());
    // As a commit leaves them that was reported as failed, and happened.
    execute(
        folder.path(),
        "CREATE TRIGGER fail BEFORE INSERT ON namespaces BEGIN SELECT RAISE(ABORT, 'planted'); END",
    );
    run(opened.persistence.set_namespaces(namespaces(LOG, None))).expect_err("the trigger");
    execute(folder.path(), "DELETE FROM namespaces; DROP TRIGGER fail");
    wait_until("mended", || rows(folder.path()) == before);
}

#[test]
fn a_directory_of_the_version_before_keeps_what_it_has() {
    for first in [LOG, MEMORY] {
        let folder = tempfile::tempdir().expect("a directory");
        let opened = open_with(folder.path(), namespaces(LOG, Some(LOG)));
        let board = opened.board.clone();
        for offset in 1..=10 {
            let entry = entry_in("chat:room", 0, offset, offset, b"{}");
            opened.appender.append(board.term(), &entry).expect("room");
        }
        wait_until("stored", || board.progress(PartitionId(0)).stored == 10);
        opened.persistence.shutdown();
        // What this version added.
        execute(
            folder.path(),
            "DROP TABLE namespaces; DROP TABLE generations; \
             DELETE FROM _sqlx_migrations WHERE version = 2",
        );
        let opened = open_with(folder.path(), namespaces(LOG, Some(first)));
        assert_eq!(newest(&opened.reader, "chat:room").len(), 10);
        opened.persistence.shutdown();
        let opened = open_with(folder.path(), namespaces(LOG, Some(LOG)));
        // Epochs without a generation are of generation 0.
        let expected = if first == LOG { 0 } else { 1 };
        assert_eq!(generations(&opened.namespaces), (0, expected));
        assert_eq!(newest(&opened.reader, "chat:room").len(), 10);
    }
}
