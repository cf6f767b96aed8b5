//! The server's address, and how its certificate is judged.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use url::Url;

use super::plan::{TargetPlan, Trust};

/// Where the load goes.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The request line's path with its query.
    pub(crate) path: String,
    /// The `Host` header.
    pub(crate) host: String,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Clients of one loopback address at most. Linux gives out 28,232 ports by itself
/// (net.ipv4.ip_local_port_range); the search for one grows slow when half of them are taken, also
/// by those that wait for the end of TIME_WAIT.
pub(crate) const PORTS_PER_SOURCE: usize = 10_000;
/// Where the authorities of Debian, Ubuntu and Alpine are, and of Fedora.
const SYSTEM_AUTHORITIES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

impl Target {
    /// Resolves an address such as `wss://example.org/connection/websocket`.
    ///
    /// # Errors
    ///
    /// A sentence that names the fix.
    pub(crate) fn resolve(plan: &TargetPlan) -> Result<Self, String> {
        let url = &plan.url;
        let parsed = Url::parse(url).map_err(|error| {
            format!(
                "what was given is no address ({error}); give one as \
                 ws://127.0.0.1:8000/connection/websocket"
            )
        })?;
        let url = shown(url);
        if !matches!(parsed.scheme(), "ws" | "wss") {
            return Err(format!("{url:?} begins with neither ws:// nor wss://"));
        }
        let host = parsed.host_str().ok_or_else(|| format!("{url:?} names no host"))?;
        let port = parsed.port_or_known_default().ok_or_else(|| format!("{url:?} has no port"))?;
        let bare = host.trim_matches(['[', ']']);
        let address = (bare, port)
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| format!("the host {bare} of {url:?} has no address"))?;
        let tls = match parsed.scheme() {
            "wss" => {
                let name = ServerName::try_from(bare.to_owned())
                    .map_err(|_| format!("{bare:?} is no name of a server"))?;
                Some((Arc::new(client_config(&plan.trust)?), name))
            }
            _ => None,
        };
        let query = parsed.query().map_or(String::new(), |query| format!("?{query}"));
        Ok(Self {
            address,
            path: format!("{}{query}", parsed.path()),
            host: format!("{host}:{port}"),
            tls,
        })
    }

    /// The address that connection number `attempt` of a process comes from, if that is not left to
    /// the system: 127.0.0.0/8 is ours as a whole (RFC 6890); each address has its own ports.
    pub(crate) fn source(&self, process: usize, attempt: usize) -> Option<IpAddr> {
        let IpAddr::V4(address) = self.address.ip() else { return None };
        let number = attempt / PORTS_PER_SOURCE % 65_000;
        let [b, c, d] = [16 + process % 200, number / 250, 1 + number % 250].map(|part| part as u8);
        address.is_loopback().then_some(IpAddr::V4(Ipv4Addr::new(127, b, c, d)))
    }
}

/// The address as it may be shown: without user, password and query, which may be secrets.
pub(crate) fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "an address that cannot be read".to_owned() };
    // Refused only where there is neither user nor password: where there is no host.
    let _ = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

fn client_config(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    let roots = match trust {
        Trust::Anything => {
            let verifier = Arc::new(BelievesAnything(provider));
            let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
            return Ok(builder.with_no_client_auth());
        }
        Trust::File(file) => authorities(Path::new(file))
            .map_err(|error| format!("--ca {file}: {error}; give a PEM file of certificates"))?,
        Trust::System => {
            let file = SYSTEM_AUTHORITIES.iter().find(|file| Path::new(file).exists());
            let file = file.ok_or("this host has no list of authorities; name one with --ca")?;
            authorities(Path::new(file)).map_err(|error| format!("{file}: {error}"))?
        }
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn authorities(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
        // A list of a system may hold one that rustls does not take; the others still count.
        let _ = roots.add(certificate.map_err(io::Error::other)?);
    }
    if roots.is_empty() { Err(io::Error::other("it holds no certificate")) } else { Ok(roots) }
}

/// For servers whose certificate nobody signed, if the operator says so.
#[derive(Debug)]
struct BelievesAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for BelievesAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Credentials;
    use super::*;

    fn resolve(url: &str) -> Result<Target, String> {
        Target::resolve(&TargetPlan {
            url: url.to_owned(),
            is_protobuf: false,
            trust: Trust::Anything,
            headers: Vec::new(),
            credentials: Credentials::Anonymous,
            spreads_sources: true,
        })
    }

    #[test]
    fn addresses_are_taken_apart() {
        let target = resolve("ws://127.0.0.1:8000/connection/websocket?a=b").unwrap();
        assert_eq!(target.address, "127.0.0.1:8000".parse().unwrap());
        assert_eq!(target.path, "/connection/websocket?a=b");
        assert_eq!(target.host, "127.0.0.1:8000");
        assert!(target.tls.is_none());
        let target = resolve("wss://[::1]/").unwrap();
        assert_eq!((target.address.port(), target.tls.is_some()), (443, true));
    }

    #[test]
    fn secrets_of_an_address_are_not_shown() {
        let secret = "wss://user:canary@example.org:8443/connection?token=canary#canary";
        assert_eq!(shown(secret), "wss://example.org:8443/connection");
        assert_eq!(shown("wss://user:canary@:8443:/"), "an address that cannot be read");
        for url in
            ["http://u:canary@127.0.0.1/?canary", "ws://u:canary@no.such.host.invalid/?canary"]
        {
            let error = resolve(url).err().unwrap();
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn bad_addresses_are_refused_with_a_sentence() {
        for (url, mark) in [
            ("127.0.0.1:8000", "is no address"),
            ("http://127.0.0.1:8000/", "neither ws:// nor wss://"),
            ("ws://no.such.host.invalid/", "has no address"),
        ] {
            let error = resolve(url).err().unwrap();
            assert!(error.contains(mark), "{url}: {error}");
        }
    }

    #[test]
    fn sources_are_loopback_and_differ() {
        let target = resolve("ws://127.0.0.1:8000/").unwrap();
        let mut seen = std::collections::HashSet::new();
        for process in 0..50 {
            for block in 0..10 {
                let source = target.source(process, block * PORTS_PER_SOURCE).unwrap();
                assert_eq!(
                    target.source(process, (block + 1) * PORTS_PER_SOURCE - 1),
                    Some(source)
                );
                assert!(source.is_loopback() && seen.insert(source), "{source}");
            }
        }
        assert_eq!(resolve("ws://192.0.2.1/").unwrap().source(0, 0), None);
    }
}
