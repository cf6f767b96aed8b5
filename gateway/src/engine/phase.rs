//! The life of one connection as a table.
//!
//! ```text
//!              upgraded                connect            admitted
//!  Handshake ───────────► Open ───────────────► Connecting ───────► Connected
//!      │                   │                        │                   │
//!      │ upgraded to echo  └──────────┬─────────────┴───────────────────┘
//!      ├────────────────► Echo ───────┤ close: a close frame is queued
//!      │                              ▼
//!      │ close: a response        Closing ── flushed ──► Lingering ── peer ended, deadline ──► Cut
//!      └──────────────────────────►   │                                                         ▲
//!                                     └───────── failed, peer ended, deadline ──────────────────┘
//!
//!            called               collected              answered
//!  Handshake ───────► Collecting ───────────► Answering ──────────► Idle ─► as from Handshake
//! ```
//!
//! Whose request is being answered may end its side: the answer is still owed. From every other
//! phase a failure or the peer's end leads to `Cut`, where the ring is closing the
//! socket, and from there to nowhere: the next connection in the slot has another generation.

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Accepted; the head of a request has not come.
    #[default]
    Handshake,
    /// A request for the HTTP service, whose body is on its way.
    Collecting,
    /// The HTTP service answers a request.
    Answering,
    /// A request was answered; the next one may come.
    Idle,
    /// A WebSocket without a session.
    Open,
    /// `connect` is being answered.
    Connecting,
    /// Has a session.
    Connected,
    /// A WebSocket that is echoed, for tests and benchmarks.
    Echo,
    /// What is queued is still sent, and nothing else.
    Closing,
    /// Everything is sent; the peer closes its side.
    Lingering,
    /// The ring closes the socket.
    Cut,
}

/// What moves a connection from phase to phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PhaseEvent {
    /// The request became a WebSocket.
    Upgraded,
    /// The request became an echo.
    UpgradedEcho,
    /// The request is for the HTTP service.
    Called,
    /// Its body is complete.
    Collected,
    /// The service has answered.
    Answered,
    /// `connect` arrived.
    Connect,
    /// The session began.
    Admitted,
    /// We close, after what is queued.
    Close,
    /// The outbox is empty.
    Flushed,
    /// The peer will send nothing more.
    PeerEnded,
    /// The connection failed, or must go at once.
    Failed,
    /// Out of time while closing.
    Deadline,
}

impl Phase {
    /// All phases, in the order of life.
    pub const ALL: [Self; 11] = [
        Self::Handshake,
        Self::Collecting,
        Self::Answering,
        Self::Idle,
        Self::Open,
        Self::Connecting,
        Self::Connected,
        Self::Echo,
        Self::Closing,
        Self::Lingering,
        Self::Cut,
    ];

    /// Where `event` leads from here; `None` if it means nothing here.
    pub(crate) fn on(self, event: PhaseEvent) -> Option<Self> {
        use Phase as P;
        use PhaseEvent as E;
        match (self, event) {
            (P::Cut, _) => None,
            (_, E::Failed) => Some(P::Cut),
            (P::Handshake | P::Idle, E::Upgraded) => Some(P::Open),
            (P::Handshake | P::Idle, E::UpgradedEcho) => Some(P::Echo),
            (P::Handshake | P::Idle, E::Called) => Some(P::Collecting),
            (P::Collecting, E::Collected) => Some(P::Answering),
            (P::Answering, E::Answered) => Some(P::Idle),
            (P::Answering, E::PeerEnded) => None,
            (P::Open, E::Connect) => Some(P::Connecting),
            (P::Connecting, E::Admitted) => Some(P::Connected),
            (P::Closing, E::Flushed) => Some(P::Lingering),
            (P::Closing | P::Lingering, E::Deadline | E::PeerEnded) => Some(P::Cut),
            (P::Closing | P::Lingering, _) => None,
            (_, E::Close) => Some(P::Closing),
            (_, E::PeerEnded) => Some(P::Cut),
            _ => None,
        }
    }

    /// Its name for operators.
    pub fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Collecting => "collecting",
            Self::Answering => "answering",
            Self::Idle => "idle",
            Self::Open => "open",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Echo => "echo",
            Self::Closing => "closing",
            Self::Lingering => "lingering",
            Self::Cut => "cut",
        }
    }

    /// Is what comes a request?
    pub(crate) fn speaks_http(self) -> bool {
        matches!(self, Self::Handshake | Self::Collecting | Self::Answering | Self::Idle)
    }

    /// May a request begin?
    pub(crate) fn awaits_request(self) -> bool {
        matches!(self, Self::Handshake | Self::Idle)
    }

    /// May messages of the client still mean something?
    pub(crate) fn listens(self) -> bool {
        !matches!(self, Self::Closing | Self::Lingering | Self::Cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_one_that_was_checked_in() {
        use PhaseEvent as E;
        let events = [
            E::Upgraded,
            E::UpgradedEcho,
            E::Called,
            E::Collected,
            E::Answered,
            E::Connect,
            E::Admitted,
            E::Close,
            E::Flushed,
            E::PeerEnded,
            E::Failed,
            E::Deadline,
        ];
        let mut table = String::new();
        for phase in Phase::ALL {
            for event in events {
                let next = phase.on(event).map_or("-".to_owned(), |next| format!("{next:?}"));
                table.push_str(&format!("{:10} {:12} {next}\n", format!("{phase:?}"), {
                    format!("{event:?}")
                }));
            }
        }
        assert_eq!(table, include_str!("phase_table.txt"), "the table as it is now:\n{table}");
    }
}
