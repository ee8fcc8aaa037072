//! The server's side of SOCKS version 5 (RFC 1928) as far as a proxy for TCP needs it, with the
//! user name and password of RFC 1929.

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const METHOD_OPEN: u8 = 0;
const METHOD_LOGIN: u8 = 2;
const METHOD_NONE: u8 = 0xff;
const COMMAND_CONNECT: u8 = 1;
const ADDRESS_V4: u8 = 1;
const ADDRESS_NAME: u8 = 3;
const ADDRESS_V6: u8 = 4;

/// What a proxy answers to a request (RFC 1928, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The connection stands.
    Done = 0,
    /// Something else went wrong.
    Failed = 1,
    /// The proxy does not go there.
    NotAllowed = 2,
    /// There is no way to the host.
    Unreachable = 4,
    /// The host refuses the connection.
    Refused = 5,
    /// Only connections are made.
    NoSuchCommand = 7,
    /// An address of another kind.
    NoSuchAddress = 8,
}

/// Where a client wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// By name.
    Name(String),
    /// By address.
    Address(IpAddr),
}

/// Why a client's request is none.
#[derive(Debug, thiserror::Error)]
pub enum SocksError {
    /// It speaks another protocol.
    #[error("a client does not speak SOCKS 5")]
    OtherVersion,
    /// It offers no way to log in that is accepted.
    #[error("a client does not log in")]
    NoLogin,
    /// Its name or password is wrong.
    #[error("a client's name or password is wrong")]
    WrongLogin,
    /// It asks for something else than a TCP connection; it was told so.
    #[error("a client asks for something else than a connection")]
    Unsupported,
    /// It went away, or the connection broke.
    #[error("a client went away")]
    Gone(#[from] io::Error),
}

/// What clients must prove.
#[derive(Debug, Clone)]
pub struct Login {
    /// Their name.
    pub user: String,
    /// Their password.
    pub password: Zeroizing<String>,
}

/// Greets a client and reads where it wants to go. With a `login`, only who knows it gets in.
///
/// # Errors
/// [`SocksError`]: the connection is to be closed; the client was told why where it can be.
pub async fn greet<S>(stream: &mut S, login: Option<&Login>) -> Result<(Host, u16), SocksError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if stream.read_u8().await? != VERSION {
        return Err(SocksError::OtherVersion);
    }
    let methods = read_bytes(stream).await?;
    let wanted = if login.is_some() { METHOD_LOGIN } else { METHOD_OPEN };
    if !methods.contains(&wanted) {
        stream.write_all(&[VERSION, METHOD_NONE]).await?;
        return Err(SocksError::NoLogin);
    }
    stream.write_all(&[VERSION, wanted]).await?;
    if let Some(login) = login {
        check(stream, login).await?;
    }
    read_request(stream).await
}

async fn check<S>(stream: &mut S, login: &Login) -> Result<(), SocksError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if stream.read_u8().await? != LOGIN_VERSION {
        return Err(SocksError::WrongLogin);
    }
    let user = read_bytes(stream).await?;
    let password = Zeroizing::new(read_bytes(stream).await?);
    let right =
        is_equal(&user, login.user.as_bytes()) & is_equal(&password, login.password.as_bytes());
    stream.write_all(&[LOGIN_VERSION, u8::from(!right)]).await?;
    if right { Ok(()) } else { Err(SocksError::WrongLogin) }
}

/// Compares in a time that tells nothing of where two texts of one length differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

async fn read_request<S>(stream: &mut S) -> Result<(Host, u16), SocksError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = [0u8; 4];
    stream.read_exact(&mut head).await?;
    let [version, command, _, kind] = head;
    if version != VERSION {
        return Err(SocksError::OtherVersion);
    }
    let host = match kind {
        ADDRESS_V4 => {
            let mut octets = [0u8; 4];
            stream.read_exact(&mut octets).await?;
            Host::Address(Ipv4Addr::from(octets).into())
        }
        ADDRESS_V6 => {
            let mut octets = [0u8; 16];
            stream.read_exact(&mut octets).await?;
            Host::Address(Ipv6Addr::from(octets).into())
        }
        ADDRESS_NAME => match String::from_utf8(read_bytes(stream).await?) {
            Ok(name) => Host::Name(name),
            Err(_) => return refuse(stream, Reply::NoSuchAddress).await,
        },
        _ => return refuse(stream, Reply::NoSuchAddress).await,
    };
    let port = stream.read_u16().await?;
    if command != COMMAND_CONNECT {
        return refuse(stream, Reply::NoSuchCommand).await;
    }
    Ok((host, port))
}

