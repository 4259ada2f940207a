//! The file descriptors that an operation needs to start.
//!
//! An operation without descriptors would fail halfway. So the engine accepts one only if there are
//! enough, and starts the sandbox of a waiting one only then.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;

/// Descriptors that one operation may take while it starts, with some to spare.
const PER_START: usize = 32;

/// How often a waiting operation looks for free descriptors.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// How long an operation waits for descriptors before it fails.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Number of reservations in this process.
static RESERVATIONS: AtomicUsize = AtomicUsize::new(0);

/// The promise of enough descriptors for the start of one operation.
///
/// Others of this engine are not promised the same ones. The rest of the process may still take
/// them.
pub(crate) struct DescriptorReservation(());

impl DescriptorReservation {
    /// Reserves descriptors. 429 if this process or the system has too few.
    pub(crate) fn new() -> Result<Self, ApiError> {
        let reservations = RESERVATIONS.fetch_add(1, Ordering::SeqCst) + 1;
        let reservation = Self(());
        probe(PER_START.saturating_mul(reservations))?;
        Ok(reservation)
    }

    /// Waits until descriptors are free. The error is the last refusal, even if the operation is
    /// cancelled meanwhile.
    pub(crate) async fn wait(cancel: &CancellationToken) -> Result<Self, ApiError> {
        let end = Instant::now() + MAX_WAIT;
        loop {
            let refusal = match Self::new() {
                Ok(reservation) => return Ok(reservation),
                Err(refusal) => refusal,
            };
            if cancel.is_cancelled() || Instant::now() >= end {
                return Err(refusal);
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(RETRY_INTERVAL) => {}
            }
        }
    }
}

impl Drop for DescriptorReservation {
    fn drop(&mut self) {
        RESERVATIONS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Opens `count` descriptors and closes them again.
fn probe(count: usize) -> Result<(), ApiError> {
    let open = || -> rustix::io::Result<()> {
        let first = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let mut copies: Vec<OwnedFd> = Vec::with_capacity(count);
        while copies.len() + 1 < count {
            copies.push(rustix::io::fcntl_dupfd_cloexec(&first, 0)?);
        }
        Ok(())
    };
    open().map_err(|error| ApiError::from(std::io::Error::from(error)))
}
