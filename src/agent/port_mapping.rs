//! A port of the router before this machine that leads to the mesh's socket, so that others can
//! dial it whatever the router's kind (`mesh.port_mapping`). It is asked for again before its time is
//! over, and given back at the end.

mod asking;
mod gateway;
mod upnp;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::agent::core::Inbox;
use crate::agent::port_mapping::asking::Held;
use crate::agent::port_mapping::asking::MappingError;
use crate::agent::port_mapping::gateway::Way;

/// A router that refused is asked again after this long: it may have been set otherwise since.
const RETRY: Duration = Duration::from_secs(300);

/// A port is asked for again after half of the time it was given for, and at the latest after this
/// long: a router that was started anew has forgotten it.
const RENEW_MAX: Duration = Duration::from_secs(300);

/// And at the earliest after this long.
const RENEW_MIN: Duration = Duration::from_secs(1);

/// How long the router may take to hear that the port is not needed any more.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Keeps a port of the router until it is ended, and reports it to the agent's loop.
pub struct PortMapping {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl PortMapping {
    /// Begins to ask for a port that leads to UDP `port` of this machine. `moved` tells that the
    /// machine may stand behind another router.
    #[must_use]
    pub fn start(port: NonZeroU16, moved: Arc<Notify>, report: mpsc::Sender<Inbox>) -> Self {
        Self::through(Way::find, port, moved, report)
    }

    fn through(
        find: impl Fn() -> Option<Way> + Send + 'static,
        port: NonZeroU16,
        moved: Arc<Notify>,
        report: mpsc::Sender<Inbox>,
    ) -> Self {
        let (end, ended) = oneshot::channel();
        let keeper = Keeper { port, held: None, report, told: None };
        Self { end, task: tokio::spawn(keeper.run(find, moved, ended)) }
    }

    /// Gives the port back.
    pub async fn end(self) {
        let _ = self.end.send(());
        // A router that does not listen lets go of it by itself.
        let _ = timeout(END_TIMEOUT, self.task).await;
    }
}

/// What the task holds.
struct Keeper {
    port: NonZeroU16,
    held: Option<Held>,
    report: mpsc::Sender<Inbox>,
    told: Option<Result<SocketAddr, String>>,
}

impl Keeper {
    async fn run(
        mut self,
        find: impl Fn() -> Option<Way>,
        moved: Arc<Notify>,
        mut ended: oneshot::Receiver<()>,
    ) {
        loop {
            let way = find();
            let pause = tokio::select! {
                _ = &mut ended => break,
                pause = self.ask(way) => pause,
            };
            let rest = sleep(pause);
            tokio::pin!(rest);
            loop {
                tokio::select! {
                    _ = &mut ended => return self.give_back().await,
                    () = &mut rest => break,
                    // Behind the same router all is as it was.
                    () = moved.notified() => if find() != way { break },
                }
            }
        }
        self.give_back().await;
    }

    /// Asks anew for what is held, or for the first time; says how long that lasts.
    async fn ask(&mut self, way: Option<Way>) -> Duration {
        // A port of a router that is not ours any more cannot be given back: it ends by itself.
        self.held = self.held.take().filter(|held| Some(held.way) == way);
        let outcome = match (&mut self.held, way) {
            (_, None) => Err(MappingError::NoRouter),
            (Some(held), Some(_)) => held.renew().await,
            (None, Some(way)) => Held::ask(way, self.port).await.map(|held| self.held = Some(held)),
        };
        let word = match (outcome, &self.held) {
            (Ok(()), Some(held)) => Ok(held.endpoint),
            (Ok(()), None) => Err(MappingError::NoRouter.to_string()),
            (Err(error), _) => {
                self.held = None;
                Err(error.to_string())
            }
        };
        let pause = self
            .held
            .as_ref()
            .map_or(RETRY, |held| (held.lifetime() / 2).clamp(RENEW_MIN, RENEW_MAX));
        if self.told.as_ref() != Some(&word) {
            self.told = Some(word.clone());
            // Nobody listens any more only when the agent ends.
            let _ = self.report.send(Inbox::PortMapped(word)).await;
        }
        pause
    }

    async fn give_back(self) {
        if let Some(held) = self.held {
            held.give_back().await;
        }
    }
}

#[cfg(test)]
mod tests;
