//! Every reason for which Ringway closes a connection: the contract with clients and operators.
//!
//! From 3000 to 3499 and from 4000 to 4499 a client may come back, from 3500 to 3999 and from 4500
//! to 4999 it must not (research: codes of the Centrifuge protocol). Codes below 3000 are those of
//! RFC 6455, 7.4.1, for peers that broke its rules.

/// Whose doing a close is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody's: shutdown, expiry, an operator's wish.
    Nobody,
    /// The peer broke a rule or was too slow.
    Peer,
    /// We failed.
    Server,
}

macro_rules! reasons {
    ($(
        $(#[$doc:meta])*
        $name:ident = $code:literal, $text:literal, $fault:ident, $label:literal;
    )*) => {
        /// Why a connection is closed by the server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CloseReason { $( $(#[$doc])* $name, )* }

        impl CloseReason {
            /// Every reason, in the order of the enum, so that counters can be an array.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )* ];

            /// The close code on the wire.
            pub const fn code(self) -> u16 {
                match self { $( Self::$name => $code, )* }
            }

            /// The reason text on the wire.
            pub const fn text(self) -> &'static str {
                match self { $( Self::$name => $text, )* }
            }

            /// Who is to blame.
            pub const fn fault(self) -> Fault {
                match self { $( Self::$name => Fault::$fault, )* }
            }

            /// The label under which closes are counted.
            pub const fn label(self) -> &'static str {
                match self { $( Self::$name => $label, )* }
            }
        }
    };
}

reasons! {
    /// The client closed, or went away; nothing is sent.
    ClientGone = 1000, "", Nobody, "client_gone";
    /// A WebSocket rule was broken (RFC 6455, 7.4.1).
    ProtocolError = 1002, "protocol error", Peer, "protocol_error";
    /// Data that cannot be accepted, such as binary on a JSON connection.
    UnsupportedData = 1003, "unsupported data", Peer, "unsupported_data";
    /// Text that is not UTF-8.
    InvalidText = 1007, "invalid utf-8", Peer, "invalid_text";
    /// Too many control frames or fragments, or a message that does not end in time.
    PolicyViolation = 1008, "policy violation", Peer, "policy_violation";
    /// A message over the limit.
    MessageTooBig = 1009, "message too big", Peer, "message_too_big";
    /// The HTTP exchange is over, or was refused with a status.
    HttpDone = 1000, "", Nobody, "http_done";
    /// No complete HTTP request within the handshake limit.
    HandshakeTimeout = 1008, "handshake timeout", Peer, "handshake_timeout";
    /// A proxy's header (PROXY protocol) is wrong, or did not come in time.
    ProxyHeader = 1008, "proxy header", Peer, "proxy_header";
    /// Closed without fault.
    ConnectionClosed = 3000, "connection closed", Nobody, "connection_closed";
    /// This node shuts down.
    Shutdown = 3001, "shutdown", Nobody, "shutdown";
    /// Something in the server failed.
    InternalError = 3004, "internal server error", Server, "internal_error";
    /// The connection's token expired and was not refreshed.
    Expired = 3005, "connection expired", Peer, "expired";
    /// A subscription's token expired and was not refreshed.
    SubscriptionExpired = 3006, "subscription expired", Peer, "subscription_expired";
    /// The client reads more slowly than it is written to.
    Slow = 3008, "slow", Peer, "slow";
    /// Writing to the client failed.
    WriteError = 3009, "write error", Nobody, "write_error";
    /// A subscription's position can no longer be upheld.
    InsufficientState = 3010, "insufficient state", Server, "insufficient_state";
    /// The server asks the client to connect again.
    ForceReconnect = 3011, "force reconnect", Nobody, "force_reconnect";
    /// The process is short of memory, and this client held much of it. Clients that know the code
    /// of a forced reconnect come back with a delay.
    Overloaded = 3011, "overloaded", Server, "overloaded";
    /// No answer to a ping.
    NoPong = 3012, "no pong", Peer, "no_pong";
    /// Too many requests in a short time.
    TooManyRequests = 3013, "too many requests", Peer, "too_many_requests";
    /// The connection takes more memory than it may (`client.memory_limit`). A client may have been
    /// written to faster than it reads, and may come back; the code is one of those that the
    /// Centrifuge protocol leaves to servers.
    MemoryLimit = 4008, "memory limit", Peer, "memory_limit";
    /// The token could not be accepted.
    InvalidToken = 3500, "invalid token", Peer, "invalid_token";
    /// A message that the client protocol does not allow.
    BadRequest = 3501, "bad request", Peer, "bad_request";
    /// No connect command in time.
    Stale = 3502, "stale", Peer, "stale";
    /// The server asks the client to stay away.
    ForceNoReconnect = 3503, "force disconnect", Nobody, "force_disconnect";
    /// The user has too many connections.
    ConnectionLimit = 3504, "connection limit", Peer, "connection_limit";
    /// The connection has too many channels.
    ChannelLimit = 3505, "channel limit", Peer, "channel_limit";
    /// Data of the other wire format.
    InappropriateProtocol = 3506, "inappropriate protocol", Peer, "inappropriate_protocol";
    /// Not allowed.
    PermissionDenied = 3507, "permission denied", Peer, "permission_denied";
    /// The server does not offer this.
    NotAvailable = 3508, "not available", Peer, "not_available";
    /// Too many commands that failed.
    TooManyErrors = 3509, "too many errors", Peer, "too_many_errors";
}

impl CloseReason {
    /// May the client come back by itself?
    pub const fn reconnect(self) -> bool {
        reconnects(self.code())
    }

    /// The place in [`CloseReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// May a client that was closed with `code` come back by itself?
pub const fn reconnects(code: u16) -> bool {
    !(matches!(code, 3500..=3999 | 4500..=4999) || matches!(code, 1002 | 1003 | 1007 | 1009))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_indexes_agree() {
        let labels: std::collections::BTreeSet<_> =
            CloseReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), CloseReason::ALL.len());
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }

    #[test]
    fn final_codes_do_not_reconnect() {
        assert!(CloseReason::Slow.reconnect());
        assert!(CloseReason::Shutdown.reconnect());
        assert!(CloseReason::MemoryLimit.reconnect());
        assert!(!CloseReason::InvalidToken.reconnect());
        assert!(!CloseReason::Stale.reconnect());
    }
}
