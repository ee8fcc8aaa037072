//! The sockets at which names are asked for. What is not ours is asked of the servers that the
//! system used before.

use std::io;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::agent::names::answer::Transport;
use crate::agent::names::answer::Verdict;
use crate::agent::names::answer::answer;
use crate::agent::names::zone::SharedZone;

/// Longest datagram that is looked at.
const DATAGRAM_LENGTH_MAX: usize = 4096;

/// Questions for others, and connections, served at once.
const CONCURRENT_MAX: usize = 64;

/// How long one of the other servers may take.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection may be silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers until it is dropped.
#[derive(Debug)]
pub struct NameServer {
    tasks: Vec<AbortHandle>,
    /// Where it is asked.
    pub local: SocketAddr,
}

struct Shared {
    zone: Arc<SharedZone>,
    upstreams: Vec<SocketAddr>,
    permits: Arc<Semaphore>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl NameServer {
    /// Begins to answer at `listen`, for UDP and TCP.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn start(
        listen: SocketAddr,
        zone: Arc<SharedZone>,
        upstreams: Vec<SocketAddr>,
    ) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(listen).await?);
        let local = socket.local_addr()?;
        let listener = TcpListener::bind(local).await?;
        let permits = Arc::new(Semaphore::new(CONCURRENT_MAX));
        let shared = Arc::new(Shared { zone, upstreams, permits });
        let datagrams = tokio::spawn(serve_datagrams(socket, Arc::clone(&shared)));
        let connections = tokio::spawn(serve_connections(listener, shared));
        Ok(Self { tasks: vec![datagrams.abort_handle(), connections.abort_handle()], local })
    }
}

async fn serve_datagrams(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = vec![0u8; DATAGRAM_LENGTH_MAX];
    loop {
        // An error here is one that an earlier answer met; the next question is none the worse.
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else { continue };
        let question = &buffer[..length];
        match shared.zone.with(|zone| answer(zone, question, Transport::Udp)) {
            Verdict::Answer(bytes) => drop(socket.send_to(&bytes, source).await),
            Verdict::Drop => {}
            Verdict::Foreign(refusal) => {
                let Ok(permit) = Arc::clone(&shared.permits).try_acquire_owned() else { continue };
                let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
                let question = question.to_vec();
                tokio::spawn(async move {
                    let answer = ask_datagram(&shared.upstreams, &question).await;
                    let _ = socket.send_to(&answer.unwrap_or(refusal), source).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Asks the other servers in turn; none when none of them answers.
async fn ask_datagram(upstreams: &[SocketAddr], question: &[u8]) -> Option<Vec<u8>> {
    for upstream in upstreams {
        let asking = async {
            // A port of its own for each question, and answers of the asked server only.
            let from: SocketAddr = if upstream.is_ipv4() {
                (Ipv4Addr::UNSPECIFIED, 0).into()
            } else {
                (Ipv6Addr::UNSPECIFIED, 0).into()
            };
            let socket = UdpSocket::bind(from).await?;
            socket.connect(upstream).await?;
            socket.send(question).await?;
            let mut buffer = vec![0u8; DATAGRAM_LENGTH_MAX];
            loop {
                let length = socket.recv(&mut buffer).await?;
                if length >= 2 && buffer[..2] == question[..2] {
                    buffer.truncate(length);
                    return Ok::<_, io::Error>(buffer);
                }
            }
        };
        if let Ok(Ok(answer)) = timeout(UPSTREAM_TIMEOUT, asking).await {
            return Some(answer);
        }
    }
    None
}

async fn serve_connections(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&shared.permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(UPSTREAM_TIMEOUT).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A client that went away needs nothing.
            let _ = serve_connection(stream, &shared).await;
            drop(permit);
        });
    }
}

async fn serve_connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    while let Ok(question) = timeout(IDLE_TIMEOUT, read_message(&mut stream)).await {
        let question = question?;
        let answer = match shared.zone.with(|zone| answer(zone, &question, Transport::Tcp)) {
            Verdict::Answer(bytes) => bytes,
            Verdict::Drop => return Ok(()),
            Verdict::Foreign(refusal) => {
                ask_stream(&shared.upstreams, &question).await.unwrap_or(refusal)
            }
        };
        write_message(&mut stream, &answer).await?;
    }
    Ok(())
}

async fn ask_stream(upstreams: &[SocketAddr], question: &[u8]) -> Option<Vec<u8>> {
    for upstream in upstreams {
        let asking = async {
            let mut stream = TcpStream::connect(upstream).await?;
            write_message(&mut stream, question).await?;
            read_message(&mut stream).await
        };
        if let Ok(Ok(answer)) = timeout(UPSTREAM_TIMEOUT, asking).await {
            return Some(answer);
        }
    }
    None
}

/// A message behind its length (RFC 1035, section 4.2.2).
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    let mut bytes = vec![0u8; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn write_message(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;
    use hickory_proto::op::Query;
    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::RecordType;

    use super::*;
    use crate::agent::names::zone::Zone;

    fn question(name: &str) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(name.parse().unwrap(), RecordType::AAAA));
        message.to_vec().unwrap()
    }

    fn zone() -> Arc<SharedZone> {
        let mut zone = Zone::new("lab".parse().unwrap());
        let address = "fc00::1".parse().unwrap();
        zone.add(&"web-1".parse().unwrap(), address, vec![address.into()]);
        Arc::new(SharedZone::new(zone))
    }

    async fn ask(server: &NameServer, name: &str) -> (Message, Message) {
        let asked = question(name);
        let answer = ask_datagram(&[server.local], &asked).await.unwrap();
        let over_tcp = ask_stream(&[server.local], &asked).await.unwrap();
        (Message::from_vec(&answer).unwrap(), Message::from_vec(&over_tcp).unwrap())
    }

    #[tokio::test]
    async fn own_names_are_answered_and_others_asked_for_elsewhere() {
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        // It knows one name more, under another zone of its own.
        let alone = NameServer::start(listen, zone(), Vec::new()).await.unwrap();
        for message in <[Message; 2]>::from(ask(&alone, "web-1.raptor.").await) {
            assert_eq!(message.answers.len(), 1);
        }
        for message in <[Message; 2]>::from(ask(&alone, "example.org.").await) {
            assert_eq!(message.metadata.response_code, ResponseCode::Refused);
        }

        let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let upstreams = vec![dead, upstream.local_addr().unwrap()];
        let server = NameServer::start(listen, zone(), upstreams).await.unwrap();
        let asked = question("example.org.");
        let answering = async {
            let mut buffer = [0u8; 512];
            let (length, source) = upstream.recv_from(&mut buffer).await.unwrap();
            // Neither an answer to another question nor one of another server counts.
            upstream.send_to(&[buffer[0] ^ 1, buffer[1]], source).await.unwrap();
            let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            stranger.send_to(&buffer[..2], source).await.unwrap();
            upstream.send_to(&buffer[..length], source).await.unwrap();
            buffer[..length].to_vec()
        };
        let local = [server.local];
        let (answer, sent) = tokio::join!(ask_datagram(&local, &asked), answering);
        assert_eq!(answer.unwrap(), sent);
        assert_eq!(sent, asked);
    }
}
