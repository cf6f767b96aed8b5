//! TLS of one shard's connections, between their sockets and what reads and writes them.
//!
//! Owns: keys, unfinished records, and sealed bytes that the kernel has not taken.
//! Never: touches a socket; decides when a connection ends.
//! Invariant: what was sealed is sent once, in the order of sealing; the engine hears of its send
//! when every sealed byte of it has left.
//!
//! ```text
//!  Fresh ─► Handshaking ─► Own │ Rustls ─► Over         bytes in ─► receive ─► Arrival
//!    │           └── failed ───────────────► ▲           data out ─► seal ─┐
//!    └─► Plain: HTTP without TLS is refused  │                next ◄───────┴─ handshake, alerts
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::ids::ConnectionId;
use rustls::ProtocolVersion;
use shard::SendBuffer;

use super::config::{RecordLayer, TlsConfig};
use super::counters::{HandshakeEnd, RecordFault, TlsCounters};
use super::keys::FirstSecrets;
use super::record::{Records, Refusal};
use super::session::Session;
use super::socket::{Handshake, Socket, State, Transfer, complete, open};
use crate::engine::SpareBuffers;
use crate::limits::{TLS_HANDSHAKE_BYTES_MAX, TLS_HANDSHAKE_STEPS_PER_TURN, TLS_KEPT_BYTES_MAX};

/// TLS of one shard. Without a configuration it lets everything through as it is.
#[derive(Default)]
pub(crate) struct Tls {
    config: Option<Arc<TlsConfig>>,
    sockets: Vec<Socket>,
    counters: TlsCounters,
    spare: SpareBuffers,
    /// Connections whose handshake waits for a turn to go on, each once.
    waiting: VecDeque<ConnectionId>,
    steps_left: u32,
    /// Where data of rustls lies while it is read: readers change it in place.
    scratch: Vec<u8>,
    /// What all sockets were charged for memory, in bytes.
    charged_bytes: usize,
}

/// Something for the reader.
pub(crate) enum Arrival<'a> {
    /// The handshake is over. Comes once, before any data.
    Secured,
    /// The client's bytes, which may be changed in place.
    Data(&'a mut [u8]),
}

/// What bytes led to, beside arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The connection goes on.
    Open,
    /// The client will send nothing more.
    Ended,
    /// The connection cannot go on.
    Failed,
    /// The client speaks HTTP without TLS.
    PlainHttp,
}

/// What became of a send of the engine.
#[derive(Debug)]
pub(crate) enum Sealing {
    /// It goes out as it is.
    Plain(SendBuffer),
    /// It is sealed and waits to be sent.
    Taken,
    /// It cannot be sent.
    Refused(SendBuffer),
}

/// What a completed send means.
#[derive(Debug)]
pub(crate) enum Completed {
    /// It was the engine's own.
    Plain(SendBuffer),
    /// All of this left the engine long ago and the socket now; `None`: the send failed.
    Engine(SendBuffer, Option<u32>),
    /// Nothing for the engine.
    Nothing,
    /// It carried nothing of the engine, and failed.
    Failed,
}

/// How the writing side is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// At once.
    Now,
    /// Behind what waits: see [`Tls::next`].
    Behind,
    /// There is nothing to say: the handshake is not over.
    Pointless,
}

/// What the socket has to do now.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send this.
    Send(SendBuffer),
    /// Shut the writing side.
    ShutdownWrite,
}

