//! Certificates with their keys: read once, refused with one sentence, chosen by name.
//!
//! A chain is PEM, its own certificate first; its names are the DNS names it was issued for. The
//! first certificate answers a client that names no host, or one that nobody has. A certificate
//! authority that asks for proof (RFC 8737) is shown one of its own, and nobody else is.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::validity::Validity;

/// Why a certificate and its key cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// No certificate is in the text.
    NoCertificate,
    /// A certificate is not one.
    NotACertificate,
    /// No private key is in the text.
    NoKey,
    /// The private key is of no kind that can sign here.
    UnusableKey,
    /// The key belongs to another certificate.
    Mismatch,
    /// It was valid until this time, in seconds since 1970.
    Expired(u64),
    /// It will be valid from this time on, in seconds since 1970.
    NotYetValid(u64),
}

impl CertificateFault {
    /// Is it the key, rather than the certificate, that has to be mended?
    pub fn is_of_key(self) -> bool {
        matches!(self, Self::NoKey | Self::UnusableKey | Self::Mismatch)
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str(
                "holds no certificate; give the chain in PEM, beginning with \
                 \"-----BEGIN CERTIFICATE-----\", the server's own certificate first",
            ),
            Self::NotACertificate => {
                f.write_str("holds a certificate that cannot be read; ask for it again in PEM")
            }
            Self::NoKey => f.write_str(
                "holds no private key; give it in PEM, beginning with \
                 \"-----BEGIN PRIVATE KEY-----\", and not encrypted",
            ),
            Self::UnusableKey => f.write_str(
                "holds a private key that cannot sign; give one of ECDSA (P-256, P-384), RSA (2048 \
                 bits or more) or Ed25519",
            ),
            Self::Mismatch => f.write_str(
                "holds the key of another certificate; give the key that the certificate was \
                 issued for",
            ),
            Self::Expired(at) => write!(
                f,
                "holds a certificate that expired (`date -u -d @{at}`); renew it, or set this \
                 host's clock"
            ),
            Self::NotYetValid(at) => write!(
                f,
                "holds a certificate that is not valid yet (`date -u -d @{at}`); wait, or set this \
                 host's clock"
            ),
        }
    }
}

impl std::error::Error for CertificateFault {}

/// One certificate chain and its key.
#[derive(Clone)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    valid_from: u64,
    valid_until: u64,
}

impl Certificate {
    /// Reads chain and key, both PEM. `unix_seconds` is the time at which it must be valid.
    ///
    /// # Errors
    ///
    /// What is wrong, without a word of the key.
    pub fn from_pem(chain: &str, key: &str, unix_seconds: u64) -> Result<Self, CertificateFault> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let chain = chain.map_err(|_| CertificateFault::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        Self::from_der(chain, key.map_err(|_| CertificateFault::NoKey)?, unix_seconds)
    }

    /// Takes chain and key as they are.
    ///
    /// # Errors
    ///
    /// What is wrong, without a word of the key.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        unix_seconds: u64,
    ) -> Result<Self, CertificateFault> {
        let own = chain.first().ok_or(CertificateFault::NoCertificate)?;
        let unreadable = CertificateFault::NotACertificate;
        let validity = Validity::read(own.as_ref()).ok_or(unreadable)?;
        let parsed = webpki::EndEntityCert::try_from(own).map_err(|_| unreadable)?;
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
        if unix_seconds > validity.until {
            return Err(CertificateFault::Expired(validity.until));
        }
        if unix_seconds < validity.from {
            return Err(CertificateFault::NotYetValid(validity.from));
        }
        let key = any_supported_type(&key).map_err(|_| CertificateFault::UnusableKey)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => return Err(CertificateFault::Mismatch),
            Err(_) => return Err(unreadable),
        }
        let Validity { from: valid_from, until: valid_until } = validity;
        Ok(Self { certified: Arc::new(certified), names, valid_from, valid_until })
    }

    /// The names it was issued for, in lower case; `*.` stands for one label.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// From when on it is valid, in seconds since 1970.
    pub fn valid_from(&self) -> u64 {
        self.valid_from
    }

    /// Until when it is valid, in seconds since 1970.
    pub fn valid_until(&self) -> u64 {
        self.valid_until
    }
}

/// The key never shows.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, valid_from, valid_until, .. } = self;
        f.debug_struct("Certificate")
            .field("names", names)
            .field("valid_from", valid_from)
            .field("valid_until", valid_until)
            .finish_non_exhaustive()
    }
}

/// The proof that a certificate authority asks for by TLS-ALPN-01 (RFC 8737, 3): a certificate for
/// one host, with the digest of the key authorization in an extension that only authorities read.
#[derive(Clone)]
pub struct Challenge {
    host: String,
    certified: Arc<CertifiedKey>,
}

