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
//! ```
//!
//! From every phase a failure or the peer's end leads to `Cut`, where the ring is closing the
//! socket, and from there to nowhere: the next connection in the slot has another generation.

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Accepted; speaks HTTP.
    #[default]
    Handshake,
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
    pub const ALL: [Self; 8] = [
        Self::Handshake,
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
            (P::Handshake, E::Upgraded) => Some(P::Open),
            (P::Handshake, E::UpgradedEcho) => Some(P::Echo),
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
