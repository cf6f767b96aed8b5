//! Our record layer for TLS 1.3 (RFC 8446, 5), for after the handshake.
//!
//! Owns: the two keys in use, how many records they have seen, and the secrets of the next keys.
//! Never: keeps an expanded key or a byte of a payload: an idle connection is this struct.
//! Invariant: a sequence number is used for one record only; each direction counts from zero again
//! when its key changes.
//!
//! ```text
//!  type 23 │ 3 │ 3 │ length (2) │ AEAD( data ‖ type ‖ zeros ) │ tag (16)
//!  └────────── header ─────────┘ └───────── length ──────────────────┘    nonce = IV xor sequence
//! ```

use aws_lc_rs::aead::{Aad, LessSafeKey};
use rustls::server::UnbufferedServerConnection;

use super::counters::RecordFault;
use super::keys::{FirstSecrets, Half, Suite};
use crate::limits::{TLS_EMPTY_RECORDS_MAX, TLS_KEY_UPDATES_MAX, TLS_WARNINGS_MAX};

/// One end of an established connection.
pub(super) struct Records {
    sending: Half,
    receiving: Half,
    suite: Suite,
    /// The beginning of a message of the handshake that another record goes on with.
    partial: Partial,
    key_updates_left: u8,
    warnings_left: u8,
    empty_left: u8,
    /// Is there an answer to a key update that has not been handed to the kernel?
    answer_waits: bool,
}

/// A KeyUpdate has five bytes, and no other message is taken.
#[derive(Default)]
struct Partial {
    bytes: [u8; KEY_UPDATE_BYTES],
    count: u8,
}

/// What a record was.
pub(super) enum Opened {
    /// This range of it is data.
    Data(core::ops::Range<usize>),
    /// It was for the record layer; there may be an answer.
    Control,
    /// The peer will send nothing more.
    Closed,
}

/// Why a connection cannot go on, and what the peer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) fault: RecordFault,
    /// RFC 8446, 6.2; `None`: the peer knows.
    pub(super) alert: Option<u8>,
}

impl Records {
    /// Takes over from rustls, behind its handshake and everything it wanted to send. `None`: it
    /// lets nobody take over, or the secrets are of another connection.
    pub(super) fn take_over(
        connection: UnbufferedServerConnection,
        first: FirstSecrets,
    ) -> Option<Self> {
        let (extracted, _) = connection.dangerous_into_kernel_connection().ok()?;
        let suite = Suite::of(&extracted.tx.1)?;
        let sending = Half::new(suite, first.server?, extracted.tx.0)?;
        let receiving = Half::new(suite, first.client?, extracted.rx.0)?;
        if !sending.agrees_with(&extracted.tx.1) || !receiving.agrees_with(&extracted.rx.1) {
            return None;
        }
        Some(Self {
            sending,
            receiving,
            suite,
            partial: Partial::default(),
            key_updates_left: TLS_KEY_UPDATES_MAX,
            warnings_left: TLS_WARNINGS_MAX,
            empty_left: TLS_EMPTY_RECORDS_MAX,
            answer_waits: false,
        })
    }

