//! A client's socket, plain or with TLS.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use mio::net::TcpStream;
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore};

/// Where the bytes of a client go.
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<Secured>),
}

/// TLS by rustls' buffered API: the client's side is not what is measured.
pub(crate) struct Secured {
    stream: TcpStream,
    session: ClientConnection,
}

/// Trusts the certificates of a PEM file, and resumes sessions where the server allows it.
///
/// # Errors
///
/// The file cannot be read or holds no certificate.
pub(crate) fn trusting(file: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::other(format!("{} holds no certificate", file.display())));
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::store(Arc::new(Tickets::default()));
    Ok(Arc::new(config))
}

/// Tickets of TLS 1.3, each used once: all clients are one to the server. rustls' own store keeps
/// eight, and whoever begins when they are used up does a whole handshake.
#[derive(Debug, Default)]
struct Tickets {
    waiting: Mutex<VecDeque<Tls13ClientSessionValue>>,
    group: Mutex<Option<NamedGroup>>,
}

const TICKETS_MAX: usize = 4096;

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        *self.group.lock().expect("nobody panics with it") = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        *self.group.lock().expect("nobody panics with it")
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut waiting = self.waiting.lock().expect("nobody panics with it");
        if waiting.len() < TICKETS_MAX {
            waiting.push_back(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.waiting.lock().expect("nobody panics with it").pop_front()
    }
}

impl Socket {
    /// Speaks TLS with the server `localhost` if there is a configuration.
    pub(crate) fn new(stream: TcpStream, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let Some(config) = tls else { return Ok(Self::Plain(stream)) };
        let name = ServerName::try_from("localhost").expect("a host name");
        let session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(Secured { stream, session })))
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(secured) => &mut secured.stream,
        }
    }

    /// True if a read that fills less than its buffer has emptied the socket.
    pub(crate) fn short_reads_are_last(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Sends all of it, behind the handshake if that is not over.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(secured) => {
                secured.session.writer().write_all(bytes)?;
                secured.flush()
            }
        }
    }

    /// Bytes of the application; `WouldBlock` when there are none.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(secured) => secured.read(buffer),
        }
    }
}

impl Secured {
    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.session.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            self.session.process_new_packets().map_err(io::Error::other)?;
            self.flush()?;
        }
    }
}
