//! What a request becomes: a WebSocket, an echo, a call of the HTTP service, or a refusal.

use core::time::Duration;
use std::borrow::Cow;

use protocol::client::Format;
use protocol::close::CloseReason;
use protocol::http::{Request, ResponseHead, query_parameter, write_response_head};
use protocol::ids::ConnectionId;
use protocol::proxies::ProxyFault;
use protocol::time::{Moment, Now};
use protocol::websocket::{
    Upgrade, VERSION_HEADER, accept_upgrade, choose_subprotocol, write_switching_protocols,
};

use super::connection::slot_of;
use super::event::{Action, Transport};
use super::notes::Noted;
use super::phase::{Phase, PhaseEvent};
use super::shard::GatewayShard;

/// Where clients connect.
pub const WEBSOCKET_PATH: &str = "/connection/websocket";
/// Where tests and benchmarks are echoed, if the operator allows it.
pub const ECHO_PATH: &str = "/debug/echo";

/// A refusal: status, text, and one header more.
pub(super) struct Refusal {
    status: u16,
    text: &'static str,
    header: Option<(&'static str, Cow<'static, str>)>,
}

impl Refusal {
    const fn new(status: u16, text: &'static str) -> Self {
        Self { status, text, header: None }
    }

    /// There is no room now; there may be in so many seconds.
    pub(super) fn unavailable(text: &'static str, seconds: u64) -> Self {
        let header = Some(("Retry-After", seconds.to_string().into()));
        Self { header, ..Self::new(503, text) }
    }
}

