//! The rows of [`crate::engine::generations`], and what is served until they are changed.

use std::sync::Arc;

use protocol::channels::Namespaces;
use sqlx::{Row, SqliteConnection};

use super::StoreError;
use super::sqlite::{signed, unsigned};
use crate::engine::generations::Generations;

/// Generations, as the partitions go by them.
#[derive(Debug, Default)]
pub(super) struct Kept {
    served: Generations,
    /// The rows may be others: a change of them failed, and a commit that was reported as failed
    /// may have happened, or a change came too late for who asked for it.
    is_in_doubt: bool,
}

impl Kept {
    pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Self, StoreError> {
        let newest = sqlx::query("SELECT newest FROM generations");
        let newest = newest.fetch_optional(&mut *connection).await?;
        let newest = newest.map(|row| row.try_get(0)).transpose()?.map(unsigned);
        let mut served = Generations { newest, ..Generations::default() };
        let rows = sqlx::query("SELECT name, generation FROM namespaces");
        for row in rows.fetch_all(connection).await? {
            served.durable.insert(row.try_get(0)?, unsigned(row.try_get(1)?));
        }
        Ok(Self { served, is_in_doubt: false })
    }

    /// Brings the rows in line with namespaces that are served from now on. What was served before
    /// goes on to be if this fails.
    pub(super) async fn change(
        &mut self,
        connection: &mut SqliteConnection,
        namespaces: &Namespaces,
    ) -> Result<Changed, StoreError> {
        let wanted = self.served.followed_by(namespaces);
        if self.is_in_doubt || wanted != self.served {
            self.is_in_doubt = true;
            write(connection, &wanted).await?;
            self.is_in_doubt = false;
        }
        let stamped = wanted.stamped(namespaces);
        let before = std::mem::replace(&mut self.served, wanted.clone());
        Ok(Changed { namespaces: stamped, before, after: wanted })
    }

    /// Nobody serves what [`Kept::change`] brought about.
    pub(super) fn undo(&mut self, before: Generations) {
        self.is_in_doubt |= before != self.served;
        self.served = before;
    }

    /// Makes sure that the rows are what is served.
    pub(super) async fn settle(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<(), StoreError> {
        if self.is_in_doubt {
            write(connection, &self.served).await?;
            self.is_in_doubt = false;
        }
        Ok(())
    }
}

/// What a change brought about.
#[derive(Debug)]
pub struct Changed {
    /// The namespaces, with the generations of those that are durable.
    pub namespaces: Arc<Namespaces>,
    /// What was served before.
    pub before: Generations,
    /// What is served now.
    pub after: Generations,
}

async fn write(
    connection: &mut SqliteConnection,
    generations: &Generations,
) -> Result<(), StoreError> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let written = write_within(connection, generations).await;
    if written.is_err() {
        let _ = sqlx::query("ROLLBACK").execute(connection).await;
    }
    written
}

async fn write_within(
    connection: &mut SqliteConnection,
    generations: &Generations,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM namespaces").execute(&mut *connection).await?;
    for (name, generation) in &generations.durable {
        sqlx::query("INSERT INTO namespaces (name, generation) VALUES (?, ?)")
            .bind(name)
            .bind(signed(*generation))
            .execute(&mut *connection)
            .await?;
    }
    if let Some(newest) = generations.newest {
        sqlx::query("INSERT OR REPLACE INTO generations (id, newest) VALUES (1, ?)")
            .bind(signed(newest))
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("COMMIT").execute(&mut *connection).await?;
    Ok(())
}