async fn refuse<S>(stream: &mut S, why: Reply) -> Result<(Host, u16), SocksError>
where
    S: AsyncWrite + Unpin,
{
    reply(stream, why).await?;
    Err(SocksError::Unsupported)
}

/// Answers a request. After [`Reply::Done`] the bytes of the connection follow.
///
/// # Errors
/// The client went away.
pub async fn reply(stream: &mut (impl AsyncWrite + Unpin), reply: Reply) -> io::Result<()> {
    // The address from which the proxy speaks on is nobody's business, and zero says so.
    let nowhere = [0u8; 6];
    let head = [VERSION, reply as u8, 0, ADDRESS_V4];
    stream.write_all(&[&head[..], &nowhere].concat()).await
}

/// Bytes behind their number: at most 255.
async fn read_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u8().await?);
    let mut bytes = vec![0u8; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// What comes of a client that says `bytes` and then ends: the outcome and the proxy's words.
    fn said(bytes: &[u8], login: Option<&Login>) -> (Result<(Host, u16), SocksError>, Vec<u8>) {
        let (mut answer, input) = (Vec::new(), bytes);
        let mut stream = tokio::io::join(input, &mut answer);
        let outcome = greet(&mut stream, login).now_or_never().expect("nothing to wait for");
        (outcome, answer)
    }

    fn login() -> Login {
        Login { user: "ann".to_owned(), password: "secret".to_owned().into() }
    }

    #[test]
    fn a_name_and_both_kinds_of_address_are_read() {
        let name = b"\x05\x01\x00\x05\x01\x00\x03\x0cweb-1.raptor\x00\x50";
        let (outcome, answer) = said(name, None);
        assert_eq!(outcome.unwrap(), (Host::Name("web-1.raptor".to_owned()), 80));
        assert_eq!(answer, [5, 0]);
        let (outcome, _) = said(b"\x05\x02\x02\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16", None);
        assert_eq!(outcome.unwrap(), (Host::Address("127.0.0.1".parse().unwrap()), 22));
        let mut long = b"\x05\x01\x00\x05\x01\x00\x04".to_vec();
        long.extend_from_slice(&"fc00::1".parse::<Ipv6Addr>().unwrap().octets());
        long.extend_from_slice(&[0, 22]);
        assert_eq!(said(&long, None).0.unwrap(), (Host::Address("fc00::1".parse().unwrap()), 22));
    }

    #[test]
    fn with_a_login_only_who_knows_it_gets_in() {
        let login = login();
        let request = b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16";
        let with = |words: &[u8]| said(&[b"\x05\x01\x02", words, request].concat(), Some(&login));
        let (outcome, answer) = with(b"\x01\x03ann\x06secret");
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(answer, [5, 2, 1, 0]);
        for wrong in [&b"\x01\x03ann\x06sEcret"[..], b"\x01\x03bob\x06secret", b"\x01\x03ann\x00"] {
            let (outcome, answer) = with(wrong);
            assert!(matches!(outcome, Err(SocksError::WrongLogin)), "{outcome:?}");
            assert_eq!(answer, [5, 2, 1, 1]);
        }
        let (outcome, answer) = said(&[b"\x05\x01\x00", &request[..]].concat(), Some(&login));
        assert!(matches!(outcome, Err(SocksError::NoLogin)), "{outcome:?}");
        assert_eq!(answer, [5, 0xff]);
    }

    #[test]
    fn what_is_no_connection_is_refused_by_its_number() {
        for (request, number) in [
            (&b"\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x16"[..], 7),
            (b"\x05\x01\x00\x02\x7f\x00\x00\x01\x00\x16", 8),
            (b"\x05\x01\x00\x03\x01\xff\x00\x16", 8),
        ] {
            let (outcome, answer) = said(&[b"\x05\x01\x00", request].concat(), None);
            assert!(matches!(outcome, Err(SocksError::Unsupported)), "{outcome:?}");
            assert_eq!(answer, [5, 0, 5, number, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
        assert!(matches!(said(b"GET / HTTP/1.1\r\n", None).0, Err(SocksError::OtherVersion)));
        assert!(matches!(said(b"\x04\x01", None).0, Err(SocksError::OtherVersion)));
    }

    #[test]
    fn any_bytes_can_come_from_a_client() {
        let login = login();
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let _ = said(bytes, None);
            let _ = said(bytes, Some(&login));
            let _ = said(&[b"\x05\x01\x00\x05\x01\x00", bytes].concat(), None);
        });
    }
}
