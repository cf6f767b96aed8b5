//! Numbers that travel in replies and pushes: errors of commands, reasons of unsubscriptions.
//!
//! Close codes of connections are in `close.rs`.

macro_rules! error_codes {
    ($( $(#[$doc:meta])* $name:ident = $code:literal, $message:literal, $temporary:literal; )*) => {
        /// Why a command failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode { $( $(#[$doc])* $name, )* }

        impl ErrorCode {
            /// Every code, in the order of the enum, so that counters can be an array.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )* ];

            /// The code on the wire.
            pub const fn code(self) -> u32 {
                match self { $( Self::$name => $code, )* }
            }

            /// The message on the wire.
            pub const fn message(self) -> &'static str {
                match self { $( Self::$name => $message, )* }
            }

            /// May the client try the same command again, later?
            pub const fn temporary(self) -> bool {
                match self { $( Self::$name => $temporary, )* }
            }
        }
    };
}

error_codes! {
    /// Something in the server failed.
    Internal = 100, "internal server error", true;
    /// The request lacks valid credentials.
    Unauthorized = 101, "unauthorized", false;
    /// No such namespace or channel.
    UnknownChannel = 102, "unknown channel", false;
    /// Not allowed.
    PermissionDenied = 103, "permission denied", false;
    /// No such method.
    MethodNotFound = 104, "method not found", false;
    /// The connection has this subscription.
    AlreadySubscribed = 105, "already subscribed", false;
    /// Too many channels, or too much of something else that is counted.
    LimitExceeded = 106, "limit exceeded", false;
    /// The request makes no sense.
    BadRequest = 107, "bad request", false;
    /// The feature is not enabled.
    NotAvailable = 108, "not available", false;
    /// The token expired; the client asks for a new one and tries again.
    TokenExpired = 109, "token expired", false;
    /// The connection or subscription expired before the command.
    Expired = 110, "expired", false;
    /// The rate limit is reached.
    TooManyRequests = 111, "too many requests", true;
    /// The history no longer reaches back to the given position, or its epoch is gone.
    UnrecoverablePosition = 112, "unrecoverable position", false;
    /// The state changed while it was being paged through.
    ConcurrentPagination = 113, "concurrent pagination", true;
}

/// Why the server ended a subscription. From 2500 on a client subscribes again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnsubscribeReason {
    /// The client asked for it. Never on the wire.
    Client,
    /// The connection ended. Never on the wire.
    Disconnected,
    /// A backend or an operator asked for it.
    Server,
    /// The position of the subscription can no longer be upheld.
    InsufficientState,
    /// The token of the subscription expired and was not refreshed.
    Expired,
    /// What the client keeps of the subscription (state, token) is no longer valid.
    StateInvalidated,
}

impl UnsubscribeReason {
    /// Every reason, in the order of the enum, so that counters can be an array.
    pub const ALL: &'static [Self] = &[
        Self::Client,
        Self::Disconnected,
        Self::Server,
        Self::InsufficientState,
        Self::Expired,
        Self::StateInvalidated,
    ];

    /// The code on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Self::Client => 0,
            Self::Disconnected => 1,
            Self::Server => 2000,
            Self::InsufficientState => 2500,
            Self::Expired => 2501,
            Self::StateInvalidated => 2502,
        }
    }

    /// The reason text on the wire.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Client => "client unsubscribed",
            Self::Disconnected => "client disconnected",
            Self::Server => "server unsubscribe",
            Self::InsufficientState => "insufficient state",
            Self::Expired => "subscription expired",
            Self::StateInvalidated => "state invalidated",
        }
    }

    /// Will the client subscribe again by itself?
    pub const fn resubscribes(self) -> bool {
        self.code() >= RESUBSCRIBE_CODE_MIN
    }
}

/// The first unsubscribe code after which a client subscribes again.
const RESUBSCRIBE_CODE_MIN: u32 = 2500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_contiguous_and_three_are_temporary() {
        for (code, error) in (100..).zip(ErrorCode::ALL) {
            assert_eq!(error.code(), code);
            assert!(!error.message().is_empty());
        }
        let temporary: Vec<u32> =
            ErrorCode::ALL.iter().filter(|error| error.temporary()).map(|e| e.code()).collect();
        assert_eq!(temporary, [100, 111, 113]);
    }

    #[test]
    fn clients_subscribe_again_from_2500_on() {
        let again: Vec<u32> = UnsubscribeReason::ALL
            .iter()
            .filter(|reason| reason.resubscribes())
            .map(|reason| reason.code())
            .collect();
        assert_eq!(again, [2500, 2501, 2502]);
    }
}
