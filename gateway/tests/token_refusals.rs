//! Every bad token is refused, each for its reason.
//!
//! Goal: rows B1, B2 and B4 of the reliability plan. Method: a table of tokens against a verifier
//! that holds one key of every kind, so that a token is refused for what is wrong with it and not
//! for want of a key.

mod token_support;

use core::fmt::Write as _;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::KeyPair;
use gateway::auth::{Keys, StaticKeys, TokenRules, Verifier, VerifyingKey};
use gateway::engine::{TokenRefusal, TokenVerifier};
use token_support::*;

use TokenRefusal::{Expired, Invalid};

struct Case {
    name: String,
    token: String,
    refusal: TokenRefusal,
}

fn case(name: impl Into<String>, token: String, refusal: TokenRefusal) -> Case {
    Case { name: name.into(), token, refusal }
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// Claims that are good, with room for one more.
const GOOD: &str = r#""sub":"42","exp":1800000060,"aud":"ringway","iss":"https://issuer.example""#;

fn strict_rules(keys: StaticKeys) -> TokenRules {
    TokenRules {
        audience: Some("ringway".to_owned()),
        issuer: Some("https://issuer.example".to_owned()),
        ..TokenRules::new(Keys::Configured(keys))
    }
}

fn strict_verifier() -> Verifier {
    Verifier::new(strict_rules(all_keys()), None).expect("good rules")
}

fn good_claims() -> String {
    format!("{{{GOOD}}}")
}

fn with_header(header: &str) -> String {
    token(header, &good_claims(), hs256(SECRET))
}

fn with_claims(claims: &str) -> String {
    token(HEADER, claims, hs256(SECRET))
}

/// Good claims without the named ones, and with `more`.
fn with_changed(without: &str, more: &str) -> String {
    let kept: Vec<&str> =
        GOOD.split(',').filter(|claim| !claim.starts_with(&format!("\"{without}\""))).collect();
    let comma = if more.is_empty() { "" } else { "," };
    with_claims(&format!("{{{}{comma}{more}}}", kept.join(",")))
}

fn with_more(more: &str) -> String {
    with_changed("", more)
}

/// Headers over good claims and a signature that is good for them.
const BAD_HEADERS: &[&str] = &[
    r#"{}"#,
    r#"{"typ":"JWT"}"#,
    r#"{"alg":null}"#,
    r#"{"alg":256}"#,
    r#"{"alg":["HS256"]}"#,
    r#"{"alg":{"name":"HS256"}}"#,
    r#"{"Alg":"HS256"}"#,
    r#"{"alg":"HS256","alg":"HS256"}"#,
    r#"{"alg":"none","alg":"HS256"}"#,
    r#"{"alg":"HS256","\u0061lg":"none"}"#,
    r#"[{"alg":"HS256"}]"#,
    r#""HS256""#,
    r#"{"alg":"HS256"} {}"#,
    r#"{"alg":"HS256""#,
    "",
    "HS256",
    // Extensions that must be understood.
    r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
    r#"{"alg":"HS256","crit":[]}"#,
    r#"{"alg":"HS256","crit":null}"#,
    r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
    // Key ids.
    r#"{"alg":"HS256","kid":["a"]}"#,
    r#"{"alg":"HS256","kid":7}"#,
    r#"{"alg":"HS256","kid":null}"#,
    r#"{"alg":"HS256","kid":{"$ne":""}}"#,
    r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
];

fn algorithm_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in [
        "none",
        "None",
        "nOnE",
        "NONE",
        "none ",
        "",
        "HS256 ",
        "hs256",
        "HS1",
        "HS2560",
        "RS1",
        "PS256",
        "ES256K",
        "ES512",
        "A128KW",
        "dir",
        "Ed448",
        "\\u0000HS256",
    ] {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        cases.push(case(format!("alg {name:?}, signed"), with_header(&header), Invalid));
        let unsigned = token(&header, &good_claims(), |_| Vec::new());
        cases.push(case(format!("alg {name:?}, unsigned"), unsigned, Invalid));
    }
    for header in BAD_HEADERS {
        cases.push(case(format!("header {header}"), with_header(header), Invalid));
    }
    for length in [256, 10_000] {
        let header = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(length));
        cases.push(case(format!("kid of {length} bytes"), with_header(&header), Invalid));
    }
    // One algorithm named, another one used.
    type Sign = fn(&[u8]) -> Vec<u8>;
    let signs: [(&str, Sign); 7] = [
        ("RS256", rs256),
        ("RS384", rs384),
        ("PS256", ps256),
        ("ES256", es256),
        ("ES384", es384),
        ("EdDSA", eddsa),
        ("HS256", |message| hs256(SECRET)(message)),
    ];
    for (used, sign) in signs {
        for (named, _) in signs.into_iter().filter(|(named, _)| *named != used) {
            let confused = token(&format!(r#"{{"alg":"{named}"}}"#), &good_claims(), sign);
            cases.push(case(format!("{used} called {named}"), confused, Invalid));
        }
    }
    cases
}

/// CVE-2016-10555 and its kin: a public key as HMAC secret.
fn confusion_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, pem, der, raw) in [
        (
            "RSA",
            rsa_pem(),
            der(KEYS.rsa.public_key()).as_ref().to_vec(),
            KEYS.rsa.public_key().as_ref().to_vec(),
        ),
        (
            "P-256",
            p256_pem(),
            der(KEYS.p256.public_key()).as_ref().to_vec(),
            KEYS.p256.public_key().as_ref().to_vec(),
        ),
        (
            "Ed25519",
            ed25519_pem(),
            der(KEYS.ed25519.public_key()).as_ref().to_vec(),
            KEYS.ed25519.public_key().as_ref().to_vec(),
        ),
    ] {
        let secrets =
            [pem.as_bytes(), pem.trim().as_bytes(), &der, &raw].map(<[u8]>::to_vec).into_iter();
        for (form, secret) in ["PEM", "PEM without line end", "DER", "raw"].iter().zip(secrets) {
            for (alg, hash) in [
                ("HS256", hmac::HMAC_SHA256),
                ("HS384", hmac::HMAC_SHA384),
                ("HS512", hmac::HMAC_SHA512),
                ("RS256", hmac::HMAC_SHA256),
                ("ES256", hmac::HMAC_SHA512),
                ("EdDSA", hmac::HMAC_SHA512),
            ] {
                let header = format!(r#"{{"alg":"{alg}"}}"#);
                let forged = token(&header, &good_claims(), hmac_with(hash, &secret));
                cases.push(case(format!("{alg} by {name} key as {form}"), forged, Invalid));
            }
        }
    }
    for secret in [&b""[..], b"\0", b"secret", &SECRET[1..], b"null"] {
        let forged = token(HEADER, &good_claims(), hs256(secret));
        cases.push(case(format!("secret {secret:?}"), forged, Invalid));
    }
    // CVE-2018-0114: the token brings the key that it is signed with.
    for embedded in [
        format!(r#""jwk":{{"kty":"oct","k":"{}"}}"#, base64url(b"attacker")),
        r#""jku":"https://evil.example/jwks.json""#.to_owned(),
        r#""x5u":"https://evil.example/x509""#.to_owned(),
        format!(r#""x5c":["{}"]"#, base64url(b"attacker")),
    ] {
        let header = format!(r#"{{"alg":"HS256",{embedded}}}"#);
        let forged = token(&header, &good_claims(), hs256(b"attacker"));
        cases.push(case(format!("embedded {embedded}"), forged, Invalid));
    }
    cases
}

fn signature_cases() -> Vec<Case> {
    let good = with_claims(&good_claims());
    let (message, signature) = good.rsplit_once('.').expect("a token has dots");
    let (header, claims) = message.split_once('.').expect("a token has dots");
    let changed = good_claims().replace("42", "43");
    let mut cases = vec![
        case("empty signature", format!("{message}."), Invalid),
        case("no signature", message.to_owned(), Invalid),
        case("null signature", format!("{message}.{}", base64url("null")), Invalid),
        case("zero signature", format!("{message}.{}", base64url([0; 32])), Invalid),
        case("truncated by a letter", good[..good.len() - 1].to_owned(), Invalid),
        case("half a signature", format!("{message}.{}", &signature[..20]), Invalid),
        case("longer signature", format!("{good}AAAA"), Invalid),
        case("padding", format!("{good}="), Invalid),
        case("padding in the claims", format!("{header}.{claims}==.{signature}"), Invalid),
        case("line end", format!("{good}\n"), Invalid),
        case("blank before", format!(" {good}"), Invalid),
        case("blank inside", format!("{header} .{claims}.{signature}"), Invalid),
        case("NUL behind", format!("{good}\0"), Invalid),
        case("four parts", format!("{good}.{signature}"), Invalid),
        case("five parts", format!("{good}.a.b"), Invalid),
        case("dots", "..".to_owned(), Invalid),
        case("one dot", ".".to_owned(), Invalid),
        case("nothing", String::new(), Invalid),
        case("words", "let me in".to_owned(), Invalid),
        case("not ASCII", format!("{good}\u{1f512}"), Invalid),
        case("Bearer", format!("Bearer {good}"), Invalid),
        case("header missing", format!(".{claims}.{signature}"), Invalid),
        case("claims missing", format!("{header}..{signature}"), Invalid),
        case("other claims", format!("{header}.{}.{signature}", base64url(changed)), Invalid),
        case(
            "JSON form",
            format!(r#"{{"payload":"{claims}","signature":"{signature}"}}"#),
            Invalid,
        ),
        case("1 MB", format!("{header}.{}.{signature}", "A".repeat(1_000_000)), Invalid),
        case("1 MB of dots", ".".repeat(1_000_000), Invalid),
    ];
    // CVE-2022-21449: r = s = 0 solves a careless equation; so do multiples of the group's order.
    let order = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
    let order: Vec<u8> = (0..32)
        .map(|i| u8::from_str_radix(&order[2 * i..2 * i + 2], 16).expect("it is hexadecimal"))
        .collect();
    let mut one = [0; 32];
    one[31] = 1;
    let halves = [("0", vec![0; 32]), ("1", one.to_vec()), ("n", order), ("max", vec![255; 32])];
    for (r_name, r) in &halves {
        for (s_name, s) in &halves {
            let forged =
                token(r#"{"alg":"ES256"}"#, &good_claims(), |_| [r.clone(), s.clone()].concat());
            cases.push(case(format!("ES256 r={r_name} s={s_name}"), forged, Invalid));
        }
    }
    for length in [0, 1, 63, 65, 96, 132] {
        let forged = token(r#"{"alg":"ES256"}"#, &good_claims(), |_| vec![7; length]);
        cases.push(case(format!("ES256 of {length} bytes"), forged, Invalid));
        let forged = token(r#"{"alg":"EdDSA"}"#, &good_claims(), |_| vec![0; length]);
        cases.push(case(format!("EdDSA of {length} bytes"), forged, Invalid));
        let forged = token(r#"{"alg":"RS256"}"#, &good_claims(), |_| vec![0; length]);
        cases.push(case(format!("RS256 of {length} bytes"), forged, Invalid));
    }
    cases
}

/// The last letter of an unpadded part holds bits that carry nothing; only zeros are accepted
/// there.
fn spare_bit_cases() -> Vec<Case> {
    let good = with_claims(&good_claims());
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = good.chars().last().and_then(|last| alphabet.find(last)).expect("Base64 letters");
    (1..4)
        .map(|spare| {
            let other = alphabet.as_bytes()[last + spare] as char;
            let token = format!("{}{other}", &good[..good.len() - 1]);
            case(format!("spare bits {spare}"), token, Invalid)
        })
        .collect()
}

/// Claims with one of [`GOOD`] left out and another one put in.
const BAD_CLAIMS: &[(&str, &str)] = &[
    // Time: whole seconds, nothing else.
    ("exp", r#""exp":"1800000060""#),
    ("exp", r#""exp":1e400"#),
    ("exp", r#""exp":1e10"#),
    ("exp", r#""exp":-1"#),
    ("exp", r#""exp":1800000060.5"#),
    ("exp", r#""exp":1800000060.0"#),
    ("exp", r#""exp":99999999999999999999"#),
    ("exp", r#""exp":null"#),
    ("exp", r#""exp":true"#),
    ("exp", r#""exp":[1800000060]"#),
    ("exp", r#""exp":{}"#),
    ("exp", r#""exp":NaN"#),
    ("exp", r#""exp":0x7fffffff"#),
    ("", r#""nbf":"0""#),
    ("", r#""nbf":-5"#),
    ("", r#""nbf":null"#),
    ("", r#""nbf":1.5"#),
    ("", r#""expire_at":"0""#),
    ("", r#""expire_at":-1"#),
    ("", r#""expire_at":null"#),
    // Names that stand twice, also behind an escape, also where nobody looks.
    ("", r#""exp":1800000060"#),
    ("", r#""sub":"43""#),
    ("", r#""\u0073ub":"43""#),
    ("", r#""other":1,"other":1"#),
    ("", r#""subs":{"a":{},"a":{}}"#),
    ("", r#""subs":{"a":{"info":1,"info":2}}"#),
    ("", r#""subs":{"a":{"override":{"presence":{"value":true,"value":false}}}}"#),
    // Users.
    ("sub", r#""sub":42"#),
    ("sub", r#""sub":null"#),
    ("sub", r#""sub":["42"]"#),
    ("sub", r#""sub":{"id":"42"}"#),
    ("sub", r#""sub":true"#),
    // Audience and issuer.
    ("aud", ""),
    ("aud", r#""aud":"other""#),
    ("aud", r#""aud":"Ringway""#),
    ("aud", r#""aud":"ringway ""#),
    ("aud", r#""aud":[]"#),
    ("aud", r#""aud":["other","ringway2"]"#),
    ("aud", r#""aud":[["ringway"]]"#),
    ("aud", r#""aud":["ringway",7]"#),
    ("aud", r#""aud":null"#),
    ("aud", r#""aud":7"#),
    ("aud", r#""aud":{"ringway":true}"#),
    ("iss", ""),
    ("iss", r#""iss":"https://issuer.example/""#),
    ("iss", r#""iss":"https://evil.example""#),
    ("iss", r#""iss":["https://issuer.example"]"#),
    ("iss", r#""iss":null"#),
    // Channels and content.
    ("", r#""channels":"news""#),
    ("", r#""channels":[1]"#),
    ("", r#""channels":[""]"#),
    ("", r#""channels":{"news":1}"#),
    ("", r#""subs":["news"]"#),
    ("", r#""subs":{"news":7}"#),
    ("", r#""subs":{"":{}}"#),
    ("", r#""subs":{"news":{"override":7}}"#),
    ("", r#""subs":{"news":{"override":{"presence":true}}}"#),
    ("", r#""subs":{"news":{"override":{"presence":{"value":"yes"}}}}"#),
    ("", r#""b64info":"*""#),
    ("", r#""b64info":"YQ""#),
    ("", r#""b64info":7"#),
    ("", r#""subs":{"news":{"b64data":"="}}"#),
    // A subscription token opens no connection.
    ("", r#""channel":"news""#),
    ("", r#""channel":7"#),
];

fn claim_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for claims in [
        "",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{",
        "{}}",
        "{'sub':'42'}",
        "{\"sub\":\"42\",}",
        "\u{feff}{}",
    ] {
        cases.push(case(format!("claims {claims:?}"), with_claims(claims), Invalid));
    }
    for (without, more) in BAD_CLAIMS {
        let name = format!("claims without {without:?} and with {more}");
        cases.push(case(name, with_changed(without, more), Invalid));
    }
    let long = "x".repeat(256);
    cases.push(case("long user", with_changed("sub", &format!(r#""sub":"{long}""#)), Invalid));
    cases.push(case("long channel", with_more(&format!(r#""channels":["{long}"]"#)), Invalid));
    cases
}

fn time_cases() -> Vec<Case> {
    [
        ("exp", r#""exp":1799999999"#),
        ("exp", r#""exp":1800000000"#),
        ("exp", r#""exp":0"#),
        ("", r#""nbf":1800000001"#),
        ("", r#""nbf":18446744073709551615"#),
        ("", r#""expire_at":1799999999"#),
        ("exp", r#""exp":1799999999,"expire_at":1800000060"#),
        ("exp", r#""exp":1799999999,"expire_at":0"#),
    ]
    .into_iter()
    .map(|(without, more)| case(format!("time {more}"), with_changed(without, more), Expired))
    .collect()
}

fn bomb_cases() -> Vec<Case> {
    let depth = 4000;
    let lists = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut objects = "{\"a\":".repeat(1000);
    write!(objects, "1{}", "}".repeat(1000)).expect("a text takes everything");
    vec![
        case("deep info", with_more(&format!(r#""info":{lists}"#)), Invalid),
        case("deep unknown claim", with_more(&format!(r#""x":{objects}"#)), Invalid),
        case("deep subs", with_more(&format!(r#""subs":{objects}"#)), Invalid),
        case("deep aud", with_changed("aud", &format!(r#""aud":{lists}"#)), Invalid),
        case("deep claims", with_claims(&lists), Invalid),
        case("open lists", with_claims(&"[".repeat(10_000)), Invalid),
        case("deep header", with_header(&format!(r#"{{"alg":"HS256","x":{lists}}}"#)), Invalid),
        case("signed but long", with_more(&format!(r#""x":"{}""#, "x".repeat(12_300))), Invalid),
    ]
}

#[test]
fn every_bad_token_is_refused_for_its_reason() {
    let verifier = strict_verifier();
    let good = with_claims(&good_claims());
    verifier.connection(&good, NOW).expect("the pattern of all cases is good");
    let mut cases = algorithm_cases();
    cases.extend(confusion_cases());
    cases.extend(signature_cases());
    cases.extend(spare_bit_cases());
    cases.extend(claim_cases());
    cases.extend(time_cases());
    cases.extend(bomb_cases());
    assert!(cases.len() >= 340, "the table has {} rows", cases.len());
    for Case { name, token, refusal } in &cases {
        assert_eq!(verifier.connection(token, NOW), Err(*refusal), "{name}");
        let subscription = verifier.subscription(token, NOW);
        assert!(subscription.is_err() || name.contains("channel"), "{name}: {subscription:?}");
    }
}

/// Key ids that would hurt if anybody opened, fetched or asked a database for them.
#[test]
fn a_key_id_is_only_looked_up() {
    let configured = strict_verifier();
    let set = gateway::auth::KeySet::parse(jwks().as_bytes()).expect("a good set");
    let rules = TokenRules::new(Keys::Published(set.into()));
    let published = Verifier::new(rules, None).expect("good rules");
    for key_id in [
        "../../dev/null",
        "/dev/null",
        "file:///etc/passwd",
        "http://169.254.169.254/",
        "' OR 1=1 --",
        "x' UNION SELECT 'secret",
        "$(id)",
        "|id",
        "\\u0000",
        "r\\u0000",
        "R",
        " r",
        "",
        "*",
        "e,r",
    ] {
        let header = format!(r#"{{"alg":"HS256","kid":"{key_id}"}}"#);
        for secret in [&b""[..], b"\0", SECRET] {
            let token = token(&header, &good_claims(), hs256(secret));
            // Configured keys have no ids, so that the id changes nothing.
            assert_eq!(configured.connection(&token, NOW).is_ok(), secret == SECRET, "{key_id}");
            let refusal = published.connection(&token, NOW);
            assert_eq!(refusal, Err(TokenRefusal::KeyUnknown), "{key_id}");
        }
    }
}

#[test]
fn a_published_key_serves_its_own_algorithm_only() {
    let set = gateway::auth::KeySet::parse(jwks().as_bytes()).expect("a good set");
    let rules = TokenRules::new(Keys::Published(set.into()));
    let verifier = Verifier::new(rules, None).expect("good rules");
    type Sign = fn(&[u8]) -> Vec<u8>;
    let signs: [(&str, &str, Sign); 5] = [
        ("r", "RS256", rs256),
        ("r", "RS512", rs512),
        ("e", "ES256", es256),
        ("f", "ES384", es384),
        ("d", "EdDSA", eddsa),
    ];
    for (own, alg, sign) in signs {
        for key_id in ["r", "e", "f", "d"] {
            let header = format!(r#"{{"alg":"{alg}","kid":"{key_id}"}}"#);
            let answer = verifier.connection(&token(&header, &good_claims(), sign), NOW);
            assert_eq!(answer.is_ok(), key_id == own, "{alg} by {own} as {key_id}: {answer:?}");
        }
        let nameless = token(&format!(r#"{{"alg":"{alg}"}}"#), &good_claims(), sign);
        assert_eq!(verifier.connection(&nameless, NOW), Err(Invalid), "no kid");
    }
    // The issuer may allow less than the kind of the key does.
    let narrow = jwks().replace(r#""kty":"RSA""#, r#""kty":"RSA","alg":"RS256""#);
    let narrow = gateway::auth::KeySet::parse(narrow.as_bytes()).expect("a good set");
    let narrow = verifier.with_jwks(narrow.into());
    let named = |alg: &str, sign: Sign| {
        token(&format!(r#"{{"alg":"{alg}","kid":"r"}}"#), &good_claims(), sign)
    };
    assert!(narrow.connection(&named("RS256", rs256), NOW).is_ok());
    assert_eq!(narrow.connection(&named("RS512", rs512), NOW), Err(Invalid));
    // The public keys of the set as secrets.
    let raw = KEYS.ed25519.public_key().as_ref();
    for secret in [raw, rsa_pem().as_bytes(), jwks().as_bytes()] {
        let header = r#"{"alg":"HS256","kid":"d"}"#;
        let forged = token(header, &good_claims(), hs256(secret));
        assert_eq!(verifier.connection(&forged, NOW), Err(Invalid));
    }
}

#[test]
fn an_algorithm_that_is_not_allowed_is_refused_with_the_right_key() {
    let rules = TokenRules {
        algorithms: vec![gateway::auth::Algorithm::Hs512],
        ..TokenRules::new(Keys::Configured(all_keys()))
    };
    let verifier = Verifier::new(rules, None).expect("good rules");
    assert_eq!(verifier.connection(&with_claims(&good_claims()), NOW), Err(Invalid));
    let sign = hmac_with(hmac::HMAC_SHA512, SECRET);
    assert!(verifier.connection(&token(r#"{"alg":"HS512"}"#, &good_claims(), sign), NOW).is_ok());
}

#[test]
fn a_key_of_another_curve_or_owner_is_no_key() {
    let p384 = VerifyingKey::ecdsa_pem(&p384_pem()).expect("a good key");
    let verifier = verifier(StaticKeys::default().with(p384));
    let wrong_curve = token(r#"{"alg":"ES256"}"#, &good_claims(), es256);
    assert_eq!(verifier.connection(&wrong_curve, NOW), Err(Invalid));
    let named_wrong = token(r#"{"alg":"ES256"}"#, &good_claims(), es384);
    assert_eq!(verifier.connection(&named_wrong, NOW), Err(Invalid));
    assert!(verifier.connection(&token(r#"{"alg":"ES384"}"#, &good_claims(), es384), NOW).is_ok());
}

#[test]
fn without_keys_nothing_is_good() {
    let empty = verifier(StaticKeys::default());
    let token = with_claims(&good_claims());
    assert_eq!(empty.connection(&token, NOW), Err(Invalid));
    assert_eq!(empty.subscription(&token, NOW), Err(Invalid));
}

#[test]
fn bad_subscription_tokens_are_refused() {
    let verifier = strict_verifier();
    let good = with_more(r#""channel":"news""#);
    assert!(verifier.subscription(&good, NOW).is_ok());
    for (more, refusal) in [
        ("", Invalid),
        (r#""channel":"""#, Invalid),
        (r#""channel":null"#, Invalid),
        (r#""channel":["news"]"#, Invalid),
        (r#""channel":7"#, Invalid),
        (r#""channel":"news","channel":"other""#, Invalid),
        (r#""channel":"news","client":"7f2c""#, Invalid),
        (r#""channel":"news","client":7"#, Invalid),
        (r#""channel":"news","override":{"join_leave":1}"#, Invalid),
        (r#""channel":"news","b64data":"%%""#, Invalid),
        (r#""channel":"news","nbf":1800000001"#, Expired),
        (r#""channel":"news","expire_at":1"#, Expired),
    ] {
        assert_eq!(verifier.subscription(&with_more(more), NOW), Err(refusal), "{more}");
    }
    let expired = with_changed("exp", r#""channel":"news","exp":1800000000"#);
    assert_eq!(verifier.subscription(&expired, NOW), Err(Expired));
}
