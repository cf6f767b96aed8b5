//! Forgets in small slices what [`crate::engine::retention`] no longer keeps.

use protocol::channels::Namespaces;
use sqlx::{Row, SqliteConnection};

use super::StoreError;
use super::sqlite::{signed, unsigned};
use crate::engine::retention::{Keep, keep, keys_after_ms};
use crate::limits::{RETENTION_CHANNELS_PER_SLICE, RETENTION_ROWS_PER_SLICE};

/// Where the next slice begins.
#[derive(Debug, Default)]
pub(super) struct Retention {
    after_id: i64,
}

/// What a slice deleted.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    pub(super) rows: u64,
    /// Channels whose position is gone too.
    pub(super) channels: Vec<String>,
}

struct Candidate {
    id: i64,
    name: String,
    offset: u64,
    time_ms: u64,
}

impl Retention {
    /// Looks at a few channels and at the oldest keys.
    pub(super) async fn slice(
        &mut self,
        connection: &mut SqliteConnection,
        namespaces: &Namespaces,
        unix_ms: u64,
    ) -> Result<Deleted, StoreError> {
        let mut deleted = Deleted::default();
        let candidates = self.candidates(connection).await?;
        for candidate in &candidates {
            let options = namespaces.resolve(&candidate.name);
            let Some(keep) = keep(options, candidate.offset, unix_ms) else { continue };
            forget(connection, candidate, &keep, &mut deleted).await?;
        }
        deleted.rows += forget_keys(connection, unix_ms).await?;
        self.after_id = match candidates.last() {
            Some(last) if candidates.len() == RETENTION_CHANNELS_PER_SLICE as usize => last.id,
            _ => 0,
        };
        Ok(deleted)
    }

    async fn candidates(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Candidate>, StoreError> {
        let sql = "SELECT id, name, offset, time_ms FROM channels WHERE id > ? ORDER BY id LIMIT ?";
        let query = sqlx::query(sql).bind(self.after_id).bind(RETENTION_CHANNELS_PER_SLICE);
        let mut candidates = Vec::new();
        for row in query.fetch_all(connection).await? {
            candidates.push(Candidate {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                offset: unsigned(row.try_get(2)?),
                time_ms: unsigned(row.try_get(3)?),
            });
        }
        Ok(candidates)
    }
}

async fn forget(
    connection: &mut SqliteConnection,
    candidate: &Candidate,
    keep: &Keep,
    deleted: &mut Deleted,
) -> Result<(), StoreError> {
    let sql = "SELECT offset, time_ms FROM messages WHERE channel_id = ? ORDER BY offset LIMIT ?";
    let oldest = sqlx::query(sql).bind(candidate.id).bind(1);
    let oldest = oldest.fetch_optional(&mut *connection).await?;
    let Some(oldest) = oldest else {
        return forget_position(connection, candidate, keep, deleted).await;
    };
    let (offset, time_ms) = (unsigned(oldest.try_get(0)?), unsigned(oldest.try_get::<i64, _>(1)?));
    if offset > keep.above_offset && time_ms > keep.after_ms {
        return Ok(());
    }
    // The oldest rows up to the first that is kept: never a hole.
    let rows = sqlx::query(sql).bind(candidate.id).bind(RETENTION_ROWS_PER_SLICE);
    let mut upto = None;
    for row in rows.fetch_all(&mut *connection).await? {
        let (offset, time_ms) = (unsigned(row.try_get(0)?), unsigned(row.try_get(1)?));
        if offset > keep.above_offset && time_ms > keep.after_ms {
            break;
        }
        upto = Some(offset);
    }
    if let Some(upto) = upto {
        let sql = "DELETE FROM messages WHERE channel_id = ? AND offset <= ?";
        let query = sqlx::query(sql).bind(candidate.id).bind(signed(upto));
        deleted.rows += query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(())
}

/// A channel without messages keeps its position for a while: who publishes next counts on.
async fn forget_position(
    connection: &mut SqliteConnection,
    candidate: &Candidate,
    keep: &Keep,
    deleted: &mut Deleted,
) -> Result<(), StoreError> {
    if candidate.time_ms > keep.position_after_ms {
        return Ok(());
    }
    sqlx::query("DELETE FROM keys WHERE channel_id = ?")
        .bind(candidate.id)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM channels WHERE id = ?")
        .bind(candidate.id)
        .execute(&mut *connection)
        .await?;
    deleted.rows += 1;
    deleted.channels.push(candidate.name.clone());
    Ok(())
}

async fn forget_keys(connection: &mut SqliteConnection, unix_ms: u64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM keys WHERE (channel_id, key) IN \
               (SELECT channel_id, key FROM keys WHERE time_ms <= ? ORDER BY time_ms LIMIT ?)";
    let query = sqlx::query(sql).bind(signed(keys_after_ms(unix_ms)));
    Ok(query.bind(RETENTION_ROWS_PER_SLICE).execute(connection).await?.rows_affected())
}