impl Challenge {
    /// The proof for `host`. What the certificate says is the caller's business: its extension is
    /// critical and known to nobody who checks certificates.
    ///
    /// # Errors
    ///
    /// The key cannot sign.
    pub fn new(
        host: &str,
        certificate: CertificateDer<'static>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateFault> {
        let key = any_supported_type(key).map_err(|_| CertificateFault::UnusableKey)?;
        let certified = Arc::new(CertifiedKey::new(vec![certificate], key));
        Ok(Self { host: host.to_ascii_lowercase(), certified })
    }
}

/// The key never shows.
impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").field("host", &self.host).finish_non_exhaustive()
    }
}

/// RFC 8737, 6.2: what a certificate authority that asks for proof speaks, and nothing beside it.
pub(super) const ACME_ALPN: &[u8] = b"acme-tls/1";

/// Which certificate answers whom.
#[derive(Debug)]
pub(super) struct Resolver {
    /// `None`: there is no certificate yet.
    first: Option<Certificate>,
    by_name: HashMap<String, Certificate>,
    challenges: HashMap<String, Challenge>,
}

impl Resolver {
    /// The first one stands in for hosts that none was issued for. Of two for one name, the
    /// earlier one answers. Without any, only authorities are answered.
    pub(super) fn new(certificates: &[Certificate], challenges: &[Challenge]) -> Self {
        let first = certificates.first().cloned();
        let mut by_name = HashMap::new();
        for certificate in certificates {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_insert_with(|| certificate.clone());
            }
        }
        let by_host = |challenge: &Challenge| (challenge.host.clone(), challenge.clone());
        Self { first, by_name, challenges: challenges.iter().map(by_host).collect() }
    }

    fn find(&self, host: &str) -> Option<&Certificate> {
        let host = host.to_ascii_lowercase();
        let named = self.by_name.get(&host).or_else(|| {
            // RFC 6125, 6.4.3: a star stands for the whole leftmost label, and for nothing else.
            let (_, domain) = host.split_once('.')?;
            self.by_name.get(&format!("*.{domain}"))
        });
        named.or(self.first.as_ref())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // RFC 8737, 3: such a client offers this protocol alone, and names the host.
        let mut protocols = hello.alpn().into_iter().flatten();
        if protocols.next() == Some(ACME_ALPN) && protocols.next().is_none() {
            let host = hello.server_name()?.to_ascii_lowercase();
            return Some(self.challenges.get(&host)?.certified.clone());
        }
        let certificate = match hello.server_name() {
            Some(host) => self.find(host),
            None => self.first.as_ref(),
        };
        Some(certificate?.certified.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, NOW};
    use super::*;

    #[test]
    fn a_name_finds_its_certificate_and_no_other() {
        let one = testing::certificate(&["one.example", "shared.example"]);
        let wild = testing::certificate(&["*.wild.example", "shared.example"]);
        let resolver = Resolver::new(&[one, wild], &[]);
        let first_name = |host| resolver.find(host).unwrap().names()[0].clone();
        assert_eq!(first_name("ONE.example"), "one.example");
        assert_eq!(first_name("a.wild.example"), "*.wild.example");
        assert_eq!(first_name("shared.example"), "one.example", "the earlier one");
        for other in ["wild.example", "a.b.wild.example", "none.example", "localhost"] {
            assert_eq!(first_name(other), "one.example", "{other}");
        }
        assert!(Resolver::new(&[], &[]).find("one.example").is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (chain, key) = testing::pem(&["one.example"]);
        let (_, other_key) = testing::pem(&["two.example"]);
        let fault = |chain: &str, key: &str, at| Certificate::from_pem(chain, key, at).unwrap_err();
        assert!(Certificate::from_pem(&chain, &key, NOW).is_ok());
        assert_eq!(fault("", &key, NOW), CertificateFault::NoCertificate);
        assert_eq!(fault(&chain, "", NOW), CertificateFault::NoKey);
        assert_eq!(fault(&chain, &chain, NOW), CertificateFault::NoKey);
        assert_eq!(fault(&chain, &other_key, NOW), CertificateFault::Mismatch);
        assert!(matches!(fault(&chain, &key, u64::MAX), CertificateFault::Expired(_)));
        assert!(matches!(fault(&chain, &key, 0), CertificateFault::NotYetValid(_)));
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(fault(nonsense, &key, NOW), CertificateFault::NotACertificate);
        let shown = format!("{:?}", Certificate::from_pem(&chain, &key, NOW));
        assert!(shown.contains("one.example") && shown.len() < 200, "{shown}");
    }
}
