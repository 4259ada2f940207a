//! The queue of operations: first in, first out, with limits on running and on waiting operations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::ApiError;

/// Seconds after which a refused client should try again.
const RETRY_AFTER: u32 = 5;

/// A queue of operations with a limited number of permits to run.
pub(crate) struct Queue {
    max_running: usize,
    max_waiting: usize,
    state: Mutex<QueueState>,
}

/// The free permits and the waiting tickets.
struct QueueState {
    free: usize,
    next_ticket: u64,
    waiting: BTreeMap<u64, oneshot::Sender<RunPermit>>,
}

/// A place in the queue. Dropping it leaves the queue.
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    number: u64,
    admission: Admission,
}

/// The permit of a ticket, or the channel on which the ticket waits for it.
enum Admission {
    Granted(RunPermit),
    Waiting(oneshot::Receiver<RunPermit>),
}

/// The permission to run. Dropping it admits the next operation.
pub(crate) struct RunPermit(Option<Arc<Queue>>);

impl Queue {
    /// A queue with limits: `max_running` operations (at least one) run at once, and `max_waiting`
    /// wait.
    pub(crate) fn new(max_running: usize, max_waiting: usize) -> Arc<Self> {
        let max_running = max_running.max(1);
        Arc::new(Self {
            max_running,
            max_waiting,
            state: Mutex::new(QueueState {
                free: max_running,
                next_ticket: 0,
                waiting: BTreeMap::new(),
            }),
        })
    }

    /// The most operations that run at once.
    pub(crate) fn max_running(&self) -> usize {
        self.max_running
    }

    /// The most operations that wait.
    pub(crate) fn max_waiting(&self) -> usize {
        self.max_waiting
    }

    /// Enters the queue. 429 if it is full.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Ticket, ApiError> {
        let mut state = self.state();
        if state.free == 0 && state.waiting.len() >= self.max_waiting {
            return Err(ApiError::too_many(
                format!(
                    "{} operations are already waiting, which is the limit; try again later",
                    self.max_waiting
                ),
                RETRY_AFTER,
            ));
        }
        let number = state.next_ticket;
        state.next_ticket += 1;
        let admission = if state.free > 0 {
            state.free -= 1;
            Admission::Granted(RunPermit(Some(Arc::clone(self))))
        } else {
            let (sender, receiver) = oneshot::channel();
            state.waiting.insert(number, sender);
            Admission::Waiting(receiver)
        };
        drop(state);
        Ok(Ticket {
            queue: Arc::clone(self),
            number,
            admission,
        })
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(self: &Arc<Self>) {
        let mut state = self.state();
        while let Some((_, next)) = state.waiting.pop_first() {
            match next.send(RunPermit(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // The ticket was dropped meanwhile. Emptying the permit keeps its `Drop` from
                // calling this function again while the lock is held.
                Err(mut permit) => drop(permit.0.take()),
            }
        }
        state.free += 1;
    }
}

impl Ticket {
    /// Returns whether the permit was granted on entering the queue.
    pub(crate) fn is_granted(&self) -> bool {
        matches!(self.admission, Admission::Granted(_))
    }

    /// Waits for the permit. Dropping the future leaves the queue.
    pub(crate) async fn permit(mut self) -> Option<RunPermit> {
        match &mut self.admission {
            Admission::Granted(permit) => Some(RunPermit(permit.0.take())),
            Admission::Waiting(permit) => permit.await.ok(),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if matches!(self.admission, Admission::Waiting(_)) {
            // A permit that was already sent is in the receiver. Dropping the receiver drops the
            // permit, which admits the next operation.
            let sender = self.queue.state().waiting.remove(&self.number);
            drop(sender);
        }
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<F: Future>(future: F) -> Option<F::Output> {
        use futures_util::FutureExt as _;
        future.now_or_never()
    }

    #[test]
    fn permits_are_granted_in_the_order_of_entering() {
        let queue = Queue::new(1, 10);
        let permit = now(queue.enter().unwrap().permit()).unwrap().unwrap();
        let [first, dropped, second] = [(); 3].map(|()| queue.enter().unwrap());
        assert!(!first.is_granted());
        let mut first = Box::pin(first.permit());
        let mut second = Box::pin(second.permit());
        // Polling the second one first changes nothing.
        assert!(now(second.as_mut()).is_none() && now(first.as_mut()).is_none());
        drop(dropped);
        drop(permit);
        assert!(now(second.as_mut()).is_none());
        let permit = now(first).unwrap();
        drop(permit);
        assert!(now(second).unwrap().is_some());
        assert!(queue.enter().unwrap().is_granted());
    }

    #[test]
    fn the_permit_of_a_dropped_ticket_is_granted_again() {
        let queue = Queue::new(1, 10);
        let permit = now(queue.enter().unwrap().permit()).unwrap();
        let unused = queue.enter().unwrap();
        drop(permit);
        // It has its permit by now, and never takes it.
        drop(unused);
        assert!(queue.enter().unwrap().is_granted());
    }

    #[test]
    fn a_full_queue_refuses() {
        let queue = Queue::new(1, 1);
        let running = queue.enter().unwrap();
        let waiting = queue.enter().unwrap();
        assert!(queue.enter().is_err());
        drop(waiting);
        assert!(queue.enter().is_ok());
        drop(running);
    }
}
