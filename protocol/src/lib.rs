//! Formats and rules: what bytes mean, and nothing about where they come from.
//!
//! Owns: identifiers, wire limits, close reasons, WebSocket framing, HTTP/1.1 heads, what proxies
//! say about clients, the Centrifuge client protocol, the messages that gateway and router
//! exchange, and the table of names that both keep.
//! Never: a socket, a file, a clock, a thread, or `unsafe`.

pub mod channels;
pub mod client;
pub mod close;
pub mod http;
pub mod ids;
pub mod limits;
pub mod link;
pub mod named;
pub mod proxies;
pub mod time;
pub mod websocket;