impl Tls {
    /// TLS for every connection; `None`: for none.
    pub(crate) fn new(config: Option<Arc<TlsConfig>>) -> Self {
        Self { config, ..Self::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.config.is_some()
    }

    /// Handshakes that begin from now on use this. Where there was no TLS there will be none.
    pub(crate) fn replace(&mut self, config: Arc<TlsConfig>) {
        if self.is_on() {
            self.config = Some(config);
        }
    }

    pub(crate) fn counters(&self) -> TlsCounters {
        self.counters
    }

    /// Bytes of memory of all connections, with buffers for use again.
    pub(crate) fn memory_bytes(&self) -> usize {
        let waiting = self.waiting.capacity() * size_of::<ConnectionId>();
        let sockets = self.sockets.len() * size_of::<Socket>();
        let buffers = self.spare.memory_bytes() + self.scratch.capacity();
        sockets + self.charged_bytes + buffers + waiting
    }

    /// What a connection holds may have changed: it is counted anew.
    pub(crate) fn settle(&mut self, connection: ConnectionId) {
        if let Some(socket) = self.sockets.get_mut(connection.slot().index()) {
            let after = socket.memory_bytes();
            let before = std::mem::replace(&mut socket.charged, after as u32);
            self.charged_bytes = self.charged_bytes + after - before as usize;
        }
    }

    /// A turn begins, with its share of handshakes.
    pub(crate) fn begin_turn(&mut self) {
        self.steps_left = TLS_HANDSHAKE_STEPS_PER_TURN;
    }

    /// Does a handshake wait for a turn?
    pub(crate) fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A connection whose handshake can go on: it [receives](Self::receive) nothing new.
    pub(crate) fn next_waiting(&mut self) -> Option<ConnectionId> {
        if self.steps_left == 0 {
            return None;
        }
        loop {
            let connection = self.waiting.pop_front()?;
            let socket = self.sockets.get_mut(connection.slot().index())?;
            // A connection that has gone, and perhaps another one in its slot, is passed over.
            if let State::Handshaking(handshake) = &mut socket.state
                && socket.connection == Some(connection)
                && std::mem::take(&mut handshake.waits)
            {
                return Some(connection);
            }
        }
    }

    /// A connection was accepted.
    pub(crate) fn open(&mut self, connection: ConnectionId) {
        if self.is_on() {
            let index = connection.slot().index();
            if self.sockets.len() <= index {
                self.sockets.resize_with(index + 1, Socket::default);
            }
            self.sockets[index] = Socket { connection: Some(connection), ..Socket::default() };
        }
    }

    /// The connection is gone.
    pub(crate) fn closed(&mut self, connection: ConnectionId) {
        if let Some(socket) = self.sockets.get_mut(connection.slot().index()) {
            let socket = std::mem::take(socket);
            self.charged_bytes -= socket.charged as usize;
            self.count_unfinished(&socket.state);
        }
    }

    /// Is a record unfinished, on a connection that is secured?
    pub(crate) fn is_unfinished(&self, connection: ConnectionId) -> bool {
        let Some(socket) = self.sockets.get(connection.slot().index()) else { return false };
        let is_secured = matches!(socket.state, State::Own(_) | State::Rustls(_));
        is_secured && socket.transfer.as_ref().is_some_and(|transfer| !transfer.kept.is_empty())
    }

    /// Takes what came from the socket. What is to be sent for it waits in [`Self::next`].
    pub(crate) fn receive(
        &mut self,
        connection: ConnectionId,
        bytes: &mut [u8],
        arrive: &mut dyn FnMut(Arrival<'_>),
    ) -> Received {
        let index = connection.slot().index();
        if matches!(self.sockets[index].state, State::Fresh)
            && let Some(end) = self.begin(index, bytes)
        {
            return end;
        }
        if self.sockets[index].has_ended {
            return Received::Open;
        }
        let received = match self.sockets[index].state {
            State::Handshaking(_) => self.shake(index, bytes, arrive),
            State::Own(_) => self.receive_own(index, bytes, arrive),
            State::Rustls(_) => self.receive_rustls(index, bytes, arrive),
            State::Fresh | State::Plain | State::Over => Received::Open,
        };
        self.sockets[index].has_ended = received == Received::Ended;
        received
    }

    /// The first bytes: a handshake begins, or cannot.
    fn begin(&mut self, index: usize, bytes: &[u8]) -> Option<Received> {
        let config = self.config.as_ref()?;
        let socket = &mut self.sockets[index];
        // RFC 9112, 3: a request begins with a method. No record of TLS begins with a letter.
        if bytes.first().is_some_and(u8::is_ascii_uppercase) {
            socket.state = State::Plain;
            self.counters.handshakes[HandshakeEnd::PlainHttp as usize] += 1;
            return Some(Received::PlainHttp);
        }
        let refusal = if self.counters.handshakes_now >= u64::from(config.handshakes_max) {
            HandshakeEnd::TooMany
        } else if let Ok(session) = Session::new(config.answering(bytes)) {
            socket.state = State::Handshaking(Box::new(Handshake {
                session,
                secrets: FirstSecrets::default(),
                record_layer: config.record_layer,
                received_bytes: 0,
                waits: false,
            }));
            self.counters.handshakes_now += 1;
            return None;
        } else {
            HandshakeEnd::Internal
        };
        socket.fail();
        self.counters.handshakes[refusal as usize] += 1;
        Some(Received::Failed)
    }

    fn shake(
        &mut self,
        index: usize,
        bytes: &mut [u8],
        arrive: &mut dyn FnMut(Arrival<'_>),
    ) -> Received {
        let socket = &mut self.sockets[index];
        let State::Handshaking(handshake) = &mut socket.state else { return Received::Open };
        handshake.received_bytes += bytes.len();
        if handshake.received_bytes > TLS_HANDSHAKE_BYTES_MAX {
            return self.fail_handshake(index, HandshakeEnd::TooLong);
        }
        let transfer = socket.transfer.get_or_insert_default();
        if self.steps_left == 0 {
            transfer.kept.extend_from_slice(bytes);
            if !std::mem::replace(&mut handshake.waits, true) {
                self.waiting.extend(socket.connection);
            }
            return Received::Open;
        }
        self.steps_left -= 1;
        let scratch = &mut self.scratch;
        let mut is_told = false;
        let progress = transfer.run(bytes, |bytes, outgoing| {
            handshake.session.receive(bytes, outgoing, &mut |data| {
                if !std::mem::replace(&mut is_told, true) {
                    arrive(Arrival::Secured);
                }
                hand_over(data, scratch, arrive);
            })
        });
        handshake.secrets.take_caught();
        match progress.is_ready {
            Err(error) => self.fail_handshake(index, HandshakeEnd::from(&error)),
            Ok(false) if progress.peer_closed => {
                self.fail_handshake(index, HandshakeEnd::Unfinished)
            }
            Ok(false) => Received::Open,
            // RFC 8737, 3: nothing but the handshake is ever exchanged.
            Ok(true) if handshake.session.is_acme_challenge() => {
                self.fail_handshake(index, HandshakeEnd::AcmeChallenge)
            }
            Ok(true) => {
                let end = self.finish_handshake(index);
                if !is_told && end == Received::Open {
                    arrive(Arrival::Secured);
                }
                let has_ended = progress.peer_closed && end == Received::Open;
                if has_ended { Received::Ended } else { end }
            }
        }
    }

    fn finish_handshake(&mut self, index: usize) -> Received {
        let socket = &mut self.sockets[index];
        let State::Handshaking(handshake) = std::mem::take(&mut socket.state) else {
            unreachable!("the handshake has just ended")
        };
        let Handshake { session, secrets, record_layer, .. } = *handshake;
        let kept = socket.transfer.as_ref().map_or(&[][..], |transfer| &transfer.kept);
        let has_whole = Records::length(kept)
            .is_ok_and(|length| length.is_some_and(|length| length <= kept.len()));
        let end = if session.was_resumed() { HandshakeEnd::Resumed } else { HandshakeEnd::Full };
        self.counters.handshakes_now -= 1;
        let wants_own = record_layer == RecordLayer::Own;
        let is_own = wants_own && session.version() == Some(ProtocolVersion::TLSv1_3);
        socket.state = if is_own && has_whole {
            // rustls has opened it already: the beginning of a message that may only be a change
            // of keys, in pieces, at once. Nobody does that.
            socket.fail();
            self.counters.handshakes[HandshakeEnd::Malformed as usize] += 1;
            return Received::Failed;
        } else if is_own {
            match Records::take_over(session.into_connection(), secrets) {
                Some(records) => State::Own(Box::new(records)),
                None => {
                    socket.fail();
                    self.counters.handshakes[HandshakeEnd::Internal as usize] += 1;
                    return Received::Failed;
                }
            }
        } else {
            State::Rustls(Box::new(session))
        };
        self.counters.handshakes[end as usize] += 1;
        Received::Open
    }

    fn fail_handshake(&mut self, index: usize, end: HandshakeEnd) -> Received {
        self.counters.handshakes_now -= 1;
        self.counters.handshakes[end as usize] += 1;
        self.sockets[index].fail();
        Received::Failed
    }

    fn receive_rustls(
        &mut self,
        index: usize,
        bytes: &mut [u8],
        arrive: &mut dyn FnMut(Arrival<'_>),
    ) -> Received {
        let socket = &mut self.sockets[index];
        let State::Rustls(session) = &mut socket.state else { return Received::Open };
        // Behind its close_notify rustls would answer a fault with another alert, and asserts that
        // it never does. Nothing that comes now is for anybody; the end of the socket is.
        if socket.is_closed {
            return Received::Open;
        }
        let transfer = socket.transfer.get_or_insert_default();
        let scratch = &mut self.scratch;
        let progress = transfer.run(bytes, |bytes, outgoing| {
            session.receive(bytes, outgoing, &mut |data| hand_over(data, scratch, arrive))
        });
        let is_too_long = transfer.kept.len() > TLS_KEPT_BYTES_MAX;
        match progress.is_ready {
            Err(error) => {
                self.counters.faults[RecordFault::from(&error) as usize] += 1;
                socket.fail();
                Received::Failed
            }
            Ok(_) if is_too_long => {
                self.counters.faults[RecordFault::Oversized as usize] += 1;
                socket.fail();
                Received::Failed
            }
            Ok(_) if progress.peer_closed => Received::Ended,
            Ok(_) => {
                socket.rest_if_idle();
                Received::Open
            }
        }
    }

    /// Opens whole records where they lie; only one that is cut by the end of the bytes is copied.
    fn receive_own(
        &mut self,
        index: usize,
        mut bytes: &mut [u8],
        arrive: &mut dyn FnMut(Arrival<'_>),
    ) -> Received {
        let socket = &mut self.sockets[index];
        let State::Own(records) = &mut socket.state else { return Received::Open };
        let transfer = &mut socket.transfer;
        let mut end = Ok(Received::Open);
        while end == Ok(Received::Open) && !bytes.is_empty() {
            let kept = transfer.as_mut().map(|transfer| &mut transfer.kept);
            end = match kept.filter(|kept| !kept.is_empty()) {
                Some(kept) => {
                    let taken = complete(kept, bytes);
                    bytes = &mut bytes[taken..];
                    match Records::length(kept) {
                        Ok(Some(length)) if length <= kept.len() => {
                            let mut record = std::mem::take(kept);
                            let outgoing = &mut transfer.get_or_insert_default().outgoing;
                            open(records, &mut record, outgoing, arrive)
                        }
                        Ok(_) => Ok(Received::Open),
                        Err(refusal) => Err(refusal),
                    }
                }
                None => match Records::length(bytes) {
                    Ok(Some(length)) if length <= bytes.len() => {
                        let (record, rest) = bytes.split_at_mut(length);
                        bytes = rest;
                        let mut none = Vec::new();
                        let outgoing = transfer.as_mut().map(|transfer| &mut transfer.outgoing);
                        let outgoing = outgoing.unwrap_or(&mut none);
                        let end = open(records, record, outgoing, arrive);
                        if !none.is_empty() {
                            transfer.get_or_insert_default().outgoing = none;
                        }
                        end
                    }
                    Ok(_) => {
                        transfer.get_or_insert_default().kept.extend_from_slice(bytes);
                        bytes = &mut [];
                        Ok(Received::Open)
                    }
                    Err(refusal) => Err(refusal),
                },
            };
        }
        match end {
            Ok(Received::Open) => {
                socket.rest_if_idle();
                Received::Open
            }
            Ok(end) => end,
            Err(Refusal { fault, alert }) => {
                self.counters.faults[fault as usize] += 1;
                if let Some(alert) = alert.filter(|_| !socket.is_closed) {
                    let outgoing = &mut transfer.get_or_insert_default().outgoing;
                    // Without keys there is nothing to say it with.
                    let _ = records.seal_alert(alert, outgoing);
                }
                socket.fail();
                Received::Failed
            }
        }
    }

    /// Seals a send of the engine.
    pub(crate) fn seal(&mut self, connection: ConnectionId, buffer: SendBuffer) -> Sealing {
        let Some(socket) = self.sockets.get_mut(connection.slot().index()) else {
            return Sealing::Plain(buffer);
        };
        if matches!(socket.state, State::Plain) {
            return Sealing::Plain(buffer);
        }
        if socket.is_closed || socket.is_cut {
            return Sealing::Refused(buffer);
        }
        let transfer = socket.transfer.get_or_insert_default();
        assert!(transfer.plaintext.is_none(), "the engine has one send in flight at most");
        if transfer.outgoing.capacity() == 0 {
            transfer.outgoing = self.spare.take();
        }
        let sealed = match &mut socket.state {
            State::Own(records) => records.seal(buffer.as_slice(), &mut transfer.outgoing),
            State::Rustls(session) => {
                let Transfer { kept, outgoing, .. } = &mut **transfer;
                session.seal(buffer.as_slice(), kept, outgoing).ok()
            }
            _ => None,
        };
        if sealed.is_none() {
            return Sealing::Refused(buffer);
        }
        transfer.plaintext = Some(buffer);
        transfer.is_last_in_flight = false;
        Sealing::Taken
    }

    /// What the socket has to do now. At most one send is out at a time.
    pub(crate) fn next(&mut self, connection: ConnectionId) -> Option<Next> {
        let socket = self.sockets.get_mut(connection.slot().index())?;
        if socket.is_cut {
            return None;
        }
        if let Some(buffer) = socket.next_send() {
            return Some(Next::Send(buffer));
        }
        let is_sending = socket.transfer.as_ref().is_some_and(|transfer| transfer.is_sending);
        if !is_sending && std::mem::take(&mut socket.wants_shutdown) {
            return Some(Next::ShutdownWrite);
        }
        None
    }

    /// A send is over: `sent` bytes of it, or it failed.
    pub(crate) fn sent(
        &mut self,
        connection: ConnectionId,
        mut buffer: SendBuffer,
        sent: Option<u32>,
    ) -> Completed {
        let Some(socket) = self.sockets.get_mut(connection.slot().index()) else {
            return Completed::Plain(buffer);
        };
        let is_plain = matches!(socket.state, State::Plain);
        let Some(transfer) = socket.transfer.as_mut().filter(|_| !is_plain) else {
            return Completed::Plain(buffer);
        };
        transfer.is_sending = false;
        let Some(sent) = sent else {
            socket.is_closed = true;
            return match transfer.plaintext.take() {
                Some(plaintext) => Completed::Engine(plaintext, None),
                None => Completed::Failed,
            };
        };
        buffer.advance(sent);
        if buffer.bytes_count() > 0 {
            transfer.rest = Some(buffer);
            return Completed::Nothing;
        }
        self.spare.put(buffer);
        let is_all = transfer.is_last_in_flight;
        let plaintext = if is_all { transfer.plaintext.take() } else { None };
        transfer.is_last_in_flight &= !is_all;
        socket.rest_if_idle();
        match plaintext {
            Some(plaintext) => {
                let count = plaintext.bytes_count();
                Completed::Engine(plaintext, Some(count))
            }
            None => Completed::Nothing,
        }
    }

    /// The engine has said everything: a close_notify follows it (RFC 8446, 6.1).
    pub(crate) fn end_writing(&mut self, connection: ConnectionId) -> Ending {
        let Some(socket) = self.sockets.get_mut(connection.slot().index()) else {
            return Ending::Now;
        };
        match socket.state {
            State::Plain => Ending::Now,
            State::Fresh | State::Handshaking(_) => Ending::Pointless,
            _ => {
                socket.say_goodbye();
                socket.wants_shutdown = true;
                Ending::Behind
            }
        }
    }

    /// The socket is about to be closed: what may still be sent before that, if nothing is out.
    pub(crate) fn last_words(&mut self, connection: ConnectionId) -> Option<SendBuffer> {
        let socket = self.sockets.get_mut(connection.slot().index())?;
        socket.is_cut = true;
        if matches!(socket.state, State::Plain) {
            return None;
        }
        socket.say_goodbye();
        let last = socket.next_send();
        let state = std::mem::replace(&mut socket.state, State::Over);
        self.count_unfinished(&state);
        last
    }

    fn count_unfinished(&mut self, state: &State) {
        if matches!(state, State::Handshaking(_)) {
            self.counters.handshakes_now -= 1;
            self.counters.handshakes[HandshakeEnd::Unfinished as usize] += 1;
        }
    }
}

/// Data of rustls cannot be changed where it lies.
fn hand_over(data: &[u8], scratch: &mut Vec<u8>, arrive: &mut dyn FnMut(Arrival<'_>)) {
    scratch.clear();
    scratch.extend_from_slice(data);
    if !scratch.is_empty() {
        arrive(Arrival::Data(scratch));
    }
}

#[cfg(test)]
impl Tls {
    /// Our record layer of a connection, for tests that forge records.
    pub(super) fn records(&self, connection: ConnectionId) -> &Records {
        match &self.sockets[connection.slot().index()].state {
            State::Own(records) => records,
            _ => panic!("the connection has no record layer of ours"),
        }
    }

    /// Bytes of an unfinished record.
    pub(super) fn kept_bytes(&self, connection: ConnectionId) -> usize {
        let socket = &self.sockets[connection.slot().index()];
        socket.transfer.as_ref().map_or(0, |transfer| transfer.kept.len())
    }
}
