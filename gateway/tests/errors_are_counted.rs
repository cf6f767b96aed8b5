//! Goal: a client that does nothing but fail is closed, and one that the server fails is not.
//! Method: more commands than the bound, refused by the gateway or by the router.

mod support;

use gateway::limits::ERRORS_MAX;
use protocol::client::ErrorCode;
use support::{Bench, insecure, open_channels};

#[test]
fn those_of_the_client() {
    let mut bench = Bench::new(insecure(open_channels()));
    let connection = bench.connected();
    for command in 0..ERRORS_MAX {
        assert!(bench.cut.is_empty(), "not before the bound");
        bench.say(connection, &format!(r#"{{"id":{},"subscribe":{{}}}}"#, command + 2));
    }
    bench.turn();
    assert_eq!(bench.texts(connection).last().map(String::as_str), Some("close 3509"));
}

#[test]
fn not_those_of_the_server() {
    let mut bench = Bench::new(insecure(open_channels()));
    let connection = bench.connected();
    for command in 0..2 * ERRORS_MAX {
        let publish = r#"{"channel":"room","data":1}"#;
        bench.say(connection, &format!(r#"{{"id":{},"publish":{publish}}}"#, command + 2));
        let message = bench.to_router.pop_front().expect("the router was asked");
        bench.answer(&message, Err(ErrorCode::Internal));
    }
    let texts = bench.texts(connection);
    assert_eq!(texts.len(), 2 * usize::from(ERRORS_MAX));
    assert!(texts.iter().all(|text| text.contains(r#""code":100"#)), "{:?}", texts.last());
    assert!(bench.cut.is_empty());
}
