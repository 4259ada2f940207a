//! Where a call shows what happens while it runs.

use uuid::Uuid;

/// One of a command's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where a call shows what happens while it runs. Methods must not block for long.
pub trait Watcher: Send + Sync {
    /// The command wrote these bytes.
    fn output(&self, stream: Stream, bytes: &[u8]) {
        let _ = (stream, bytes);
    }

    /// The call has started this operation, which it follows to its end: the answer can be had from there as well.
    fn started(&self, operation: Uuid) {
        let _ = operation;
    }

    /// The operation came to nothing, and the call wants to start another one for the same answer. False if the answer was promised
    /// under the operation's own id, so that it has to stay what it is.
    fn restarts(&self) -> bool {
        true
    }

    /// The call has come this far, in words.
    fn progress(&self, message: &str) {
        let _ = message;
    }
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Watcher for Quiet {}
