//! Goal: the store keeps what the namespaces' options say, and forgets the rest in small slices.
//! Method: the store alone, slice by slice, with times of our own.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use persistence::store::Store;
use persistence::store::sqlite::SqliteStore;
use protocol::channels::{ChannelOptions, Namespaces};
use protocol::link::LogEntry;
use sqlx::{ConnectOptions, Row};
use support::{NOW_MS, at_time, entry_in, with_key};

fn namespaces(history_size: u32, ttl_ms: u64) -> Namespaces {
    let options = ChannelOptions {
        history_size,
        history_ttl: Duration::from_millis(ttl_ms),
        history_meta_ttl: Duration::from_secs(3600),
        ..ChannelOptions::default()
    };
    let without = options.clone();
    Namespaces { without, named: BTreeMap::from([("chat".to_owned(), options)]) }
}

struct Bench {
    store: SqliteStore,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new(entries: &[LogEntry]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("store.sqlite");
        let mut store = SqliteStore::open(&path).await.expect("a new store");
        store.apply(entries, 1).await.expect("stored");
        Self { store, folder }
    }

    /// Slices until nothing more is deleted.
    async fn retain(&mut self, namespaces: &Namespaces, unix_ms: u64) -> u64 {
        let mut deleted = 0;
        let mut idle = 0;
        while idle < 50 {
            let slice = self.store.retain(namespaces, unix_ms).await.expect("a slice");
            assert!(slice <= 200_000, "a slice is small");
            deleted += slice;
            idle = if slice == 0 { idle + 1 } else { 0 };
        }
        deleted
    }

    async fn offsets(&self, channel: &str) -> Vec<i64> {
        let path = self.folder.path().join("store.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.expect("a database");
        let sql = "SELECT m.offset FROM messages m JOIN channels c ON c.id = m.channel_id \
                   WHERE c.name = ? ORDER BY m.offset";
        let rows = sqlx::query(sql).bind(channel).fetch_all(&mut connection).await;
        rows.expect("rows").iter().map(|row| row.get(0)).collect()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let path = self.folder.path().join("store.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.expect("a database");
        sqlx::query(sql).fetch_one(&mut connection).await.expect("a row").get(0)
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

#[test]
fn by_count() {
    run(async {
        let mut entries = Vec::new();
        for channel in 0..150 {
            for offset in 1..=20 {
                let sequence = channel * 20 + offset;
                entries.push(entry_in(&format!("chat:{channel}"), 0, sequence, offset, b"x"));
            }
        }
        entries.push(entry_in("unknown:1", 0, 3001, 1, b"x"));
        let mut bench = Bench::new(&entries).await;
        let deleted = bench.retain(&namespaces(5, 60_000), NOW_MS).await;
        assert_eq!(deleted, 150 * 15);
        assert_eq!(bench.offsets("chat:149").await, [16, 17, 18, 19, 20]);
        assert_eq!(bench.offsets("unknown:1").await, [1], "not configured: not touched");
    });
}

#[test]
fn by_age_and_without_a_hole() {
    run(async {
        // The clock went back once: offset 3 looks older than it is.
        let times = [10, 20, 5, 40, 50].map(|after| NOW_MS + after);
        let entries: Vec<_> = (1..)
            .zip(times)
            .map(|(offset, time)| at_time(entry_in("chat:1", 0, offset, offset, b"x"), time))
            .collect();
        let mut bench = Bench::new(&entries).await;
        bench.retain(&namespaces(100, 60_000), NOW_MS + 60_015).await;
        assert_eq!(bench.offsets("chat:1").await, [2, 3, 4, 5], "3 waits behind 2");
        bench.retain(&namespaces(100, 60_000), NOW_MS + 60_025).await;
        assert_eq!(bench.offsets("chat:1").await, [4, 5]);
        bench.retain(&namespaces(100, 60_000), NOW_MS + 70_000).await;
        assert_eq!(bench.count("SELECT count(*) FROM messages").await, 0);
        assert_eq!(bench.count("SELECT offset FROM channels").await, 5, "the position stays");
        bench.retain(&namespaces(100, 60_000), NOW_MS + 3_600_100).await;
        assert_eq!(bench.count("SELECT count(*) FROM channels").await, 0, "until its own time");
        let next = at_time(entry_in("chat:1", 0, 6, 6, b"x"), NOW_MS + 3_600_200);
        bench.store.apply(&[next], 2).await.expect("a forgotten channel begins again");
        assert_eq!(bench.offsets("chat:1").await, [6]);
    });
}

#[test]
fn keys_by_age() {
    run(async {
        let entries: Vec<_> = (1..=5000)
            .map(|n| with_key(entry_in("chat:1", 0, n, n, b"x"), &format!("key {n}")))
            .collect();
        let mut bench = Bench::new(&entries).await;
        let kept = namespaces(10_000, 36_000_000);
        bench.retain(&kept, NOW_MS + 900_000).await;
        assert_eq!(bench.count("SELECT count(*) FROM keys").await, 5000);
        bench.retain(&kept, NOW_MS + 900_000 + 4000).await;
        assert_eq!(bench.count("SELECT count(*) FROM keys").await, 1000);
    });
}
