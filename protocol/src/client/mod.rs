//! The Centrifuge client protocol: what a connected client and a gateway say to each other.
//!
//! Owns: the meaning of commands, replies and pushes, and their two wire formats.
//! Never: a connection, a channel's state, or a decision about either.
//!
//! ```text
//!  client                                                                    gateway
//!    │  WebSocket message = one or more commands                                │
//!    │ ───────────────────────────────────────────────────────────────────────► │
//!    │  JSON:     {"id":1,"connect":{}} \n {"id":2,"subscribe":{"channel":"a"}} │
//!    │  Protobuf: length command length command …                               │
//!    │                                                                          │
//!    │  WebSocket message = one or more replies and pushes, joined likewise     │
//!    │ ◄─────────────────────────────────────────────────────────────────────── │
//!    │  {} or a zero length: a ping from the server, or its answer, the pong    │
//! ```
//!
//! Field numbers and names are those of `centrifugal/protocol` (definitions/client.proto, 2026-08).
//! Left out on purpose: map subscriptions, shared poll, tag filters, numeric channel ids and
//! dictionary compression. Where ignoring one of them would change what a command means, the
//! command keeps a mark of it, so that the gateway can refuse it.

mod batch;
pub mod client_side;
mod codes;
mod command;
mod json_decode;
mod json_encode;
mod payload;
mod protobuf_decode;
mod protobuf_encode;
mod reply;
mod wire;

pub use batch::{Batch, encode_ping, encode_push, encode_reply};
pub use codes::{ErrorCode, UnsubscribeReason};
pub use command::{
    Command, CommandKind, CommandViolation, Connect, History, Presence, PresenceStats, Publish,
    Refresh, Rpc, Send, StreamPosition, SubRefresh, Subscribe, Unsubscribe,
};
pub use json_decode::JsonCommands;
pub use payload::{JSON_DEPTH_MAX, Payload, PayloadForm, json_payload_form};
pub use protobuf_decode::ProtobufCommands;
pub use reply::{
    ClientInfo, ConnectResult, Disconnect, ErrorReply, HistoryResult, PresenceResult,
    PresenceStatsResult, Publication, Push, PushBody, RefreshResult, Reply, ReplyBody, RpcResult,
    SubRefreshResult, SubscribePush, SubscribeResult, UnsubscribePush,
};

/// How commands, replies and pushes are written on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Lines of JSON in text messages.
    Json,
    /// Length-prefixed Protobuf in binary messages.
    Protobuf,
}

impl Format {
    /// Both formats, so that what is prepared per format can be an array.
    pub const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// The WebSocket subprotocol by which a client asks for the format.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "centrifuge-json",
            Self::Protobuf => "centrifuge-protobuf",
        }
    }

    /// The inverse of [`Format::subprotocol`].
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.subprotocol() == name)
    }

    /// The place in [`Format::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_their_subprotocol() {
        for (index, format) in Format::ALL.into_iter().enumerate() {
            assert_eq!(format.index(), index);
            assert_eq!(Format::from_subprotocol(format.subprotocol()), Some(format));
        }
        assert_eq!(Format::from_subprotocol("centrifuge-xml"), None);
    }
}
