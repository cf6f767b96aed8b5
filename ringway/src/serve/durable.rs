//! The data directory: opened before clients are let in, given back when they are gone.

use std::sync::Arc;

use persistence::{Persistence, PersistenceOptions};

use crate::node::log::LogSource;
use crate::settings::Settings;

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
        ..PersistenceOptions::new(&wanted.directory, settings.partitions, namespaces)
    };
    let opened = persistence::open(options).map_err(|error| error.to_string())?;
    settings.gateway.namespaces = opened.namespaces;
    let source = LogSource::new(opened.appender, opened.board, opened.reader, opened.recovered);
    Ok(Some((opened.persistence, Arc::new(source))))
}
