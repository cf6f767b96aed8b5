//! Keys made when the test starts, and tokens of any shape: headers, claims and signatures are
//! free.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gateway::auth::{Keys, StaticKeys, TokenRules, Verifier, VerifyingKey};

/// The moment of all tests.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

/// Private keys of the test.
pub(crate) struct TestKeys {
    pub(crate) rsa: RsaKeyPair,
    pub(crate) p256: EcdsaKeyPair,
    pub(crate) p384: EcdsaKeyPair,
    pub(crate) ed25519: Ed25519KeyPair,
}

pub(crate) static KEYS: LazyLock<TestKeys> = LazyLock::new(|| TestKeys {
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("keys can be made"),
    p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("keys can be made"),
    p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("keys can be made"),
    ed25519: Ed25519KeyPair::generate().expect("keys can be made"),
});

pub(crate) fn rsa_pem() -> String {
    pem("PUBLIC KEY", der(KEYS.rsa.public_key()).as_ref())
}

pub(crate) fn p256_pem() -> String {
    pem("PUBLIC KEY", der(KEYS.p256.public_key()).as_ref())
}

pub(crate) fn p384_pem() -> String {
    pem("PUBLIC KEY", der(KEYS.p384.public_key()).as_ref())
}

pub(crate) fn ed25519_pem() -> String {
    pem("PUBLIC KEY", der(KEYS.ed25519.public_key()).as_ref())
}

pub(crate) fn der(key: &impl AsDer<PublicKeyX509Der<'static>>) -> PublicKeyX509Der<'static> {
    key.as_der().expect("a public key can be written")
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        pem.push_str(core::str::from_utf8(line).expect("Base64 is ASCII"));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of this header and these claims, with whatever `sign` makes of them.
pub(crate) fn token(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", base64url(signature))
}

pub(crate) fn hs256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    hmac_with(hmac::HMAC_SHA256, secret)
}

pub(crate) fn hmac_with(hash: hmac::Algorithm, secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hash, secret);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

pub(crate) fn rs256(message: &[u8]) -> Vec<u8> {
    rsa(&RSA_PKCS1_SHA256, message)
}

pub(crate) fn rs384(message: &[u8]) -> Vec<u8> {
    rsa(&RSA_PKCS1_SHA384, message)
}

pub(crate) fn rs512(message: &[u8]) -> Vec<u8> {
    rsa(&RSA_PKCS1_SHA512, message)
}

pub(crate) fn ps256(message: &[u8]) -> Vec<u8> {
    rsa(&signature::RSA_PSS_SHA256, message)
}

fn rsa(encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
    KEYS.rsa.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("the key signs");
    signature
}

pub(crate) fn es256(message: &[u8]) -> Vec<u8> {
    ecdsa(&KEYS.p256, message)
}

pub(crate) fn es384(message: &[u8]) -> Vec<u8> {
    ecdsa(&KEYS.p384, message)
}

fn ecdsa(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    key.sign(&SystemRandom::new(), message).expect("the key signs").as_ref().to_vec()
}

pub(crate) fn eddsa(message: &[u8]) -> Vec<u8> {
    KEYS.ed25519.sign(message).as_ref().to_vec()
}

/// All kinds of keys at once.
pub(crate) fn all_keys() -> StaticKeys {
    StaticKeys::default()
        .with(VerifyingKey::hmac(SECRET).expect("a good secret"))
        .with(VerifyingKey::rsa_pem(&rsa_pem()).expect("a good key"))
        .with(VerifyingKey::ecdsa_pem(&p256_pem()).expect("a good key"))
        .with(VerifyingKey::ecdsa_pem(&p384_pem()).expect("a good key"))
        .with(VerifyingKey::ed25519_pem(&ed25519_pem()).expect("a good key"))
}

pub(crate) fn verifier(keys: StaticKeys) -> Verifier {
    Verifier::new(TokenRules::new(Keys::Configured(keys)), None).expect("good rules")
}

/// The public keys of the test as a key set; ids are r, e, f and d.
pub(crate) fn jwks() -> String {
    let modulus = KEYS.rsa.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let p256 = KEYS.p256.public_key().as_ref();
    let p384 = KEYS.p384.public_key().as_ref();
    let keys = [
        format!(r#"{{"kid":"r","kty":"RSA","use":"sig","n":"{}","e":"AQAB"}}"#, base64url(modulus)),
        format!(
            r#"{{"kid":"e","kty":"EC","crv":"P-256","x":"{}","y":"{}","alg":"ES256"}}"#,
            base64url(&p256[1..33]),
            base64url(&p256[33..]),
        ),
        format!(
            r#"{{"kid":"f","kty":"EC","crv":"P-384","x":"{}","y":"{}","key_ops":["verify"]}}"#,
            base64url(&p384[1..49]),
            base64url(&p384[49..]),
        ),
        format!(
            r#"{{"kid":"d","kty":"OKP","crv":"Ed25519","x":"{}"}}"#,
            base64url(KEYS.ed25519.public_key().as_ref()),
        ),
    ];
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}
