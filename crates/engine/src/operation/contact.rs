//! Whether a client still cares about a running operation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after its last request a client counts as attached.
const ATTENTION: Duration = Duration::from_secs(60);

/// How a client relates to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// A client follows the run, or has asked for it a moment ago.
    Attached,
    /// Its client left it to the engine on purpose.
    Left,
    /// Its client did not leave it on purpose, and no client asks for it any more.
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
}

impl ClientContact {
    /// The contact that starts the operation.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            followers: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
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

    /// The state of an operation that was left on purpose or not.
    pub(crate) fn state(&self, is_left: bool) -> ClientState {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.state_after(last.elapsed(), is_left)
    }

    fn state_after(&self, silence: Duration, is_left: bool) -> ClientState {
        let is_attached = self.followers.load(Ordering::Relaxed) > 0;
        match (is_attached, is_left) {
            (true, _) => ClientState::Attached,
            (false, true) => ClientState::Left,
            (false, false) if silence < ATTENTION => ClientState::Attached,
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
        let contact = ClientContact::new();
        let long = ATTENTION;
        let short = ATTENTION / 2;
        assert_eq!(contact.state_after(long, true), ClientState::Left);
        assert_eq!(contact.state_after(long, false), ClientState::Gone);
        assert_eq!(contact.state_after(short, false), ClientState::Attached);
        assert_eq!(contact.state_after(short, true), ClientState::Left);
        let following = contact.follow();
        assert_eq!(contact.state_after(long, false), ClientState::Attached);
        assert_eq!(contact.state_after(long, true), ClientState::Attached);
        drop(following);
        assert_eq!(contact.state_after(long, false), ClientState::Gone);
        // The end of following counts as contact.
        assert_eq!(contact.state(false), ClientState::Attached);
    }
}
