//! Goal: keys behind a URL are fetched, refetched when a token names an unknown one, rotated, and
//! kept when their server is gone; the log says what happened without saying secrets.
//! Method: a key set served from a thread of the test, real clients, tokens signed here. The first
//! fetch is at the start, the next one at the earliest ten seconds later, and so are the tests.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use server::{Client, Received, Server};

/// Key sets over HTTP. `None`: connections are closed without an answer.
struct Issuer {
    address: String,
    document: Arc<Mutex<Option<String>>>,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    fn start(keys: &[(&str, &Ed25519KeyPair)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let document = Arc::new(Mutex::new(Some(jwks(keys))));
        let fetches = Arc::new(AtomicUsize::new(0));
        let (shown, count) = (document.clone(), fetches.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let document = shown.lock().expect("no holder panics").clone();
                let Some(document) = document else { continue };
                let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                count.fetch_add(1, Ordering::SeqCst);
                let length = document.len();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
                let head = format!("{head}Connection: close\r\nContent-Length: {length}");
                let _ = stream.write_all(format!("{head}\r\n\r\n{document}").as_bytes());
            }
        });
        Self { address, document, fetches }
    }

    fn show(&self, document: Option<String>) {
        *self.document.lock().expect("no holder panics") = document;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn serve(&self) -> Server {
        let url = format!("http://{}/keys?token=canary-in-the-url", self.address);
        let server = Server::start(&format!(
            r#"{{"client": {{"token": {{"jwks_public_endpoint": "{url}"}}}}, "shards": 1}}"#
        ));
        server.log_until("key set loaded from ");
        server
    }
}

fn jwks(keys: &[(&str, &Ed25519KeyPair)]) -> String {
    let keys = keys.iter().map(|(id, key)| {
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        format!(r#"{{"kid":"{id}","kty":"OKP","crv":"Ed25519","x":"{x}"}}"#)
    });
    format!(r#"{{"keys":[{}]}}"#, keys.collect::<Vec<_>>().join(","))
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::generate().expect("keys can be made")
}

/// Connects with a token of this key; what comes back first.
fn connect(server: &Server, key_id: &str, key: &Ed25519KeyPair) -> Received {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","kid":"{key_id}"}}"#));
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(r#"{"sub":"u"}"#));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).as_ref());
    let mut client = Client::open(server, "/connection/websocket");
    client.send(&format!(r#"{{"id":1,"connect":{{"token":"{message}.{signature}"}}}}"#));
    client.receive()
}

fn is_accepted(received: &Received) -> bool {
    matches!(received, Received::Text(text) if text.starts_with(r#"{"id":1,"connect":{"client""#))
}

/// Connects again and again until it works, as a client would whose key was just rotated.
fn connect_in_time(server: &Server, key_id: &str, key: &Ed25519KeyPair) {
    let give_up = Instant::now() + Duration::from_secs(15);
    while !is_accepted(&connect(server, key_id, key)) {
        assert!(Instant::now() < give_up, "{key_id} is never accepted");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn a_rotated_key_is_fetched_and_the_old_one_is_told() {
    let (old, new) = (key(), key());
    let issuer = Issuer::start(&[("old", &old)]);
    let server = issuer.serve();
    assert!(is_accepted(&connect(&server, "old", &old)));
    assert_eq!(connect(&server, "old", &new), Received::Close(3500), "another key of that name");
    issuer.show(Some(jwks(&[("new", &new)])));
    connect_in_time(&server, "new", &new);
    assert_eq!(issuer.fetches(), 2, "one fetch for all of them");
    assert_eq!(connect(&server, "old", &old), Received::Close(3500));
    let log = server.log_until("are gone from the key set");
    assert!(log.contains(r#"["old"]"#), "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[test]
fn an_unknown_key_is_asked_for_once() {
    let known = key();
    let issuer = Issuer::start(&[("known", &known)]);
    let server = issuer.serve();
    let give_up = Instant::now() + Duration::from_secs(15);
    while issuer.fetches() == 1 {
        assert_eq!(connect(&server, "unknown", &key()), Received::Close(3500));
        assert!(Instant::now() < give_up, "it is never asked for");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    for _ in 0..50 {
        assert_eq!(connect(&server, "unknown", &key()), Received::Close(3500));
    }
    assert_eq!(issuer.fetches(), 2, "it is known to be unknown");
    assert!(is_accepted(&connect(&server, "known", &known)));
}

#[test]
fn without_its_server_the_last_keys_go_on() {
    let known = key();
    let issuer = Issuer::start(&[("known", &known)]);
    let server = issuer.serve();
    issuer.show(None);
    let give_up = Instant::now() + Duration::from_secs(15);
    while !server.log().contains("was not fetched: ") {
        assert_eq!(connect(&server, "unknown", &key()), Received::Close(3500));
        assert!(Instant::now() < give_up, "nothing is told");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let log = server.log();
    assert!(log.contains(&format!("the key set of {} was not fetched: ", issuer.address)));
    assert!(!log.contains("canary"), "{log}");
    assert!(is_accepted(&connect(&server, "known", &known)));
}
