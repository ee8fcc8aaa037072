//! TCP connections to the machine itself, and bytes carried between two connections.

use std::io;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;

/// Bytes on their way in each direction of one connection. A reader that is slow fills them, and
/// then holds the writer back.
const CARRY_SIZE: usize = 64 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody listens at any of the machine's own addresses.
    #[error("nothing listens on port {port}")]
    Refused {
        /// The port.
        port: u16,
    },
    /// Something else is in the way.
    #[error("cannot connect to {address}")]
    Failed {
        /// Where.
        address: SocketAddr,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
}

/// Connects to `port` of this machine: on its loopback, then at its address in the mesh, `own`,
/// which some services listen at alone.
///
/// # Errors
/// [`DialError::Refused`] when none of the addresses has a listener.
pub async fn dial(own: Ipv6Addr, port: u16) -> Result<TcpStream, DialError> {
    let addresses: [IpAddr; 3] =
        [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), own.into()];
    let mut failure = None;
    for address in addresses {
        let address = SocketAddr::new(address, port);
        match TcpStream::connect(address).await {
            Ok(socket) => {
                // What is small is someone typing: it must not wait for more.
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Err(error) if is_absence(&error) => {}
            Err(source) => failure = failure.or(Some(DialError::Failed { address, source })),
        }
    }
    Err(failure.unwrap_or(DialError::Refused { port }))
}

/// Whether an address has no listener, or is no address of this machine at all: it has no IPv6,
/// or its mesh address belongs to no device.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::AddrNotAvailable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
    ) || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Carries bytes both ways until both sides have ended theirs; the end of one side is passed on
/// while the other may still speak.
///
/// # Errors
/// One of the two broke.
pub async fn carry(
    mut left: impl AsyncRead + AsyncWrite + Unpin,
    mut right: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    copy_bidirectional_with_sizes(&mut left, &mut right, CARRY_SIZE, CARRY_SIZE).await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const NOWHERE: Ipv6Addr = Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 1);

    #[tokio::test]
    async fn each_loopback_is_tried() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).await.unwrap();
            let here = listener.local_addr().unwrap();
            let socket = dial(NOWHERE, here.port()).await.unwrap();
            assert_eq!(socket.peer_addr().unwrap(), here);
        }
    }

    #[tokio::test]
    async fn a_port_without_a_listener_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(
            matches!(dial(NOWHERE, port).await, Err(DialError::Refused { port: told }) if told == port)
        );
    }

    #[tokio::test]
    async fn the_end_of_one_side_lets_the_other_speak_on() {
        let (mut caller, near) = tokio::io::duplex(16);
        let (far, mut answerer) = tokio::io::duplex(16);
        tokio::spawn(carry(near, far));
        caller.write_all(b"question").await.unwrap();
        caller.shutdown().await.unwrap();
        let mut question = Vec::new();
        answerer.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        answerer.write_all(b"answer after the end").await.unwrap();
        answerer.shutdown().await.unwrap();
        let mut answer = Vec::new();
        caller.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer after the end");
    }
}
