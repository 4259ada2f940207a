//! Stops the processes of a sandbox while its layer is measured.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::protocol::watcher::WatcherMessage;
use crate::protocol::wire::{self, WireError};

/// The time-out for pid 1 to stop the processes.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Stops the processes through pid 1, which continues them afterwards.
pub(super) struct ProcessStopper<'a> {
    pid1: &'a OwnedFd,
    requests: u32,
}

impl<'a> ProcessStopper<'a> {
    pub(super) fn new(pid1: &'a OwnedFd) -> Self {
        Self { pid1, requests: 0 }
    }

    /// Stops all processes. Returns false if pid 1 does not confirm it in time.
    ///
    /// # Errors
    /// If pid 1 is gone, and with it all processes.
    pub(super) fn stop(&mut self) -> Result<bool, WireError> {
        self.requests = self.requests.wrapping_add(1);
        let request = self.requests;
        wire::send(self.pid1, &WatcherMessage::Stop { request }, &[])?;
        let deadline = Some(Instant::now() + STOP_TIMEOUT);
        loop {
            match wire::receive(self.pid1, deadline) {
                Ok((WatcherMessage::Stopped { request: answered }, _)) if answered == request => {
                    return Ok(true);
                }
                // A late answer to an earlier request.
                Ok(_) => {}
                Err(WireError::TimedOut) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets all processes continue.
    pub(super) fn resume(&self) {
        // If pid 1 is gone, its end also ends the watch.
        let _ = wire::send(self.pid1, &WatcherMessage::Continue, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn only_the_answer_to_the_last_request_counts() {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let answer = |request| {
            wire::send(&theirs, &WatcherMessage::Stopped { request }, &[]).unwrap();
        };
        let mut stopper = ProcessStopper::new(&ours);
        answer(1);
        assert!(stopper.stop().unwrap());
        // A late second answer to the first request.
        answer(1);
        assert!(!stopper.stop().unwrap());
        drop(theirs);
        assert!(stopper.stop().is_err());
    }
}
