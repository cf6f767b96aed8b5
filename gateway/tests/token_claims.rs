//! Good tokens of every algorithm are accepted, and say what Centrifugo's backends mean by them.

mod token_support;

use aws_lc_rs::hmac;
use gateway::auth::{
    ConnectionToken, Keys, RulesFault, SigningKey, StaticKeys, SubscriptionToken, TokenRules,
    Verifier, VerifyingKey, constant_time_eq, mint_connection, mint_subscription,
};
use gateway::engine::{ConnectClaims, Overrides, SubscriptionClaims, TokenRefusal, TokenVerifier};
use protocol::client::PayloadForm;
use token_support::*;

fn read(claims: &str) -> Result<ConnectClaims, TokenRefusal> {
    read_with(TokenRules::new(Keys::Configured(all_keys())), claims)
}

fn read_with(rules: TokenRules, claims: &str) -> Result<ConnectClaims, TokenRefusal> {
    let verifier = Verifier::new(rules, None).expect("good rules");
    verifier.connection(&token(r#"{"alg":"HS256"}"#, claims, hs256(SECRET)), NOW)
}

fn text(content: Option<&protocol::link::Content>) -> Option<&str> {
    content.map(|content| core::str::from_utf8(&content.bytes).expect("it is text"))
}

#[test]
fn good_tokens_of_every_algorithm_are_accepted() {
    let verifier = verifier(all_keys());
    type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;
    let signs: Vec<(&str, Sign)> = vec![
        ("HS256", Box::new(hs256(SECRET))),
        ("HS384", Box::new(hmac_with(hmac::HMAC_SHA384, SECRET))),
        ("HS512", Box::new(hmac_with(hmac::HMAC_SHA512, SECRET))),
        ("RS256", Box::new(rs256)),
        ("RS384", Box::new(rs384)),
        ("RS512", Box::new(rs512)),
        ("ES256", Box::new(es256)),
        ("ES384", Box::new(es384)),
        ("EdDSA", Box::new(eddsa)),
    ];
    for (name, sign) in signs {
        let header = format!(r#"{{"typ":"JWT","alg":"{name}","kid":"any","jku":"ignored"}}"#);
        let connection = token(&header, r#"{"sub":"42"}"#, &sign);
        assert_eq!(verifier.connection(&connection, NOW).map(|c| c.user), Ok("42".to_owned()));
        let subscription = token(&header, r#"{"sub":"42","channel":"news"}"#, &sign);
        let claims = verifier.subscription(&subscription, NOW).expect(name);
        assert_eq!((claims.user.as_str(), claims.channel.as_str()), ("42", "news"));
    }
}

/// The token of RFC 7515, A.1, made by somebody else; it expired in 2011 and names an issuer.
#[test]
fn the_token_of_the_rfc_was_good_in_its_time() {
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let secret = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, secret);
    let keys = StaticKeys::default()
        .with(VerifyingKey::hmac(&secret.expect("it is Base64")).expect("a good secret"));
    let rules =
        TokenRules { issuer: Some("joe".to_owned()), ..TokenRules::new(Keys::Configured(keys)) };
    let verifier = Verifier::new(rules, None).expect("good rules");
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
         eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQog\
         Imh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
         dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let claims = verifier.connection(token, 1_300_819_379).expect("it is good");
    assert_eq!(claims, ConnectClaims { expires_at: Some(1_300_819_380), ..Default::default() });
    assert_eq!(verifier.connection(token, 1_300_819_380), Err(TokenRefusal::Expired));
}

#[test]
fn a_missing_or_empty_user_is_anonymous() {
    for claims in ["{}", r#"{"sub":""}"#, r#"{"user_id":"7"}"#] {
        assert_eq!(read(claims).map(|claims| claims.user), Ok(String::new()), "{claims}");
    }
}

#[test]
fn another_claim_may_hold_the_user() {
    let rules = || TokenRules {
        user_claim: "user_id".to_owned(),
        ..TokenRules::new(Keys::Configured(all_keys()))
    };
    for (claims, user) in [
        (r#"{"sub":"a","user_id":"b"}"#, Ok("b")),
        (r#"{"sub":"a","user_id":42}"#, Ok("42")),
        (r#"{"sub":"a"}"#, Ok("")),
        (r#"{"user_id":1.5}"#, Err(TokenRefusal::Invalid)),
        (r#"{"user_id":null}"#, Err(TokenRefusal::Invalid)),
        (r#"{"user_id":["b"]}"#, Err(TokenRefusal::Invalid)),
    ] {
        let read = read_with(rules(), claims).map(|claims| claims.user);
        assert_eq!(read.as_deref().map_err(|refusal| *refusal), user, "{claims}");
    }
}

#[test]
fn expire_at_decides_about_the_connection_and_exp_about_the_token() {
    for (claims, expires_at) in [
        (r#"{}"#, Ok(None)),
        (r#"{"exp":1800000060}"#, Ok(Some(NOW + 60))),
        (r#"{"exp":1800000060,"expire_at":0}"#, Ok(None)),
        (r#"{"exp":1800000060,"expire_at":1800009999}"#, Ok(Some(1_800_009_999))),
        (r#"{"expire_at":1800000001}"#, Ok(Some(NOW + 1))),
        (r#"{"expire_at":0}"#, Ok(None)),
        (r#"{"exp":18446744073709551615}"#, Ok(Some(253_402_300_799))),
        (r#"{"exp":1800000001,"nbf":1800000000,"iat":1900000000}"#, Ok(Some(NOW + 1))),
        (r#"{"iat":"yesterday","jti":{"a":[]}}"#, Ok(None)),
        (r#"{"exp":1800000000,"expire_at":0}"#, Err(TokenRefusal::Expired)),
        (r#"{"nbf":1800000001}"#, Err(TokenRefusal::Expired)),
    ] {
        assert_eq!(read(claims).map(|claims| claims.expires_at), expires_at, "{claims}");
    }
}

#[test]
fn leeway_moves_both_ends() {
    for (claims, expires_at) in [
        (r#"{"exp":1799999971}"#, Ok(Some(NOW + 1))),
        (r#"{"exp":1799999970}"#, Err(TokenRefusal::Expired)),
        (r#"{"nbf":1800000030}"#, Ok(None)),
        (r#"{"nbf":1800000031}"#, Err(TokenRefusal::Expired)),
        (r#"{"expire_at":1800000000}"#, Ok(Some(NOW + 30))),
    ] {
        let rules =
            TokenRules { leeway_seconds: 30, ..TokenRules::new(Keys::Configured(all_keys())) };
        assert_eq!(
            read_with(rules, claims).map(|claims| claims.expires_at),
            expires_at,
            "{claims}"
        );
    }
}

#[test]
fn audience_and_issuer_are_looked_at_only_if_configured() {
    assert!(read(r#"{"aud":7,"iss":[]}"#).is_ok());
    for (claims, is_good) in [
        (r#"{"aud":"us"}"#, true),
        (r#"{"aud":["them","us"]}"#, true),
        (r#"{"aud": ["us"]}"#, true),
        (r#"{"aud":"them"}"#, false),
        (r#"{}"#, false),
    ] {
        let audience = Some("us".to_owned());
        let rules = TokenRules { audience, ..TokenRules::new(Keys::Configured(all_keys())) };
        assert_eq!(read_with(rules, claims).is_ok(), is_good, "{claims}");
    }
}

#[test]
fn info_is_json_or_bytes() {
    let info = |claims: &str| read(claims).expect("it is good").info;
    let json = info(r#"{"info":{"name":"Ann","a":[1, 2]}}"#);
    assert_eq!(text(json.as_ref()), Some(r#"{"name":"Ann","a":[1, 2]}"#));
    assert_eq!(json.map(|content| content.form), Some(PayloadForm::AsIs));
    assert_eq!(text(info(r#"{"info":"x"}"#).as_ref()), Some(r#""x""#));
    assert_eq!(text(info(r#"{"info":0}"#).as_ref()), Some("0"));
    let bytes = info(r#"{"info":1,"b64info":"/wD+"}"#).expect("it is there");
    assert_eq!((&bytes.bytes[..], bytes.form), (&[0xff, 0, 0xfe][..], PayloadForm::Base64));
    for claims in ["{}", r#"{"info":null}"#, r#"{"b64info":""}"#, r#"{"b64info":null}"#] {
        assert_eq!(info(claims), None, "{claims}");
    }
}

#[test]
fn subs_stand_instead_of_channels() {
    let claims = read(r#"{"channels":["a","b"],"subs":null}"#).expect("it is good");
    assert_eq!(claims.channels, ["a", "b"]);
    assert!(claims.subs.is_empty());
    let claims = read(
        r#"{"channels":["a"],"subs":{
            "news":{"info":{"x":1},"b64data":"aGk=","override":{
                "presence":{"value":true},"join_leave":{},"force_push_join_leave":{"value":false},
                "force_recovery":{"value":true},"force_positioning":null,"unknown":{"value":true}}},
            "plain":{},"none":{"info":null,"data":null,"override":null}}}"#,
    )
    .expect("it is good");
    assert!(claims.channels.is_empty());
    assert_eq!(claims.subs.keys().collect::<Vec<_>>(), ["news", "none", "plain"]);
    assert_eq!(claims.subs["plain"], SubscriptionClaims::default());
    assert_eq!(claims.subs["none"], SubscriptionClaims::default());
    let news = &claims.subs["news"];
    assert_eq!(text(news.info.as_ref()), Some(r#"{"x":1}"#));
    assert_eq!(text(news.data.as_ref()), Some("hi"));
    let overrides = Overrides {
        presence: Some(true),
        join_leave: Some(false),
        force_push_join_leave: Some(false),
        force_recovery: Some(true),
        force_positioning: None,
    };
    assert_eq!(news.overrides, overrides);
}

#[test]
fn a_subscription_token_speaks_of_one_channel() {
    let verifier = verifier(all_keys());
    let claims = r#"{"sub":"42","channel":"news","exp":1800000060,"info":{"x":1},"data":[2],
        "override":{"presence":{"value":true}},"expire_at":1800000090,"channels":7}"#;
    let token = token(r#"{"alg":"HS256"}"#, claims, hs256(SECRET));
    let claims = verifier.subscription(&token, NOW).expect("it is good");
    assert_eq!((claims.user.as_str(), claims.channel.as_str()), ("42", "news"));
    assert_eq!(claims.subscription.expires_at, Some(NOW + 90));
    assert_eq!(text(claims.subscription.info.as_ref()), Some(r#"{"x":1}"#));
    assert_eq!(text(claims.subscription.data.as_ref()), Some("[2]"));
    assert_eq!(claims.subscription.overrides.presence, Some(true));
    assert_eq!(claims.subscription.overrides.join_leave, None);
}

#[test]
fn subscription_tokens_may_have_rules_of_their_own() {
    let keys = |secret| StaticKeys::default().with(VerifyingKey::hmac(secret).expect("good"));
    let connection = TokenRules::new(Keys::Configured(keys(b"for connections")));
    let subscription = TokenRules::new(Keys::Configured(keys(b"for subscriptions")));
    let verifier = Verifier::new(connection, Some(subscription)).expect("good rules");
    let connect = |secret| token(r#"{"alg":"HS256"}"#, "{}", hs256(secret));
    let subscribe = |secret| token(r#"{"alg":"HS256"}"#, r#"{"channel":"a"}"#, hs256(secret));
    assert!(verifier.connection(&connect(b"for connections"), NOW).is_ok());
    assert!(verifier.connection(&connect(b"for subscriptions"), NOW).is_err());
    assert!(verifier.subscription(&subscribe(b"for subscriptions"), NOW).is_ok());
    assert!(verifier.subscription(&subscribe(b"for connections"), NOW).is_err());
}

#[test]
fn the_previous_secret_is_good_until_its_last_second() {
    let keys = StaticKeys::default()
        .with(VerifyingKey::hmac(SECRET).expect("good"))
        .with_until(VerifyingKey::hmac(b"the previous one").expect("good"), NOW);
    let verifier = verifier(keys);
    let old = token(r#"{"alg":"HS256"}"#, "{}", hs256(b"the previous one"));
    assert!(verifier.connection(&old, NOW).is_ok());
    assert_eq!(verifier.connection(&old, NOW + 1), Err(TokenRefusal::Invalid));
    let new = token(r#"{"alg":"HS256"}"#, "{}", hs256(SECRET));
    assert!(verifier.connection(&new, NOW + 1).is_ok());
}

#[test]
fn minted_tokens_are_good_by_the_rules_they_were_minted_for() {
    let rules = TokenRules {
        audience: Some("us".to_owned()),
        issuer: Some("joe".to_owned()),
        user_claim: "user_id".to_owned(),
        ..TokenRules::new(Keys::Configured(all_keys()))
    };
    let verifier = Verifier::new(rules.clone(), None).expect("good rules");
    let pkcs8 = KEYS.p256.to_pkcs8v1().expect("a key can be written");
    let pem = pem("PRIVATE KEY", pkcs8.as_ref());
    let keys = [
        SigningKey::hmac(SECRET).expect("a good secret"),
        SigningKey::private_pem(gateway::auth::Algorithm::Es256, &pem).expect("a good key"),
    ];
    for key in keys {
        let connection = ConnectionToken {
            user: "42",
            expires_at: Some(NOW + 60),
            info: Some(r#"{"name":"Ann"}"#),
            channels: &["news"],
        };
        let token = mint_connection(&key, &rules, &connection).expect("it is made");
        let claims = verifier.connection(&token, NOW).expect("it is good");
        assert_eq!((claims.user.as_str(), claims.expires_at), ("42", Some(NOW + 60)));
        assert_eq!(text(claims.info.as_ref()), Some(r#"{"name":"Ann"}"#));
        assert_eq!(claims.channels, ["news"]);
        assert_eq!(verifier.connection(&token, NOW + 60), Err(TokenRefusal::Expired));
        let subscription = SubscriptionToken { user: "42", channel: "news", ..Default::default() };
        let token = mint_subscription(&key, &rules, &subscription).expect("it is made");
        let claims = verifier.subscription(&token, NOW).expect("it is good");
        assert_eq!((claims.channel.as_str(), claims.subscription.expires_at), ("news", None));
    }
    let broken = ConnectionToken { info: Some("{"), ..Default::default() };
    let key = SigningKey::hmac(SECRET).expect("a good secret");
    assert!(mint_connection(&key, &rules, &broken).is_err());
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let good = TokenRules::new(Keys::Configured(all_keys()));
    let claim = |name: &str| TokenRules { user_claim: name.to_owned(), ..good.clone() };
    for (rules, fault) in [
        (claim(""), RulesFault::UserClaim),
        (claim("a.b"), RulesFault::UserClaim),
        (TokenRules { leeway_seconds: 301, ..good.clone() }, RulesFault::Leeway),
        (TokenRules { audience: Some(String::new()), ..good.clone() }, RulesFault::EmptyText),
        (TokenRules { issuer: Some(String::new()), ..good.clone() }, RulesFault::EmptyText),
        (TokenRules { algorithms: Vec::new(), ..good.clone() }, RulesFault::NoAlgorithm),
    ] {
        assert_eq!(Verifier::new(rules, None).map(drop), Err(fault));
    }
    let keys = StaticKeys::default().with(VerifyingKey::rsa_pem(&rsa_pem()).expect("good"));
    let rules = TokenRules {
        algorithms: vec![gateway::auth::Algorithm::Hs256],
        ..TokenRules::new(Keys::Configured(keys))
    };
    assert_eq!(Verifier::new(rules, None).map(drop), Err(RulesFault::NoAlgorithm));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let canary = b"canary-7b1f-canary-7b1f-canary-7b1f";
    let key = VerifyingKey::hmac(canary).expect("a good secret");
    let rules = TokenRules::new(Keys::Configured(StaticKeys::default().with(key)));
    let signing = SigningKey::hmac(canary).expect("a good secret");
    let verifier = Verifier::new(rules.clone(), None).expect("good rules");
    let output = format!("{rules:?} {signing:?} {verifier:#?}");
    assert!(!output.contains("canary"), "{output}");
    let bytes = format!("{}, {}", canary[0], canary[1]);
    assert!(!output.contains(&bytes), "{output}");
}

#[test]
fn keys_are_compared_whole() {
    assert!(constant_time_eq(b"", b""));
    assert!(constant_time_eq(b"key", b"key"));
    for other in [&b""[..], b"ke", b"keys", b"Key", b"kez"] {
        assert!(!constant_time_eq(b"key", other));
    }
}
