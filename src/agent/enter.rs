//! A newcomer's side of a ticket: knock at a member, prove the own key, be told whom to call.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;

use crate::agent::admission::Knock;
use crate::agent::admission::KnockAnswer;
use crate::agent::api::Bootstrap;
use crate::agent::clock;
use crate::agent::clock::Clock;
use crate::agent::clock::RandomError;
use crate::agent::clock::wall_clock;
use crate::agent::ticket::Ticket;
use crate::agent::ticket::TicketError;
use crate::mesh::core::Mesh;
use crate::mesh::output::Output;
use crate::mesh::settings::MeshSettings;
use crate::mesh::socket::MeshSocket;
use crate::mesh::socket::SocketError;
use crate::model::identity::SecretKey;
use crate::model::name::Name;

/// How long a member may take to let us in: several tries at each of its addresses.
const ENTER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a ticket did not open the door.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The ticket is of no use.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// No UDP socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The system failed.
    #[error("the network failed")]
    System(#[source] std::io::Error),
    /// The member said no.
    #[error("cluster {cluster} refused: {reason}")]
    Refused {
        /// The cluster.
        cluster: Name,
        /// Its word.
        reason: String,
    },
    /// Nobody answered.
    #[error("no answer from {host} within {seconds} s at {endpoints}")]
    NoAnswer {
        /// The member's id, shortened.
        host: String,
        /// How long was waited.
        seconds: u64,
        /// Where.
        endpoints: String,
    },
}

/// Knocks with `ticket` as the machine that holds `key` and would like to be called `name`.
///
/// # Errors
/// As [`EnterError`] says; the ticket is not used up unless the member let us in.
pub async fn enter(ticket: Ticket, key: &SecretKey, name: Name) -> Result<Bootstrap, EnterError> {
    ticket.check_time(wall_clock())?;
    let clock = Clock::start();
    let mut socket = MeshSocket::bind(None)?;
    let cluster = ticket.genesis.cluster_id();
    let knock = Knock::new(key, name, Vec::new(), &cluster, ticket.id());
    let mut mesh = Mesh::new(
        key.clone(),
        cluster,
        MeshSettings::default(),
        clock::random()?,
        clock.now(),
        wall_clock(),
    );
    let (host, endpoints) = (ticket.host, ticket.endpoints.clone());
    mesh.knock(clock.now(), &ticket.key, host, endpoints.clone(), knock.write());
    let answer = timeout(ENTER_TIMEOUT, wait(&mut mesh, &mut socket, clock)).await;
    let refused =
        |reason: String| EnterError::Refused { cluster: ticket.genesis.name.clone(), reason };
    match answer {
        Ok(Ok(KnockAnswer::Admitted(bootstrap))) if bootstrap.genesis == ticket.genesis => {
            Ok(bootstrap)
        }
        Ok(Ok(KnockAnswer::Admitted(_))) => {
            Err(refused("it answered for another cluster".to_owned()))
        }
        Ok(Ok(KnockAnswer::Refused(reason))) => Err(refused(reason)),
        Ok(Err(error)) => Err(EnterError::System(error)),
        Err(_) => Err(EnterError::NoAnswer {
            host: host.short(),
            seconds: ENTER_TIMEOUT.as_secs(),
            endpoints: endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }),
    }
}

async fn wait(
    mesh: &mut Mesh,
    socket: &mut MeshSocket,
    clock: Clock,
) -> std::io::Result<KnockAnswer> {
    loop {
        while let Some(output) = mesh.poll_output() {
            match output {
                Output::Transmit { destination, datagram } => socket.send(destination, &datagram),
                Output::KnockAnswered { response } => {
                    if let Some(answer) = KnockAnswer::read(&response) {
                        return Ok(answer);
                    }
                }
                _ => {}
            }
        }
        socket.flush();
        let due = mesh.poll_timeout().map(|due| Instant::from_std(clock.instant(due)));
        tokio::select! {
            ready = socket.ready() => {
                ready?;
                let now = clock.now();
                socket.receive(|source, datagram| mesh.handle_datagram(now, source, datagram))?;
            }
            () = async { sleep_until(due.unwrap_or_else(far_future)).await } => {
                mesh.handle_timeout(clock.now());
            }
        }
    }
}

/// Beyond every wait of this module.
fn far_future() -> Instant {
    Instant::now() + ENTER_TIMEOUT * 2
}