    /// The length of the record that begins here, with its header; `None`: not enough has come.
    ///
    /// # Errors
    ///
    /// It can be no record of this connection.
    pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let Some(&[kind, major, _, high, low]) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // RFC 8446, 5.2: the version is 0x0303 and otherwise means nothing.
        if major != MAJOR_VERSION {
            return Err(Refusal::with(RecordFault::Malformed, PROTOCOL_VERSION));
        }
        if length > SEALED_BYTES_MAX {
            return Err(Refusal::with(RecordFault::Oversized, RECORD_OVERFLOW));
        }
        // RFC 8446, 5: after the handshake everything is protected.
        if kind != DATA {
            return Err(Refusal::with(RecordFault::Unexpected, UNEXPECTED_MESSAGE));
        }
        Ok(Some(HEADER_BYTES + length))
    }

    /// Opens one whole record in place. What has to be answered goes to `outgoing`.
    ///
    /// # Errors
    ///
    /// The peer broke a rule, or gave up: nothing more can be read.
    pub(super) fn open(
        &mut self,
        record: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> Result<Opened, Refusal> {
        let (header, sealed) = record
            .split_first_chunk_mut::<HEADER_BYTES>()
            .ok_or(Refusal::with(RecordFault::Malformed, DECODE_ERROR))?;
        let length = u16::from_be_bytes([header[3], header[4]]);
        let bad = Refusal::with(RecordFault::BadRecord, BAD_RECORD_MAC);
        let key = self.receiving.key(self.suite).ok_or(bad)?;
        let nonce = self.receiving.next_nonce().ok_or(bad)?;
        let opened = key.open_in_place(nonce, aad(length), sealed).map_err(|_| bad)?;
        if opened.len() > DATA_BYTES_MAX + 1 {
            return Err(Refusal::with(RecordFault::Oversized, RECORD_OVERFLOW));
        }
        // RFC 8446, 5.4: padding is zeros behind the type; a record of nothing else is none.
        let last = opened.iter().rposition(|byte| *byte != 0);
        let unexpected = Refusal::with(RecordFault::Unexpected, UNEXPECTED_MESSAGE);
        let (content, kind) = match last {
            Some(last) => (&opened[..last], opened[last]),
            None => return Err(unexpected),
        };
        if content.len() > DATA_BYTES_MAX {
            return Err(Refusal::with(RecordFault::Oversized, RECORD_OVERFLOW));
        }
        // RFC 8446, 5.1: nothing comes between the records of one message of the handshake.
        if kind != HANDSHAKE && self.partial.count > 0 {
            return Err(unexpected);
        }
        self.empty_left = match content.len() {
            0 => self.empty_left.checked_sub(1).ok_or(unexpected)?,
            _ => TLS_EMPTY_RECORDS_MAX,
        };
        match kind {
            DATA => {
                let length = content.len();
                self.key_updates_left = TLS_KEY_UPDATES_MAX;
                Ok(Opened::Data(HEADER_BYTES..HEADER_BYTES + length))
            }
            HANDSHAKE => {
                let mut messages = [0; KEY_UPDATE_BYTES];
                let content = Partial::with(&self.partial, content, &mut messages)?;
                self.on_handshake(content, outgoing)
            }
            ALERT => self.on_alert(content),
            _ => Err(unexpected),
        }
    }

    /// After the handshake a client may change its keys, and nothing else.
    fn on_handshake(
        &mut self,
        content: Content,
        outgoing: &mut Vec<u8>,
    ) -> Result<Opened, Refusal> {
        let request = match content {
            Content::Unfinished(partial) => {
                self.partial = partial;
                return Ok(Opened::Control);
            }
            Content::KeyUpdate(request) => request,
        };
        self.partial = Partial::default();
        if request == UPDATE_REQUESTED {
            self.key_updates_left = self
                .key_updates_left
                .checked_sub(1)
                .ok_or(Refusal::with(RecordFault::KeyUpdateFlood, UNEXPECTED_MESSAGE))?;
        }
        let internal = Refusal::with(RecordFault::Internal, INTERNAL_ERROR);
        self.receiving.update(self.suite).ok_or(internal)?;
        // RFC 8446, 4.6.3: many requests may have one answer.
        if request == UPDATE_REQUESTED && !self.answer_waits {
            self.update_own_key(outgoing).ok_or(internal)?;
            self.answer_waits = true;
        }
        Ok(Opened::Control)
    }

    fn on_alert(&mut self, content: &[u8]) -> Result<Opened, Refusal> {
        match content {
            [WARNING | FATAL, CLOSE_NOTIFY] => Ok(Opened::Closed),
            // RFC 8446, 6.1: it is followed by a close_notify.
            [WARNING, USER_CANCELED] => {
                self.warnings_left = self
                    .warnings_left
                    .checked_sub(1)
                    .ok_or(Refusal::with(RecordFault::Unexpected, UNEXPECTED_MESSAGE))?;
                Ok(Opened::Control)
            }
            [WARNING | FATAL, _] => Err(Refusal { fault: RecordFault::PeerAlert, alert: None }),
            [_, _] => Err(Refusal::with(RecordFault::PeerAlert, ILLEGAL_PARAMETER)),
            _ => Err(Refusal::with(RecordFault::Malformed, DECODE_ERROR)),
        }
    }

    /// Seals data behind what `outgoing` has. `None`: the keys cannot be used any more.
    pub(super) fn seal(&mut self, data: &[u8], outgoing: &mut Vec<u8>) -> Option<()> {
        let records = data.len().div_ceil(DATA_BYTES_MAX);
        outgoing.reserve(data.len() + records * OVERHEAD_BYTES);
        let mut key = self.sending.key(self.suite)?;
        for part in data.chunks(DATA_BYTES_MAX) {
            // The last record of a key is the one that announces the next key.
            if self.sending.sequence() + 1 >= self.suite.records_max() {
                self.update_own_key(outgoing)?;
                key = self.sending.key(self.suite)?;
            }
            seal(&mut self.sending, &key, (DATA, part), outgoing)?;
        }
        Some(())
    }

    /// Seals an alert, such as the close_notify.
    pub(super) fn seal_alert(&mut self, description: u8, outgoing: &mut Vec<u8>) -> Option<()> {
        let level = if description == CLOSE_NOTIFY { WARNING } else { FATAL };
        let key = self.sending.key(self.suite)?;
        seal(&mut self.sending, &key, (ALERT, &[level, description]), outgoing)
    }

    /// What was put out has been handed to the kernel.
    pub(super) fn was_sent(&mut self) {
        self.answer_waits = false;
    }

    /// RFC 8446, 4.6.3: says so with the old key, and goes on with the next one.
    fn update_own_key(&mut self, outgoing: &mut Vec<u8>) -> Option<()> {
        let key = self.sending.key(self.suite)?;
        let message = [KEY_UPDATE, 0, 0, 1, UPDATE_NOT_REQUESTED];
        seal(&mut self.sending, &key, (HANDSHAKE, &message), outgoing)?;
        self.sending.update(self.suite)
    }
}

