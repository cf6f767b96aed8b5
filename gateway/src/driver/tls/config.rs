//! What an operator decides about TLS, made into what rustls wants.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};

use super::certificates::{ACME_ALPN, Certificate, Challenge, Resolver};
use super::hello::prefers_chacha20;
use super::keys::Catcher;
use super::tickets::Tickets;

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with ECDHE and AEAD suites only.
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[default]
    V1_3,
}

/// Who seals and opens records after the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordLayer {
    /// Ours, for TLS 1.3: an idle connection keeps two keys and what derives the next ones. TLS
    /// 1.2 stays with rustls.
    #[default]
    Own,
    /// rustls' own, which keeps some KiB for each connection.
    Rustls,
}

/// What an operator decides.
#[derive(Clone)]
pub struct TlsOptions {
    /// Certificates; the first answers whoever names no host that has one. While there is none,
    /// every client is refused, and counted as [`super::HandshakeEnd::NoCertificate`].
    pub certificates: Vec<Certificate>,
    /// Proofs for certificate authorities that ask for one now, a host each.
    pub challenges: Vec<Challenge>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Who seals and opens records.
    pub record_layer: RecordLayer,
    /// Whoever has this secret resumes sessions of everybody else who has it.
    pub ticket_secret: Vec<u8>,
    /// Handshakes of one shard that may be under way at once.
    pub handshakes_max: u32,
}

/// Why options make no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsConfigFault {
    /// The crypto library lacks what TLS needs.
    NoCrypto,
}

impl fmt::Display for TlsConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCrypto => "the crypto library has no suites for these versions of TLS",
        })
    }
}

impl std::error::Error for TlsConfigFault {}

/// Settings of TLS, shared by all shards and replaced as a whole. Connections keep what they began
/// with.
pub struct TlsConfig {
    /// Takes the suite that comes first here.
    server: Arc<ServerConfig>,
    /// Takes the suite that the client likes best.
    obliging: Arc<ServerConfig>,
    pub(super) record_layer: RecordLayer,
    pub(super) handshakes_max: u32,
}

impl TlsConfig {
    /// Makes them of an operator's options.
    ///
    /// # Errors
    ///
    /// There is no suite.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsConfigFault> {
        Self::with_provider(options, aws_lc_rs::default_provider())
    }

    pub(super) fn with_provider(
        options: &TlsOptions,
        mut provider: rustls::crypto::CryptoProvider,
    ) -> Result<Self, TlsConfigFault> {
        provider.cipher_suites.sort_by_key(cost);
        let resolver = Resolver::new(&options.certificates, &options.challenges);
        let versions: &[_] = match options.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .map_err(|_| TlsConfigFault::NoCrypto)?;
        let mut server = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
        server.alpn_protocols = vec![ALPN.to_vec()];
        if !options.challenges.is_empty() {
            server.alpn_protocols.push(ACME_ALPN.to_vec());
        }
        // Nothing is stored: tickets are the only way to resume.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ticketer = Arc::new(Tickets::of_cluster(&options.ticket_secret));
        server.send_tls13_tickets = 1;
        // RFC 8446, 8: data before the handshake ends could be sent twice by others.
        server.max_early_data_size = 0;
        if options.record_layer == RecordLayer::Own {
            server.enable_secret_extraction = true;
            server.key_log = Arc::new(Catcher);
        }
        let obliging = Arc::new(server.clone());
        server.ignore_client_order = true;
        Ok(Self {
            server: Arc::new(server),
            obliging,
            record_layer: options.record_layer,
            handshakes_max: options.handshakes_max,
        })
    }

    /// What answers a client who begins like this.
    pub(super) fn answering(&self, first: &[u8]) -> Arc<ServerConfig> {
        if prefers_chacha20(first) { self.obliging.clone() } else { self.server.clone() }
    }
}

/// Which suites come first: of those that are safe, the cheapest. More of the usual processors have
/// instructions for AES and SHA-256 than for SHA-384, of which a resumed handshake with AES-256
/// makes a quarter of its time (docs/decisions/0013).
fn cost(suite: &SupportedCipherSuite) -> u8 {
    match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => 1,
        _ => 2,
    }
}

/// Keys never show.
impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record_layer, handshakes_max, .. } = self;
        f.debug_struct("TlsConfig")
            .field("record_layer", record_layer)
            .field("handshakes_max", handshakes_max)
            .finish_non_exhaustive()
    }
}

/// RFC 7301: what is spoken inside; WebSockets begin with it (RFC 6455, 4.1).
const ALPN: &[u8] = b"http/1.1";
