//! The store of one machine: SQLite in WAL mode, where a commit is a sync.
//!
//! Owns: the one connection that writes. Readers have their own (read.rs) and never wait for it.
//! Invariant: rows and checkpoint change in one transaction, and the checkpoint only moves up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::channels::Namespaces;
use protocol::link::{LogChange, LogEntry, Publication};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use super::namespaces::{Changed, Kept};
use super::retain::Retention;
use super::statements::ManyRows;
use super::{Store, StoreError, StorePosition};
use crate::engine::generations::Generations;
use crate::engine::record;
use crate::limits::{CHANNELS_REMEMBERED_MAX, STORE_CACHE_KIB, STORE_WAL_PAGES};

/// The schema this build writes.
pub const SCHEMA_VERSION: i64 = 2;

/// How long a writer waits for another program that looks at the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const NAMES_PER_LOOKUP: usize = 64;

/// What the store remembers of a channel.
#[derive(Clone, Debug)]
struct Channel {
    id: i64,
    epoch: Arc<str>,
    offset: u64,
    removed_offset: u64,
    time_ms: u64,
}

/// One row of `messages`.
struct Message<'a> {
    channel_id: i64,
    publication: &'a Publication,
}

/// One row of `keys`.
struct Key<'a> {
    channel_id: i64,
    key: &'a Arc<str>,
    offset: u64,
    epoch: &'a Arc<str>,
    time_ms: u64,
}

/// The store.
pub struct SqliteStore {
    connection: SqliteConnection,
    position: StorePosition,
    /// Channels by name, as they are in the database. Emptied when it is full or a transaction
    /// fails.
    channels: HashMap<Arc<str>, Channel>,
    next_id: i64,
    retention: Retention,
    namespaces: Kept,
    statements: Statements,
}

struct Statements {
    channels: ManyRows,
    messages: ManyRows,
    keys: ManyRows,
    partitions: ManyRows,
    lookup: Arc<str>,
}

impl Statements {
    fn new() -> Self {
        let names = vec!["?"; NAMES_PER_LOOKUP].join(", ");
        Self {
            channels: ManyRows::new(
                "INSERT INTO channels (id, name, epoch, offset, removed_offset, time_ms) VALUES",
                6,
                "ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, offset = excluded.offset, \
                 removed_offset = excluded.removed_offset, time_ms = excluded.time_ms",
            ),
            messages: ManyRows::new(
                "INSERT OR REPLACE INTO messages \
                 (channel_id, offset, time_ms, form, payload, publisher, tags) VALUES",
                7,
                "",
            ),
            keys: ManyRows::new(
                "INSERT OR REPLACE INTO keys (channel_id, key, offset, epoch, time_ms) VALUES",
                5,
                "",
            ),
            partitions: ManyRows::new(
                "INSERT INTO partitions (partition, sequence) VALUES",
                2,
                "ON CONFLICT (partition) DO UPDATE SET sequence = excluded.sequence",
            ),
            lookup: format!(
                "SELECT id, name, epoch, offset, removed_offset, time_ms FROM channels \
                 WHERE name IN ({names})"
            )
            .into(),
        }
    }
}

pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(64)
        .disable_statement_logging()
}

impl SqliteStore {
    /// Opens the database, and makes or migrates its tables.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or a later version wrote it; then it is left as it is.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(version) = schema_version(path).await?
            && version > SCHEMA_VERSION
        {
            return Err(StoreError::Newer { version });
        }
        let options = options(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", format!("-{STORE_CACHE_KIB}"))
            .pragma("wal_autocheckpoint", STORE_WAL_PAGES.to_string());
        let mut connection = options.connect().await?;
        migrations().run(&mut connection).await.map_err(sqlx::Error::from)?;
        let position = read_position(&mut connection).await?;
        let namespaces = Kept::read(&mut connection).await?;
        let highest: i64 = sqlx::query("SELECT coalesce(max(id), 0) FROM channels")
            .fetch_one(&mut connection)
            .await?
            .try_get(0)?;
        Ok(Self {
            connection,
            position,
            channels: HashMap::new(),
            next_id: highest + 1,
            retention: Retention::default(),
            namespaces,
            statements: Statements::new(),
        })
    }

    /// How far it is.
    pub fn position(&self) -> &StorePosition {
        &self.position
    }

