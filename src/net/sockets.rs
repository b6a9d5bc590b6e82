//! Binding the two sockets, and how many more the system allows.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

/// Why the sockets could not be bound.
#[derive(Debug)]
pub(crate) struct BindError {
    /// `TCP` or `UDP`.
    pub(crate) protocol: &'static str,
    /// What the system said.
    pub(crate) source: io::Error,
}

/// Binds TCP and, if `udp`, UDP to one port. Port 0 takes a port that is free for both.
pub(crate) fn bind(
    listen: SocketAddr,
    udp: bool,
) -> Result<(TcpListener, Option<UdpSocket>), BindError> {
    let mut attempt = 1;
    loop {
        let (tcp, addr) = bind_tcp(listen).map_err(|source| BindError {
            protocol: "TCP",
            source,
        })?;
        if !udp {
            return Ok((tcp, None));
        }
        match bind_udp(addr) {
            Ok(udp) => return Ok((tcp, Some(udp))),
            // The free TCP port that we were given is somebody's UDP port: draw another.
            Err(error) if listen.port() == 0 && attempt < MAX_DRAWS => {
                tracing::debug!(%addr, %error, "port is not free for UDP");
                attempt += 1;
            }
            Err(source) => {
                return Err(BindError {
                    protocol: "UDP",
                    source,
                });
            }
        }
    }
}

fn bind_tcp(listen: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = tcp_socket(listen.ip())?;
    // A restart must not wait for the connections of the last run to leave TIME_WAIT. Elsewhere
    // than on Unix the option means stealing the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    let listener = socket.listen(BACKLOG)?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// A TCP socket of the family of `ip`.
pub(super) fn tcp_socket(ip: IpAddr) -> io::Result<TcpSocket> {
    match ip {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    }
}

/// Binds UDP alone.
pub(crate) fn bind_udp(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        // The IPv4 DHT is another network (BEP 32): mapped addresses must not enter this one.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    // A burst of replies waits here while the task is busy. The system may give less.
    if let Err(error) = SockRef::from(&socket).set_recv_buffer_size(UDP_RECEIVE_BUFFER) {
        tracing::debug!(%error, "UDP receive buffer keeps its size");
    }
    UdpSocket::from_std(socket.into())
}

/// Raises the soft limit of open files to the hard one and says what it is.
#[cfg(unix)]
pub(crate) fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wish = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, wish).is_ok() {
        return limit.maximum.unwrap_or(u64::MAX);
    }
    limit.current.unwrap_or(u64::MAX)
}

/// Raises the soft limit of open files to the hard one and says what it is.
#[cfg(not(unix))]
pub(crate) fn raise_open_files() -> u64 {
    u64::MAX
}

const MAX_DRAWS: u32 = 32;
const BACKLOG: u32 = 1024;
const UDP_RECEIVE_BUFFER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_port_for_both() {
        let (tcp, udp) = bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let addr = tcp.local_addr().unwrap();
        assert_eq!(udp.unwrap().local_addr().unwrap(), addr);
        assert_eq!(bind(addr, true).unwrap_err().protocol, "TCP");
        drop(tcp);
        let holder = std::net::UdpSocket::bind(addr).unwrap();
        assert_eq!(bind(addr, true).unwrap_err().protocol, "UDP");
        drop(holder);
        assert!(bind(addr, true).is_ok());
    }
}
