//! What tests of TLS need: certificates, a client that trusts everybody, and handshakes that can be
//! repeated.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ED25519, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup, aws_lc_rs,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, NamedGroup, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};

use super::certificates::{Certificate, Challenge};
use super::config::{RecordLayer, TlsConfig, TlsOptions, TlsVersion};

/// The second of the fourteen days that certificates of tests are valid: 2026-01-02.
pub(super) const NOW: u64 = 1_767_312_000;

fn make(names: &[&str]) -> (CertificateDer<'static>, Vec<u8>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 1, 15);
    // Its signatures are the same each time, so that a handshake can be.
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().clone(), key.serialize_der())
}

pub(super) fn der(names: &[&str]) -> Vec<u8> {
    make(names).0.to_vec()
}

pub(super) fn certificate(names: &[&str]) -> Certificate {
    let (chain, key) = make(names);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    Certificate::from_der(vec![chain], key, NOW).unwrap()
}

/// A proof as an authority wants to see it.
pub(super) fn challenge(host: &str) -> Challenge {
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Challenge::new(host, certificate.der().clone(), &key).unwrap()
}

/// Chain and key as files have them.
pub(super) fn pem(names: &[&str]) -> (String, String) {
    let (chain, key) = make(names);
    let text = |label: &str, der: &[u8]| {
        let base64 = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
    };
    (text("CERTIFICATE", &chain), text("PRIVATE KEY", &key))
}

pub(super) fn options() -> TlsOptions {
    TlsOptions {
        certificates: vec![certificate(&["one.example"])],
        challenges: Vec::new(),
        min_version: TlsVersion::V1_2,
        record_layer: RecordLayer::Own,
        ticket_secret: b"a secret of tests".to_vec(),
        handshakes_max: 4,
    }
}

/// A server whose handshakes with the same client are the same, byte by byte.
pub(super) fn repeatable(options: &TlsOptions) -> Arc<TlsConfig> {
    let provider = CryptoProvider {
        kx_groups: vec![&Fixed],
        secure_random: &Fixed,
        ..aws_lc_rs::default_provider()
    };
    Arc::new(TlsConfig::with_provider(options, provider).unwrap())
}

/// A client that speaks these suites and versions and trusts everybody.
pub(super) fn client(
    suites: Vec<SupportedCipherSuite>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = suites;
    provider.kx_groups.push(&Fixed);
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(versions).unwrap().dangerous();
    builder.with_custom_certificate_verifier(Arc::new(Trusting)).with_no_client_auth()
}

pub(super) fn host(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

/// Randomness and a key exchange that are neither.
#[derive(Debug)]
struct Fixed;

impl SecureRandom for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        bytes.iter_mut().zip(1..).for_each(|(byte, number)| *byte = number);
        Ok(())
    }
}

impl SupportedKxGroup for Fixed {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Self))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::Unknown(0xfe00)
    }
}

impl ActiveKeyExchange for Fixed {
    fn complete(self: Box<Self>, _: &[u8]) -> Result<SharedSecret, Error> {
        Ok(SharedSecret::from(&[7; 32][..]))
    }

    fn pub_key(&self) -> &[u8] {
        &[1; 32]
    }

    fn group(&self) -> NamedGroup {
        SupportedKxGroup::name(self)
    }
}

#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
