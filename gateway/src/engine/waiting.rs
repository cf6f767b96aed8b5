//! Connects whose token is not looked at yet: the turn has done enough of them, or the key is not
//! there.
//!
//! Whoever is connected is served first. A turn checks [`limits::CONNECTS_PER_TURN`] signatures and
//! keeps the rest, in order, as they came.
//!
//! ```text
//!  connect ─► checks left in this turn? ──yes──► token ──key unknown──► keys ─┐
//!                    │ no                          ▲                          │ they came
//!                    ▼                             │ the next turns           │
//!                  turns ──────────────────────────┘◄─────────────────────────┘
//! ```

use std::collections::VecDeque;

use protocol::close::CloseReason;
use protocol::ids::ConnectionId;
use protocol::link::ClientId;
use protocol::time::Now;

use super::connection::slot_of;
use super::event::Action;
use super::notes::TokenFault;
use super::phase::{Phase, PhaseEvent};
use super::session::{Awaits, PendingConnect, Session};
use super::shard::GatewayShard;
use crate::limits;

/// Connects of one shard that wait. Those of connections that ended meanwhile are passed over.
#[derive(Debug)]
pub(super) struct WaitingConnects {
    /// Waits for a key, and the key's id; at most [`limits::AWAITING_KEYS_MAX`], and emptied
    /// whenever keys arrive or fail.
    keys: Vec<(ConnectionId, String)>,
    /// Wait for their turn, and whether it was a key that they waited for before: at most one entry
    /// for each connection that is open, and some for those that just ended.
    turns: VecDeque<(ConnectionId, bool)>,
    /// Tokens that one turn may check.
    checks_per_turn: usize,
    /// Those that this one may still check.
    checks_left: usize,
    /// The one whose turn it is.
    is_resuming: bool,
}

impl Default for WaitingConnects {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            turns: VecDeque::new(),
            checks_per_turn: limits::CONNECTS_PER_TURN,
            checks_left: limits::CONNECTS_PER_TURN,
            is_resuming: false,
        }
    }
}

impl WaitingConnects {
    /// May a token be checked now? Nobody overtakes those who wait for their turn.
    pub(super) fn may_check(&mut self) -> bool {
        let is_next = std::mem::take(&mut self.is_resuming) || self.turns.is_empty();
        if !is_next || self.checks_left == 0 {
            return false;
        }
        self.checks_left -= 1;
        true
    }

    /// Is there one whose turn comes next?
    pub(super) fn has_work(&self) -> bool {
        !self.turns.is_empty()
    }

    /// How many wait for their turn.
    pub(super) fn turns_count(&self) -> usize {
        self.turns.len()
    }
}

impl GatewayShard {
    /// Another bound of the tokens that one turn checks than [`limits::CONNECTS_PER_TURN`]; at
    /// least one.
    pub fn limit_connects(&mut self, per_turn: usize) {
        self.waiting.checks_per_turn = per_turn.max(1);
    }

    /// A new turn has its own checks: those who wait have them first.
    pub(super) fn take_connects(&mut self, now: Now) {
        self.waiting.checks_left = self.waiting.checks_per_turn;
        while self.waiting.checks_left > 0 {
            let Some((id, awaited_keys)) = self.waiting.turns.pop_front() else { return };
            self.resume(id, awaited_keys, now);
        }
    }

    pub(super) fn await_turn(&mut self, id: ConnectionId, command: u32, raw: &[u8], now: Now) {
        self.keep(id, command, raw, Awaits::Turn, now);
        self.waiting.turns.push_back((id, false));
    }

    pub(super) fn await_keys(
        &mut self,
        id: ConnectionId,
        command: u32,
        (raw, key_id): (&[u8], String),
        now: Now,
    ) {
        self.keep(id, command, raw, Awaits::Keys, now);
        if self.waiting.keys.len() >= limits::AWAITING_KEYS_MAX {
            self.note_token(id, TokenFault::KeyUnknown);
            return self.close(id, CloseReason::InvalidToken, now);
        }
        self.waiting.keys.push((id, key_id.clone()));
        self.actions.push_back(Action::LoadKeys { key_id });
    }

    /// Keys were loaded: connects that waited for them are taken up again, in their turn.
    pub(super) fn retry_tokens(&mut self) {
        let waiting = &mut self.waiting;
        waiting.turns.extend(waiting.keys.drain(..).map(|(id, _)| (id, true)));
    }

    pub(super) fn refuse_waiting_tokens(&mut self, key_id: Option<&str>, now: Now) {
        for (id, awaited) in std::mem::take(&mut self.waiting.keys) {
            if key_id.is_some_and(|key_id| key_id != awaited) {
                self.waiting.keys.push((id, awaited));
            } else {
                self.refuse_unknown_key(id, now);
            }
        }
    }

    /// Closes a connection that still waits for a key, and is not in the list of those who may.
    fn refuse_unknown_key(&mut self, id: ConnectionId, now: Now) {
        if self.pending(id).is_some_and(|pending| pending.awaits == Some(Awaits::Keys)) {
            self.note_token(id, TokenFault::KeyUnknown);
            self.close(id, CloseReason::InvalidToken, now);
        }
    }

    /// Keeps a command and all that came behind it in its message.
    fn keep(&mut self, id: ConnectionId, command: u32, raw: &[u8], awaits: Awaits, now: Now) {
        let mut pending = PendingConnect { command, awaits: Some(awaits), ..Default::default() };
        pending.hold(raw);
        if self.connections.find(id).is_none() {
            return;
        }
        let session = Box::new(Session::new(ClientId::default(), pending, now.moment));
        self.connections.begin_session(slot_of(id), session);
        self.sessions_now += 1;
        self.advance(id, PhaseEvent::Connect, now);
    }

    fn resume(&mut self, id: ConnectionId, awaited_keys: bool, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.phase != Phase::Connecting {
            return;
        }
        self.connections.enter(slot_of(id), Phase::Open);
        let Some(mut session) = self.connections.end_session(slot_of(id)) else { return };
        self.sessions_now -= 1;
        self.connections.release_behind_connect(slot_of(id), now.moment);
        let held = session.pending.take().map(|pending| pending.held).unwrap_or_default();
        self.waiting.is_resuming = true;
        self.replay(id, held, now);
        self.waiting.is_resuming = false;
        if awaited_keys {
            // Still unknown: there is no second wait.
            self.waiting.keys.pop_if(|(last, _)| *last == id);
            self.refuse_unknown_key(id, now);
        }
    }
}
