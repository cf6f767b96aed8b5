//! Goal: HTTP on the client port: whoever sends a whole request gets its answer, in order, and
//! nobody holds the server's memory with bodies.
//! Method: a real server, and bytes as a client might send them.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use server::{Client, Received, Server};

const CONFIG: &str = r#"{"client": {"insecure": true}, "http_api": {"key": "k3y"},
                         "health": {"enabled": true}, "shards": 1}"#;
const GET: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

fn open(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
}

/// Everything until the server closes.
fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).expect("UTF-8")
}

/// A number of the server's only shard.
fn metric(server: &Server, name: &str) -> usize {
    let (_, metrics) = server.get(&server.operators, "/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).expect("it is exported")
}

fn post(path: &str, key: &str, length: usize) -> String {
    format!(
        "POST /api/{path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: {length}\r\n\
         \r\n"
    )
}

#[test]
fn requests_that_come_at_once_are_answered_in_order() {
    let server = Server::start(CONFIG);
    let mut stream = open(&server);
    let mut reader = stream.try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        let mut requests = GET.repeat(2000);
        requests.push_str("GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(requests.as_bytes()).expect("the server reads on");
        stream
    });
    let text = rest(&mut reader);
    drop(sender.join());
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2000);
    assert_eq!(text.matches("HTTP/1.1 ").count(), 2001);
    assert!(text.ends_with("not found\n"), "the last one is answered last");
}

#[test]
fn a_client_that_ends_its_side_gets_its_answers() {
    let server = Server::start(CONFIG);
    let mut stream = open(&server);
    stream.write_all(GET.repeat(3).as_bytes()).expect("it reads");
    stream.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(rest(&mut stream).matches("HTTP/1.1 200 OK").count(), 3);
}

#[test]
fn a_drain_lets_a_request_finish() {
    let mut server = Server::start(
        &CONFIG.replace("\"shards\"", "\"shutdown\": {\"drain\": \"100ms\"}, \"shards\""),
    );
    let mut other = Client::connected(&server);
    let mut stream = open(&server);
    let body = r#"{"channel": "a", "data": 1}"#;
    let (first, second) = body.split_at(5);
    let head = post("publish", "k3y", body.len());
    stream.write_all(format!("{head}{first}").as_bytes()).expect("it reads");
    while metric(&server, "ringway_http_body_bytes{") < first.len() {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    server.signal("TERM");
    // The latest connection has its turn first.
    assert_eq!(other.receive(), Received::Close(3001), "the drain is through");
    stream.write_all(second.as_bytes()).expect("it reads on");
    let text = rest(&mut stream);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    drop((stream, other));
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
}

#[test]
fn a_wrong_key_is_refused_before_the_body() {
    let server = Server::start(CONFIG);
    for key in ["wrong", "k3", "k3yy", ""] {
        let mut stream = open(&server);
        stream.write_all(post("publish", key, 1000).as_bytes()).expect("it reads");
        let text = rest(&mut stream);
        assert!(text.starts_with("HTTP/1.1 401"), "{key}: {text}");
        assert!(text.contains("http_api.key"), "{text}");
    }
    let mut stream = open(&server);
    let head = "POST /api/info HTTP/1.1\r\nHost: x\r\nAuthorization: apikey k3y\r\n\
                Connection: close\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(head.as_bytes()).expect("it reads");
    assert!(rest(&mut stream).starts_with("HTTP/1.1 200"));
}

#[test]
fn bodies_of_all_connections_together_are_bounded() {
    let server = Server::start(CONFIG);
    let length = 4 << 20;
    let mut body = vec![b' '; length - 1];
    body[..2].copy_from_slice(b"{}");
    let mut holders = Vec::new();
    let mut sent = 0;
    let refused = loop {
        assert!(holders.len() < 20, "there is no bound");
        let mut stream = open(&server);
        stream.write_all(post("info", "k3y", length).as_bytes()).expect("it reads");
        if stream.write_all(&body).is_err() {
            break stream;
        }
        // Once it was read, it is either held or answered.
        stream.set_nonblocking(true).expect("a socket");
        sent += post("info", "k3y", length).len() + body.len();
        while metric(&server, "ringway_bytes_received_total{") < sent {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        assert!(metric(&server, "ringway_http_body_bytes{") > 0);
        let is_answered = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).expect("a socket");
        if is_answered {
            break stream;
        }
        holders.push(stream);
    };
    let mut refused = refused;
    let text = rest(&mut refused);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 503"), "{text}");
    assert!(text.is_empty() || text.contains("Retry-After: "), "{text}");
    assert!(holders.len() >= 8, "{} bodies are not much", holders.len());
    // Small requests go on beside them, and so do those who wait.
    assert_eq!(server.get(&server.address, "/health").0, 200);
    let mut first = holders.remove(0);
    first.write_all(b" ").expect("it reads on");
    let mut start = [0; 12];
    first.read_exact(&mut start).expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 200");
}
