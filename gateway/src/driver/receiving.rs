//! What a connection receives, up to its reader: the header of a proxy first, where one is due.

use protocol::ids::ConnectionId;
use protocol::time::Now;
use shard::{Chunk, Io};

use super::clock::Clock;
use super::pump::Pump;
use super::service::Service;
use super::transport::Reading;
use super::uplink::Uplink;
use crate::engine::Event;

impl<I: Io, U: Uplink, S: Service, C: Clock> Pump<I, U, S, C> {
    pub(super) fn received(&mut self, connection: ConnectionId, chunk: Chunk, now: Now) {
        if self.parts.engine.arrived(connection) {
            self.act(now);
        }
        let header_bytes = match self.proxied.is_empty() {
            true => 0,
            false => self.receive_proxy_header(connection, &chunk, now),
        };
        if header_bytes == chunk.bytes_count() as usize {
            return self.parts.io.recycle(chunk);
        }
        if self.tls.is_on() {
            return self.receive_sealed(connection, Some((chunk, header_bytes)), now);
        }
        let bytes = &mut self.parts.io.bytes(&chunk)[header_bytes..];
        let reader = &mut self.readers[connection.slot().index()];
        let before = reader.held_bytes();
        let outcome = reader.read(
            bytes,
            &mut Reading {
                connection,
                engine: &mut self.parts.engine,
                service: &self.parts.service,
                bodies: &self.bodies,
                actions: &mut self.actions,
                now,
            },
        );
        self.parts.io.recycle(chunk);
        self.weigh(connection, before, now);
        self.conclude(outcome, now);
    }

    /// How many bytes of a chunk belong to the header of a proxy, or come behind one that is
    /// refused: all that is not data.
    fn receive_proxy_header(&mut self, connection: ConnectionId, chunk: &Chunk, now: Now) -> usize {
        let Some(header) = self.proxied.get_mut(&connection) else { return 0 };
        let bytes = self.parts.io.bytes(chunk);
        let (taken, header) = match header.feed(bytes) {
            Ok(None) => return bytes.len(),
            Ok(Some((taken, source))) => (taken, Ok(source)),
            Err(fault) => (bytes.len(), Err(fault)),
        };
        self.proxied.remove(&connection);
        self.tell(Event::ProxyHeader { connection, header }, now);
        taken
    }
}