    /// Closes the database, so that its files are one.
    ///
    /// # Errors
    ///
    /// What the database says; nothing is lost.
    pub async fn close(mut self) -> Result<(), StoreError> {
        let settled = self.namespaces.settle(&mut self.connection).await;
        self.connection.close().await?;
        settled
    }

    async fn transact(&mut self, entries: &[&LogEntry], batch: u64) -> Result<(), StoreError> {
        self.load_channels(entries).await?;
        let changes = self.gather(entries);
        let expected = self.position.batch;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        let moved = sqlx::query("UPDATE checkpoint SET batch = ? WHERE batch = ?")
            .bind(signed(batch))
            .bind(signed(expected))
            .execute(&mut self.connection)
            .await?;
        if moved.rows_affected() != 1 {
            return Err(StoreError::Checkpoint { expected });
        }
        for (channel_id, upto) in &changes.removals {
            let remove = "DELETE FROM messages WHERE channel_id = ? AND offset <= ?";
            let query = sqlx::query(remove).bind(channel_id).bind(signed(*upto));
            query.execute(&mut self.connection).await?;
        }
        let connection = &mut self.connection;
        let statements = &self.statements;
        statements.channels.execute(connection, &changes.channels, bind_channel).await?;
        statements.messages.execute(connection, &changes.messages, bind_message).await?;
        statements.keys.execute(connection, &changes.keys, bind_key).await?;
        let bind = |arguments: &mut SqliteArguments, row: &(u16, u64)| {
            arguments.add(i64::from(row.0))?;
            arguments.add(signed(row.1))
        };
        statements.partitions.execute(connection, &changes.partitions, bind).await?;
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        self.position.batch = batch;
        self.position.sequences.extend(changes.partitions.iter().copied());
        Ok(())
    }

    /// Finds or makes the channels of entries, in memory only.
    async fn load_channels(&mut self, entries: &[&LogEntry]) -> Result<(), StoreError> {
        let mut missing: HashSet<Arc<str>> = HashSet::new();
        for entry in entries {
            if !self.channels.contains_key(&entry.channel) {
                missing.insert(entry.channel.clone());
            }
        }
        if self.channels.len() + missing.len() > CHANNELS_REMEMBERED_MAX {
            self.channels.clear();
            missing.extend(entries.iter().map(|entry| entry.channel.clone()));
        }
        let missing: Vec<Arc<str>> = missing.into_iter().collect();
        for names in missing.chunks(NAMES_PER_LOOKUP) {
            self.look_up(names).await?;
        }
        for name in missing {
            let id = self.next_id;
            let is_new = !self.channels.contains_key(&name);
            self.next_id += i64::from(is_new);
            self.channels.entry(name).or_insert_with(|| Channel {
                id,
                epoch: "".into(),
                offset: 0,
                removed_offset: 0,
                time_ms: 0,
            });
        }
        Ok(())
    }

    async fn look_up(&mut self, names: &[Arc<str>]) -> Result<(), StoreError> {
        let mut arguments = SqliteArguments::default();
        for at in 0..NAMES_PER_LOOKUP {
            // The first name fills up the list: one statement serves every number of names.
            let name = names.get(at).unwrap_or(&names[0]);
            arguments.add(&**name).map_err(sqlx::Error::Encode)?;
        }
        let query = sqlx::query_with(AssertSqlSafe(self.statements.lookup.clone()), arguments);
        for row in query.fetch_all(&mut self.connection).await? {
            let channel = Channel {
                id: row.try_get(0)?,
                epoch: row.try_get::<String, _>(2)?.into(),
                offset: unsigned(row.try_get(3)?),
                removed_offset: unsigned(row.try_get(4)?),
                time_ms: unsigned(row.try_get(5)?),
            };
            self.channels.insert(row.try_get::<String, _>(1)?.into(), channel);
        }
        Ok(())
    }

