//! What operators ask about connections: who is there, and to close some of them.
//!
//! Owns: the questions that are not answered yet, and how far each has come.
//! Never: waits for anything; a question looks at every slot once, a part of them each turn.
//! Invariant: a turn does no more than [`limits::LISTING_UNITS_PER_TURN`] for all questions
//! together, and what one connection more costs.
//!
//! ```text
//!  slots: | ████████ looked at | next ──► … |      the best `limit` so far, the worst on top
//! ```
//!
//! Whoever comes into a slot that was passed is not looked at, and whoever leaves is forgotten with
//! the slot: an answer is what each connection was when the question came by.

use core::time::Duration;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use protocol::client::Format;
use protocol::close::CloseReason;
use protocol::ids::ConnectionId;
use protocol::link::ClientId;
use protocol::proxies::Prefixes;
use protocol::time::{Moment, Now};

use super::connection::{Connection, slot_of};
use super::event::Action;
use super::phase::Phase;
use super::session::Session;
use super::shard::GatewayShard;
use crate::limits;

/// Which connections are meant: those for which every part holds. By default, all.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFilter {
    /// Only this one.
    pub connection: Option<ConnectionId>,
    /// With a session of this user; empty: of none.
    pub user: Option<Box<str>>,
    /// With a session of this public name.
    pub client: Option<ClientId>,
    /// From these addresses; empty: from any.
    pub addresses: Prefixes,
    /// Subscribed to this channel.
    pub channel: Option<Box<str>>,
    /// In one of these phases; empty: in any.
    pub phases: Vec<Phase>,
    /// For whom at least so many bytes wait.
    pub outbox_bytes_min: u32,
    /// Who take at least so many bytes of their budget (`client.memory_limit`).
    pub memory_bytes_min: u32,
    /// Who have taken nothing for at least so long while something waited; zero: whoever.
    pub stalled_min: Duration,
}

/// Who comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListingOrder {
    /// By number: shard, ring, slot.
    #[default]
    Id,
    /// For whom most waits.
    Outbox,
    /// Who takes most of the budget.
    Memory,
    /// Who has taken nothing for longest.
    Stalled,
    /// Whose session is the oldest.
    Oldest,
    /// Whose session is the newest; who has none comes first.
    Newest,
}

/// A place in a listing: earlier ones are less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// What the order is by, the first least.
    pub key: u64,
    /// The connection, to tell apart what is equal.
    pub id: u64,
}

/// What becomes of those that are meant.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// They are told of.
    List {
        /// Who comes first.
        order: ListingOrder,
        /// Most rows, at most [`limits::LISTED_MAX`].
        limit: usize,
        /// Only what comes behind this place.
        after: Option<Rank>,
        /// With the names of their channels?
        shows_channels: bool,
    },
    /// They are closed. Who speaks HTTP is meant only if the filter names phases.
    Close {
        /// The code of the close frame.
        code: u16,
        /// The text in it.
        reason: Arc<str>,
        /// Most that are closed; who is meant beyond that is counted and stays.
        limit: usize,
    },
}

/// A question about connections.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Who is meant.
    pub filter: ConnectionFilter,
    /// What becomes of them.
    pub purpose: Purpose,
}

/// One connection, as it was when a listing came by.
#[derive(Clone, Debug)]
pub struct ConnectionRow {
    /// Which one.
    pub id: ConnectionId,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its public name, once it has a session.
    pub client: Option<ClientId>,
    /// Its user; empty: none.
    pub user: Arc<str>,
    /// Where it comes from.
    pub peer: Option<SocketAddr>,
    /// Encrypted?
    pub is_secure: bool,
    /// Expected to send much?
    pub is_hot: bool,
    /// What it speaks, once it is a WebSocket with a session.
    pub format: Option<Format>,
    /// Since when it has a session, in whole seconds.
    pub age: Option<Duration>,
    /// Bytes that wait for it, or are with the kernel.
    pub outbox_bytes: u32,
    /// Bytes of its budget that it takes (`client.memory_limit`).
    pub memory_bytes: u32,
    /// How long it has taken nothing while something waited; zero: it takes what comes.
    pub stalled: Duration,
    /// Subscriptions, asked for or granted.
    pub subscriptions_count: u32,
    /// When its token expires, in Unix seconds; zero: never.
    pub expires_at: u64,
    /// Names of its channels, if they were asked for, at most [`limits::LISTED_CHANNELS_MAX`].
    pub channels: Vec<Arc<str>>,
}

