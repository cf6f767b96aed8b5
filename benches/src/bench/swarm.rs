//! All clients of one process, on one monoio runtime.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use monoio::net::TcpStream;
use protocol::client::Format;
use rustls::ClientConnection;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::client::{Client, Event, READ_BYTES_MAX, named};
use super::clock::now_ns;
use super::load::Load;
use super::plan::{Credentials, Plan};
use super::readiness::{ReadyList, is_writable};
use super::target::Target;
use super::wire;

/// What all clients have in common.
pub(crate) struct Setup {
    pub(crate) target: Target,
    /// The request that opens a WebSocket.
    pub(crate) upgrade: Vec<u8>,
    credentials: Credentials,
    /// Number of the first client.
    first: usize,
    process: usize,
    spreads_sources: bool,
}

/// How long a token is good for.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

impl Setup {
    /// The connection token of a client; empty without credentials.
    pub(crate) fn token(&self, index: usize) -> String {
        let secret = match &self.credentials {
            Credentials::Anonymous => return String::new(),
            Credentials::Token(token) => return token.clone(),
            Credentials::HmacSecret(secret) => secret,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let user = format!("bench-{}", self.first + index);
        let claims = json!({ "sub": user, "exp": (now + TOKEN_TTL).as_secs() });
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&Header::default(), &claims, &key).expect("claims can be signed")
    }
}

/// The clients.
pub(crate) struct Swarm {
    pub(crate) setup: Setup,
    pub(crate) clients: Vec<Client>,
    ready: ReadyList,
    /// Places that are served in this turn.
    batch: Vec<usize>,
    /// Clients that something was queued for.
    dirty: Vec<usize>,
    buffer: Vec<u8>,
    attempts: usize,
}

impl Swarm {
    /// Nobody is there yet. Must be called inside the runtime.
    ///
    /// # Errors
    ///
    /// A sentence that names the fix.
    pub(crate) fn new(plan: &Plan) -> Result<Self, String> {
        let target = Target::resolve(&plan.target)?;
        let format = if plan.target.is_protobuf { Format::Protobuf } else { Format::Json };
        let ready = ReadyList::new().map_err(|error| format!("epoll or timerfd: {error}"))?;
        let client = |index| Client::new(index, format, ready.waker(index));
        let clients = (0..plan.clients).map(client).collect();
        let setup = Setup {
            upgrade: wire::upgrade(&target, format, &plan.target.headers),
            target,
            credentials: plan.target.credentials.clone(),
            first: plan.first,
            process: plan.process,
            spreads_sources: plan.target.spreads_sources,
        };
        let buffer = Vec::with_capacity(READ_BYTES_MAX);
        Ok(Self {
            setup,
            clients,
            ready,
            batch: Vec::new(),
            dirty: Vec::new(),
            buffer,
            attempts: 0,
        })
    }

    /// Begins to connect a client, which was due at a time.
    pub(crate) fn open(&mut self, index: usize, due_ns: u64, load: &mut dyn Load) {
        let attempt = self.attempts;
        self.attempts += 1;
        let opened = self.connect(attempt).and_then(|stream| {
            let session = |(config, name): &(_, _)| {
                let (config, name) = (std::sync::Arc::clone(config), Clone::clone(name));
                let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
                // Everything is sealed in the turn it is queued in, whatever its size; what the
                // socket does not take is bounded by the client (UNSENT_BYTES_MAX).
                tls.set_buffer_limit(None);
                io::Result::Ok(Box::new(tls))
            };
            Ok((stream, self.setup.target.tls.as_ref().map(session).transpose()?))
        });
        let client = &mut self.clients[index];
        client.due_ns = due_ns;
        match opened {
            Ok((stream, tls)) => {
                let is_connected = is_writable(&stream, &self.ready.waker(index));
                client.begin(stream, tls, due_ns);
                if is_connected {
                    self.ready.again(index);
                }
            }
            Err(error) => {
                client.leave();
                load.on(client, Event::Closed(named("connect", &error)), now_ns());
            }
        }
    }

    fn connect(&self, attempt: usize) -> io::Result<TcpStream> {
        let address = self.setup.target.address;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        let source = self.setup.target.source(self.setup.process, attempt);
        if let Some(source) = source.filter(|_| self.setup.spreads_sources) {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        TcpStream::from_std(socket.into())
    }

    /// The client, for a command that goes out with the next turn.
    pub(crate) fn with(&mut self, index: usize) -> &mut Client {
        self.dirty.push(index);
        &mut self.clients[index]
    }

    /// Sends what is queued, waits for sockets until this time, and tells the load what came.
    pub(crate) async fn turn(&mut self, until_ns: u64, load: &mut dyn Load) -> Result<(), String> {
        self.flush(load);
        let waited = self.ready.wait(until_ns).await;
        waited.map_err(|error| format!("timerfd: {error}"))?;
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        batch.extend(std::iter::from_fn(|| self.ready.pop()));
        for index in &batch {
            if self.clients[*index].serve(&self.setup, &mut self.buffer, load) {
                self.ready.again(*index);
            }
        }
        self.batch = batch;
        Ok(())
    }

    fn flush(&mut self, load: &mut dyn Load) {
        for index in std::mem::take(&mut self.dirty) {
            let client = &mut self.clients[index];
            if let Err(cause) = client.flush() {
                client.leave();
                load.on(client, Event::Closed(cause), now_ns());
            }
        }
    }
}

/// What connect(2) says of a socket that does not wait (errno.h of Linux).
const EINPROGRESS: i32 = 115;
