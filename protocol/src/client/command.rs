//! What a client asks: commands as they lie in a received message.
//!
//! Everything borrows from the message. Text is copied only where a JSON escape forces it; payloads
//! are never copied: raw JSON text in the JSON format, raw bytes in Protobuf.
//! Invariant: a [`Command`] from a decoder has an id unless it is a pong or a send, and its
//! channel, token and method are within the wire maxima.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::close::CloseReason;
use crate::limits::{CHANNEL_BYTES_MAX, RPC_METHOD_BYTES_MAX, TOKEN_BYTES_MAX};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// Chosen by the client, repeated in the reply. Zero: no reply is expected.
    pub id: u32,
    /// What is asked.
    pub kind: CommandKind<'a>,
}

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandKind<'a> {
    /// An empty command: the answer to a ping of the server.
    Pong,
    /// The first command of a connection.
    Connect(Connect<'a>),
    /// Start a subscription.
    Subscribe(Subscribe<'a>),
    /// End a subscription.
    Unsubscribe(Unsubscribe<'a>),
    /// Publish into a channel.
    Publish(Publish<'a>),
    /// Who is in a channel?
    Presence(Presence<'a>),
    /// How many are in a channel?
    PresenceStats(PresenceStats<'a>),
    /// Read past publications of a channel.
    History(History<'a>),
    /// A ping by the client; it has a reply.
    Ping,
    /// A message to the server that has no reply.
    Send(Send<'a>),
    /// Call a method of the server.
    Rpc(Rpc<'a>),
    /// A new token for the connection.
    Refresh(Refresh<'a>),
    /// A new token for one subscription.
    SubRefresh(SubRefresh<'a>),
}

/// Fields of `connect`. Feature flags, dictionaries and profiles are ignored: the reply enables
/// none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect<'a> {
    /// A JWT, or empty.
    pub token: Cow<'a, str>,
    /// Payload for the application.
    pub data: &'a [u8],
    /// Positions of server-side subscriptions to recover, by channel. Inside, `channel` is unused.
    pub subs: BTreeMap<Cow<'a, str>, Subscribe<'a>>,
    /// Name of the client program.
    pub name: Cow<'a, str>,
    /// Version of the client program.
    pub version: Cow<'a, str>,
    /// Headers that a browser could not set.
    pub headers: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

/// Fields of `subscribe`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
    /// A subscription JWT, or empty.
    pub token: Cow<'a, str>,
    /// Send what was missed since `epoch` and `offset`.
    pub recover: bool,
    /// Epoch of the last seen position.
    pub epoch: Cow<'a, str>,
    /// Offset of the last seen publication.
    pub offset: u64,
    /// Payload for the application.
    pub data: &'a [u8],
    /// The client wants its position checked for gaps.
    pub positioned: bool,
    /// The client wants to recover later.
    pub recoverable: bool,
    /// The client wants joins and leaves.
    pub join_leave: bool,
    /// The kind of delta the client can apply (`fossil`), or empty.
    pub delta: Cow<'a, str>,
    /// Wishes as bits: 1 numeric channel ids, 2 refuse (112) where recovery is impossible.
    pub flag: i64,
    /// `type` on the wire. Not zero: a map or shared poll subscription, which is not available.
    pub subscription_type: i32,
    /// A tag filter (`tf`) was given; publications would have to be filtered.
    pub has_tag_filter: bool,
}

/// Fields of `unsubscribe`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
}

/// Fields of `publish`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
    /// The payload.
    pub data: &'a [u8],
    /// `type` on the wire. Not zero: a publication into a map, which is not available.
    pub publication_type: i32,
}

/// Fields of `presence`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
}

/// Fields of `presence_stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceStats<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
}

/// Fields of `history`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
    /// Most publications to return. Zero: only the position. Negative: as many as are allowed.
    pub limit: i32,
    /// Start behind this position; without it, at the end that `reverse` says.
    pub since: Option<StreamPosition<'a>>,
    /// Newest first.
    pub reverse: bool,
}

/// A place in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamPosition<'a> {
    /// Offset of a publication.
    pub offset: u64,
    /// The epoch in which the offset counts.
    pub epoch: Cow<'a, str>,
}

/// Fields of `send`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Send<'a> {
    /// The payload.
    pub data: &'a [u8],
}

/// Fields of `rpc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rpc<'a> {
    /// The payload.
    pub data: &'a [u8],
    /// The method.
    pub method: Cow<'a, str>,
}

/// Fields of `refresh`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refresh<'a> {
    /// The new JWT.
    pub token: Cow<'a, str>,
}

/// Fields of `sub_refresh`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubRefresh<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
    /// The new JWT.
    pub token: Cow<'a, str>,
    /// `type` on the wire. Not zero: tracking of keys, which is not available.
    pub refresh_type: i32,
}

/// What is wrong with a received message of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandViolation {
    /// The message holds nothing at all.
    EmptyMessage,
    /// Bytes that are not a command: broken JSON or Protobuf, a wrong type, a repeated JSON name.
    Malformed,
    /// JSON nested deeper than [`super::JSON_DEPTH_MAX`].
    TooDeep,
    /// More than [`crate::limits::COMMANDS_PER_MESSAGE_MAX`] commands in one message.
    TooManyCommands,
    /// An id, but nothing asked that we know.
    NoRequest,
    /// More than one request in one command.
    ManyRequests,
    /// A request that has a reply came without an id.
    MissingId,
    /// A channel, token or method over its limit. The commands behind it are still decoded, so that
    /// the gateway may answer the command `id` with an error (107) instead of closing.
    FieldTooLong {
        /// The id of the command; zero if it has none.
        id: u32,
    },
}

