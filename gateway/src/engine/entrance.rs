//! The door of a shard: who a client is behind proxies, and whether there is room for it.
//!
//! Owns: what is known of connections only where proxies or limits are configured; without them,
//! nothing, and no byte of a connection.
//! Invariant: a claim is held by one open connection, and given back when that is gone.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use protocol::close::CloseReason;
use protocol::http::Request;
use protocol::ids::ConnectionId;
use protocol::proxies::{ProxyFault, Source, forwarded_for};
use protocol::time::Now;
use shard::claims::Claim;

use super::admission::Refusal;
use super::connection::slot_of;
use super::event::Action;
use super::notes::Noted;
use super::shard::GatewayShard;
use super::shedding::MemoryLevel;
use crate::arrivals::{Arrivals, Excess};
use crate::limits::{RETRY_AFTER_SECONDS, RETRY_JITTER_SECONDS_MIN};

type Hasher = foldhash::fast::RandomState;

/// What a shard keeps at its door.
#[derive(Debug, Default)]
pub(crate) struct Entrance {
    /// Connections of proxies that have not said yet for whom.
    unnamed: HashSet<ConnectionId, Hasher>,
    /// Who sent the last request, where X-Forwarded-For named somebody else as the peer.
    senders: HashMap<ConnectionId, SocketAddr, Hasher>,
    /// What addresses have claimed, by slot; no longer than the highest slot that ever did.
    claims: Vec<Option<Claim>>,
    /// Refused for want of room, or sent away for want of memory: they get less time to go.
    shed: HashSet<ConnectionId, Hasher>,
}

/// Why there is no room for a client: the labels of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeRefusal {
    /// The shard holds its share of `client.connection_limit`, or as many as its tables take.
    ConnectionLimit,
    /// `client.connection_rate_limit`.
    ConnectionRate,
    /// `client.address_connection_limit`.
    AddressConnectionLimit,
    /// `client.address_connection_rate`.
    AddressConnectionRate,
    /// The process is near its limit of memory (`memory.refuse_level`).
    Memory,
}

impl UpgradeRefusal {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 5] = [
        Self::ConnectionLimit,
        Self::ConnectionRate,
        Self::AddressConnectionLimit,
        Self::AddressConnectionRate,
        Self::Memory,
    ];

    /// As a label of metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ConnectionLimit => "connection_limit",
            Self::ConnectionRate => "connection_rate_limit",
            Self::AddressConnectionLimit => "address_connection_limit",
            Self::AddressConnectionRate => "address_connection_rate",
            Self::Memory => "memory",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::ConnectionLimit => "too many connections",
            Self::ConnectionRate => "too many new connections",
            Self::AddressConnectionLimit => "too many connections from this address",
            Self::AddressConnectionRate => "too many new connections from this address",
            Self::Memory => "short of memory",
        }
    }
}

impl GatewayShard {
    /// Counts clients together with the other shards of the process.
    pub fn share(&mut self, arrivals: Arc<Arrivals>) {
        self.arrivals = arrivals;
    }

    /// A connection that was just accepted from a proxy begins with a header.
    pub(super) fn await_proxy_header(&mut self, id: ConnectionId, peer: Option<SocketAddr>) {
        if peer.is_some_and(|peer| self.config.proxy_protocol.contains(peer.ip())) {
            self.entrance.unnamed.insert(id);
            self.actions.push_back(Action::AwaitProxyHeader(id));
        }
    }

    /// Is the connection one whose proxy has not said yet for whom?
    pub(super) fn is_unnamed(&self, id: ConnectionId) -> bool {
        !self.entrance.unnamed.is_empty() && self.entrance.unnamed.contains(&id)
    }

    pub(super) fn on_proxy_header(
        &mut self,
        id: ConnectionId,
        header: Result<Source, ProxyFault>,
        now: Now,
    ) {
        if !self.entrance.unnamed.remove(&id) {
            return;
        }
        match header {
            Ok(Source::Socket) => {}
            Ok(Source::Client(address)) => {
                if let Some(connection) = self.connections.find(id) {
                    connection.peer = Some(Box::new(address));
                }
            }
            Err(fault) => {
                self.counters.proxy_headers_refused[fault as usize] += 1;
                self.note(id, Noted::ProxyHeaderRefused(fault));
                self.close(id, CloseReason::ProxyHeader, now);
            }
        }
    }

