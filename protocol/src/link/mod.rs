//! What gateway and router say to each other.
//!
//! Between one gateway shard and one partition, messages keep their order in both directions. Each
//! has a class: a *recoverable* message may be refused when its way is full (the sender is told and
//! knows what to do), a *final* one is kept until there is room.

mod log;

pub use log::{LogChange, LogEntry, LogLevel, LogProgress, StoreAnswer, StoreQuestion};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::{ErrorCode, Payload, PayloadForm};
use crate::ids::ConnectionId;

/// One gateway, as the router sees it: in one process, a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(pub u16);

/// The public name of a connection: 128 random bits, written as a UUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u128);

impl ClientId {
    /// A name from 128 random bits, with the version and variant of RFC 9562, 5.4.
    pub const fn from_random(bits: u128) -> Self {
        let versioned = bits & !(0xf << 76) | 4 << 76;
        Self(versioned & !(0b11 << 62) | 0b10 << 62)
    }

    /// What was written as a UUID, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hyphen = |place: usize| matches!(place, 8 | 13 | 18 | 23);
        let of_uuid = |(place, byte): (usize, u8)| match is_hyphen(place) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        };
        if text.len() != 36 || !text.bytes().enumerate().all(of_uuid) {
            return None;
        }
        u128::from_str_radix(&text.replace('-', ""), 16).ok().map(Self)
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            (bits >> 96) as u32,
            (bits >> 80) as u16,
            (bits >> 64) as u16,
            (bits >> 48) as u16,
            bits & 0xffff_ffff_ffff,
        )
    }
}

/// Bytes of an application, immutable and counted, with how they are written in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The bytes.
    pub bytes: Arc<[u8]>,
    /// Their form, found out once by whoever brought them in.
    pub form: PayloadForm,
}

impl Content {
    /// Takes a copy of a payload.
    pub fn copy_of(payload: Payload<'_>) -> Self {
        Self { bytes: payload.bytes.into(), form: payload.form }
    }

    /// Looks through bytes to find their form and takes a copy.
    pub fn classify(bytes: &[u8]) -> Self {
        Self::copy_of(Payload::classify(bytes))
    }

    /// The payload, for an encoder.
    pub fn payload(&self) -> Payload<'_> {
        Payload::new(&self.bytes, self.form)
    }
}

/// Who is behind a publication, a presence entry, a join or a leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The user id; empty for anonymous clients.
    pub user: Arc<str>,
    /// The connection's public name.
    pub client: ClientId,
    /// What the connection's token says of it.
    pub connection_info: Option<Content>,
    /// What the subscription's token says of it.
    pub channel_info: Option<Content>,
}

/// One publication, as the partition ordered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Its place in the epoch, from 1; zero in channels without history.
    pub offset: u64,
    /// The payload.
    pub content: Content,
    /// Who published, if it was a client.
    pub publisher: Option<Arc<Member>>,
    /// Tags of the backend, by name.
    pub tags: Option<Arc<BTreeMap<String, String>>>,
    /// When it was ordered, in Unix milliseconds.
    pub time_ms: u64,
}

/// A place in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Offset of the last publication.
    pub offset: u64,
    /// In which epoch.
    pub epoch: Arc<str>,
}

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyTo {
    /// Nobody waits.
    Nobody,
    /// Who asked for a subscription.
    Subscription {
        /// The connection that asked.
        connection: ConnectionId,
        /// The client's number for the command; zero for what the server subscribes by itself.
        command: u32,
    },
    /// Another command of a client.
    Command {
        /// The connection that asked.
        connection: ConnectionId,
        /// The client's number for the command.
        command: u32,
    },
    /// A gateway itself, to fill a gap.
    Gateway,
    /// A call of the API, by the number under which its driver waits.
    Api(u64),
}

/// A message to the partition of a channel.
#[derive(Clone, Debug)]
pub struct ToRouter {
    /// The channel it is about.
    pub channel: Arc<str>,
    /// Whom to answer.
    pub reply_to: ReplyTo,
    /// What is asked.
    pub request: Request,
}

impl ToRouter {
    /// May it be refused when its way is full?
    pub fn is_recoverable(&self) -> bool {
        !matches!(self.request, Request::Subscribe(_) | Request::Unsubscribe { .. })
    }
}