/// Seals one record with the next number of a direction.
fn seal(
    half: &mut Half,
    key: &LessSafeKey,
    (kind, content): (u8, &[u8]),
    outgoing: &mut Vec<u8>,
) -> Option<()> {
    let length = (content.len() + 1 + TAG_BYTES) as u16;
    let nonce = half.next_nonce()?;
    let [high, low] = length.to_be_bytes();
    outgoing.extend_from_slice(&[DATA, MAJOR_VERSION, MINOR_VERSION, high, low]);
    let start = outgoing.len();
    outgoing.extend_from_slice(content);
    outgoing.push(kind);
    let sealed = &mut outgoing[start..];
    let tag = key.seal_in_place_separate_tag(nonce, aad(length), sealed).ok()?;
    outgoing.extend_from_slice(tag.as_ref());
    Some(())
}

/// What the records of a message of the handshake hold so far.
enum Content {
    Unfinished(Partial),
    /// Does it ask for ours?
    KeyUpdate(u8),
}

impl Partial {
    /// What came before, and this. A KeyUpdate ends its record (RFC 8446, 5.1), so that there is
    /// one message at most.
    fn with(
        before: &Self,
        content: &[u8],
        joined: &mut [u8; KEY_UPDATE_BYTES],
    ) -> Result<Content, Refusal> {
        let unexpected = Refusal::with(RecordFault::Unexpected, UNEXPECTED_MESSAGE);
        let start = usize::from(before.count);
        let end = start + content.len();
        // RFC 8446, 5.1: an empty fragment of a message may not be sent.
        if content.is_empty() {
            return Err(unexpected);
        }
        joined[..start].copy_from_slice(&before.bytes[..start]);
        let fitting = end.min(KEY_UPDATE_BYTES);
        joined[start..fitting].copy_from_slice(&content[..fitting - start]);
        let begins = joined[..fitting].iter().zip([KEY_UPDATE, 0, 0, 1]);
        if begins.into_iter().any(|(byte, wanted)| *byte != wanted) || end > KEY_UPDATE_BYTES {
            return Err(unexpected);
        }
        if end < KEY_UPDATE_BYTES {
            return Ok(Content::Unfinished(Self { bytes: *joined, count: end as u8 }));
        }
        match joined[KEY_UPDATE_BYTES - 1] {
            request @ (UPDATE_NOT_REQUESTED | UPDATE_REQUESTED) => Ok(Content::KeyUpdate(request)),
            _ => Err(Refusal::with(RecordFault::Malformed, ILLEGAL_PARAMETER)),
        }
    }
}

impl Refusal {
    const fn with(fault: RecordFault, alert: u8) -> Self {
        Self { fault, alert: Some(alert) }
    }
}

/// RFC 8446, 5.2: the header as it must be.
fn aad(length: u16) -> Aad<[u8; HEADER_BYTES]> {
    let [high, low] = length.to_be_bytes();
    Aad::from([DATA, MAJOR_VERSION, MINOR_VERSION, high, low])
}

// RFC 8446, 5.1, 5.2: record types and sizes.
pub(super) const HEADER_BYTES: usize = 5;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const MAJOR_VERSION: u8 = 3;
const MINOR_VERSION: u8 = 3;
const DATA_BYTES_MAX: usize = 1 << 14;
const SEALED_BYTES_MAX: usize = DATA_BYTES_MAX + 256;
const TAG_BYTES: usize = 16;
const OVERHEAD_BYTES: usize = HEADER_BYTES + 1 + TAG_BYTES;

// RFC 8446, 4.6.3.
const KEY_UPDATE: u8 = 24;
const KEY_UPDATE_BYTES: usize = 5;
const UPDATE_NOT_REQUESTED: u8 = 0;
const UPDATE_REQUESTED: u8 = 1;

// RFC 8446, 6: alerts.
const WARNING: u8 = 1;
const FATAL: u8 = 2;
pub(super) const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;
const INTERNAL_ERROR: u8 = 80;
const USER_CANCELED: u8 = 90;

#[cfg(test)]
impl Records {
    /// A record as the peer would seal it, `ahead` records from now: for what no client sends.
    pub(super) fn forge(&self, ahead: u64, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let half = &self.receiving;
        let nonce = half.nonce_at(half.sequence() + ahead);
        let mut sealed = content.to_vec();
        sealed.push(kind);
        sealed.resize(content.len() + 1 + padding, 0);
        let length = (sealed.len() + TAG_BYTES) as u16;
        half.key(self.suite)
            .unwrap()
            .seal_in_place_append_tag(nonce, aad(length), &mut sealed)
            .unwrap();
        let [high, low] = length.to_be_bytes();
        [&[DATA, MAJOR_VERSION, MINOR_VERSION, high, low], &sealed[..]].concat()
    }
}
