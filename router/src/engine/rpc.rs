//! Methods that clients call by name.
//!
//! The registry is open: what comes later (chat, signalling, matchmaking) adds its methods here. A
//! name that nobody registered answers 104.

use std::collections::BTreeMap;

use protocol::client::ErrorCode;
use protocol::link::{Content, RpcRequest};
use protocol::time::Now;

/// One method: a pure function of the call and the time.
pub type Method = fn(&RpcRequest, Now) -> Result<Content, ErrorCode>;

/// All methods by name.
#[derive(Clone, Debug)]
pub struct Methods {
    by_name: BTreeMap<&'static str, Method>,
}

impl Default for Methods {
    /// `ping` answers with its argument, `time` with the server's clock.
    fn default() -> Self {
        let mut methods = Self { by_name: BTreeMap::new() };
        methods.register("ping", ping);
        methods.register("time", time);
        methods
    }
}

impl Methods {
    /// Adds a method.
    ///
    /// # Panics
    ///
    /// The name is taken: two parts of the program claim it.
    pub fn register(&mut self, name: &'static str, method: Method) {
        let before = self.by_name.insert(name, method);
        assert!(before.is_none(), "the method {name} is registered twice");
    }

    /// Calls a method.
    ///
    /// # Errors
    ///
    /// 104 for an unknown name, otherwise what the method says.
    pub fn call(&self, call: &RpcRequest, now: Now) -> Result<Content, ErrorCode> {
        let method = self.by_name.get(&*call.method).ok_or(ErrorCode::MethodNotFound)?;
        method(call, now)
    }
}

fn ping(call: &RpcRequest, _now: Now) -> Result<Content, ErrorCode> {
    if call.data.bytes.is_empty() {
        return Ok(Content::classify(b"{}"));
    }
    Ok(call.data.clone())
}

fn time(_call: &RpcRequest, now: Now) -> Result<Content, ErrorCode> {
    Ok(Content::classify(format!("{{\"unix_ms\":{}}}", now.unix_ms).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::link::{ClientId, Member};
    use protocol::time::Moment;

    fn call(method: &str, data: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        let member = Member {
            user: "u".into(),
            client: ClientId(1),
            connection_info: None,
            channel_info: None,
        };
        let (data, caller) = (Content::classify(data), member.into());
        let request = RpcRequest { method: method.into(), data, caller };
        let now = Now { moment: Moment::ZERO, unix_ms: 42 };
        Methods::default().call(&request, now).map(|content| content.bytes.to_vec())
    }

    #[test]
    fn known_methods_answer_and_others_do_not() {
        assert_eq!(call("ping", b"{\"n\":1}"), Ok(b"{\"n\":1}".to_vec()));
        assert_eq!(call("ping", b""), Ok(b"{}".to_vec()));
        assert_eq!(call("time", b""), Ok(b"{\"unix_ms\":42}".to_vec()));
        assert_eq!(call("nosuch", b""), Err(ErrorCode::MethodNotFound));
    }
}