/// What a gateway or the API asks of a partition.
#[derive(Clone, Debug)]
pub enum Request {
    /// A subscription begins. Publications behind the answer's position follow until `Unsubscribe`.
    Subscribe(Box<SubscribeRequest>),
    /// A subscription ends; there is no answer. It follows every `Subscribe` that reached the
    /// partition, once: when the subscription ends, is given up before the answer, or was refused.
    Unsubscribe {
        /// Whose.
        connection: ConnectionId,
    },
    /// Order and fan out a publication.
    Publish(Box<PublishRequest>),
    /// Who is there?
    Presence,
    /// How many are there?
    PresenceStats,
    /// Publications of the window.
    History(Box<HistoryRequest>),
    /// Forget the window, keep the position.
    HistoryRemove,
    /// All publications behind an offset, to fill a gap that a gateway saw.
    Fetch {
        /// The last publication that the gateway has.
        since: Position,
    },
    /// Call a method of the server. The message's channel is the caller's user id.
    Rpc(Box<RpcRequest>),
    /// Names and subscriber counts of the partition's channels. The message's channel is a glob
    /// pattern.
    Channels {
        /// Where the last answer ended; zero at first.
        from: u32,
    },
}

/// Fields of [`Request::Subscribe`].
#[derive(Clone, Debug)]
pub struct SubscribeRequest {
    /// The subscribing connection.
    pub connection: ConnectionId,
    /// Who it is, if the channel is to know.
    pub member: Option<Arc<Member>>,
    /// How it shows in the channel.
    pub visibility: Visibility,
    /// Send what was missed since then.
    pub recover: Option<Position>,
    /// Most bytes of payload in a recovery. More could not be sent to the client within its budget,
    /// so that it would come back for them for ever; it is told `recovered: false` instead.
    pub bytes_max: u32,
}

/// How a subscriber shows in its channel: what the namespace says, unless its token says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visibility {
    /// It is among those present.
    pub presence: bool,
    /// The others are told when it comes and goes.
    pub join_leave: bool,
}

/// Fields of [`Request::Publish`].
#[derive(Clone, Debug)]
pub struct PublishRequest {
    /// The payload.
    pub content: Content,
    /// Who publishes, if it is a client.
    pub publisher: Option<Arc<Member>>,
    /// Tags of the backend.
    pub tags: Option<Arc<BTreeMap<String, String>>>,
    /// Do not keep it in the window.
    pub skip_history: bool,
    /// A publication with the same key is ordered once and answered the same way again.
    pub idempotency_key: Option<Box<str>>,
}

/// Fields of [`Request::Rpc`].
#[derive(Clone, Debug)]
pub struct RpcRequest {
    /// The method.
    pub method: Box<str>,
    /// Its argument.
    pub data: Content,
    /// Who calls.
    pub caller: Arc<Member>,
}

/// Fields of [`Request::History`].
#[derive(Clone, Debug, Default)]
pub struct HistoryRequest {
    /// Most publications to return; zero: only the position. Negative: as many as are allowed.
    pub limit: i32,
    /// Start behind this place.
    pub since: Option<Position>,
    /// Newest first.
    pub reverse: bool,
    /// Most bytes of payload in the page, which ends before it exceeds them; one publication is
    /// always within it. Zero: as many as there are.
    pub bytes_max: u32,
}

/// A message from a partition to one gateway.
#[derive(Clone, Debug)]
pub enum FromRouter {
    /// A publication for every subscriber there.
    Publication {
        /// Where.
        channel: Arc<str>,
        /// What.
        publication: Arc<Publication>,
    },
    /// Somebody came.
    Join {
        /// Where.
        channel: Arc<str>,
        /// Who.
        member: Arc<Member>,
    },
    /// Somebody left.
    Leave {
        /// Where.
        channel: Arc<str>,
        /// Who.
        member: Arc<Member>,
    },
    /// Publications were left out on the way; the gateway fetches them.
    Lagged {
        /// Where.
        channel: Arc<str>,
    },
    /// Joins or leaves were left out on the way: who listens to them subscribes anew.
    PresenceLagged {
        /// Where.
        channel: Arc<str>,
    },
    /// The answer to a request.
    Reply(Box<RouterReply>),
}

impl FromRouter {
    /// May it be refused when its way is full?
    pub fn is_recoverable(&self) -> bool {
        matches!(self, Self::Publication { .. })
    }

