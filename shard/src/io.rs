//! The seam between a shard and the kernel.
//!
//! [`crate::ring::Ring`] is the real one; the test world has one that runs on a seed. Both pass the
//! same conformance tests, so this page is the contract:
//!
//! * Nothing happens between two turns. Operations are queued, [`Io::turn`] hands them to the
//!   kernel and
//!   collects completions, [`Io::next`] yields those one by one.
//! * A [`ConnectionId`] names one accepted socket for ever. A completion never names a connection
//!   that has
//!   been reported [`Completion::Closed`], and no operation may.
//! * Receiving, once started, goes on until it is paused or ends; it survives a shortage of
//!   buffers.
//! * [`Io::receive`] and [`Io::rest`] report the same, in the same order. Which of them was called
//!   last says whether much is expected, and with that whether work or memory is saved.
//! * At most one send is in flight per connection. Its bytes come back with [`Completion::Sent`],
//!   once,
//!   whatever happens to the connection. A send may be short.
//! * When every place is taken, accepting ends with ENFILE; clients that come then wait in the
//!   listener's backlog.
//! * [`Io::close`] cuts both directions. `Closed` follows when no operation is left; a `Sent` that
//!   was owed
//!   comes first. After `close`, nothing else is reported for the connection.

use core::fmt;
use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use protocol::ids::ConnectionId;

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

/// How long a turn may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: there is work left from the last turn.
    No,
    /// Until a completion or a wake arrives, or this time has passed.
    AtMost(Duration),
}

/// Received bytes in a buffer of the ring. Must be given back with [`Io::recycle`].
#[derive(Debug)]
#[must_use = "a chunk that is not recycled is a receive buffer lost"]
pub struct Chunk {
    /// Of the rings of a shard, the one whose buffer it is.
    pub(crate) ring: u8,
    /// Which buffer.
    pub(crate) buffer: u16,
    /// How much of it was filled.
    pub(crate) bytes_count: u32,
}

impl Chunk {
    /// For implementations of [`Io`] outside this crate.
    pub fn new(buffer: u16, bytes_count: u32) -> Self {
        Self { ring: 0, buffer, bytes_count }
    }

    /// Which buffer of its owner this is.
    pub fn buffer(&self) -> u16 {
        self.buffer
    }

    /// How many bytes were received, at least one.
    pub fn bytes_count(&self) -> u32 {
        self.bytes_count
    }
}

/// Bytes to send. Whoever holds one keeps its bytes alive and unchanged.
#[derive(Debug)]
pub enum SendBuffer {
    /// A part of bytes that others send too.
    Shared {
        /// The bytes, immutable and counted.
        bytes: Arc<[u8]>,
        /// Where this send begins.
        start: u32,
        /// Where it ends.
        end: u32,
    },
    /// Bytes for this connection alone.
    Owned {
        /// The bytes.
        bytes: Vec<u8>,
        /// Where this send begins; what lies before it has been sent.
        start: u32,
    },
}

impl SendBuffer {
    /// All of `bytes`.
    pub fn shared(bytes: Arc<[u8]>) -> Self {
        let end = u32::try_from(bytes.len()).expect("payloads are bounded far below 4 GiB");
        Self::Shared { bytes, start: 0, end }
    }

    /// All of `bytes`.
    pub fn owned(bytes: Vec<u8>) -> Self {
        Self::Owned { bytes, start: 0 }
    }

    /// The bytes still to be sent.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared { bytes, start, end } => &bytes[*start as usize..*end as usize],
            Self::Owned { bytes, start } => &bytes[*start as usize..],
        }
    }

    /// How many bytes are still to be sent.
    pub fn bytes_count(&self) -> u32 {
        match self {
            Self::Shared { start, end, .. } => end - start,
            Self::Owned { bytes, start } => bytes.len() as u32 - start,
        }
    }

    /// Notes that the first `count` bytes were sent.
    pub fn advance(&mut self, count: u32) {
        assert!(count <= self.bytes_count(), "the kernel cannot send more than it was given");
        match self {
            Self::Shared { start, .. } | Self::Owned { start, .. } => *start += count,
        }
    }
}

/// How receiving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The peer will send nothing more.
    Eof,
    /// The connection failed.
    Failed(Errno),
}

/// One thing that happened.
#[derive(Debug)]
pub enum Completion {
    /// A client connected. Nothing is received before [`Io::receive`].
    Accepted {
        /// Its name from now on.
        connection: ConnectionId,
        /// Where it comes from, if the kernel said so.
        peer: Option<SocketAddr>,
    },
    /// Accepting stopped; [`Io::accept`] starts it again.
    AcceptEnded(Errno),
    /// Bytes arrived.
    Received {
        /// For whom.
        connection: ConnectionId,
        /// Where they are.
        chunk: Chunk,
    },
    /// Nothing more will be received.
    ReceiveEnded {
        /// By whom.
        connection: ConnectionId,
        /// Why.
        end: ReceiveEnd,
    },
    /// A send is over.
    Sent {
        /// By whom.
        connection: ConnectionId,
        /// How many bytes the kernel took, at least one and perhaps not all.
        result: Result<u32, Errno>,
        /// What was given to [`Io::send`], not advanced.
        buffer: SendBuffer,
    },
    /// The connection is gone and its slot free.
    Closed {
        /// Which one.
        connection: ConnectionId,
    },
}

/// What a shard asks of the kernel.
pub trait Io {
    /// Submits what was queued, sleeps as allowed, and collects what happened.
    ///
    /// # Errors
    ///
    /// The ring itself failed. The process cannot go on and should be restarted.
    fn turn(&mut self, wait: Wait) -> std::io::Result<()>;

    /// The next thing that happened, until `None`: then it is time for the next turn.
    fn next(&mut self) -> Option<Completion>;

    /// The bytes of a chunk, to be read or changed in place.
    fn bytes(&mut self, chunk: &Chunk) -> &mut [u8];

    /// Gives the buffer of a chunk back.
    fn recycle(&mut self, chunk: Chunk);

    /// Starts accepting clients, or starts it again.
    fn accept(&mut self);

    /// Stops accepting. Clients that connected before may still be reported.
    fn stop_accepting(&mut self);

    /// Starts receiving, or starts it again after [`Io::pause`], from a client that is expected to
    /// send much: with the least work for each arrival.
    fn receive(&mut self, connection: ConnectionId);

    /// Starts receiving, or starts it again after [`Io::pause`], from a client that is expected to
    /// send little: with the least memory of the kernel while nothing arrives.
    fn rest(&mut self, connection: ConnectionId);

    /// Stops receiving. What is already on the way may still be reported.
    fn pause(&mut self, connection: ConnectionId);

    /// Sends bytes. No other send of the connection may be in flight.
    fn send(&mut self, connection: ConnectionId, buffer: SendBuffer);

    /// Tells the peer that nothing more will be sent (TCP FIN), after what has been sent.
    fn shutdown_write(&mut self, connection: ConnectionId);

    /// Ends the connection in both directions.
    fn close(&mut self, connection: ConnectionId);
}
