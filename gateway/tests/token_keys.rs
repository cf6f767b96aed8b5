//! Keys and key sets: what is loaded, what is left out, and what is refused with which reason.

mod token_support;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use gateway::auth::{
    KeyFault, KeySet, KeySetFault, Keys, SkipReason, StaticKeys, TokenRules, Verifier,
    VerifyingKey, key_id,
};
use gateway::engine::{TokenRefusal, TokenVerifier};
use token_support::*;

#[test]
fn configured_keys_are_examined_when_they_are_loaded() {
    let p521 = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).expect("a key");
    let p521 = pem("PUBLIC KEY", der(p521.public_key()).as_ref());
    let private = pem("PRIVATE KEY", KEYS.p256.to_pkcs8v1().expect("it can be written").as_ref());
    let rsa_private: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
        KEYS.rsa.as_der().expect("it can be written");
    let rsa_private = pem("PRIVATE KEY", rsa_private.as_ref());
    let pkcs1 = pem("RSA PUBLIC KEY", KEYS.rsa.public_key().as_ref());
    assert_eq!(VerifyingKey::rsa_pem(&pkcs1).map(drop), Ok(()));
    let cut = p256_pem().replace('A', "");
    for (fault, wanted) in [
        (VerifyingKey::hmac(b""), KeyFault::EmptySecret),
        (VerifyingKey::hmac(rsa_pem().as_bytes()), KeyFault::SecretIsPem),
        (VerifyingKey::hmac(format!("\n {}", p256_pem()).as_bytes()), KeyFault::SecretIsPem),
        (VerifyingKey::rsa_pem(""), KeyFault::NotPublicKeyPem),
        (VerifyingKey::rsa_pem("ssh-rsa AAAA"), KeyFault::NotPublicKeyPem),
        (VerifyingKey::rsa_pem(&pem("CERTIFICATE", b"x")), KeyFault::NotPublicKeyPem),
        (VerifyingKey::rsa_pem(&p256_pem()), KeyFault::NotRsa),
        (VerifyingKey::rsa_pem(&pem("PUBLIC KEY", b"x")), KeyFault::NotRsa),
        (VerifyingKey::rsa_pem(&rsa_private), KeyFault::PrivateKey),
        (VerifyingKey::ecdsa_pem(&private), KeyFault::PrivateKey),
        (VerifyingKey::ecdsa_pem(&rsa_pem()), KeyFault::NotEcdsa),
        (VerifyingKey::ecdsa_pem(&pkcs1), KeyFault::NotEcdsa),
        (VerifyingKey::ecdsa_pem(&p521), KeyFault::Curve),
        (VerifyingKey::ecdsa_pem(&cut), KeyFault::NotEcdsa),
        (VerifyingKey::ed25519_pem(&p256_pem()), KeyFault::NotEd25519),
    ] {
        assert_eq!(fault.map(drop), Err(wanted));
    }
    assert!(VerifyingKey::hmac(b"short").expect("it is taken").is_weak());
    assert!(!VerifyingKey::hmac(SECRET).expect("it is taken").is_weak());
    assert!(StaticKeys::default().with(VerifyingKey::hmac(b"short").expect("taken")).have_weak());
}

