//! The peer's side of the protocol: commands out, replies and pushes in.
//!
//! For tests, benchmarks, the simulation and the load generator; the server itself never calls it.
//! Simple rather than fast: what comes in is copied into owned values, and a payload that goes out
//! as JSON is looked through. Everything here trusts the server no more than the server trusts a
//! client: broken input is an error, never a panic.

mod encode;
mod json;
mod protobuf;
mod received;

pub use encode::{encode_command, encode_commands};
pub use received::{
    Received, ReceivedClientInfo, ReceivedConnect, ReceivedDisconnect, ReceivedError,
    ReceivedExpiry, ReceivedHistory, ReceivedPresenceStats, ReceivedPublication, ReceivedPush,
    ReceivedRefresh, ReceivedReply, ReceivedSubscribe, ReceivedUnsubscribe,
};

use super::Format;

/// What a server sent is not a message of replies and pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyViolation;

/// Everything in one WebSocket message, in order.
pub fn decode_replies(format: Format, message: &[u8]) -> Result<Vec<Received>, ReplyViolation> {
    match format {
        Format::Json => json::decode_replies(message),
        Format::Protobuf => protobuf::decode_replies(message),
    }
}
