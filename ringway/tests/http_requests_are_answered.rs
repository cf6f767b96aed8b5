//! Goal: HTTP on the client port: whoever sends a whole request gets its answer, in order.
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
    server.get(&server.address, "/health");
    server.signal("TERM");
    // The latest connection has its turn first.
    assert_eq!(other.receive(), Received::Close(3001), "the drain is through");
    stream.write_all(second.as_bytes()).expect("it reads on");
    let text = rest(&mut stream);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    drop((stream, other));
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
}
