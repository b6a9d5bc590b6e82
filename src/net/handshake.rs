//! Reading the 68 bytes that open a connection, without waiting for more than they need.

use std::{io, time::Duration};

use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::wire::{HANDSHAKE_LEN, Handshake};

/// How long a stranger may take for 68 bytes.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a whole handshake within [`HANDSHAKE_TIMEOUT`]. Fails at the first byte that cannot
/// belong to one, so that an encrypted or foreign protocol does not hold a place.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Handshake> {
    timeout(HANDSHAKE_TIMEOUT, read_bytes(stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn read_bytes(stream: &mut TcpStream) -> io::Result<Handshake> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut bytes = [0; HANDSHAKE_LEN];
    let mut filled = 0;
    while filled < HANDSHAKE_LEN {
        let read = stream.read(&mut bytes[filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        Handshake::check_prefix(&bytes[..filled]).map_err(invalid)?;
    }
    Handshake::decode(&bytes).map_err(invalid)
}
