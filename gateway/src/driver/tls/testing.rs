//! What tests of TLS need: certificates, and a client that trusts everybody.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::certificates::Certificate;

/// The second of the fourteen days that certificates of tests are valid: 2026-01-02.
pub(super) const NOW: u64 = 1_767_312_000;

fn make(names: &[&str]) -> (CertificateDer<'static>, Vec<u8>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 1, 15);
    let key = KeyPair::generate().unwrap();
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

/// Chain and key as files have them.
pub(super) fn pem(names: &[&str]) -> (String, String) {
    let (chain, key) = make(names);
    let text = |label: &str, der: &[u8]| {
        let base64 = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
    };
    (text("CERTIFICATE", &chain), text("PRIVATE KEY", &key))
}