    /// The peer is whom X-Forwarded-For names, if whoever sent the request is believed. The next
    /// request on the connection may be another client's.
    pub(super) fn place_peer(&mut self, id: ConnectionId, request: &Request<'_>) {
        let trusted = &self.config.forwarded_for;
        if trusted.is_empty() && self.entrance.senders.is_empty() {
            return;
        }
        let Some(connection) = self.connections.find(id) else { return };
        let sender = self.entrance.senders.remove(&id);
        let Some(sender) = sender.or(connection.peer.as_deref().copied()) else { return };
        let is_believed = trusted.contains(sender.ip());
        let client = is_believed.then(|| forwarded_for(request, trusted)).flatten();
        if client.is_some() {
            self.entrance.senders.insert(id, sender);
        }
        if let Some(peer) = connection.peer.as_deref_mut() {
            *peer = client.unwrap_or(sender);
        }
    }

    /// Is there room for a further client? It is counted if there is.
    pub(super) fn make_room(&mut self, id: ConnectionId, now: Now) -> Result<(), Refusal> {
        if self.shedding.level() > MemoryLevel::Normal {
            return Err(self.shed(id, UpgradeRefusal::Memory, 0));
        }
        // Whoever is refused, or says nothing, takes no room from those who come in.
        let has_room = self.connections.upgraded_count < self.options.connections_max;
        let limits = self.config.arrivals;
        if limits.is_open() {
            if has_room {
                return Ok(());
            }
            return Err(self.shed(id, UpgradeRefusal::ConnectionLimit, 0));
        }
        // A proxy that does not say for whom it asks stands for many.
        let peer = self.peer_of(id).map(|peer| peer.ip());
        let config = &self.config;
        let is_proxy =
            |ip: &IpAddr| config.forwarded_for.contains(*ip) || config.proxy_protocol.contains(*ip);
        let address = peer.filter(|ip| !is_proxy(ip));
        match self.arrivals.admit(address, &limits, has_room, now.moment) {
            Ok(admitted) => {
                self.counters.addresses_uncounted += u64::from(admitted.is_uncounted);
                self.entrance.hold(id, admitted.claim);
                Ok(())
            }
            Err(Excess::Connections) => Err(self.shed(id, UpgradeRefusal::ConnectionLimit, 0)),
            Err(Excess::Rate(wait_ns)) => {
                Err(self.shed(id, UpgradeRefusal::ConnectionRate, wait_ns))
            }
            Err(Excess::AddressConnections) => {
                Err(self.shed(id, UpgradeRefusal::AddressConnectionLimit, 0))
            }
            Err(Excess::AddressRate(wait_ns)) => {
                Err(self.shed(id, UpgradeRefusal::AddressConnectionRate, wait_ns))
            }
        }
    }

    /// RFC 9110, 10.2.3: when to come back. The jitter spreads clients that were refused together,
    /// each of which the rate would let in alone.
    fn shed(&mut self, id: ConnectionId, reason: UpgradeRefusal, wait_ns: u64) -> Refusal {
        self.counters.upgrades_refused[reason as usize] += 1;
        self.entrance.shed.insert(id);
        let least = match wait_ns {
            0 => RETRY_AFTER_SECONDS,
            _ => wait_ns.div_ceil(1_000_000_000),
        };
        let jitter = self.random.below(least.max(RETRY_JITTER_SECONDS_MIN) + 1);
        Refusal::unavailable(reason.text(), least + jitter)
    }

    /// The connection, which is about to be closed, gets less time to go.
    pub(super) fn hurry(&mut self, id: ConnectionId) {
        self.entrance.shed.insert(id);
    }

    /// Was the connection refused for want of room, or sent away for want of memory?
    pub(super) fn is_shed(&self, id: ConnectionId) -> bool {
        !self.entrance.shed.is_empty() && self.entrance.shed.contains(&id)
    }

    /// The connection is a WebSocket from here on: its peer changes no more.
    pub(super) fn settle_peer(&mut self, id: ConnectionId) {
        self.entrance.senders.remove(&id);
    }

    /// The connection is gone.
    pub(super) fn leave(&mut self, id: ConnectionId) {
        self.connections.free(id);
        if let Some(claim) = self.entrance.forget(id) {
            self.arrivals.release(claim);
        }
    }
}

impl Entrance {
    fn hold(&mut self, id: ConnectionId, claim: Option<Claim>) {
        let slot = slot_of(id) as usize;
        if claim.is_some() && self.claims.len() <= slot {
            self.claims.resize_with(slot + 1, || None);
        }
        if let Some(held) = self.claims.get_mut(slot) {
            assert!(held.is_none(), "the claim of the slot's last connection was given back");
            *held = claim;
        }
    }

    fn forget(&mut self, id: ConnectionId) -> Option<Claim> {
        self.unnamed.remove(&id);
        self.senders.remove(&id);
        self.shed.remove(&id);
        self.claims.get_mut(slot_of(id) as usize).and_then(Option::take)
    }
}
