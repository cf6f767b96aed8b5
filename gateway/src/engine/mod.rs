//! What a gateway shard decides. No socket, clock, lock, thread or `async`.

mod access;
mod claims;
mod connection;
mod fanout;
mod outbox;
mod phase;
mod rate;
mod session;
mod subscriptions;
mod users;
mod views;

pub use claims::{
    ConnectClaims, NoTokens, Overrides, SubscribeTokenClaims, SubscriptionClaims, TokenRefusal,
    TokenVerifier,
};
pub use rate::Rate;
