//! Notes of the engine become lines of the log.

use tracing::debug;

use crate::engine::{Note, Noted};

/// Does anybody read them?
pub(super) fn are_read() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// One line. A user may be of any characters: it is escaped.
pub(super) fn write(note: &Note) {
    let peer = note.peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    let user = note.user.as_deref().unwrap_or_default();
    match note.what {
        Noted::TokenRefused(fault) => {
            debug!(reason = fault.label(), %peer, ?user, "token refused");
        }
        Noted::RequestRefused(status, text) => {
            debug!(status, reason = text, %peer, "request refused");
        }
        Noted::ProxyHeaderRefused(fault) => {
            debug!(reason = fault.label(), %peer, "proxy header refused");
        }
        Noted::Closed(reason, code) => {
            debug!(code, reason = reason.label(), %peer, ?user, "closed");
        }
    }
}
