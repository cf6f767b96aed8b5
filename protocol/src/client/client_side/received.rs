//! Owned replies and pushes, as a client keeps them. Fields are those of `reply.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// One entry of a message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The server wants to know whether the client is there.
    Ping,
    /// The answer to a command.
    Reply {
        /// The id of the command.
        id: u32,
        /// The answer.
        body: ReceivedReply,
    },
    /// Something that happened.
    Push {
        /// Where; empty if it concerns the connection.
        channel: String,
        /// What.
        body: ReceivedPush,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are those of ReplyBody")]
pub enum ReceivedReply {
    Error(ReceivedError),
    Connect(ReceivedConnect),
    Subscribe(ReceivedSubscribe),
    Unsubscribe,
    Publish,
    Presence(BTreeMap<String, ReceivedClientInfo>),
    PresenceStats(ReceivedPresenceStats),
    History(ReceivedHistory),
    Ping,
    Rpc(Vec<u8>),
    Refresh(ReceivedRefresh),
    SubRefresh(ReceivedExpiry),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are those of PushBody")]
pub enum ReceivedPush {
    Publication(ReceivedPublication),
    Join(ReceivedClientInfo),
    Leave(ReceivedClientInfo),
    Unsubscribe(ReceivedUnsubscribe),
    Message(Vec<u8>),
    /// The fields that a subscribe push has; the others are empty.
    Subscribe(ReceivedSubscribe),
    Connect(ReceivedConnect),
    Disconnect(ReceivedDisconnect),
    Refresh(ReceivedExpiry),
}

/// Declares structs whose JSON names are the field names, with absence for zero.
macro_rules! received {
    ($( $(#[$doc:meta])* $name:ident {
        $( $(#[$attribute:meta])* $field:ident: $type:ty, )+
    } )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(default)]
        #[allow(missing_docs, reason = "the fields are those of the type in reply.rs")]
        pub struct $name { $( $(#[$attribute])* pub $field: $type, )+ }
    )+ };
}

received! {
    /// See [`crate::client::ErrorReply`].
    ReceivedError {
        code: u32,
        message: String,
        temporary: bool,
    }

    /// See [`crate::client::ConnectResult`].
    ReceivedConnect {
        client: String,
        version: String,
        expires: bool,
        ttl: u32,
        #[serde(deserialize_with = "raw")]
        data: Vec<u8>,
        subs: BTreeMap<String, ReceivedSubscribe>,
        ping: u32,
        pong: bool,
        session: String,
        node: String,
        time: i64,
    }

    /// See [`crate::client::SubscribeResult`].
    ReceivedSubscribe {
        expires: bool,
        ttl: u32,
        recoverable: bool,
        epoch: String,
        publications: Vec<ReceivedPublication>,
        recovered: bool,
        offset: u64,
        positioned: bool,
        #[serde(deserialize_with = "raw")]
        data: Vec<u8>,
        was_recovering: bool,
        delta: bool,
    }

    /// See [`crate::client::PresenceStatsResult`].
    ReceivedPresenceStats {
        num_clients: u32,
        num_users: u32,
    }

    /// See [`crate::client::HistoryResult`].
    ReceivedHistory {
        publications: Vec<ReceivedPublication>,
        epoch: String,
        offset: u64,
    }

    /// See [`crate::client::RefreshResult`].
    ReceivedRefresh {
        client: String,
        version: String,
        expires: bool,
        ttl: u32,
    }

    /// See [`crate::client::SubRefreshResult`].
    ReceivedExpiry {
        expires: bool,
        ttl: u32,
    }

    /// See [`crate::client::Publication`]. In JSON, data is the JSON text.
    ReceivedPublication {
        #[serde(deserialize_with = "raw")]
        data: Vec<u8>,
        info: Option<ReceivedClientInfo>,
        offset: u64,
        tags: BTreeMap<String, String>,
        delta: bool,
        time: i64,
    }

    /// See [`crate::client::ClientInfo`].
    ReceivedClientInfo {
        user: String,
        client: String,
        #[serde(deserialize_with = "raw")]
        conn_info: Vec<u8>,
        #[serde(deserialize_with = "raw")]
        chan_info: Vec<u8>,
    }

    /// See [`crate::client::UnsubscribePush`].
    ReceivedUnsubscribe {
        code: u32,
        reason: String,
    }

    /// See [`crate::client::Disconnect`].
    ReceivedDisconnect {
        code: u32,
        reason: String,
        reconnect: bool,
    }
}

/// The JSON text of any value.
pub(super) fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let value = <&RawValue>::deserialize(deserializer)?;
    Ok(value.get().as_bytes().to_vec())
}