fn rsa_and_broken_entries() -> Vec<(String, SkipReason)> {
    let modulus = KEYS.rsa.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let n = base64url(&modulus);
    let weak = base64url(&modulus[..128]);
    let huge = base64url(vec![0xff; 1025]);
    let long = "k".repeat(256);
    let size = |bits| SkipReason::Key(KeyFault::RsaSize { bits });
    let exponent = SkipReason::Key(KeyFault::RsaExponent);
    vec![
        (r#"7"#.to_owned(), SkipReason::Malformed),
        (r#"{}"#.to_owned(), SkipReason::NoKeyId),
        (format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#), SkipReason::NoKeyId),
        (format!(r#"{{"kid":"","kty":"RSA","n":"{n}","e":"AQAB"}}"#), SkipReason::NoKeyId),
        (r#"{"kid":7}"#.to_owned(), SkipReason::Malformed),
        (format!(r#"{{"kid":"{long}","kty":"RSA"}}"#), SkipReason::KeyIdTooLong),
        (r#"{"kid":"a"}"#.to_owned(), SkipReason::Malformed),
        (r#"{"kid":"a","kid":"b","kty":"RSA"}"#.to_owned(), SkipReason::Malformed),
        (r#"{"kid":"a","kty":"oct","k":"c2VjcmV0"}"#.to_owned(), SkipReason::Symmetric),
        (r#"{"kid":"a","kty":"XYZ"}"#.to_owned(), SkipReason::KeyType),
        (r#"{"kid":"a","kty":"rsa"}"#.to_owned(), SkipReason::KeyType),
        (r#"{"kid":"a","kty":"RSA"}"#.to_owned(), SkipReason::Malformed),
        (format!(r#"{{"kid":"a","kty":"RSA","n":"{weak}","e":"AQAB"}}"#), size(1024)),
        (format!(r#"{{"kid":"a","kty":"RSA","n":"{huge}","e":"AQAB"}}"#), size(8200)),
        (r#"{"kid":"a","kty":"RSA","n":"","e":"AQAB"}"#.to_owned(), size(0)),
        (format!(r#"{{"kid":"a","kty":"RSA","n":"{n}","e":"AQ"}}"#), exponent),
        (format!(r#"{{"kid":"a","kty":"RSA","n":"{n}","e":"BA"}}"#), exponent),
        (format!(r#"{{"kid":"a","kty":"RSA","n":"{n}=","e":"AQAB"}}"#), SkipReason::Malformed),
        (
            format!(r#"{{"kid":"a","kty":"RSA","n":"{n}","e":"AQAB","d":"{n}"}}"#),
            SkipReason::Private,
        ),
        (
            format!(r#"{{"kid":"a","kty":"RSA","n":"{n}","e":"AQAB","use":"enc"}}"#),
            SkipReason::OtherPurpose,
        ),
        (
            format!(r#"{{"kid":"a","kty":"RSA","n":"{n}","e":"AQAB","key_ops":["encrypt"]}}"#),
            SkipReason::OtherPurpose,
        ),
        (
            format!(r#"{{"kid":"a","kty":"RSA","n":"{n}","e":"AQAB","alg":"HS256"}}"#),
            SkipReason::Algorithm,
        ),
        (
            format!(r#"{{"kid":"a","kty":"RSA","n":"{n}","e":"AQAB","alg":"RSA-OAEP"}}"#),
            SkipReason::Algorithm,
        ),
    ]
}

fn curve_entries() -> Vec<(String, SkipReason)> {
    let x = base64url(&KEYS.p256.public_key().as_ref()[1..33]);
    let y = base64url(&KEYS.p256.public_key().as_ref()[33..]);
    let short = base64url(&KEYS.p256.public_key().as_ref()[1..32]);
    let ed = base64url(KEYS.ed25519.public_key().as_ref());
    vec![
        (
            format!(r#"{{"kid":"a","kty":"EC","crv":"P-256","x":"{y}","y":"{x}"}}"#),
            SkipReason::Key(KeyFault::NotOnCurve),
        ),
        (
            format!(r#"{{"kid":"a","kty":"EC","crv":"P-256","x":"{short}","y":"{y}"}}"#),
            SkipReason::Malformed,
        ),
        (
            format!(r#"{{"kid":"a","kty":"EC","crv":"P-384","x":"{x}","y":"{y}"}}"#),
            SkipReason::Malformed,
        ),
        (
            format!(r#"{{"kid":"a","kty":"EC","crv":"secp256k1","x":"{x}","y":"{y}"}}"#),
            SkipReason::Curve,
        ),
        (format!(r#"{{"kid":"a","kty":"EC","x":"{x}","y":"{y}"}}"#), SkipReason::Curve),
        (
            format!(r#"{{"kid":"a","kty":"EC","crv":"P-256","x":"{x}","y":"{y}","alg":"ES384"}}"#),
            SkipReason::Algorithm,
        ),
        (format!(r#"{{"kid":"a","kty":"OKP","crv":"X25519","x":"{ed}"}}"#), SkipReason::Curve),
        (
            r#"{"kid":"a","kty":"OKP","crv":"Ed25519","x":"AAAA"}"#.to_owned(),
            SkipReason::Key(KeyFault::NotEd25519),
        ),
        (
            format!(r#"{{"kid":"r","kty":"OKP","crv":"Ed25519","x":"{ed}"}}"#),
            SkipReason::KeyIdTwice,
        ),
    ]
}

/// Keys that are not of use are left out, each with its reason, and the rest is used.
#[test]
fn a_key_set_is_used_as_far_as_it_can_be() {
    let mut bad = rsa_and_broken_entries();
    bad.extend(curve_entries());
    let good = jwks();
    let good = good.trim_start_matches(r#"{"keys":["#).trim_end_matches("]}");
    let entries: Vec<&str> = bad.iter().map(|(entry, _)| entry.as_str()).collect();
    let document = format!(r#"{{"keys":[{good},{}],"more":null}}"#, entries.join(","));
    let set = KeySet::parse(document.as_bytes()).expect("four keys are good");
    assert_eq!(set.len(), 4);
    assert!(["r", "e", "f", "d"].iter().all(|key_id| set.contains(key_id)));
    let reasons: Vec<_> = set.skipped().iter().map(|(index, reason)| (*index, *reason)).collect();
    let wanted: Vec<_> =
        bad.iter().enumerate().map(|(index, (_, reason))| (index + 4, *reason)).collect();
    assert_eq!(reasons, wanted);
    for (_, reason) in reasons {
        assert!(!reason.to_string().is_empty());
        assert!(!reason.label().is_empty());
    }
}

#[test]
fn a_document_that_is_no_key_set_is_refused() {
    let malformed = ["", "null", "[]", "{}", "<html>", r#"{"keys":{}}"#, r#"{"keys":null}"#];
    for document in malformed {
        let refused = KeySet::parse(document.as_bytes()).map(drop);
        assert_eq!(refused, Err(KeySetFault::Malformed), "{document}");
    }
    let twice = r#"{"keys":[],"keys":[]}"#;
    assert_eq!(KeySet::parse(twice.as_bytes()).map(drop), Err(KeySetFault::Malformed));
    let bomb = format!(r#"{{"keys":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(KeySet::parse(bomb.as_bytes()).map(drop), Err(KeySetFault::Malformed));
    assert_eq!(KeySet::parse(&[0xff; 100]).map(drop), Err(KeySetFault::Malformed));
    let empty = KeySetFault::NoUsableKey { skipped: 0, first: None };
    assert_eq!(KeySet::parse(br#"{"keys":[]}"#).map(drop), Err(empty));
    let useless = KeySetFault::NoUsableKey { skipped: 2, first: Some(SkipReason::NoKeyId) };
    assert_eq!(KeySet::parse(br#"{"keys":[{},7]}"#).map(drop), Err(useless));
    let large = format!(r#"{{"keys":[]{}}}"#, " ".repeat(256 * 1024));
    let refused = KeySet::parse(large.as_bytes()).map(drop);
    assert_eq!(refused, Err(KeySetFault::TooLarge { bytes: large.len() }));
    let many = format!(r#"{{"keys":[{}7]}}"#, "7,".repeat(100));
    assert_eq!(
        KeySet::parse(many.as_bytes()).map(drop),
        Err(KeySetFault::TooManyKeys { keys: 101 })
    );
}

#[test]
fn another_key_set_makes_another_verifier() {
    let rules = || TokenRules::new(Keys::Published(KeySet::default().into()));
    let before = Verifier::new(rules(), None).expect("good rules");
    let connection = token(r#"{"alg":"ES256","kid":"e"}"#, "{}", es256);
    let subscription = token(r#"{"alg":"ES256","kid":"e"}"#, r#"{"channel":"a"}"#, es256);
    let set = std::sync::Arc::new(KeySet::parse(jwks().as_bytes()).expect("a good set"));
    assert_eq!(before.connection(&connection, NOW), Err(TokenRefusal::KeyUnknown));
    let after = before.with_jwks(set.clone());
    assert!(after.connection(&connection, NOW).is_ok());
    assert!(after.subscription(&subscription, NOW).is_ok());
    assert_eq!(before.connection(&connection, NOW), Err(TokenRefusal::KeyUnknown));

    let own = Verifier::new(rules(), Some(rules())).expect("good rules").with_jwks(set.clone());
    assert!(own.connection(&connection, NOW).is_ok());
    assert_eq!(own.subscription(&subscription, NOW), Err(TokenRefusal::KeyUnknown));
    let own = own.with_subscription_jwks(set.clone());
    assert!(own.subscription(&subscription, NOW).is_ok());

    // Configured keys are not replaced by published ones.
    let configured = verifier(StaticKeys::default()).with_jwks(set);
    assert_eq!(configured.connection(&connection, NOW), Err(TokenRefusal::Invalid));
}

#[test]
fn the_key_id_of_a_token_can_be_read_without_its_key() {
    assert_eq!(key_id(&token(r#"{"alg":"ES256","kid":"e"}"#, "", es256)), Some("e".to_owned()));
    assert_eq!(key_id(&token(r#"{"alg":"ES256"}"#, "{}", es256)), None);
    assert_eq!(key_id(&token(r#"{"alg":"none","kid":"e"}"#, "{}", es256)), None);
    assert_eq!(key_id("nonsense"), None);
}
