//! The HTTP service behind the client port: whoever answers what is not a WebSocket.

use std::net::SocketAddr;

use protocol::http::{Method, Request};
use protocol::ids::ConnectionId;

use super::bodies::Body;

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
    pub body: Body,
    /// Where the client is.
    pub peer: Option<SocketAddr>,
    /// May the client send another request on this connection?
    pub keep_alive: bool,
}

/// A request is refused by its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The status.
    pub status: u16,
    /// Why, for the client.
    pub text: &'static str,
}

/// Too many requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Takes requests and answers them later, through [`super::Control::Response`].
pub trait Service {
    /// Looks at the head of a request that announces a body, before any of it is kept. What passes
    /// here is looked at again by whoever answers.
    ///
    /// # Errors
    ///
    /// The request is refused at once, and the connection closed.
    fn admit(&self, request: &Request<'_>) -> Result<(), Denial> {
        let _ = request;
        Ok(())
    }

    /// Takes a request.
    ///
    /// # Errors
    ///
    /// Too many wait; it is answered with 503.
    fn call(&mut self, call: HttpCall) -> Result<(), Busy>;
}

/// Answers nothing: every request is refused with 503.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoService;

impl Service for NoService {
    fn call(&mut self, call: HttpCall) -> Result<(), Busy> {
        drop(call);
        Err(Busy)
    }
}
