//! The pump of connections that speak TLS: what goes between them and the rest of the loop.

use protocol::ids::ConnectionId;
use protocol::time::Now;
use shard::{Chunk, Io, SendBuffer};

use super::clock::Clock;
use super::pump::Pump;
use super::service::Service;
use super::tls::{Arrival, Completed, Ending, Next, Received, Sealing};
use super::transport::{Outcome, Reading};
use super::uplink::Uplink;
use crate::engine::Event;

/// What a client reads that speaks HTTP to the port of TLS.
const PLAIN_HTTP: &str = "this port speaks TLS: use https:// or wss://";

impl<I: Io, U: Uplink, S: Service, C: Clock> Pump<I, U, S, C> {
    /// Handshakes that found no time in the last turn go on before anything new.
    pub(super) fn take_handshakes(&mut self, now: Now) {
        self.tls.begin_turn();
        while let Some(connection) = self.tls.next_waiting() {
            self.receive_sealed(connection, None, now);
        }
    }

    /// Takes what came, behind so many bytes of a chunk that are not TLS, or goes on with what
    /// waited.
    pub(super) fn receive_sealed(
        &mut self,
        connection: ConnectionId,
        chunk: Option<(Chunk, usize)>,
        now: Now,
    ) {
        let was_unfinished = self.tls.is_unfinished(connection);
        let parts = &mut self.parts;
        let bytes = match &chunk {
            Some((chunk, skipped_bytes)) => &mut parts.io.bytes(chunk)[*skipped_bytes..],
            None => &mut [],
        };
        let reader = &mut self.readers[connection.slot().index()];
        let before = reader.held_bytes();
        let (engine, service) = (&mut parts.engine, &parts.service);
        let (bodies, actions) = (&self.bodies, &mut self.actions);
        let mut outcome = Outcome::Taken;
        let received = self.tls.receive(connection, bytes, &mut |arrival| match arrival {
            Arrival::Secured => engine.handle(Event::Secured { connection }, now),
            Arrival::Data(bytes) => {
                let mut reading = Reading { connection, engine, service, bodies, actions, now };
                // Behind a request that waits for its answer, everything else waits.
                if let Outcome::Call(call) = reader.read(bytes, &mut reading) {
                    outcome = Outcome::Call(call);
                }
            }
        });
        if let Some((chunk, _)) = chunk {
            parts.io.recycle(chunk);
        }
        self.unflushed.push(connection);
        self.weigh(connection, before, now);
        self.conclude(outcome, now);
        let is_unfinished = self.tls.is_unfinished(connection);
        if is_unfinished || was_unfinished {
            let reader = &self.readers[connection.slot().index()];
            let is_unfinished = is_unfinished || reader.is_unfinished();
            self.tell(Event::Unfinished { connection, is_unfinished }, now);
        }
        match received {
            Received::Open => {}
            Received::Ended => {
                self.tell(Event::ReceiveEnded { connection, has_failed: false }, now);
            }
            Received::Failed => {
                self.tell(Event::ReceiveEnded { connection, has_failed: true }, now);
            }
            Received::PlainHttp => {
                self.tell(Event::BadRequest { connection, status: 400, text: PLAIN_HTTP }, now);
            }
        }
    }

    pub(super) fn send_sealed(&mut self, connection: ConnectionId, buffer: SendBuffer, now: Now) {
        match self.tls.seal(connection, buffer) {
            Sealing::Plain(buffer) => self.parts.io.send(connection, buffer),
            Sealing::Taken => self.flush(connection),
            Sealing::Refused(buffer) => {
                self.tell(Event::Sent { connection, buffer, sent: None }, now);
            }
        }
    }

    pub(super) fn conclude_send(
        &mut self,
        connection: ConnectionId,
        buffer: SendBuffer,
        sent: Option<u32>,
        now: Now,
    ) {
        if !self.tls.is_on() {
            return self.tell(Event::Sent { connection, buffer, sent }, now);
        }
        let completed = self.tls.sent(connection, buffer, sent);
        self.flush(connection);
        match completed {
            Completed::Plain(buffer) => self.tell(Event::Sent { connection, buffer, sent }, now),
            Completed::Engine(buffer, sent) => {
                self.tell(Event::Sent { connection, buffer, sent }, now);
            }
            Completed::Nothing => {}
            Completed::Failed => {
                self.tell(Event::ReceiveEnded { connection, has_failed: true }, now);
            }
        }
    }

    pub(super) fn end_writing(&mut self, connection: ConnectionId, now: Now) {
        match self.tls.end_writing(connection) {
            Ending::Now => self.parts.io.shutdown_write(connection),
            Ending::Behind => self.flush(connection),
            Ending::Pointless => {
                self.tell(Event::ReceiveEnded { connection, has_failed: true }, now);
            }
        }
    }

    /// A close_notify that is on its way to the kernel goes out before the socket is closed.
    pub(super) fn cut(&mut self, connection: ConnectionId) {
        if let Some(last) = self.tls.last_words(connection) {
            self.parts.io.send(connection, last);
        }
        self.tls.settle(connection);
        self.parts.io.close(connection);
    }

    /// Hands the kernel what TLS has for it and no send of the engine took along: the end of a
    /// handshake goes out together with the answer to the request behind it.
    pub(super) fn flush_rest(&mut self) {
        while let Some(connection) = self.unflushed.pop() {
            self.flush(connection);
        }
    }

    /// Hands the kernel what TLS has for it.
    fn flush(&mut self, connection: ConnectionId) {
        while let Some(next) = self.tls.next(connection) {
            match next {
                Next::Send(buffer) => self.parts.io.send(connection, buffer),
                Next::ShutdownWrite => self.parts.io.shutdown_write(connection),
            }
        }
        self.tls.settle(connection);
    }
}
