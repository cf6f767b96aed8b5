//! Statements with many rows: SQLite's cost is per statement more than per row.

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, SqliteConnection};

/// Rows per statement, largest first: every number of rows is a sum of these, so that each
/// connection prepares few statements and keeps them all.
const ROWS: [usize; 4] = [128, 32, 8, 1];

/// One statement for several numbers of rows.
#[derive(Debug)]
pub(super) struct ManyRows {
    texts: [std::sync::Arc<str>; 4],
}

impl ManyRows {
    /// `before (?, ?, …), (?, ?, …) after`, with `columns` placeholders in a row.
    pub(super) fn new(before: &str, columns: usize, after: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let texts = ROWS.map(|rows| {
            let values = vec![row.as_str(); rows].join(", ");
            format!("{before} {values} {after}").into()
        });
        Self { texts }
    }

    /// Executes the statement for all rows; `bind` adds one row's values.
    pub(super) async fn execute<T>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[T],
        bind: impl Fn(&mut SqliteArguments, &T) -> Result<(), sqlx::error::BoxDynError>,
    ) -> Result<(), sqlx::Error> {
        let mut rest = rows;
        for (count, text) in ROWS.iter().zip(&self.texts) {
            while rest.len() >= *count {
                let (part, behind) = rest.split_at(*count);
                let mut arguments = SqliteArguments::default();
                for row in part {
                    bind(&mut arguments, row).map_err(sqlx::Error::Encode)?;
                }
                // The text is made of constants and placeholders alone.
                let text = AssertSqlSafe(text.clone());
                sqlx::query_with(text, arguments).execute(&mut *connection).await?;
                rest = behind;
            }
        }
        Ok(())
    }
}
