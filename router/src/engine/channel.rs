//! One channel, as its partition knows it.
//!
//! Owns: the epoch and the offset, the window, who is present, which gateways listen.
//! Invariant: an offset is used once in an epoch, and the epoch is made anew whenever offsets could
//! have been lost.

use std::sync::Arc;

use protocol::channels::ChannelOptions;
use protocol::link::Position;
use protocol::named::Named;
use protocol::time::Moment;

use super::durable::DurableChannel;
use super::history::Window;
use super::interest::Interest;
use super::presence::Presence;
use super::traffic::Traffic;
use crate::limits::DURABLE_IDLE;

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: Arc<str>,
    pub(super) position: Position,
    pub(super) window: Window,
    pub(super) presence: Presence,
    pub(super) interest: Interest,
    /// What it has beside this if it is durable.
    pub(super) durable: Option<Box<DurableChannel>>,
    pub(super) traffic: Traffic,
    /// When the position was last used; it is forgotten `history_meta_ttl` later.
    pub(super) used_at: Moment,
}

impl Named for Channel {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Channel {
    pub(super) fn new(name: Arc<str>, now: Moment) -> Self {
        Self {
            name,
            position: Position::default(),
            window: Window::default(),
            presence: Presence::default(),
            interest: Interest::default(),
            durable: None,
            traffic: Traffic::default(),
            used_at: now,
        }
    }

    /// May all of it be forgotten?
    pub(super) fn is_idle(&self, options: Option<&ChannelOptions>, now: Moment) -> bool {
        if !self.interest.is_empty() || !self.presence.is_empty() {
            return false;
        }
        if let Some(durable) = &self.durable {
            // It is in the store, and comes back from there.
            return durable.is_settled() && now.since(self.used_at) >= DURABLE_IDLE;
        }
        if !self.window.is_empty() {
            return false;
        }
        let Some(options) = options else { return true };
        // A position nobody was ever told needs no memory: an epoch that comes later is another
        // one.
        // One that nobody ever published into is kept no longer than a publication would be, so
        // that asking for many names does not fill the table.
        let unused = now.since(self.used_at);
        !options.has_history()
            || self.position.epoch.is_empty()
            || (self.position.offset == 0 && unused >= options.history_ttl)
            || now.since(self.used_at) >= options.history_meta_ttl
    }
}
