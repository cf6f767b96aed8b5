//! Certificates by ACME (RFC 8555): asked for, proven on the client port (TLS-ALPN-01, RFC 8737),
//! kept in a folder, renewed in time.
//!
//! ```text
//!  engine: when ──► driver: one attempt ──► folder ──► every shard, as a reload does it
//!     ▲                  │  order, proofs on every shard, certificate
//!     └── issued, failed ┘
//! ```
//!
//! All of it runs beside the shards; a shard only ever gets another configuration of TLS.

pub(crate) mod driver;
pub(crate) mod engine;
pub(crate) mod folder;
mod state;

use std::path::PathBuf;

pub use state::AcmeState;

/// What an operator decides (`http_server.tls_autocert`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSettings {
    /// Hosts that the certificate is for, in lower case; one at least.
    pub hosts: Vec<String>,
    /// Where account and certificate are kept.
    pub folder: PathBuf,
    /// Where the authority may write to.
    pub email: Option<String>,
    /// URL of the authority's directory.
    pub directory: String,
    /// Who vouches for the directory's own certificate, in PEM; `None`: the usual roots.
    pub directory_roots: Option<String>,
}
