//! Answers questions about channels, on a connection of its own.

use std::path::Path;
use std::sync::Arc;

use protocol::link::{Content, Position, Publication, StoreAnswer, StoreQuestion};
use sqlx::sqlite::SqliteRow;
use sqlx::{ConnectOptions, Row, SqliteConnection};

use super::StoreError;
use super::sqlite::{options, signed, unsigned};
use crate::engine::record;
use crate::engine::retention::keys_after_ms;

/// A connection that reads.
pub(crate) struct Reader {
    connection: SqliteConnection,
}

struct Channel {
    id: i64,
    position: Position,
    removed_offset: u64,
}

/// Which publications, and how many.
struct Range {
    above: u64,
    below: u64,
    publications_max: u32,
    bytes_max: u32,
    reverse: bool,
}

impl Reader {
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = options(path).pragma("query_only", "ON");
        Ok(Self { connection: options.connect().await? })
    }

    /// Answers as of one moment: position and publications belong together.
    pub(crate) async fn answer(
        &mut self,
        channel: &str,
        question: &StoreQuestion,
        unix_ms: u64,
    ) -> Result<StoreAnswer, StoreError> {
        sqlx::query("BEGIN").execute(&mut self.connection).await?;
        let answer = self.answer_within(channel, question, unix_ms).await;
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        answer
    }

    async fn answer_within(
        &mut self,
        channel: &str,
        question: &StoreQuestion,
        unix_ms: u64,
    ) -> Result<StoreAnswer, StoreError> {
        let channel = self.channel(channel).await?;
        match question {
            StoreQuestion::Newest { publications_max, bytes_max } => {
                let Some(channel) = channel else {
                    return Ok(StoreAnswer::Newest { position: None, publications: Vec::new() });
                };
                let range = Range {
                    above: channel.removed_offset,
                    below: channel.position.offset.saturating_add(1),
                    publications_max: *publications_max,
                    bytes_max: *bytes_max,
                    reverse: true,
                };
                let mut publications = self.publications(channel.id, &range).await?;
                keep_contiguous(&mut publications, channel.position.offset);
                publications.reverse();
                Ok(StoreAnswer::Newest { position: Some(channel.position), publications })
            }
            StoreQuestion::Page { epoch, above, below, publications_max, bytes_max, reverse } => {
                let range = Range {
                    above: *above,
                    below: *below,
                    publications_max: *publications_max,
                    bytes_max: *bytes_max,
                    reverse: *reverse,
                };
                let page = match channel {
                    Some(channel) if channel.position.epoch == *epoch => {
                        self.publications(channel.id, &range).await?
                    }
                    _ => Vec::new(),
                };
                Ok(StoreAnswer::Page(page))
            }
            StoreQuestion::Key { key } => {
                let position = match channel {
                    Some(channel) => self.key(channel.id, key, unix_ms).await?,
                    None => None,
                };
                Ok(StoreAnswer::Key(position))
            }
        }
    }

    async fn channel(&mut self, name: &str) -> Result<Option<Channel>, StoreError> {
        let sql = "SELECT id, epoch, offset, removed_offset FROM channels WHERE name = ?";
        let row = sqlx::query(sql).bind(name).fetch_optional(&mut self.connection).await?;
        let Some(row) = row else { return Ok(None) };
        let epoch = row.try_get::<String, _>(1)?.into();
        Ok(Some(Channel {
            id: row.try_get(0)?,
            position: Position { offset: unsigned(row.try_get(2)?), epoch },
            removed_offset: unsigned(row.try_get(3)?),
        }))
    }

    async fn publications(
        &mut self,
        channel_id: i64,
        range: &Range,
    ) -> Result<Vec<Arc<Publication>>, StoreError> {
        let sql = if range.reverse {
            "SELECT offset, time_ms, form, payload, publisher, tags FROM messages \
             WHERE channel_id = ? AND offset > ? AND offset < ? ORDER BY offset DESC LIMIT ?"
        } else {
            "SELECT offset, time_ms, form, payload, publisher, tags FROM messages \
             WHERE channel_id = ? AND offset > ? AND offset < ? ORDER BY offset LIMIT ?"
        };
        let query = sqlx::query(sql)
            .bind(channel_id)
            .bind(signed(range.above))
            .bind(signed(range.below))
            .bind(range.publications_max);
        let mut rows = query.fetch(&mut self.connection);
        let mut publications = Vec::new();
        let mut bytes = 0;
        while let Some(row) = next(&mut rows).await? {
            let publication = publication(&row)?;
            bytes += publication.content.bytes.len();
            if bytes > range.bytes_max as usize && !publications.is_empty() {
                break;
            }
            publications.push(Arc::new(publication));
        }
        Ok(publications)
    }

    async fn key(
        &mut self,
        channel_id: i64,
        key: &str,
        unix_ms: u64,
    ) -> Result<Option<Position>, StoreError> {
        let sql = "SELECT offset, epoch FROM keys \
                   WHERE channel_id = ? AND key = ? AND time_ms > ?";
        let query =
            sqlx::query(sql).bind(channel_id).bind(key).bind(signed(keys_after_ms(unix_ms)));
        let Some(row) = query.fetch_optional(&mut self.connection).await? else { return Ok(None) };
        let epoch = row.try_get::<String, _>(1)?.into();
        Ok(Some(Position { offset: unsigned(row.try_get(0)?), epoch }))
    }
}

/// The next row of a stream, without a crate for one function.
async fn next<S, T>(rows: &mut S) -> Result<Option<T>, StoreError>
where
    S: futures_core::Stream<Item = Result<T, sqlx::Error>> + Unpin,
{
    std::future::poll_fn(|context| std::pin::Pin::new(&mut *rows).poll_next(context))
        .await
        .transpose()
        .map_err(StoreError::from)
}

/// Keeps the publications, newest first, that reach from `offset` down without a hole.
fn keep_contiguous(publications: &mut Vec<Arc<Publication>>, offset: u64) {
    let expected = (0..=offset).rev();
    let count = publications.iter().zip(expected).take_while(|(one, at)| one.offset == *at).count();
    publications.truncate(count);
}

fn publication(row: &SqliteRow) -> Result<Publication, StoreError> {
    let form = u8::try_from(row.try_get::<i64, _>(2)?).ok().and_then(|n| record::form_of(n).ok());
    let publisher = match row.try_get::<Option<&[u8]>, _>(4)? {
        Some(bytes) => {
            let member = record::decode_member(bytes);
            Some(Arc::new(member.map_err(|_| StoreError::Row("a publisher"))?))
        }
        None => None,
    };
    let tags = match row.try_get::<Option<&[u8]>, _>(5)? {
        Some(bytes) => {
            let tags = record::decode_tags(bytes);
            Some(Arc::new(tags.map_err(|_| StoreError::Row("tags"))?))
        }
        None => None,
    };
    Ok(Publication {
        offset: unsigned(row.try_get(0)?),
        content: Content {
            bytes: row.try_get::<&[u8], _>(3)?.into(),
            form: form.ok_or(StoreError::Row("a payload form"))?,
        },
        publisher,
        tags,
        time_ms: unsigned(row.try_get(1)?),
    })
}
