//! A bounded queue between many tasks that put in and one that takes out.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Why an item did not go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PushError {
    /// No room.
    Full,
    /// The other end is gone.
    Closed,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    capacity: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    consumer: Option<Waker>,
    producers: Vec<Waker>,
    is_closed: bool,
}

impl<T> Queue<T> {
    /// A queue of at most `capacity` items, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let state = State {
            items: VecDeque::new(),
            consumer: None,
            producers: Vec::new(),
            is_closed: false,
        };
        Self { state: Mutex::new(state), capacity: capacity.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code that could panic runs under the lock, and each step leaves the state sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an item in, without waiting.
    pub(super) fn push(&self, item: T) -> Result<(), PushError> {
        let consumer = {
            let mut state = self.lock();
            if state.is_closed {
                return Err(PushError::Closed);
            }
            if state.items.len() >= self.capacity {
                return Err(PushError::Full);
            }
            state.items.push_back(item);
            state.consumer.take()
        };
        if let Some(waker) = consumer {
            waker.wake();
        }
        Ok(())
    }

    /// Ready when there is room, or nobody is left to make any.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is_closed || state.items.len() < self.capacity {
            return Poll::Ready(());
        }
        if !state.producers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.producers.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// The next item; none when the queue is empty and closed.
    pub(super) fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.lock();
        match state.items.pop_front() {
            Some(item) => {
                self.wake_producers(state);
                Poll::Ready(Some(item))
            }
            None if state.is_closed => Poll::Ready(None),
            None => {
                state.consumer = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next item, without waiting.
    pub(super) fn try_pop(&self) -> Option<T> {
        let mut state = self.lock();
        let item = state.items.pop_front();
        self.wake_producers(state);
        item
    }

    /// Wakes those who wait for room once half the queue is free: each then gets to put in many
    /// items before it must wait again.
    fn wake_producers(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.items.len() > self.capacity / 2 || state.producers.is_empty() {
            return;
        }
        let producers = std::mem::take(&mut state.producers);
        drop(state);
        producers.into_iter().for_each(Waker::wake);
    }

    /// Ends the queue: nothing more goes in, and everybody who waits learns of it.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let mut wakers = std::mem::take(&mut state.producers);
        wakers.extend(state.consumer.take());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn no_more_items_than_its_capacity() {
        let queue = Queue::new(2);
        assert_eq!(queue.push(1), Ok(()));
        assert_eq!(queue.push(2), Ok(()));
        assert_eq!(queue.push(3), Err(PushError::Full));
        assert_eq!(queue.try_pop(), Some(1));
        assert_eq!(queue.push(3), Ok(()));
        assert_eq!((queue.try_pop(), queue.try_pop(), queue.try_pop()), (Some(2), Some(3), None));
    }

    #[tokio::test]
    async fn who_waits_for_room_is_woken_when_there_is_some() {
        let queue = Arc::new(Queue::new(4));
        let producers: Vec<_> = (0..8u32)
            .map(|producer| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move {
                    for item in 0..100 {
                        while queue.push((producer, item)) == Err(PushError::Full) {
                            poll_fn(|context| queue.poll_room(context)).await;
                        }
                    }
                })
            })
            .collect();
        let mut next = [0; 8];
        for _ in 0..800 {
            let (producer, item) = poll_fn(|context| queue.poll_pop(context)).await.unwrap();
            assert_eq!(item, next[producer as usize], "items of one producer keep their order");
            next[producer as usize] += 1;
        }
        for producer in producers {
            producer.await.unwrap();
        }
        assert!(poll_fn(|context| queue.poll_pop(context)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_end_reaches_both_sides() {
        let queue = Arc::new(Queue::new(1));
        queue.push(1).unwrap();
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { poll_fn(|context| queue.poll_room(context)).await }
        });
        tokio::task::yield_now().await;
        queue.close();
        waiting.await.unwrap();
        assert_eq!(queue.push(2), Err(PushError::Closed));
        assert_eq!(poll_fn(|context| queue.poll_pop(context)).await, Some(1));
        assert_eq!(poll_fn(|context| queue.poll_pop(context)).await, None);
    }
}
