//! What a gateway shard is told, and what it wants done.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use protocol::close::CloseReason;
use protocol::http::Request;
use protocol::ids::{ConnectionId, ShardId};
use protocol::limits::{FRAGMENT_BYTES_MEAN_MIN, MESSAGE_FRAMES_MAX};
use protocol::link::{FromRouter, ToRouter, UserCommand};
use protocol::proxies::{ProxyFault, Source};
use protocol::websocket::{DecoderLimits, Message};
use shard::SendBuffer;

use super::claims::TokenVerifier;
use super::listing::{Listed, Listing};
use super::notes::Note;
use super::shedding::MemoryLevel;
use crate::config::GatewayConfig;

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client connected.
    Accepted {
        /// Its name.
        connection: ConnectionId,
        /// Where it comes from.
        peer: Option<SocketAddr>,
    },
    /// The header that [`Action::AwaitProxyHeader`] asked for is complete, or wrong.
    ProxyHeader {
        /// On which connection.
        connection: ConnectionId,
        /// Whom it names.
        header: Result<Source, ProxyFault>,
    },
    /// The connection is encrypted from here on. Comes before anything else that was received.
    Secured {
        /// Which connection.
        connection: ConnectionId,
    },
    /// A whole request head arrived on a connection that speaks HTTP.
    Request {
        /// On which connection.
        connection: ConnectionId,
        /// The head.
        request: &'a Request<'a>,
    },
    /// A request head was refused, or a body.
    BadRequest {
        /// On which connection.
        connection: ConnectionId,
        /// The status to answer.
        status: u16,
        /// Why, for the client.
        text: &'static str,
    },
    /// The client waits for a sign before it sends the body of its request.
    Continue {
        /// On which connection.
        connection: ConnectionId,
    },
    /// A request, its body too, is with the service.
    RequestComplete {
        /// On which connection.
        connection: ConnectionId,
    },
    /// The service answered a request.
    Response {
        /// On which connection.
        connection: ConnectionId,
        /// Head and body.
        bytes: &'a [u8],
        /// Is it the last one on this connection?
        is_last: bool,
    },
    /// What the client sent behind a request that was answered has been read.
    ReadOn {
        /// On which connection.
        connection: ConnectionId,
    },
    /// A whole message arrived on a WebSocket.
    Message {
        /// On which connection.
        connection: ConnectionId,
        /// The message.
        message: Message<'a>,
    },
    /// A message was begun and not finished, or what was begun is finished.
    Unfinished {
        /// On which connection.
        connection: ConnectionId,
        /// Is something unfinished now?
        is_unfinished: bool,
    },
    /// The driver holds another number of bytes for a connection: of unfinished heads, messages and
    /// bodies, of a request that is being answered, and of what waits behind it.
    Holds {
        /// For which connection.
        connection: ConnectionId,
        /// Bytes of memory.
        bytes_count: u32,
    },
    /// The peer broke a rule of its transport.
    Violation {
        /// On which connection.
        connection: ConnectionId,
        /// What to tell it.
        reason: CloseReason,
    },
    /// The peer will send nothing more.
    ReceiveEnded {
        /// On which connection.
        connection: ConnectionId,
        /// Did the connection fail, rather than end?
        has_failed: bool,
    },
    /// A send is over.
    Sent {
        /// On which connection.
        connection: ConnectionId,
        /// What was to be sent.
        buffer: SendBuffer,
        /// How many bytes the kernel took; `None`: the send failed.
        sent: Option<u32>,
    },
    /// The socket is gone.
    Closed {
        /// Which one.
        connection: ConnectionId,
    },
    /// The router says something.
    FromRouter(FromRouter),
    /// The way to the router was full; the message did not get there.
    RouterRefused(ToRouter),
    /// Another shard of this gateway says something.
    FromPeer(ToPeer),
    /// Somebody outside (the API) wants something of all connections of a user whose home is here.
    User {
        /// Whose.
        user: Arc<str>,
        /// What.
        command: UserCommand,
    },
    /// Keys were loaded: tokens are checked by this from now on.
    Keys(Arc<dyn TokenVerifier>),
    /// A key could not be loaded; tokens that wait for it are refused.
    KeysFailed {
        /// The key's id; `None`: whatever is waited for.
        key_id: Option<String>,
    },
    /// New settings.
    Config(Arc<GatewayConfig>),
    /// The memory of the process was measured.
    Memory {
        /// How near its limit it is.
        level: MemoryLevel,
        /// Bytes that connections of this shard have to give back.
        owed_bytes: u64,
    },
    /// An operator asks about connections; [`Action::Listed`] answers.
    List {
        /// The number under which its driver waits.
        number: u64,
        /// The question.
        listing: Box<Listing>,
    },
    /// The node shuts down: close every client with 3001, spread over a time.
    Drain {
        /// The time.
        over: Duration,
    },
}

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    /// A header of the PROXY protocol comes first, before TLS and HTTP.
    AwaitProxyHeader(ConnectionId),
    /// Start receiving, or go on, from a client that is expected to send much.
    Receive(ConnectionId),
    /// Start receiving, or go on, from a client that is expected to send little.
    Rest(ConnectionId),
    /// Stop receiving for now.
    Pause(ConnectionId),
    /// Tell the peer that nothing more will be sent.
    ShutdownWrite(ConnectionId),
    /// Close the socket now.
    Cut(ConnectionId),
    /// The connection speaks something else from here on.
    Become {
        /// Which connection.
        connection: ConnectionId,
        /// What it speaks.
        transport: Transport,
    },
    /// Tell the router.
    ToRouter(ToRouter),
    /// Tell another shard.
    ToPeer {
        /// Which one.
        shard: ShardId,
        /// What.
        message: ToPeer,
    },
    /// Answer a question about connections.
    Listed {
        /// Its number.
        number: u64,
        /// The answer; `None`: too many questions wait already.
        listed: Option<Box<Listed>>,
    },
    /// Write this down.
    Note(Box<Note>),
    /// Load the keys: a token names one that is not known.
    LoadKeys {
        /// The key's id, as the token has it.
        key_id: String,
    },
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket messages within these limits.
    WebSocket {
        /// Largest message, most frames.
        message_bytes_max: u32,
    },
    /// The request is for the HTTP service: its body follows, then an answer.
    Service,
    /// Nothing more is read.
    Silent,
}

