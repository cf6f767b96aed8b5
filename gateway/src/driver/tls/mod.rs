//! TLS on the client port (RFC 8446; RFC 5246 if the operator wants it).
//!
//! rustls makes the handshake; behind it our own record layer takes over, because a connection of
//! rustls costs 3.5 KiB and an idle one of ours two keys. The pump sees one face, [`Tls`]: bytes of
//! the socket go in and data comes out, data goes in and sealed bytes come out. Nothing else of the
//! gateway knows rustls.

mod certificates;
mod config;
mod counters;
mod hello;
mod keys;
mod layer;
mod record;
mod session;
mod socket;
mod tickets;
mod validity;

pub use certificates::{Certificate, CertificateFault, Challenge};
pub use config::{RecordLayer, TlsConfig, TlsConfigFault, TlsOptions, TlsVersion};
pub use counters::{HandshakeEnd, RecordFault, TlsCounters};
pub(crate) use layer::{Arrival, Completed, Ending, Next, Received, Sealing, Tls};

/// What an idle connection takes that our record layer keeps.
pub(crate) const IDLE_BYTES: usize = size_of::<socket::Socket>() + size_of::<record::Records>();

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
