//! The layer between a client of rustls and a socket that is two vectors of bytes.

mod behaviour;
mod bytes;
mod oracle;

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use protocol::ids::{ConnectionId, ShardId, Slot};
use rustls::{ClientConfig, ClientConnection};
use shard::SendBuffer;

use super::layer::{Arrival, Completed, Ending, Next, Received, Sealing, Tls};
use super::testing;
use super::{TlsConfig, TlsCounters};

const CONNECTION: ConnectionId = ConnectionId::new(ShardId(0), 0, Slot(0), 1);

/// The server's side of one connection.
struct Server {
    tls: Tls,
    /// What the client reads.
    sent: Vec<u8>,
    /// What the reader got.
    data: Vec<u8>,
    secured_count: u32,
    end: Received,
    /// Sends of the engine that are over, with how many bytes left.
    completed: Vec<Option<u32>>,
    is_shut: bool,
}

impl Server {
    fn new(config: Arc<TlsConfig>) -> Self {
        let mut tls = Tls::new(Some(config));
        tls.begin_turn();
        tls.open(CONNECTION);
        Self {
            tls,
            sent: Vec::new(),
            data: Vec::new(),
            secured_count: 0,
            end: Received::Open,
            completed: Vec::new(),
            is_shut: false,
        }
    }

    /// As the pump does; the kernel takes everything at once.
    fn receive(&mut self, bytes: &[u8]) {
        if self.end != Received::Open {
            return;
        }
        self.tls.begin_turn();
        let (data, secured_count) = (&mut self.data, &mut self.secured_count);
        let mut bytes = bytes.to_vec();
        self.end = self.tls.receive(CONNECTION, &mut bytes, &mut |arrival| match arrival {
            Arrival::Secured => *secured_count += 1,
            Arrival::Data(bytes) => data.extend_from_slice(bytes),
        });
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(next) = self.tls.next(CONNECTION) {
            match next {
                Next::Send(buffer) => {
                    self.sent.extend_from_slice(buffer.as_slice());
                    let count = buffer.bytes_count();
                    self.complete(buffer, Some(count));
                }
                Next::ShutdownWrite => self.is_shut = true,
            }
        }
    }

    fn complete(&mut self, buffer: SendBuffer, sent: Option<u32>) {
        match self.tls.sent(CONNECTION, buffer, sent) {
            Completed::Engine(_, count) => self.completed.push(count),
            Completed::Nothing => {}
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, data: &[u8]) {
        let sealing = self.tls.seal(CONNECTION, SendBuffer::owned(data.to_vec()));
        assert!(matches!(sealing, Sealing::Taken), "{sealing:?}");
        self.flush();
    }

    fn counters(&self) -> TlsCounters {
        self.tls.counters()
    }
}

/// Both sides.
struct Pair {
    server: Server,
    client: ClientConnection,
    /// What the client has read.
    read: Vec<u8>,
    /// Everything that the client sent so far.
    tape: Vec<u8>,
}

impl Pair {
    fn new(server: Arc<TlsConfig>, client: ClientConfig) -> Self {
        Self::with(server, Arc::new(client), "one.example")
    }

    fn with(server: Arc<TlsConfig>, client: Arc<ClientConfig>, host: &str) -> Self {
        let client = ClientConnection::new(client, testing::host(host)).unwrap();
        Self { server: Server::new(server), client, read: Vec::new(), tape: Vec::new() }
    }

    /// What the client wants to send now.
    fn outgoing(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        self.tape.extend_from_slice(&bytes);
        bytes
    }

    /// Lets the client read everything. Its error is the last word of a connection.
    fn take_in(&mut self) -> Result<bool, rustls::Error> {
        let sent = std::mem::take(&mut self.server.sent);
        let mut rest = &sent[..];
        let mut has_ended = false;
        while !rest.is_empty() {
            if self.client.read_tls(&mut rest).unwrap() == 0 {
                break;
            }
            let state = self.client.process_new_packets()?;
            has_ended |= state.peer_has_closed();
            let mut data = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut data).unwrap();
            self.read.extend_from_slice(&data);
        }
        Ok(has_ended)
    }

    /// Until nobody has anything to say, `step` bytes of the client at a time.
    fn run(&mut self, step: usize) -> Result<bool, rustls::Error> {
        let mut has_ended = false;
        loop {
            let bytes = self.outgoing();
            for part in bytes.chunks(step) {
                self.server.receive(part);
            }
            if bytes.is_empty() && self.server.sent.is_empty() {
                return Ok(has_ended);
            }
            has_ended |= self.take_in()?;
        }
    }

    /// With the handshake behind it.
    fn shaken(mut self) -> Self {
        self.run(2048).unwrap();
        assert!(!self.client.is_handshaking());
        assert_eq!(self.server.secured_count, 1);
        self
    }

    fn write(&mut self, data: &[u8]) {
        self.client.writer().write_all(data).unwrap();
    }

    /// The records of what the client wants to send now.
    fn records(&mut self) -> Vec<Vec<u8>> {
        let bytes = self.outgoing();
        let mut rest = &bytes[..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = 5 + usize::from(u16::from_be_bytes([rest[3], rest[4]]));
            records.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
        records
    }
}

fn end_writing(server: &mut Server) {
    assert_eq!(server.tls.end_writing(CONNECTION), Ending::Behind);
    server.flush();
}
