//! A local TCP port whose connections are taken, a task each.

use std::io;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::agent::dial::carry;
use crate::cli::error::CliError;
use crate::cli::error::with_causes;
use crate::cli::invocation::Invocation;
use crate::cli::output::tell;
use crate::http::client::ApiClient;
use crate::http::client::ClientError;
use crate::http::client::Upgraded;

/// Connections that are served at once by one door; further ones wait.
const CONNECTIONS_MAX: usize = 512;

/// Pause after a connection could not be taken: there are too many files, and some may close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An open local port.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    /// Where it is, with the port that the system chose.
    pub local: SocketAddr,
}

impl Door {
    /// Opens the port, and warns when others than this computer reach it.
    ///
    /// # Errors
    /// The port is taken, or not this user's to have.
    pub async fn open(invocation: &Invocation, wanted: SocketAddr) -> Result<Self, CliError> {
        let listener = TcpListener::bind(wanted).await.map_err(|error| refusal(wanted, &error))?;
        let local = listener.local_addr().map_err(|error| refusal(wanted, &error))?;
        if !local.ip().is_loopback() {
            invocation.note(&format!("{local} is open to everybody who reaches this computer"));
        }
        Ok(Self { listener, local })
    }

    /// Serves each connection by `serve`, until the program ends.
    pub async fn serve<F>(self, serve: impl Fn(TcpStream) -> F) -> !
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let permit = Arc::clone(&permits).acquire_owned().await;
            match self.listener.accept().await {
                Ok((socket, _)) => {
                    // What is small is someone typing: it must not wait for more.
                    let _ = socket.set_nodelay(true);
                    let serving = serve(socket);
                    tokio::spawn(async move {
                        serving.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tell(&format!("{}: a connection was not taken: {error}", self.local));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn refusal(wanted: SocketAddr, error: &io::Error) -> CliError {
    match error.kind() {
        ErrorKind::AddrInUse => CliError::user(format!("port {wanted} is in use"))
            .with_hint("choose another port, or 0 for any that is free"),
        ErrorKind::PermissionDenied => {
            CliError::user(format!("this user may not listen on port {}", wanted.port()))
                .with_hint("choose one above 1023")
        }
        ErrorKind::AddrNotAvailable => {
            CliError::user(format!("this computer has no address {}", wanted.ip()))
        }
        _ => CliError::user(format!("cannot listen on {wanted}: {error}")),
    }
}

/// A stream to a member's port, through the agent.
///
/// # Errors
/// As the agent says.
pub async fn reach(client: &ApiClient, node: &str, port: u16) -> Result<Upgraded, ClientError> {
    client.connect(node, port).await
}

/// Carries one connection's bytes until both sides are done.
pub async fn join(local: TcpStream, far: Upgraded) {
    // Either end may go at any time, and knows so itself.
    let _ = carry(local, far).await;
}

/// Ends a connection that leads nowhere: its caller sees a reset, not an empty answer.
pub fn turn_away(local: &TcpStream, error: &ClientError) {
    let _ = local.set_zero_linger();
    tell(&with_causes(error));
}
