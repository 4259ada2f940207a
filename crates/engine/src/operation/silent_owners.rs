//! The processes of the data directory that did not answer lately.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a process that did not answer is not asked again.
const SILENCE: Duration = Duration::from_secs(10);

/// The sockets of processes that did not answer lately, so that each list of runs does not wait for
/// them again.
#[derive(Default)]
pub(crate) struct SilentOwners(Mutex<HashMap<String, Instant>>);

impl SilentOwners {
    /// Returns whether the process on this socket did not answer lately.
    pub(crate) fn has(&self, socket: &str) -> bool {
        let mut sockets = self.lock();
        sockets.retain(|_, since| since.elapsed() < SILENCE);
        sockets.contains_key(socket)
    }

    /// Remembers that the process on this socket does not answer.
    pub(crate) fn add(&self, socket: &str) {
        self.lock().insert(socket.to_owned(), Instant::now());
    }

    /// Forgets a process, because it answers again.
    pub(crate) fn remove(&self, socket: &str) {
        self.lock().remove(socket);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