impl GatewayShard {
    pub(super) fn on_request(&mut self, id: ConnectionId, request: &Request<'_>, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        if !connection.phase.awaits_request() {
            return;
        }
        self.place_peer(id, request);
        let admitted = match request.path {
            WEBSOCKET_PATH if self.config.websocket => self.admit_client(id, request, now),
            ECHO_PATH if self.config.websocket_echo => self.admit_echo(id, request, now),
            _ => {
                self.serve(id, now);
                Ok(())
            }
        };
        if let Err(refusal) = admitted {
            self.refuse(id, &refusal, now);
        }
    }

    fn admit_client(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        let upgrade = self.check_upgrade(request)?;
        self.check_origin(request)?;
        self.make_room(id, now)?;
        let chosen = choose_subprotocol(
            upgrade.subprotocols.clone(),
            &[Format::Json.subprotocol(), Format::Protobuf.subprotocol()],
        );
        let format = match chosen {
            Some(name) => Format::from_subprotocol(name),
            None => format_of_query(request.query),
        };
        let format = format.unwrap_or(Format::Json);
        self.upgrade(id, &upgrade, chosen, PhaseEvent::Upgraded, now);
        if let Some(connection) = self.connections.find(id) {
            connection.format = Some(format);
        }
        Ok(())
    }

    fn admit_echo(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        let upgrade = self.check_upgrade(request)?;
        self.upgrade(id, &upgrade, None, PhaseEvent::UpgradedEcho, now);
        Ok(())
    }

    fn check_upgrade<'a>(&self, request: &'a Request<'_>) -> Result<Upgrade<'a>, Refusal> {
        accept_upgrade(request).map_err(|violation| {
            let status = violation.status();
            let header = (status == 426).then_some((VERSION_HEADER.0, VERSION_HEADER.1.into()));
            Refusal { header, ..Refusal::new(status, violation.http().text()) }
        })
    }

    fn check_origin(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let twice = |_| Refusal::new(400, "the Origin header is repeated");
        let Some(origin) = request.header_once("origin").map_err(twice)? else { return Ok(()) };
        let host = request.header("host").unwrap_or_default();
        if self.config.origins.allows(origin, host) {
            return Ok(());
        }
        Err(Refusal::new(403, "this origin is not allowed (client.allowed_origins)"))
    }

    fn upgrade(
        &mut self,
        id: ConnectionId,
        upgrade: &Upgrade<'_>,
        subprotocol: Option<&'static str>,
        event: PhaseEvent,
        now: Now,
    ) {
        self.counters.upgraded += 1;
        self.connections.upgrade(id);
        self.settle_peer(id);
        self.scratch.clear();
        write_switching_protocols(&upgrade.accept, subprotocol, &mut self.scratch);
        self.promise_tls(id);
        self.connections.push_raw(slot_of(id), [&self.scratch, b""], now.moment);
        let message_bytes_max = self.config.message_bytes_max;
        let transport = Transport::WebSocket { message_bytes_max };
        self.actions.push_back(Action::Become { connection: id, transport });
        self.advance(id, event, now);
    }

    /// The request is for the HTTP service, once its body has come.
    fn serve(&mut self, id: ConnectionId, now: Now) {
        self.counters.requests_served += 1;
        self.advance(id, PhaseEvent::Called, now);
        let transport = Transport::Service;
        self.actions.push_back(Action::Become { connection: id, transport });
    }

    /// The phase has this much time from now.
    pub(super) fn extend(&mut self, id: ConnectionId, time: Duration, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.phase_deadline = now.moment + time;
        self.rearm(slot_of(id), now);
    }

    /// RFC 9110, 15.2.1: the body may be sent. It has no more time for that than others.
    pub(super) fn on_continue(&mut self, id: ConnectionId, now: Now) {
        if self.connections.find(id).is_some_and(|one| one.phase == Phase::Collecting) {
            let bytes = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.connections.push_raw(slot_of(id), [bytes, b""], now.moment);
        }
    }

    pub(super) fn on_response(&mut self, id: ConnectionId, bytes: &[u8], is_last: bool, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.phase != Phase::Answering {
            return;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(bytes);
        self.promise_tls(id);
        if is_last || self.drain.is_some() {
            self.connections.push_last(slot_of(id), &self.scratch, now.moment);
            self.close_after_response(id, now);
        } else {
            self.connections.push_response(slot_of(id), &self.scratch, now.moment);
            self.advance(id, PhaseEvent::Answered, now);
        }
    }

    /// All that came is read. From a client that ended its side no other request will come.
    pub(super) fn on_read_on(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        let is_owed = matches!(connection.phase, Phase::Answering | Phase::Closing);
        if !connection.peer_ended || is_owed {
            return;
        }
        if connection.phase.speaks_http() {
            self.close_after_response(id, now);
        } else {
            self.end_by(id, PhaseEvent::PeerEnded, CloseReason::ClientGone, now);
        }
    }

    pub(super) fn refuse_request(
        &mut self,
        id: ConnectionId,
        status: u16,
        text: &'static str,
        now: Now,
    ) {
        let refusal = match status {
            503 => Refusal::unavailable(text, 1),
            _ => Refusal::new(status, text),
        };
        self.refuse(id, &refusal, now);
    }

    /// RFC 6797, 7.2: an answer over TLS, whose head is in the scratch, says that this host is to
    /// be reached by TLS only; one without TLS must not.
    fn promise_tls(&mut self, id: ConnectionId) {
        let seconds = self.config.hsts_max_age.as_secs();
        if seconds == 0 || !self.connections.find(id).is_some_and(|one| one.is_secure) {
            return;
        }
        let Some(line) = self.scratch.windows(2).position(|pair| pair == b"\r\n") else { return };
        let header = format!("Strict-Transport-Security: max-age={seconds}\r\n");
        self.scratch.splice(line + 2..line + 2, header.into_bytes());
    }

    /// A connection that speaks HTTP is out of time.
    pub(super) fn http_timeout(&mut self, id: ConnectionId, now: Now) {
        if self.is_unnamed(id) {
            return self.on_proxy_header(id, Err(ProxyFault::Incomplete), now);
        }
        let Some(connection) = self.connections.find(id) else { return };
        let has_begun = connection.unfinished_since > Moment::ZERO;
        match connection.phase {
            Phase::Answering => {
                self.refuse(id, &Refusal::new(504, "the service did not answer in time"), now);
            }
            Phase::Handshake | Phase::Idle if !has_begun => {
                // An answer that nobody asked for would be taken for that of the next request.
                self.close_after_response(id, now);
            }
            _ => self.refuse(id, &Refusal::new(408, "the request did not arrive in time"), now),
        }
    }

    fn refuse(&mut self, id: ConnectionId, refusal: &Refusal, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        if !connection.phase.speaks_http() || connection.close_queued {
            return;
        }
        self.counters.requests_refused += 1;
        self.note(id, Noted::RequestRefused(refusal.status, refusal.text));
        let mut headers = vec![("Content-Type", "text/plain; charset=utf-8")];
        headers.extend(refusal.header.as_ref().map(|(name, value)| (*name, &**value)));
        let head = ResponseHead {
            status: refusal.status,
            headers: &headers,
            content_length: Some(refusal.text.len() + 1),
            close: true,
        };
        self.scratch.clear();
        write_response_head(&head, &mut self.scratch);
        self.promise_tls(id);
        self.scratch.extend_from_slice(refusal.text.as_bytes());
        self.scratch.push(b'\n');
        self.connections.push_last(slot_of(id), &self.scratch, now.moment);
        self.close_after_response(id, now);
    }
}

/// `?format=protobuf` and `?cf_protocol=protobuf` ask for Protobuf without a subprotocol.
fn format_of_query(query: Option<&str>) -> Option<Format> {
    let query = query?;
    let asks = |name| {
        let value = query_parameter(query, name).ok().flatten();
        value.is_some_and(|value| value == "protobuf")
    };
    (asks("format") || asks("cf_protocol")).then_some(Format::Protobuf)
}
