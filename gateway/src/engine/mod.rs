//! What a gateway shard decides. No socket, clock, lock, thread or `async`.

mod access;
mod activity;
mod admission;
mod claims;
mod commands;
mod connect;
mod connection;
mod counters;
mod entrance;
mod event;
mod fanout;
mod ledger;
mod listing;
mod notes;
mod outbox;
mod phase;
mod random;
mod rate;
mod session;
mod shard;
mod shedding;
mod subscribing;
mod subscriptions;
mod users;
mod views;
mod waiting;

pub use admission::{ECHO_PATH, WEBSOCKET_PATH};
pub use claims::{
    ConnectClaims, NoTokens, Overrides, SubscribeTokenClaims, SubscriptionClaims, TokenRefusal,
    TokenVerifier,
};
pub(crate) use connection::idle_session;
pub use counters::{DropReason, Drops, Durations, GatewayCounters, SubscribeRefusal};
pub use entrance::UpgradeRefusal;
pub use event::{Action, Event, ToPeer, Transport};
pub use ledger::{MemoryBytes, MemoryKind};
pub use listing::{ConnectionFilter, ConnectionRow, Listed, Listing, ListingOrder, Purpose, Rank};
pub use notes::{Note, Noted, TokenFault};
pub(crate) use outbox::SpareBuffers;
pub use phase::Phase;
pub use rate::Rate;
pub use shard::{GatewayShard, ShardOptions};
pub use shedding::MemoryLevel;
