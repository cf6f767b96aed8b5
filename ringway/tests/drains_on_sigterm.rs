//! Goal: SIGTERM sends every client away with 3001, spread over `shutdown.drain`, and exits with 0.
//! Method: clients wait for the close while the signal is sent.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
mod server;

use std::time::{Duration, Instant};

use server::{Client, Received, Server};

#[test]
fn clients_are_told_and_the_server_ends() {
    let config = r#"{"client": {"insecure": true}, "shutdown": {"drain": "1s"}}"#;
    let mut server = Server::start(config);
    let mut clients: Vec<_> = (0..20).map(|_| Client::connected(&server)).collect();
    let told_at = Instant::now();
    server.signal("TERM");
    let mut closed_after = Vec::new();
    for client in &mut clients {
        assert_eq!(client.receive(), Received::Close(3001));
        closed_after.push(told_at.elapsed());
    }
    drop(clients);
    let status = server.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    let last = closed_after.iter().max().expect("there were clients");
    assert!(*last >= Duration::from_millis(200), "all at once is no spread: {closed_after:?}");
}
