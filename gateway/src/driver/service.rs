//! The HTTP service behind the client port: whoever answers what is not a WebSocket.

use std::net::SocketAddr;

use protocol::http::Method;
use protocol::ids::ConnectionId;

/// One request, whole.
#[derive(Debug)]
pub struct HttpCall {
    /// Where the answer goes.
    pub connection: ConnectionId,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Names and values, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// Where the client is.
    pub peer: Option<SocketAddr>,
    /// May the client send another request on this connection?
    pub keep_alive: bool,
}

/// Takes requests and answers them later, through [`super::Control::Response`].
pub trait Service {
    /// Takes a request.
    ///
    /// # Errors
    ///
    /// Too many wait; it is handed back and answered with 503.
    fn call(&mut self, call: HttpCall) -> Result<(), HttpCall>;
}

/// Answers nothing: every request is refused with 503.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoService;

impl Service for NoService {
    fn call(&mut self, call: HttpCall) -> Result<(), HttpCall> {
        Err(call)
    }
}
