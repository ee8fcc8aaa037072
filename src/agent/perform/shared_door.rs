//! One door for all machines of a build: what several ask is asked once, what several have to tell
//! is written at once. Each request is a way there and back, and may take a session of its own.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio::sync::oneshot;

use crate::agent::api::AdmitRequest;
use crate::agent::api::Bootstrap;
use crate::agent::api::WriteRequest;
use crate::agent::perform::door::Answer;
use crate::agent::perform::door::Door;
use crate::agent::perform::door::DoorError;
use crate::model::cluster::Genesis;
use crate::model::member::Member;

/// Requests at once: as many as the client keeps connections for. A further one would open a
/// session, which takes longer than to wait for one of these.
const REQUESTS_MAX: usize = 3;

/// A door that many go through.
pub(super) struct SharedDoor {
    door: Arc<dyn Door>,
    permits: Semaphore,
    seen: tokio::sync::Mutex<Option<Seen>>,
    waiting: Mutex<Vec<Waiting>>,
    writing: tokio::sync::Mutex<()>,
}

/// The members, and when they were asked for.
struct Seen {
    asked: Instant,
    members: Result<Vec<Member>, DoorError>,
}

/// A write, and who waits for it.
struct Waiting {
    request: WriteRequest,
    done: oneshot::Sender<Result<(), DoorError>>,
}

impl SharedDoor {
    /// Shares `door`.
    pub(super) fn over(door: Arc<dyn Door>) -> Self {
        Self {
            door,
            permits: Semaphore::new(REQUESTS_MAX),
            seen: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.permits.acquire().await.ok()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all that waits. When the cluster refuses it as one, each by itself, so that nobody
    /// answers for another's mistake.
    async fn write_waiting(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        if waiting.is_empty() {
            return;
        }
        let notes: Vec<&str> = waiting.iter().map(|it| it.request.note.as_str()).collect();
        let changes = waiting.iter().flat_map(|it| it.request.changes.iter().cloned());
        let all = WriteRequest { note: notes.join(", "), changes: changes.collect() };
        let _permit = self.permit().await;
        let written = self.door.write(all).await;
        let is_one = waiting.len() == 1;
        for Waiting { request, done } in waiting {
            let own = match &written {
                Err(DoorError::Refused(_)) if !is_one => self.door.write(request).await,
                written => written.clone(),
            };
            // Whoever waited may have given up.
            let _given_up = done.send(own);
        }
    }
}

impl Door for SharedDoor {
    /// As they are after the call.
    fn members(&self) -> Answer<'_, Vec<Member>> {
        Box::pin(async {
            let called = Instant::now();
            let mut seen = self.seen.lock().await;
            if let Some(seen) = seen.as_ref().filter(|seen| seen.asked >= called) {
                return seen.members.clone();
            }
            let _permit = self.permit().await;
            let asked = Instant::now();
            let members = self.door.members().await;
            *seen = Some(Seen { asked, members: members.clone() });
            members
        })
    }

    fn document(&self) -> Answer<'_, Value> {
        Box::pin(async {
            let _permit = self.permit().await;
            self.door.document().await
        })
    }

    fn artefact(&self, digest: String) -> Answer<'_, Vec<u8>> {
        self.door.artefact(digest)
    }

    fn genesis(&self) -> Answer<'_, Genesis> {
        self.door.genesis()
    }

    fn write(&self, request: WriteRequest) -> Answer<'_, ()> {
        Box::pin(async move {
            let (done, answer) = oneshot::channel();
            self.waiting().push(Waiting { request, done });
            let turn = self.writing.lock().await;
            self.write_waiting().await;
            drop(turn);
            let given_up = || DoorError::Unreachable("the work on another machine was lost".into());
            answer.await.unwrap_or_else(|_| Err(given_up()))
        })
    }

    fn admit(&self, request: AdmitRequest) -> Answer<'_, Bootstrap> {
        Box::pin(async move {
            let _permit = self.permit().await;
            self.door.admit(request).await
        })
    }

    fn introduce(&self, bootstrap: Bootstrap) -> Answer<'_, ()> {
        self.door.introduce(bootstrap)
    }

    fn evict(&self, node: String) -> Answer<'_, ()> {
        self.door.evict(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::api::ApiError;
    use crate::agent::api::DocumentChange;

    /// Answers when it may; refuses what has a note `bad`.
    #[derive(Default)]
    struct Counting {
        gate: tokio::sync::Mutex<()>,
        notes: Mutex<Vec<String>>,
        looks: Mutex<usize>,
    }

    impl Door for Counting {
        fn members(&self) -> Answer<'_, Vec<Member>> {
            Box::pin(async {
                *self.looks.lock().unwrap() += 1;
                let _open = self.gate.lock().await;
                Ok(Vec::new())
            })
        }
        fn document(&self) -> Answer<'_, Value> {
            unimplemented!()
        }
        fn artefact(&self, _: String) -> Answer<'_, Vec<u8>> {
            unimplemented!()
        }
        fn genesis(&self) -> Answer<'_, Genesis> {
            unimplemented!()
        }
        fn write(&self, request: WriteRequest) -> Answer<'_, ()> {
            Box::pin(async move {
                self.notes.lock().unwrap().push(request.note.clone());
                let _open = self.gate.lock().await;
                let message = "no".to_owned();
                let refused = ApiError { code: "invalid".to_owned(), message, hint: None };
                if request.note.contains("bad") { Err(DoorError::Refused(refused)) } else { Ok(()) }
            })
        }
        fn admit(&self, _: AdmitRequest) -> Answer<'_, Bootstrap> {
            unimplemented!()
        }
        fn introduce(&self, _: Bootstrap) -> Answer<'_, ()> {
            unimplemented!()
        }
        fn evict(&self, _: String) -> Answer<'_, ()> {
            unimplemented!()
        }
    }

    fn request(note: &str) -> WriteRequest {
        let changes = vec![DocumentChange::Unset { path: format!("a.{note}") }];
        WriteRequest { note: note.to_owned(), changes }
    }

    #[tokio::test]
    async fn many_ask_and_write_at_once_and_a_refusal_is_for_whom_it_concerns() {
        let counting = Arc::new(Counting::default());
        let shared = SharedDoor::over(Arc::<Counting>::clone(&counting));
        let closed = counting.gate.lock().await;
        let notes = ["one", "two", "bad", "four"].map(|note| shared.write(request(note)));
        let looks = (0..5).map(|_| shared.members());
        let all = async {
            tokio::join!(
                futures_util::future::join_all(notes),
                futures_util::future::join_all(looks)
            )
        };
        let open = async {
            tokio::task::yield_now().await;
            drop(closed);
        };
        let ((written, seen), ()) = tokio::join!(all, open);
        let refused: Vec<bool> = written.iter().map(Result::is_err).collect();
        assert_eq!(refused, [false, false, true, false]);
        assert!(seen.iter().all(Result::is_ok));
        assert_eq!(*counting.looks.lock().unwrap(), 2);
        let notes = counting.notes.lock().unwrap().clone();
        assert_eq!(notes, ["one", "two, bad, four", "two", "bad", "four"]);
    }
}
