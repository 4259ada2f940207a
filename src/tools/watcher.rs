//! Progress of a running call.

use uuid::Uuid;

/// An output stream of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Receives the progress of a call while it runs. Methods must not block for long.
pub trait Watcher: Send + Sync {
    /// Receives bytes that the command wrote.
    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        let _ = (stream, bytes);
    }

    /// Whether the user gets all output through this watcher. Such a call records no more output
    /// than its user asked for, since its answer needs no tail.
    fn passes_output_on(&self) -> bool {
        false
    }

    /// Receives the id of the operation that the call has started and follows. The operation's
    /// record also has the answer.
    fn started(&self, operation: Uuid) {
        let _ = operation;
    }

    /// Asks whether the call may replace its failed operation by a new one.
    ///
    /// Returns false if the client already has the operation's id.
    fn may_restart(&self) -> bool {
        true
    }

    /// Receives a progress message.
    fn progress(&self, message: &str) {
        let _ = message;
    }
}

/// A watcher that ignores all progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct SilentWatcher;

impl Watcher for SilentWatcher {}
