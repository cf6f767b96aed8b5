//! Who is expected to send much, judged by what came since the last ping.
//!
//! ```text
//!              more than HOT_ARRIVALS since the last ping: receive
//!  at rest ──────────────────────────────────────────────────────► hot
//!     ▲                                                              │
//!     └────────── at a ping, at most COOL_ARRIVALS before it: rest ◄─┘
//! ```
//!
//! Pongs do not count, and requests only while a body comes: who waits for an answer may be paused,
//! and is not to be heard before. Where no pings are sent, who became hot stays so.

use protocol::ids::ConnectionId;

use super::event::Action;
use super::phase::Phase;
use super::shard::GatewayShard;
use crate::limits::{COOL_ARRIVALS, HOT_ARRIVALS};

/// What a client sent lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    /// Pieces received since the last ping, up to what makes it hot.
    arrivals: u8,
    pub(crate) is_hot: bool,
}

impl Activity {
    /// A piece was received. True if the client is hot from now on.
    fn arrived(&mut self) -> bool {
        self.arrivals = self.arrivals.saturating_add(1);
        let turns_hot = !self.is_hot && self.arrivals > HOT_ARRIVALS;
        self.is_hot |= turns_hot;
        turns_hot
    }

    /// The last piece was nothing but the answer to a ping.
    pub(crate) fn was_pong(&mut self) {
        self.arrivals = self.arrivals.saturating_sub(1);
    }

    /// A ping is sent. True if the client is at rest from now on.
    fn pinged(&mut self) -> bool {
        let turns_cool = self.is_hot && self.arrivals <= COOL_ARRIVALS;
        self.is_hot &= !turns_cool;
        self.arrivals = 0;
        turns_cool
    }
}

impl GatewayShard {
    /// A piece was received, of whatever. To be told before what is in it. True if that is an
    /// action, to be done before that piece is read, which may lead to a pause.
    pub fn arrived(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.find(id) else { return false };
        let may_be_paused = connection.phase.speaks_http() && connection.phase != Phase::Collecting;
        if may_be_paused || !connection.activity.arrived() {
            return false;
        }
        self.connections.hot_count += 1;
        self.actions.push_back(Action::Receive(id));
        true
    }

    /// A ping is sent.
    pub(crate) fn pinged(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.activity.pinged() {
            self.connections.hot_count -= 1;
            self.actions.push_back(Action::Rest(id));
        }
    }
}
