//! Unfinished copies of this process, which go on after their caller has gone.
//!
//! The threads that write files cannot be cancelled from outside. A caller that goes away sets a
//! [`StopFlag`], and the end of the process waits for the threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The number of unfinished copies.
static COUNT: Mutex<usize> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();

/// An unfinished copy: its temporary directory, and the directories that it has opened up.
pub(super) struct Unfinished(());

impl Unfinished {
    pub(super) fn new() -> Self {
        *count() += 1;
        Self(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        *count() -= 1;
        CHANGED.notify_all();
    }
}

/// Waits until the copies of this process have ended and removed their temporary files, or until a
/// time has passed. Blocks.
#[cfg_attr(
    not(feature = "mcp"),
    allow(dead_code, reason = "the program calls it")
)]
pub(crate) fn wait_for_unfinished(limit: Duration) {
    // After the time, the next use of the directory removes the files.
    let waited = CHANGED.wait_timeout_while(count(), limit, |unfinished| *unfinished > 0);
    drop(waited);
}

fn count() -> MutexGuard<'static, usize> {
    COUNT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells a thread to stop.
#[derive(Clone, Default)]
pub(super) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Sets the flag when the guard is dropped.
    pub(super) fn set_on_drop(&self) -> SetOnDrop {
        SetOnDrop(self.clone())
    }
}

/// A guard that sets a flag.
pub(super) struct SetOnDrop(StopFlag);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Release);
    }
}
