//! Listening sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits;

/// Binds `count` listening sockets to one address, between which the kernel spreads clients.
///
/// The address is first bound without SO_REUSEPORT, so that a second instance is refused instead of
/// sharing the port unnoticed. With port 0 the kernel chooses, once for all sockets.
///
/// # Errors
///
/// As bind(2) and listen(2): the address is in use, is not ours, or needs a privilege.
pub fn listen(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    assert!(count > 0);
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    let address = match probe.local_addr()?.as_socket() {
        Some(bound) => bound,
        None => return Err(io::Error::other("the bound address is not an IP address")),
    };
    // A socket that is bound and does not listen keeps others from binding without SO_REUSEPORT,
    // but it has to go before ours can bind with it.
    drop(probe);
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let listener = socket(address)?;
        listener.set_reuse_port(true)?;
        listener.bind(&address.into())?;
        listener.listen(limits::LISTEN_BACKLOG)?;
        listeners.push(listener.into());
    }
    Ok((address, listeners))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit both: no direct descriptor takes a setsockopt of its own.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_refused() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (bound, listeners) = listen(any, 3).unwrap();
        assert_eq!(listeners.len(), 3);
        let error = listen(bound, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