impl Transport {
    /// Limits for the decoder of a WebSocket.
    pub fn decoder_limits(message_bytes_max: u32) -> DecoderLimits {
        // Whoever allows larger messages allows more frames in them, as long as these are no
        // smaller on average than some clients make them.
        let frames_max = (message_bytes_max / FRAGMENT_BYTES_MEAN_MIN).max(MESSAGE_FRAMES_MAX);
        DecoderLimits { message_bytes_max, frames_max }
    }
}

/// From shard to shard of one gateway. All of it is final: nobody would repeat it.
#[derive(Clone, Debug)]
pub enum ToPeer {
    /// To a user's home: a connection wants to begin a session.
    UserJoin {
        /// Which connection.
        connection: ConnectionId,
        /// Whose.
        user: Arc<str>,
    },
    /// From the home: it may, or the user has too many.
    UserJoined {
        /// Which connection.
        connection: ConnectionId,
        /// May it?
        is_admitted: bool,
    },
    /// To the home: a session ended.
    UserLeave {
        /// Which connection.
        connection: ConnectionId,
        /// Whose.
        user: Arc<str>,
    },
    /// To the home: one event of the user's rate.
    UserCharge {
        /// Which connection caused it.
        connection: ConnectionId,
        /// Whose.
        user: Arc<str>,
    },
    /// From the home: the user's rate is used up for a while.
    UserThrottled {
        /// Which connection went over.
        connection: ConnectionId,
    },
    /// From the home: do this to a connection of the user.
    Command {
        /// Which connection.
        connection: ConnectionId,
        /// What.
        command: UserCommand,
    },
}