    /// Is it a join or a leave? When a gateway does not take anything for long, these are left out,
    /// and it is told.
    pub fn is_presence(&self) -> bool {
        matches!(self, Self::Join { .. } | Self::Leave { .. })
    }
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct RouterReply {
    /// The channel that was asked about.
    pub channel: Arc<str>,
    /// Who asked.
    pub reply_to: ReplyTo,
    /// What the partition says.
    pub result: Result<Answer, ErrorCode>,
}

/// What a partition answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To `Subscribe`.
    Subscribed(Box<Subscribed>),
    /// To `Publish`: where it was put; offset zero without history.
    Published(Position),
    /// To `Presence`.
    Presence(Vec<Arc<Member>>),
    /// To `PresenceStats`.
    PresenceStats {
        /// Connections.
        clients: u32,
        /// Different users among them.
        users: u32,
    },
    /// To `History` and `Fetch`.
    History {
        /// In the order that was asked for.
        publications: Vec<Arc<Publication>>,
        /// The channel's position now.
        position: Position,
    },
    /// To `HistoryRemove`.
    Done,
    /// To `Rpc`.
    Rpc(Content),
    /// To `Channels`: a part of them.
    Channels {
        /// Names and subscriber counts.
        found: Vec<(Arc<str>, u32)>,
        /// Where to go on; `None`: that was all. Channels that come or go meanwhile may be missed.
        next: Option<u32>,
    },
}

/// Fields of [`Answer::Subscribed`].
#[derive(Clone, Debug)]
pub struct Subscribed {
    /// The position from which publications follow. The default position without history.
    pub position: Position,
    /// Was recovery asked for?
    pub was_recovering: bool,
    /// Do `publications` close the gap completely? Never partly.
    pub recovered: bool,
    /// What was missed, in order.
    pub publications: Vec<Arc<Publication>>,
}

/// What a token or the API says of one subscription (`info`, `data`, `exp`, `override`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubscriptionClaims {
    /// Unix seconds at which the subscription expires; `None`: never.
    pub expires_at: Option<u64>,
    /// Shown to others in the channel.
    pub info: Option<Content>,
    /// Handed to the client with the subscription.
    pub data: Option<Content>,
    /// Options that differ from the namespace's.
    pub overrides: Overrides,
}

/// Options of a namespace that one subscription may have otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Instead of `presence`.
    pub presence: Option<bool>,
    /// Instead of `join_leave`.
    pub join_leave: Option<bool>,
    /// Instead of `force_push_join_leave`.
    pub force_push_join_leave: Option<bool>,
    /// Instead of `force_recovery`.
    pub force_recovery: Option<bool>,
    /// Instead of `force_positioning`.
    pub force_positioning: Option<bool>,
}

/// What the API may want of a user's connections.
#[derive(Clone, Debug)]
pub enum UserCommand {
    /// Begin a server-side subscription.
    Subscribe {
        /// The channel.
        channel: Arc<str>,
        /// Options of the subscription.
        claims: Box<SubscriptionClaims>,
        /// Only the connection of this client id.
        client: Option<Box<str>>,
        /// Recover from this position.
        recover_since: Option<Box<Position>>,
    },
    /// End a subscription; an empty channel means all.
    Unsubscribe {
        /// The channel.
        channel: Arc<str>,
        /// Only the connection of this client id.
        client: Option<Box<str>>,
    },
    /// Close connections.
    Disconnect {
        /// The close code.
        code: u16,
        /// The text with it.
        reason: Arc<str>,
        /// Only the connection of this client id.
        client: Option<Box<str>>,
        /// But not these client ids.
        except: Vec<String>,
    },
    /// Change when the connection expires.
    Refresh {
        /// Unix seconds; zero: never.
        expires_at: u64,
        /// Close it as expired instead.
        expired: bool,
        /// Only the connection of this client id.
        client: Option<Box<str>>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_are_random_uuids() {
        let id = ClientId::from_random(u128::MAX).to_string();
        assert_eq!(id, "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let id = ClientId::from_random(0).to_string();
        assert_eq!(id, "00000000-0000-4000-8000-000000000000");
        let written = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
        let id = ClientId::parse(written).expect("a UUID");
        assert_eq!(id.to_string(), written);
        assert_eq!(ClientId::parse(&written.to_uppercase()), Some(id));
        let (cut, sign) = (&written[1..], written.replacen('0', "+", 1));
        for wrong in ["", cut, &sign, &written.replace('-', "0"), &written.replace("4a", "ä")] {
            assert_eq!(ClientId::parse(wrong), None, "{wrong}");
        }
    }
}
