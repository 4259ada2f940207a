//! Who may run now and who waits: first come, first served, and only so many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::ApiError;

/// How many seconds a client should wait that was turned away.
const RETRY_AFTER: u32 = 5;

/// A number of slots, and those who wait for one.
pub(crate) struct Queue {
    slots: usize,
    most_waiting: usize,
    places: Mutex<Places>,
}

/// Free slots, and those who wait for one.
struct Places {
    free: usize,
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Slot>>,
}

/// A place in the queue; dropping it gives the place up.
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    number: u64,
    turn: Turn,
}

enum Turn {
    Now(Slot),
    Later(oneshot::Receiver<Slot>),
}

/// The right to run; dropping it lets the next one in.
pub(crate) struct Slot(Option<Arc<Queue>>);

impl Queue {
    /// A queue that lets `slots` run at once and `most_waiting` wait.
    pub(crate) fn new(slots: usize, most_waiting: usize) -> Arc<Self> {
        let slots = slots.max(1);
        Arc::new(Self {
            slots,
            most_waiting,
            places: Mutex::new(Places {
                free: slots,
                next: 0,
                waiting: BTreeMap::new(),
            }),
        })
    }

    /// How many may run at once.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// How many may wait.
    pub(crate) fn most_waiting(&self) -> usize {
        self.most_waiting
    }

    /// Takes a place. 429 if too many wait already; then nothing was done.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Ticket, ApiError> {
        let mut places = self.places();
        if places.free == 0 && places.waiting.len() >= self.most_waiting {
            return Err(ApiError::too_many(
                format!(
                    "{} operations wait for their turn already, and no more can; try again later",
                    self.most_waiting
                ),
                RETRY_AFTER,
            ));
        }
        let number = places.next;
        places.next += 1;
        let turn = if places.free > 0 {
            places.free -= 1;
            Turn::Now(Slot(Some(Arc::clone(self))))
        } else {
            let (sender, receiver) = oneshot::channel();
            places.waiting.insert(number, sender);
            Turn::Later(receiver)
        };
        drop(places);
        Ok(Ticket {
            queue: Arc::clone(self),
            number,
            turn,
        })
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(self: &Arc<Self>) {
        let mut places = self.places();
        while let Some((_, next)) = places.waiting.pop_first() {
            match next.send(Slot(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // It gave up just now. The slot must not come back here, where the lock is held.
                Err(mut slot) => drop(slot.0.take()),
            }
        }
        places.free += 1;
    }
}

impl Ticket {
    /// Whether it need not wait.
    pub(crate) fn is_due(&self) -> bool {
        matches!(self.turn, Turn::Now(_))
    }

    /// Waits for the turn. Dropping the future gives the place up.
    pub(crate) async fn turn(mut self) -> Option<Slot> {
        match &mut self.turn {
            Turn::Now(slot) => Some(Slot(slot.0.take())),
            Turn::Later(turn) => turn.await.ok(),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if matches!(self.turn, Turn::Later(_)) {
            let left = self.queue.places().waiting.remove(&self.number);
            drop(left);
        }
    }
}

impl Drop for Slot {
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
    fn the_first_to_come_is_the_first_to_run() {
        let queue = Queue::new(1, 10);
        let slot = now(queue.enter().unwrap().turn()).unwrap().unwrap();
        let [one, gone, two] = [(); 3].map(|()| queue.enter().unwrap());
        assert!(!one.is_due());
        let mut one = Box::pin(one.turn());
        let mut two = Box::pin(two.turn());
        // The later one asks first, which changes nothing.
        assert!(now(two.as_mut()).is_none() && now(one.as_mut()).is_none());
        drop(gone);
        drop(slot);
        assert!(now(two.as_mut()).is_none());
        let slot = now(one).unwrap();
        drop(slot);
        assert!(now(two).unwrap().is_some());
        assert!(queue.enter().unwrap().is_due());
    }

    #[test]
    fn a_slot_given_to_one_who_leaves_goes_on() {
        let queue = Queue::new(1, 10);
        let slot = now(queue.enter().unwrap().turn()).unwrap();
        let leaves = queue.enter().unwrap();
        drop(slot);
        // It has its slot by now, and never looks.
        drop(leaves);
        assert!(queue.enter().unwrap().is_due());
    }

    #[test]
    fn too_many_are_turned_away() {
        let queue = Queue::new(1, 1);
        let runs = queue.enter().unwrap();
        let waits = queue.enter().unwrap();
        assert!(queue.enter().is_err());
        drop(waits);
        assert!(queue.enter().is_ok());
        drop(runs);
    }
}
