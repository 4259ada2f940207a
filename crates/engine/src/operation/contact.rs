//! The contact between clients and a running operation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after its last request a client counts as attached.
const ATTACHED_TIME: Duration = Duration::from_secs(60);

/// The relation of clients to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// A client follows the run, or has asked for it a moment ago.
    Attached,
    /// Its client left it to the engine on purpose.
    Left,
    /// Its client did not leave it on purpose, and all clients have stopped asking for it.
    Gone,
}

impl ClientState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Left => "left",
            Self::Gone => "gone",
        }
    }
}

/// The requests of clients about one operation.
pub(crate) struct ClientContact {
    /// The event streams that are open.
    followers: AtomicUsize,
    last: Mutex<Instant>,
    /// True if the client left the operation to the engine on purpose.
    is_left: bool,
}

impl ClientContact {
    /// The contact that starts the operation. `is_left`: its client leaves it on purpose.
    pub(crate) fn new(is_left: bool) -> Arc<Self> {
        Arc::new(Self {
            followers: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
            is_left,
        })
    }

    /// Notes a request about the operation.
    pub(crate) fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Notes a client that follows the operation, until the value is dropped.
    pub(crate) fn follow(self: &Arc<Self>) -> Following {
        self.followers.fetch_add(1, Ordering::Relaxed);
        Following(Arc::clone(self))
    }

    /// The present state.
    pub(crate) fn state(&self) -> ClientState {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.state_after(last.elapsed())
    }

    fn state_after(&self, silence: Duration) -> ClientState {
        let is_attached = self.followers.load(Ordering::Relaxed) > 0;
        match (is_attached, self.is_left) {
            (true, _) => ClientState::Attached,
            (false, true) => ClientState::Left,
            (false, false) if silence < ATTACHED_TIME => ClientState::Attached,
            (false, false) => ClientState::Gone,
        }
    }
}

/// A client that follows an operation.
pub(crate) struct Following(Arc<ClientContact>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_gone_differs_from_one_that_left() {
        let (kept, left) = (ClientContact::new(false), ClientContact::new(true));
        let (long, short) = (ATTACHED_TIME, ATTACHED_TIME / 2);
        assert_eq!(left.state_after(long), ClientState::Left);
        assert_eq!(kept.state_after(long), ClientState::Gone);
        assert_eq!(kept.state_after(short), ClientState::Attached);
        assert_eq!(left.state_after(short), ClientState::Left);
        let following = (kept.follow(), left.follow());
        assert_eq!(kept.state_after(long), ClientState::Attached);
        assert_eq!(left.state_after(long), ClientState::Attached);
        drop(following);
        assert_eq!(kept.state_after(long), ClientState::Gone);
        // The end of following counts as contact.
        assert_eq!(kept.state(), ClientState::Attached);
    }
}
