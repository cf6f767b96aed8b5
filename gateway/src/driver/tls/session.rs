//! A connection of rustls behind three calls: take bytes, seal bytes, say goodbye.
//!
//! Invariant: rustls remembers where in the bytes that it was shown the beginning of a message of
//! the handshake lies, and panics if they are not there. So whatever it has not consumed is shown
//! to it in every call, also in one that only writes; and after an error it reads nothing more.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConfig};

use super::certificates::ACME_ALPN;

/// One connection.
pub(super) struct Session {
    connection: UnbufferedServerConnection,
}

/// What taking bytes led to.
pub(super) struct Progress {
    /// So many bytes are done with; the others must be shown again, with more behind them.
    pub(super) consumed: usize,
    /// Did the client say that it sends nothing more?
    pub(super) peer_closed: bool,
    /// Is the handshake over? An error is the end: an alert for the peer was put out if one is due.
    pub(super) is_ready: Result<bool, Error>,
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self { connection: UnbufferedServerConnection::new(config)? })
    }

    /// Takes bytes: records are decrypted in place, what is for the peer goes to `outgoing`, data
    /// to `plaintext`.
    pub(super) fn receive(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
        plaintext: &mut dyn FnMut(&[u8]),
    ) -> Progress {
        let mut progress = Progress { consumed: 0, peer_closed: false, is_ready: Ok(false) };
        loop {
            let rest = &mut incoming[progress.consumed..];
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(rest);
            let is_done = match state {
                Err(error) => {
                    progress.is_ready = Err(error);
                    true
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    let mut fault = None;
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                plaintext(record.payload);
                            }
                            Err(error) => fault = Some(error),
                        }
                    }
                    let has_fault = fault.is_some();
                    progress.is_ready = fault.map_or(Ok(false), Err);
                    has_fault
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(outgoing, |room| data.encode(room));
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    progress.peer_closed = true;
                    false
                }
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => {
                    progress.is_ready = Ok(true);
                    true
                }
                // Early data is not offered, and so never comes.
                Ok(_) => true,
            };
            progress.consumed += discard;
            if is_done {
                break;
            }
        }
        if progress.is_ready.is_err() {
            self.take_alerts(&mut incoming[progress.consumed..], outgoing);
        }
        progress
    }

    /// After an error: what rustls wants the peer to know. It must not read any further.
    fn take_alerts(&mut self, rest: &mut [u8], outgoing: &mut Vec<u8>) {
        while self.connection.wants_write() {
            match self.connection.process_tls_records(rest).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(outgoing, |room| data.encode(room));
                }
                // Data before the fault is not worth anything any more.
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while traffic.next_record().is_some() {}
                }
                _ => return,
            }
        }
    }

    /// Seals data behind what `outgoing` has. `kept` is what was not consumed.
    ///
    /// # Errors
    ///
    /// The keys are used up, or the handshake is not over.
    pub(super) fn seal(
        &mut self,
        data: &[u8],
        kept: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.write(kept, outgoing, |traffic, room| traffic.encrypt(data, room))
    }

    /// Says that nothing more will be sent (RFC 8446, 6.1).
    ///
    /// # Errors
    ///
    /// The handshake is not over.
    pub(super) fn close(&mut self, kept: &mut [u8], outgoing: &mut Vec<u8>) -> Result<(), Error> {
        self.write(kept, outgoing, |traffic, room| traffic.queue_close_notify(room))
    }

    fn write(
        &mut self,
        kept: &mut [u8],
        outgoing: &mut Vec<u8>,
        mut write: impl FnMut(&mut WriteTraffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        loop {
            // Everything whole in `kept` was consumed when it came: nothing of it is now.
            match self.connection.process_tls_records(kept).state? {
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(outgoing, |room| data.encode(room));
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                ConnectionState::WriteTraffic(mut traffic) => {
                    let start = outgoing.len();
                    loop {
                        match write(&mut traffic, &mut outgoing[start..]) {
                            Ok(written) => {
                                outgoing.truncate(start + written);
                                return Ok(());
                            }
                            Err(EncryptError::InsufficientSize(more)) => {
                                outgoing.resize(start + more.required_size, 0);
                            }
                            Err(EncryptError::EncryptExhausted) => {
                                outgoing.truncate(start);
                                return Err(Error::EncryptError);
                            }
                        }
                    }
                }
                _ => return Err(Error::HandshakeNotComplete),
            }
        }
    }

    pub(super) fn was_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Was the protocol agreed on that only shows a proof?
    pub(super) fn is_acme_challenge(&self) -> bool {
        self.connection.alpn_protocol() == Some(ACME_ALPN)
    }

    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        self.connection.protocol_version()
    }

    /// For a record layer outside.
    pub(super) fn into_connection(self) -> UnbufferedServerConnection {
        self.connection
    }
}

type WriteTraffic<'a> = rustls::unbuffered::WriteTraffic<'a, rustls::server::ServerConnectionData>;

/// Appends a message of the handshake.
fn encode(outgoing: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = outgoing.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        encode(&mut [])
    {
        outgoing.resize(start + required_size, 0);
        let written = encode(&mut outgoing[start..]).unwrap_or(0);
        outgoing.truncate(start + written);
    }
}
