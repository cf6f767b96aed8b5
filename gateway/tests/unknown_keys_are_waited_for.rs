//! Goal: a token of a key that is not known waits until the key is loaded or refused, and no storm
//! of unknown keys refuses those who wait for another.
//! Method: verifiers that know keys by name; loading is the test.

mod support;

use std::sync::Arc;

use gateway::engine::{ConnectClaims, Event, SubscribeTokenClaims, TokenRefusal, TokenVerifier};
use protocol::ids::{ShardId, home_of};
use support::{Bench, insecure, open_channels};

/// Knows one key; the key of a token is its `kid`.
#[derive(Debug)]
struct Knows(&'static str);

impl TokenVerifier for Knows {
    fn connection(&self, token: &str, _: u64) -> Result<ConnectClaims, TokenRefusal> {
        if gateway::auth::key_id(token).as_deref() != Some(self.0) {
            return Err(TokenRefusal::KeyUnknown);
        }
        let users = (0..).map(|number| format!("user{number}"));
        let user = users.into_iter().find(|user| home_of(user, 2) == ShardId(0));
        Ok(ConnectClaims { user: user.expect("half of them are"), ..ConnectClaims::default() })
    }

    fn subscription(&self, _: &str, _: u64) -> Result<SubscribeTokenClaims, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }
}

/// A token with a key id; nobody looks behind its head here.
fn connect_with(kid: &str) -> String {
    use base64::Engine as _;
    let head = format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#);
    let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(head);
    format!(r#"{{"id":1,"connect":{{"token":"{head}.e30.AA"}}}}"#)
}

#[test]
fn it_is_taken_up_when_its_key_comes() {
    let mut bench = Bench::with_tokens(insecure(open_channels()), Arc::new(Knows("old")));
    let connection = bench.upgraded();
    bench.say(connection, &format!("{}\n{{\"id\":2,\"ping\":{{}}}}", connect_with("new")));
    assert!(bench.texts(connection).is_empty(), "it waits");
    bench.tell(Event::Keys(Arc::new(Knows("new"))));
    let texts = bench.texts(connection);
    assert!(texts[0].contains(r#""connect":"#), "{texts:?}");
    assert!(texts[1].contains(r#""ping":"#), "what came behind it too: {texts:?}");
    assert_eq!(texts.len(), 2, "and once: {texts:?}");
}

#[test]
fn it_is_refused_with_its_own_key_only() {
    let mut bench = Bench::with_tokens(insecure(open_channels()), Arc::new(Knows("old")));
    let (honest, bogus) = (bench.upgraded(), bench.upgraded());
    bench.say(honest, &connect_with("new"));
    bench.say(bogus, &connect_with("bogus"));
    bench.tell(Event::KeysFailed { key_id: Some("bogus".to_owned()) });
    assert_eq!(bench.texts(bogus), ["close 3500"]);
    assert!(bench.texts(honest).is_empty(), "it still waits");
    bench.tell(Event::KeysFailed { key_id: None });
    assert_eq!(bench.texts(honest), ["close 3500"]);
}