impl CommandViolation {
    /// The reason with which the connection is closed.
    pub const fn close_reason(self) -> CloseReason {
        CloseReason::BadRequest
    }

    /// The label under which violations are counted.
    pub const fn label(self) -> &'static str {
        match self {
            Self::EmptyMessage => "empty_message",
            Self::Malformed => "malformed",
            Self::TooDeep => "too_deep",
            Self::TooManyCommands => "too_many_commands",
            Self::NoRequest => "no_request",
            Self::ManyRequests => "many_requests",
            Self::MissingId => "missing_id",
            Self::FieldTooLong { .. } => "field_too_long",
        }
    }

    /// Can the decoder go on behind the command?
    pub(super) const fn ends_message(self) -> bool {
        !matches!(self, Self::FieldTooLong { .. })
    }
}

/// A command while its fields come in, in either format.
#[derive(Default)]
pub(super) struct CommandDraft<'a> {
    pub(super) id: u32,
    kind: Option<CommandKind<'a>>,
    has_many_requests: bool,
}

impl<'a> CommandDraft<'a> {
    /// Adds a request.
    ///
    /// The reference takes the first of several and forgets the others; a client that sends several
    /// waits in vain for an answer, so that we refuse them.
    pub(super) fn request(&mut self, kind: CommandKind<'a>) {
        self.has_many_requests |= self.kind.is_some();
        self.kind = Some(kind);
    }

    /// The command, if it obeys the rules that both formats share.
    pub(super) fn finish(self) -> Result<Command<'a>, CommandViolation> {
        let id = self.id;
        if self.has_many_requests {
            return Err(CommandViolation::ManyRequests);
        }
        let kind = match self.kind {
            Some(kind) => kind,
            None if id == 0 => CommandKind::Pong,
            None => return Err(CommandViolation::NoRequest),
        };
        if id == 0 && !matches!(kind, CommandKind::Pong | CommandKind::Send(_)) {
            return Err(CommandViolation::MissingId);
        }
        if !within_limits(&kind) {
            return Err(CommandViolation::FieldTooLong { id });
        }
        Ok(Command { id, kind })
    }
}

/// Are channel, token and method of `kind` within the wire maxima?
fn within_limits(kind: &CommandKind<'_>) -> bool {
    let channel_fits = |channel: &str| channel.len() <= CHANNEL_BYTES_MAX;
    let token_fits = |token: &str| token.len() <= TOKEN_BYTES_MAX;
    match kind {
        CommandKind::Pong | CommandKind::Ping | CommandKind::Send(_) => true,
        CommandKind::Connect(connect) => {
            token_fits(&connect.token) && connect.subs.keys().all(|channel| channel_fits(channel))
        }
        CommandKind::Subscribe(subscribe) => {
            channel_fits(&subscribe.channel) && token_fits(&subscribe.token)
        }
        CommandKind::Unsubscribe(unsubscribe) => channel_fits(&unsubscribe.channel),
        CommandKind::Publish(publish) => channel_fits(&publish.channel),
        CommandKind::Presence(presence) => channel_fits(&presence.channel),
        CommandKind::PresenceStats(presence_stats) => channel_fits(&presence_stats.channel),
        CommandKind::History(history) => channel_fits(&history.channel),
        CommandKind::Rpc(rpc) => rpc.method.len() <= RPC_METHOD_BYTES_MAX,
        CommandKind::Refresh(refresh) => token_fits(&refresh.token),
        CommandKind::SubRefresh(sub_refresh) => {
            channel_fits(&sub_refresh.channel) && token_fits(&sub_refresh.token)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(id: u32, kinds: Vec<CommandKind<'_>>) -> Result<Command<'_>, CommandViolation> {
        let mut draft = CommandDraft { id, ..CommandDraft::default() };
        kinds.into_iter().for_each(|kind| draft.request(kind));
        draft.finish()
    }

    #[test]
    fn ids_and_requests_must_match() {
        let send = || CommandKind::Send(Send::default());
        assert_eq!(finish(0, vec![]), Ok(Command { id: 0, kind: CommandKind::Pong }));
        assert_eq!(finish(0, vec![send()]), Ok(Command { id: 0, kind: send() }));
        assert_eq!(finish(3, vec![send()]), Ok(Command { id: 3, kind: send() }));
        assert_eq!(finish(3, vec![]), Err(CommandViolation::NoRequest));
        assert_eq!(finish(0, vec![CommandKind::Ping]), Err(CommandViolation::MissingId));
        assert_eq!(finish(3, vec![CommandKind::Ping, send()]), Err(CommandViolation::ManyRequests));
    }

    #[test]
    fn limits_are_inclusive() {
        let longest = "c".repeat(CHANNEL_BYTES_MAX);
        let longer = "c".repeat(CHANNEL_BYTES_MAX + 1);
        let presence =
            |channel| CommandKind::Presence(Presence { channel: Cow::Borrowed(channel) });
        assert!(finish(1, vec![presence(&longest)]).is_ok());
        assert_eq!(
            finish(1, vec![presence(&longer)]),
            Err(CommandViolation::FieldTooLong { id: 1 })
        );
    }
}
