//! Logs: one event a line, on stderr, without payloads, tokens or secrets.

use tracing_subscriber::filter::LevelFilter;

use crate::settings::LogLevel;

/// Starts logging. Texts of clients are escaped by the formatter: control characters, and with them
/// new lines and terminal sequences, never reach a line (RUSTSEC-2025-0055).
pub(super) fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second call in one process (tests) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_target(false)
        .try_init();
}
