//! What a gateway says: replies to commands, and pushes that nobody asked for.
//!
//! Borrowed views, made to be encoded at once. Zero, `false`, and empty mean "not given": encoders
//! omit them wherever SDKs take absence for the same.

use super::codes::{ErrorCode, UnsubscribeReason};
use super::payload::Payload;

/// The answer to one command.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The id of the command, not zero.
    pub id: u32,
    /// The answer.
    pub body: ReplyBody<'a>,
}

/// An answer, by what was asked.
#[derive(Clone, Copy, Debug)]
pub enum ReplyBody<'a> {
    /// The command failed.
    Error(ErrorReply<'a>),
    /// To `connect`.
    Connect(ConnectResult<'a>),
    /// To `subscribe`.
    Subscribe(SubscribeResult<'a>),
    /// To `unsubscribe`.
    Unsubscribe,
    /// To `publish`.
    Publish,
    /// To `presence`.
    Presence(PresenceResult<'a>),
    /// To `presence_stats`.
    PresenceStats(PresenceStatsResult),
    /// To `history`.
    History(HistoryResult<'a>),
    /// To `ping`.
    Ping,
    /// To `rpc`.
    Rpc(RpcResult<'a>),
    /// To `refresh`.
    Refresh(RefreshResult<'a>),
    /// To `sub_refresh`.
    SubRefresh(SubRefreshResult),
}

/// Why a command failed.
#[derive(Clone, Copy, Debug)]
pub struct ErrorReply<'a> {
    /// A code of [`ErrorCode`], or one of the application's from 400 on.
    pub code: u32,
    /// For humans.
    pub message: &'a str,
    /// May the client try again?
    pub temporary: bool,
}

impl From<ErrorCode> for ErrorReply<'_> {
    fn from(error: ErrorCode) -> Self {
        Self { code: error.code(), message: error.message(), temporary: error.temporary() }
    }
}

/// The session begins. Also a push, for clients that cannot send; its field numbers differ there.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectResult<'a> {
    /// The id of this client.
    pub client: &'a str,
    /// Version of the server.
    pub version: &'a str,
    /// Does the connection expire unless refreshed?
    pub expires: bool,
    /// Seconds until then.
    pub ttl: u32,
    /// Payload for the application.
    pub data: Payload<'a>,
    /// Server-side subscriptions by channel.
    pub subs: &'a [(&'a str, SubscribeResult<'a>)],
    /// Seconds between pings of the server.
    pub ping: u32,
    /// Must the client answer pings?
    pub pong: bool,
    /// Names the session in commands sent beside the stream (emulation).
    pub session: &'a str,
    /// Names the node in commands sent beside the stream (emulation).
    pub node: &'a str,
    /// Time of the server, in milliseconds since the Unix epoch.
    pub time: i64,
}

/// The subscription begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubscribeResult<'a> {
    /// Does the subscription expire unless refreshed?
    pub expires: bool,
    /// Seconds until then.
    pub ttl: u32,
    /// Can the client recover later?
    pub recoverable: bool,
    /// The epoch of the channel.
    pub epoch: &'a str,
    /// What was missed, oldest first.
    pub publications: &'a [Publication<'a>],
    /// Was everything missed found?
    pub recovered: bool,
    /// The newest offset of the channel.
    pub offset: u64,
    /// Is the position checked for gaps?
    pub positioned: bool,
    /// Payload for the application.
    pub data: Payload<'a>,
    /// Did the client ask for recovery?
    pub was_recovering: bool,
    /// Will payloads come as deltas?
    pub delta: bool,
}

/// Who is in a channel: client ids and what is known of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct PresenceResult<'a> {
    /// By client id.
    pub presence: &'a [(&'a str, ClientInfo<'a>)],
}

/// How many are in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceStatsResult {
    /// Connections.
    pub num_clients: u32,
    /// Users.
    pub num_users: u32,
}

/// Past publications, and the position of the channel.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryResult<'a> {
    /// In the order asked for.
    pub publications: &'a [Publication<'a>],
    /// The epoch of the channel.
    pub epoch: &'a str,
    /// The newest offset of the channel.
    pub offset: u64,
}

/// The result of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct RpcResult<'a> {
    /// The payload.
    pub data: Payload<'a>,
}

/// The new token of the connection is accepted.
#[derive(Clone, Copy, Debug, Default)]
pub struct RefreshResult<'a> {
    /// The id of this client.
    pub client: &'a str,
    /// Version of the server.
    pub version: &'a str,
    /// Does the connection still expire?
    pub expires: bool,
    /// Seconds until then.
    pub ttl: u32,
}

/// The new token of a subscription is accepted. Also the body of a refresh push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubRefreshResult {
    /// Does it still expire?
    pub expires: bool,
    /// Seconds until then.
    pub ttl: u32,
}

/// Something that happened, told without a question.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Where; empty if it concerns the connection.
    pub channel: &'a str,
    /// What.
    pub body: PushBody<'a>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum PushBody<'a> {
    /// A publication.
    Publication(Publication<'a>),
    /// Somebody joined.
    Join(ClientInfo<'a>),
    /// Somebody left.
    Leave(ClientInfo<'a>),
    /// The server ended the subscription.
    Unsubscribe(UnsubscribePush<'a>),
    /// A message for this connection, outside channels.
    Message(Payload<'a>),
    /// The server began a subscription.
    Subscribe(SubscribePush<'a>),
    /// The session begins, for a client that cannot send.
    Connect(ConnectResult<'a>),
    /// The connection ends. For transports without a close code.
    Disconnect(Disconnect<'a>),
    /// The connection's expiry changed.
    Refresh(SubRefreshResult),
}

/// One publication of a channel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publication<'a> {
    /// The payload, or the delta to the one before.
    pub data: Payload<'a>,
    /// Who published, if a client did.
    pub info: Option<ClientInfo<'a>>,
    /// Place in the channel; zero if the channel has no positions.
    pub offset: u64,
    /// Names and values from the publisher.
    pub tags: &'a [(&'a str, &'a str)],
    /// Is `data` a delta?
    pub delta: bool,
    /// When it was published, in milliseconds since the Unix epoch.
    pub time: i64,
}

/// What is known of a client.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientInfo<'a> {
    /// The user; empty if anonymous.
    pub user: &'a str,
    /// The client id.
    pub client: &'a str,
    /// From the connection's token or backend.
    pub conn_info: Payload<'a>,
    /// From the subscription's token or backend.
    pub chan_info: Payload<'a>,
}

/// The server ended a subscription.
#[derive(Clone, Copy, Debug)]
pub struct UnsubscribePush<'a> {
    /// A code of [`UnsubscribeReason`], or one of the backend's within 2000 to 2999.
    pub code: u32,
    /// For humans.
    pub reason: &'a str,
}

impl From<UnsubscribeReason> for UnsubscribePush<'_> {
    fn from(reason: UnsubscribeReason) -> Self {
        Self { code: reason.code(), reason: reason.text() }
    }
}

/// The server began a subscription.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubscribePush<'a> {
    /// Can the client recover later?
    pub recoverable: bool,
    /// The epoch of the channel.
    pub epoch: &'a str,
    /// The newest offset of the channel.
    pub offset: u64,
    /// Is the position checked for gaps?
    pub positioned: bool,
    /// Payload for the application.
    pub data: Payload<'a>,
}

/// The connection ends.
#[derive(Clone, Copy, Debug)]
pub struct Disconnect<'a> {
    /// The close code.
    pub code: u32,
    /// For humans.
    pub reason: &'a str,
    /// May the client come back by itself? Current SDKs judge by the code.
    pub reconnect: bool,
}