/// The answer to a [`Listing`].
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// How many are meant, wherever they are in the order.
    pub matched: u64,
    /// How many of them were closed.
    pub closed: u64,
    /// The first of them, in order.
    pub rows: Vec<(Rank, ConnectionRow)>,
    /// There are more behind the last one.
    pub has_more: bool,
}

/// A row that keeps its place in a heap whose worst is on top.
#[derive(Debug)]
struct Ranked {
    rank: Rank,
    row: ConnectionRow,
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// One question on its way.
#[derive(Debug)]
struct Asked {
    number: u64,
    listing: Listing,
    next_slot: u32,
    found: BinaryHeap<Ranked>,
    listed: Listed,
}

/// All questions of a shard, answered one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    queue: VecDeque<Asked>,
}

impl Listings {
    /// Is there something to do without waiting for anything?
    pub(crate) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }
}

impl ListingOrder {
    fn key(self, connection: &Connection) -> u64 {
        match self {
            Self::Id => 0,
            Self::Outbox => u64::MAX - u64::from(connection.bytes()),
            Self::Memory => u64::MAX - connection.budget_bytes(),
            // Whoever takes what comes is last.
            Self::Stalled if connection.stalled_since == Moment::ZERO => u64::MAX,
            Self::Stalled => connection.stalled_since.as_nanos(),
            Self::Oldest => u64::from(begun_at(connection)),
            Self::Newest => u64::MAX - u64::from(begun_at(connection)),
        }
    }
}

impl ConnectionFilter {
    /// Is this connection meant? `channel` is the place of the filter's channel, if anybody here
    /// listens to it.
    fn means(&self, connection: &Connection, channel: Option<u32>, now: Now) -> bool {
        let session = connection.session.as_deref();
        // Until `connect` is answered, a session has neither.
        let named = session.filter(|_| connection.phase == Phase::Connected);
        let is_user = |user: &str| named.is_some_and(|session| *session.user == *user);
        let is_client = |client| named.is_some_and(|session| session.client == client);
        let is_near =
            || connection.peer.as_ref().is_some_and(|peer| self.addresses.contains(peer.ip()));
        let listens = || {
            let Some(channel) = channel else { return false };
            let mut subscriptions = session.iter().flat_map(|session| &session.subscriptions);
            subscriptions.any(|subscription| subscription.channel == channel)
        };
        let has_stalled = || stalled(connection, now) >= self.stalled_min;
        (self.phases.is_empty() || self.phases.contains(&connection.phase))
            && connection.bytes() >= self.outbox_bytes_min
            && connection.budget_bytes() >= u64::from(self.memory_bytes_min)
            && (self.stalled_min.is_zero() || has_stalled())
            && self.client.is_none_or(is_client)
            && self.user.as_deref().is_none_or(is_user)
            && (self.addresses.is_empty() || is_near())
            && (self.channel.is_none() || listens())
    }
}

/// When its session began; who has none came last.
fn begun_at(connection: &Connection) -> u32 {
    connection.session.as_ref().map_or(u32::MAX, |session| session.begun_at)
}

fn stalled(connection: &Connection, now: Now) -> Duration {
    match connection.stalled_since {
        Moment::ZERO => Duration::ZERO,
        since => now.moment.since(since),
    }
}

impl GatewayShard {
    /// A question about connections: it is answered when every slot was looked at, or refused at
    /// once if too many wait.
    pub(super) fn on_listing(&mut self, number: u64, listing: Listing) {
        if self.listings.queue.len() >= limits::LISTINGS_MAX {
            return self.actions.push_back(Action::Listed { number, listed: None });
        }
        // Of one connection there is one slot, which is its own or another's by now.
        let next_slot = listing.filter.connection.map_or(0, slot_of);
        let (found, listed) = (BinaryHeap::new(), Listed::default());
        self.listings.queue.push_back(Asked { number, listing, next_slot, found, listed });
    }

