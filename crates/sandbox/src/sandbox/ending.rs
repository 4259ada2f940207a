//! Ending a sandbox: killing its processes, and comparing its upper directory with the image.

use std::sync::PoisonError;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};

use super::Sandbox;
use crate::error::Error;
use crate::launch::classify::explain;
use crate::layer_error::layer_error;
use crate::protocol::layer_limit::LayerExcess;
use crate::protocol::reply::Reply;
use crate::protocol::request::{FirstStageRequest, Pid1Request};
use crate::protocol::spec::SandboxOutcome;
use crate::protocol::wire::{self, WireError};

/// The time-out for killing and reaping everything inside.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// The most time that processes get after SIGTERM. The connection waits longer for the answer.
const MAX_GRACE: Duration = Duration::from_secs(10);
/// The time-out for comparing the upper directory with the image. The time grows with the amount
/// written.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(600);

impl Sandbox {
    /// Kills all processes inside except the init, and waits until they have ended.
    ///
    /// # Errors
    /// - [`Error::Gone`] if the sandbox is gone.
    /// - [`Error::TimedOut`] if it does not answer in time; it is then killed.
    pub fn kill_all(&self) -> Result<(), Error> {
        self.end_all(Duration::ZERO)
    }

    /// Sends SIGTERM to all processes inside except the init, and waits until they have ended. It
    /// kills those that still run after `grace`, which may be ten seconds at most.
    ///
    /// A call of [`Sandbox::kill_all`] from another thread cuts the time short.
    ///
    /// # Errors
    /// Those of [`Sandbox::kill_all`].
    pub fn end_all(&self, grace: Duration) -> Result<(), Error> {
        let grace_ms = u64::try_from(grace.min(MAX_GRACE).as_millis()).unwrap_or_default();
        self.connection
            .request("end its commands", |request| {
                (Pid1Request::EndAll { request, grace_ms }, None)
            })
            .map(drop)
    }

    /// Ends the sandbox. On return none of its processes and mounts exist. With `inspect`, the
    /// upper directory is compared with the image.
    ///
    /// # Errors
    /// - [`Error::LayerTooLarge`], [`Error::LayerTooManyFiles`] or [`Error::LayerNotMeasurable`] if
    ///   the sandbox exceeded the limit of its writable layer.
    /// - [`Error::DiskNearlyFull`] if it was ended to leave free space.
    /// - [`Error::Gone`] if it had died before.
    /// - [`Error::TimedOut`] if it does not end in time; it is then killed.
    pub fn finish(self, inspect: bool) -> Result<SandboxOutcome, Error> {
        // If this cannot be sent, the reader thread sees the end of the connection anyway.
        let _ = wire::send(self.connection.init().socket(), &Pid1Request::Finish, &[]);
        let ended = self
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv_timeout(END_TIMEOUT);
        if ended == Err(RecvTimeoutError::Timeout) {
            self.hard_kill();
            return Err(Error::TimedOut("end"));
        }
        let mut outcome = SandboxOutcome {
            usage: self.connection.result(self.max_layer_bytes)?,
            ..SandboxOutcome::default()
        };
        if inspect {
            let (found, bytes, files) = self.inspect()?;
            outcome.changed = Some(found.reason.is_some());
            outcome.reason = found.reason;
            outcome.upper_bytes = bytes;
            outcome.changed_files = found.changed_files;
            if let Some(limit) = self.max_layer_bytes
                && let Some(excess) = LayerExcess::of(bytes, files, limit)
            {
                return Err(layer_error(excess, limit));
            }
        }
        Ok(outcome)
    }

    /// Compares the upper directory with the image. Returns what changed, and the bytes and inodes
    /// of the directory.
    fn inspect(&self) -> Result<(FoundChanges, u64, u64), Error> {
        let init = self.connection.init();
        wire::send(init.socket(), &FirstStageRequest::Inspect, &[])?;
        match init.receive(Instant::now() + INSPECT_TIMEOUT) {
            Ok((
                Reply::Inspected {
                    reason,
                    bytes,
                    files,
                    changed_files,
                },
                _,
            )) => {
                let found = FoundChanges {
                    reason,
                    changed_files,
                };
                Ok((found, bytes, files))
            }
            Ok((Reply::Failed(failure), _)) => Err(explain(self.store.layout(), failure)),
            Err(WireError::TimedOut) => Err(Error::TimedOut("compare its changes with the image")),
            _ => Err(Error::Gone),
        }
    }

    /// Kills the sandbox without waiting for its end.
    pub fn hard_kill(&self) {
        self.connection.init().kill();
    }
}

/// The changes that a sandbox made.
struct FoundChanges {
    /// The first change, if there is any.
    reason: Option<String>,
    /// The number of names of files and links, and of whiteouts.
    changed_files: u64,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Pid 1 exits when its connection ends, and the first stage when the process tree is gone.
        // A process that does not exit in time is killed.
        let _ = shutdown(self.connection.init().socket(), Shutdown::Both);
        if !self.connection.init().wait(Instant::now() + END_TIMEOUT) {
            self.connection.init().kill();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
