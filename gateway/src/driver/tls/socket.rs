//! One connection of TLS: what it is in, and the bytes that are under way on it.

use protocol::ids::ConnectionId;
use shard::SendBuffer;

use super::config::RecordLayer;
use super::keys::FirstSecrets;
use super::layer::{Arrival, Received};
use super::record::{CLOSE_NOTIFY, HEADER_BYTES, Opened, Records, Refusal};
use super::session::{Progress, Session};
use crate::limits::TLS_RUSTLS_BYTES;

/// One connection. An idle one is this, and what its state has boxed.
#[derive(Default)]
pub(super) struct Socket {
    pub(super) connection: Option<ConnectionId>,
    pub(super) state: State,
    /// Bytes under way; `None`: there are none.
    pub(super) transfer: Option<Box<Transfer>>,
    /// Nothing more may be sealed: a close_notify was, or the connection failed.
    pub(super) is_closed: bool,
    /// The writing side of the socket is shut behind what waits.
    pub(super) wants_shutdown: bool,
    /// The client said that it sends nothing more; what it sends nevertheless is thrown away.
    pub(super) has_ended: bool,
    /// The socket is being closed: nothing more may be sent.
    pub(super) is_cut: bool,
    /// Bytes that it was charged for memory.
    pub(super) charged: u32,
}

#[derive(Default)]
pub(super) enum State {
    /// Nothing has come.
    #[default]
    Fresh,
    /// The client speaks HTTP without TLS, and is told so.
    Plain,
    Handshaking(Box<Handshake>),
    Rustls(Box<Session>),
    Own(Box<Records>),
    /// Nothing more is read.
    Over,
}

pub(super) struct Handshake {
    pub(super) session: Session,
    pub(super) secrets: FirstSecrets,
    /// As it was when the handshake began.
    pub(super) record_layer: RecordLayer,
    pub(super) received_bytes: usize,
    /// Is it in [`Tls::waiting`]?
    pub(super) waits: bool,
}

/// What is under way on a connection.
#[derive(Default)]
pub(super) struct Transfer {
    /// The beginning of a record, at most [`TLS_KEPT_BYTES_MAX`].
    pub(super) kept: Vec<u8>,
    /// Sealed, and not with the kernel: one send of the engine at most, and what TLS itself says.
    pub(super) outgoing: Vec<u8>,
    /// What a short send left.
    pub(super) rest: Option<SendBuffer>,
    /// What the engine sent, until its last sealed byte has left.
    pub(super) plaintext: Option<SendBuffer>,
    /// Is the end of it with the kernel?
    pub(super) is_last_in_flight: bool,
    pub(super) is_sending: bool,
}

impl Socket {
    /// Bytes of memory beside its place: keys, and records that are not whole or not with the
    /// kernel yet. What was sealed is the engine's own, which counts it.
    pub(super) fn memory_bytes(&self) -> usize {
        let state = match &self.state {
            State::Fresh | State::Plain | State::Over => 0,
            State::Handshaking(_) => size_of::<Handshake>() + TLS_RUSTLS_BYTES,
            State::Rustls(_) => size_of::<Session>() + TLS_RUSTLS_BYTES,
            State::Own(_) => size_of::<Records>(),
        };
        let transfer = self.transfer.as_ref().map_or(0, |transfer| {
            size_of::<Transfer>() + transfer.kept.capacity() + transfer.outgoing.capacity()
        });
        state + transfer
    }

    /// Nothing more is read or sealed; what waits is still sent.
    pub(super) fn fail(&mut self) {
        self.state = State::Over;
        self.is_closed = true;
        if let Some(transfer) = &mut self.transfer {
            transfer.kept = Vec::new();
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        let transfer = self.transfer.get_or_insert_default();
        // Where the keys are used up, the end of the connection has to say it.
        let _ = match &mut self.state {
            State::Own(records) => records.seal_alert(CLOSE_NOTIFY, &mut transfer.outgoing),
            State::Rustls(session) => {
                let Transfer { kept, outgoing, .. } = &mut **transfer;
                session.close(kept, outgoing).ok()
            }
            _ => None,
        };
    }

    pub(super) fn next_send(&mut self) -> Option<SendBuffer> {
        let transfer = self.transfer.as_mut()?;
        if transfer.is_sending {
            return None;
        }
        let buffer = match transfer.rest.take() {
            Some(rest) => rest,
            None if transfer.outgoing.is_empty() => return None,
            None => {
                if let State::Own(records) = &mut self.state {
                    records.was_sent();
                }
                transfer.is_last_in_flight = transfer.plaintext.is_some();
                SendBuffer::owned(std::mem::take(&mut transfer.outgoing))
            }
        };
        transfer.is_sending = true;
        Some(buffer)
    }

    /// An idle connection keeps nothing of its last transfer.
    pub(super) fn rest_if_idle(&mut self) {
        let is_idle = self.transfer.as_ref().is_some_and(|transfer| {
            !transfer.is_sending
                && transfer.kept.is_empty()
                && transfer.outgoing.is_empty()
                && transfer.rest.is_none()
                && transfer.plaintext.is_none()
        });
        if is_idle {
            self.transfer = None;
        }
    }
}

impl Transfer {
    /// Shows rustls everything that it has not taken: in place, unless a beginning was kept.
    pub(super) fn run(
        &mut self,
        bytes: &mut [u8],
        receive: impl FnOnce(&mut [u8], &mut Vec<u8>) -> Progress,
    ) -> Progress {
        let Self { kept, outgoing, .. } = self;
        if kept.is_empty() {
            let progress = receive(bytes, outgoing);
            kept.extend_from_slice(&bytes[progress.consumed..]);
            return progress;
        }
        kept.extend_from_slice(bytes);
        let progress = receive(kept, outgoing);
        kept.drain(..progress.consumed);
        if kept.is_empty() {
            *kept = Vec::new();
        }
        progress
    }
}

/// Appends what a begun record lacks: its header first, because that has the length. Returns how
/// many bytes it took.
pub(super) fn complete(kept: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let mut taken = 0;
    let mut take = |kept: &mut Vec<u8>, length: usize| {
        let count = length.saturating_sub(kept.len()).min(bytes.len() - taken);
        kept.extend_from_slice(&bytes[taken..taken + count]);
        taken += count;
    };
    take(kept, HEADER_BYTES);
    if let Ok(Some(length)) = Records::length(kept) {
        take(kept, length);
    }
    taken
}

pub(super) fn open(
    records: &mut Records,
    record: &mut [u8],
    outgoing: &mut Vec<u8>,
    arrive: &mut dyn FnMut(Arrival<'_>),
) -> Result<Received, Refusal> {
    match records.open(record, outgoing)? {
        Opened::Data(range) => {
            if !range.is_empty() {
                arrive(Arrival::Data(&mut record[range]));
            }
            Ok(Received::Open)
        }
        Opened::Control => Ok(Received::Open),
        Opened::Closed => Ok(Received::Ended),
    }
}