    /// This turn's part of the first question.
    pub(super) fn list_some(&mut self, now: Now) {
        let Some(mut asked) = self.listings.queue.pop_front() else { return };
        let slots_count = match asked.listing.filter.connection {
            Some(connection) => self.connections.slots_count().min(slot_of(connection) + 1),
            None => self.connections.slots_count(),
        };
        let channel = asked.listing.filter.channel.as_deref();
        let channel = channel.and_then(|name| self.channels.find(name));
        let mut units_left = limits::LISTING_UNITS_PER_TURN;
        while asked.next_slot < slots_count && units_left > 0 {
            let slot = asked.next_slot;
            asked.next_slot += 1;
            let units = self.look_at(slot, &mut asked, channel, now);
            units_left = units_left.saturating_sub(units);
        }
        if asked.next_slot < slots_count {
            return self.listings.queue.push_front(asked);
        }
        let mut listed = asked.listed;
        let found = asked.found.into_sorted_vec();
        listed.rows = found.into_iter().map(|Ranked { rank, row }| (rank, row)).collect();
        let number = asked.number;
        self.actions.push_back(Action::Listed { number, listed: Some(Box::new(listed)) });
    }

    /// Looks at one slot; what that took.
    fn look_at(&mut self, slot: u32, asked: &mut Asked, channel: Option<u32>, now: Now) -> u32 {
        let Some(id) = self.connections.id_at(slot) else { return 1 };
        let filter = &asked.listing.filter;
        let connection = self.connections.at(slot);
        let subscriptions = connection.session.as_ref().map_or(0, |one| one.subscriptions.len());
        let mut units = 1;
        if channel.is_some() {
            units += (subscriptions / limits::LISTED_SUBSCRIPTIONS_PER_UNIT) as u32;
        }
        let is_it = filter.connection.is_none_or(|wanted| wanted == id);
        if !is_it || !filter.means(connection, channel, now) {
            return units;
        }
        match &asked.listing.purpose {
            Purpose::List { order, limit, after, shows_channels } => {
                asked.listed.matched += 1;
                let rank = Rank { key: order.key(connection), id: id.as_u64() };
                if after.is_some_and(|after| rank <= after) {
                    return units;
                }
                if asked.found.len() >= *limit {
                    asked.listed.has_more = true;
                    if asked.found.peek().is_none_or(|worst| worst.rank <= rank) {
                        return units;
                    }
                    asked.found.pop();
                }
                let row = self.row(id, *shows_channels, now);
                units += 1 + row.channels.len() as u32;
                asked.found.push(Ranked { rank, row });
                units
            }
            Purpose::Close { code, reason, limit } => {
                // What is closing already goes by itself.
                if !connection.phase.listens() {
                    return units;
                }
                // A request that is being answered, or a page that comes back at once.
                if filter.phases.is_empty() && connection.phase.speaks_http() {
                    return units;
                }
                asked.listed.matched += 1;
                if asked.listed.closed >= *limit as u64 {
                    return units;
                }
                let counted = match protocol::close::reconnects(*code) {
                    true => CloseReason::ForceReconnect,
                    false => CloseReason::ForceNoReconnect,
                };
                asked.listed.closed += 1;
                self.close_with(id, counted, Some(*code), reason, now);
                units + limits::LISTED_CLOSE_UNITS + subscriptions as u32
            }
        }
    }

    fn row(&mut self, id: ConnectionId, shows_channels: bool, now: Now) -> ConnectionRow {
        let connection = self.connections.at(slot_of(id));
        let session = connection.session.as_deref();
        let channels = session.filter(|_| shows_channels).map_or(Vec::new(), |session| {
            let subscriptions = session.subscriptions.iter().take(limits::LISTED_CHANNELS_MAX);
            subscriptions.map(|one| self.channels.name(one.channel).clone()).collect()
        });
        ConnectionRow {
            id,
            phase: connection.phase,
            client: session.map(|session| session.client),
            user: session.map_or_else(|| "".into(), |session| session.user.clone()),
            peer: connection.peer.as_deref().copied(),
            is_secure: connection.is_secure,
            is_hot: connection.activity.is_hot,
            format: connection.format,
            age: session.map(|session| {
                let begun = Moment::from_millis(u64::from(session.begun_at) * 1000);
                Duration::from_secs(now.moment.since(begun).as_secs())
            }),
            outbox_bytes: connection.bytes(),
            memory_bytes: u32::try_from(connection.budget_bytes()).unwrap_or(u32::MAX),
            stalled: stalled(connection, now),
            subscriptions_count: session.map_or(0, |session| session.subscriptions.len() as u32),
            expires_at: session.map_or(0, Session::expires_at),
            channels,
        }
    }

    /// How many listen here to each of these channels.
    pub fn subscribers_of(&self, channels: &[Arc<str>]) -> Vec<u32> {
        let count = |name: &Arc<str>| {
            self.channels.find(name).map_or(0, |index| self.channels.subscribers_count(index))
        };
        channels.iter().map(count).collect()
    }
}
