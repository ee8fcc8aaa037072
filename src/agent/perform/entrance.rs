//! The way into the cluster while machines are being made: one of them founds it, the others wait.

use std::sync::Arc;

use tokio::sync::watch;

use crate::agent::perform::door::Door;
use crate::agent::perform::job::Failure;
use crate::agent::perform::shared_door::SharedDoor;

#[derive(Clone)]
enum State {
    /// A machine is founding the cluster.
    Founding,
    /// Nobody founds it yet, or who did failed: the first machine that is ready does.
    Vacant,
    Open(Arc<dyn Door>),
    Closed(String),
}

/// What the machines of one build wait for.
pub(super) struct Entrance {
    state: watch::Sender<State>,
}

/// How a machine enters.
pub(super) enum WayIn {
    /// It is admitted.
    Door(Arc<dyn Door>),
    /// It founds the cluster: everybody else waits for it.
    Found,
}

impl Entrance {
    /// Open when there is a door already; else somebody is to found the cluster.
    pub(super) fn new(door: Option<Arc<dyn Door>>) -> Self {
        let state = door.map_or(State::Vacant, |door| State::Open(shared(door)));
        Self { state: watch::Sender::new(state) }
    }

    /// Whether the caller is to found the cluster: nobody else does, and there is none.
    pub(super) fn claim(&self) -> bool {
        self.exchange(|state| matches!(state, State::Vacant), State::Founding)
    }

    /// Waits until there is a way in.
    pub(super) async fn enter(&self) -> Result<WayIn, Failure> {
        let failed = |why: &str| Err(Failure::at("enter the cluster", why));
        let mut states = self.state.subscribe();
        loop {
            let seen = states.wait_for(|state| !matches!(state, State::Founding)).await;
            match seen.as_deref() {
                Ok(State::Open(door)) => return Ok(WayIn::Door(Arc::clone(door))),
                Ok(State::Closed(why)) => return failed(why),
                Ok(State::Vacant | State::Founding) => {}
                Err(_) => return failed("there is none"),
            }
            drop(seen);
            if self.claim() {
                return Ok(WayIn::Found);
            }
        }
    }

    /// The cluster stands.
    pub(super) fn open(&self, door: Arc<dyn Door>) {
        self.state.send_replace(State::Open(shared(door)));
    }

    /// The machine that was to found it failed.
    pub(super) fn give_up(&self) {
        self.exchange(|state| matches!(state, State::Founding), State::Vacant);
    }

    /// Nobody knows who was to found it any more.
    pub(super) fn close(&self, why: &str) {
        self.exchange(
            |state| matches!(state, State::Founding | State::Vacant),
            State::Closed(why.to_owned()),
        );
    }

    /// The door, when it is open.
    pub(super) fn door(&self) -> Option<Arc<dyn Door>> {
        match &*self.state.borrow() {
            State::Open(door) => Some(Arc::clone(door)),
            _ => None,
        }
    }

    fn exchange(&self, from: impl Fn(&State) -> bool, to: State) -> bool {
        self.state.send_if_modified(|state| {
            let takes = from(state);
            if takes {
                *state = to;
            }
            takes
        })
    }
}

fn shared(door: Arc<dyn Door>) -> Arc<dyn Door> {
    Arc::new(SharedDoor::over(door))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_takes_the_place_of_a_founder_that_failed() {
        let entrance = Arc::new(Entrance::new(None));
        assert!(entrance.claim() && !entrance.claim());
        let wait = || {
            let entrance = Arc::clone(&entrance);
            tokio::spawn(async move { matches!(entrance.enter().await, Ok(WayIn::Found)) })
        };
        let (one, two) = (wait(), wait());
        entrance.give_up();
        let (mut one, mut two) = (one, two);
        let (first, other) = tokio::select! {
            first = &mut one => (first, two),
            first = &mut two => (first, one),
        };
        assert!(first.unwrap());
        entrance.close("lost");
        assert!(!other.await.unwrap(), "both found it");
        let Err(failure) = entrance.enter().await else { panic!() };
        assert_eq!(failure.cause, "lost");
    }
}