    /// Applies entries to the channels in memory and collects the rows that follow from them.
    fn gather<'a>(&mut self, entries: &[&'a LogEntry]) -> Changes<'a> {
        let mut changes = Changes::default();
        let mut touched: HashMap<&'a str, &'a Arc<str>> = HashMap::new();
        let mut sequences = BTreeMap::new();
        for entry in entries {
            let channel = self.channels.get_mut(&entry.channel).expect("channels were loaded");
            touched.insert(&entry.channel, &entry.channel);
            sequences.insert(entry.partition.0, entry.sequence);
            if channel.epoch != entry.epoch {
                // A new epoch counts from the beginning; nothing of the old one is reached again.
                changes.remove(channel.id, u64::MAX);
                channel.epoch = entry.epoch.clone();
                channel.offset = 0;
                channel.removed_offset = 0;
            }
            channel.time_ms = entry.time_ms();
            match &entry.change {
                LogChange::Published { publication, idempotency_key } => {
                    channel.offset = publication.offset;
                    changes.messages.push(Message { channel_id: channel.id, publication });
                    if let Some(key) = idempotency_key {
                        changes.keys.push(Key {
                            channel_id: channel.id,
                            key,
                            offset: publication.offset,
                            epoch: &entry.epoch,
                            time_ms: publication.time_ms,
                        });
                    }
                }
                LogChange::HistoryRemoved { offset, .. } => {
                    channel.offset = channel.offset.max(*offset);
                    channel.removed_offset = *offset;
                    changes.remove(channel.id, *offset);
                }
            }
        }
        changes.drop_removed();
        let rows = touched.into_values().map(|name| (name, self.channels[name].clone()));
        changes.channels.extend(rows);
        changes.channels.sort_unstable_by_key(|(_, channel)| channel.id);
        // Rows of one channel are neighbours in the table.
        changes.messages.sort_by_key(|row| (row.channel_id, row.publication.offset));
        changes.partitions.extend(sequences);
        changes
    }
}

/// Rows of one transaction.
#[derive(Default)]
struct Changes<'a> {
    /// Per channel, up to which offset the rows that are there go, before others are written.
    removals: BTreeMap<i64, u64>,
    cuts: HashMap<i64, Vec<Cut>>,
    channels: Vec<(&'a Arc<str>, Channel)>,
    messages: Vec<Message<'a>>,
    keys: Vec<Key<'a>>,
    partitions: Vec<(u16, u64)>,
}

impl Changes<'_> {
    /// Removes messages of a channel: those in the table, and those of this transaction so far.
    fn remove(&mut self, channel_id: i64, upto: u64) {
        let before = self.removals.entry(channel_id).or_default();
        *before = upto.max(*before);
        let cuts = self.cuts.entry(channel_id).or_default();
        // A removal covers all before it that reached no further.
        while cuts.last().is_some_and(|cut| cut.upto <= upto) {
            cuts.pop();
        }
        cuts.push(Cut { messages_before: self.messages.len(), upto });
    }

    /// Leaves out the messages of this transaction that a later entry of it removed.
    fn drop_removed(&mut self) {
        let cuts = std::mem::take(&mut self.cuts);
        if cuts.is_empty() {
            return;
        }
        let mut at = 0;
        self.messages.retain(|row| {
            let is_cut = |cut: &Cut| at < cut.messages_before && row.publication.offset <= cut.upto;
            let is_removed = cuts.get(&row.channel_id).is_some_and(|cuts| cuts.iter().any(is_cut));
            at += 1;
            !is_removed
        });
    }
}

/// A removal within a transaction: of the messages before it, up to an offset.
struct Cut {
    messages_before: usize,
    upto: u64,
}

impl Store for SqliteStore {
    async fn apply(&mut self, entries: &[LogEntry], batch: u64) -> Result<(), StoreError> {
        let is_new = |entry: &&LogEntry| {
            let stored = self.position.sequences.get(&entry.partition.0);
            entry.sequence > stored.copied().unwrap_or(0)
        };
        let new: Vec<&LogEntry> = entries.iter().filter(is_new).collect();
        let batch = batch.max(self.position.batch);
        if new.is_empty() && batch == self.position.batch {
            return Ok(());
        }
        self.namespaces.settle(&mut self.connection).await?;
        let result = self.transact(&new, batch).await;
        if result.is_err() {
            // What is in memory may be ahead of the database now.
            self.channels.clear();
            let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
            // A commit that was reported as failed may have happened.
            if let Ok(position) = read_position(&mut self.connection).await {
                self.position = position;
            }
        }
        result
    }

