//! The data directory: opened before clients are let in, given back when they are gone.

use std::sync::Arc;
use std::time::Duration;

use persistence::{Persistence, PersistenceOptions};

use crate::node::log::LogSource;
use crate::settings::Settings;

/// The journal's thread runs for some 75 us per batch, and waits for the disk otherwise. With the
/// least slice that Linux grants it takes its core from a shard when it wakes (decision 0015).
const JOURNAL_SLICE: Duration = Duration::from_micros(100);

/// Opens the data directory, if one is configured. The namespaces of the settings then carry the
/// generations that it gave to those that are durable.
///
/// # Errors
///
/// One sentence: what is wrong with it and how to mend that.
pub(super) fn open(
    settings: &mut Settings,
) -> Result<Option<(Persistence, Arc<LogSource>)>, String> {
    let Some(wanted) = &settings.persistence else { return Ok(None) };
    let namespaces = settings.gateway.namespaces.clone();
    let options = PersistenceOptions {
        journal_io: wanted.journal_io,
        segment_bytes: wanted.segment_bytes,
        unstored_bytes_max: wanted.backlog_bytes_max,
        journal_begins: schedule_journal,
        // A hint; what fails is said by the sync behind it.
        start_writing: |file, position, bytes| {
            let _ = shard::disk::start_writing(file, position, bytes);
        },
        ..PersistenceOptions::new(&wanted.directory, settings.partitions, namespaces)
    };
    let opened = persistence::open(options).map_err(|error| error.to_string())?;
    settings.gateway.namespaces = opened.namespaces;
    let source = LogSource::new(opened.appender, opened.board, opened.reader, opened.recovered);
    Ok(Some((opened.persistence, Arc::new(source))))
}

/// Without it durable publications take longer where the journal shares its core, and that is all.
fn schedule_journal() {
    match shard::scheduling::shorten_slice(JOURNAL_SLICE) {
        Ok(is_kept) => tracing::debug!(is_kept, "the journal's thread asked for a short slice"),
        Err(error) => tracing::debug!(%error, "the journal's thread keeps the usual slice"),
    }
}