    async fn retain(&mut self, namespaces: &Namespaces, unix_ms: u64) -> Result<u64, StoreError> {
        self.namespaces.settle(&mut self.connection).await?;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        let slice = self.retention.slice(&mut self.connection, namespaces, unix_ms).await;
        // A slice that stopped half way deleted nothing that should stay.
        let committed = sqlx::query("COMMIT").execute(&mut self.connection).await;
        if committed.is_err() {
            let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
            self.channels.clear();
        }
        let deleted = slice?;
        committed?;
        for name in &deleted.channels {
            self.channels.remove(name.as_str());
        }
        Ok(deleted.rows)
    }

    async fn set_namespaces(&mut self, namespaces: &Namespaces) -> Result<Changed, StoreError> {
        self.namespaces.change(&mut self.connection, namespaces).await
    }

    fn undo_namespaces(&mut self, before: Generations) {
        self.namespaces.undo(before);
    }
}

fn bind_channel(
    arguments: &mut SqliteArguments,
    (name, channel): &(&Arc<str>, Channel),
) -> Result<(), sqlx::error::BoxDynError> {
    arguments.add(channel.id)?;
    arguments.add(Arc::clone(name))?;
    arguments.add(channel.epoch.clone())?;
    arguments.add(signed(channel.offset))?;
    arguments.add(signed(channel.removed_offset))?;
    arguments.add(signed(channel.time_ms))
}

fn bind_message(
    arguments: &mut SqliteArguments,
    row: &Message<'_>,
) -> Result<(), sqlx::error::BoxDynError> {
    let publication = row.publication;
    let publisher = publication.publisher.as_ref().map(|publisher| {
        let mut bytes = Vec::new();
        record::encode_member(publisher, &mut bytes);
        bytes
    });
    let tags = publication.tags.as_ref().map(|tags| {
        let mut bytes = Vec::new();
        record::encode_tags(tags, &mut bytes);
        bytes
    });
    arguments.add(row.channel_id)?;
    arguments.add(signed(publication.offset))?;
    arguments.add(signed(publication.time_ms))?;
    arguments.add(i64::from(record::form_number(publication.content.form)))?;
    arguments.add(publication.content.bytes.to_vec())?;
    arguments.add(publisher)?;
    arguments.add(tags)
}

fn bind_key(
    arguments: &mut SqliteArguments,
    row: &Key<'_>,
) -> Result<(), sqlx::error::BoxDynError> {
    arguments.add(row.channel_id)?;
    arguments.add(Arc::clone(row.key))?;
    arguments.add(signed(row.offset))?;
    arguments.add(Arc::clone(row.epoch))?;
    arguments.add(signed(row.time_ms))
}

/// SQLite's integers are signed; offsets and times stay below 2^63 for ever.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn migrations() -> Migrator {
    let migration = |version, name: &'static str, text: &'static str| {
        let text = sqlx::SqlSafeStr::into_sql_str(text);
        Migration::new(version, name.into(), MigrationType::Simple, text, false)
    };
    Migrator::with_migrations(vec![
        migration(1, "channels", include_str!("migrations/0001_channels.sql")),
        migration(SCHEMA_VERSION, "namespaces", include_str!("migrations/0002_namespaces.sql")),
    ])
}

/// The newest migration in a database, found without changing a byte of it.
pub(crate) async fn schema_version(path: &Path) -> Result<Option<i64>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let mut connection = options(path).connect().await?;
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query(table).fetch_one(&mut connection).await?.try_get(0)?;
    let version = if tables == 0 {
        None
    } else {
        let newest = "SELECT max(version) FROM _sqlx_migrations";
        sqlx::query(newest).fetch_one(&mut connection).await?.try_get(0)?
    };
    connection.close().await?;
    Ok(version)
}

pub(crate) async fn read_position(
    connection: &mut SqliteConnection,
) -> Result<StorePosition, StoreError> {
    let batch: i64 = sqlx::query("SELECT batch FROM checkpoint")
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    let mut position = StorePosition { batch: unsigned(batch), ..StorePosition::default() };
    let rows = sqlx::query("SELECT partition, sequence FROM partitions");
    for row in rows.fetch_all(&mut *connection).await? {
        let partition = u16::try_from(row.try_get::<i64, _>(0)?)
            .map_err(|_| StoreError::Row("a partition number"))?;
        position.sequences.insert(partition, unsigned(row.try_get(1)?));
    }
    Ok(position)
}
