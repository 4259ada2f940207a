//! Locks of files and directories, with a bounded wait.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::{CallContext as _, OsError};

/// How long to wait for a lock that is held for milliseconds.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest pause between two attempts to take a lock.
const MAX_PAUSE: Duration = Duration::from_millis(5);

/// Takes an exclusive lock on an open file or directory. Fails if another process holds it for
/// `longest`, for instance because a signal has stopped that process.
pub(crate) fn lock_exclusively(
    file: impl AsFd,
    path: &Path,
    longest: Duration,
) -> Result<(), OsError> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if begun.elapsed() < longest => {}
            Err(Errno::WOULDBLOCK) => {
                let what = format!(
                    "lock {}, which another process holds; `fuser -v {0}` shows the process: end it, or let it continue",
                    path.display()
                );
                return Err(OsError::new(what, Errno::TIMEDOUT));
            }
            Err(error) => return Err(error).context_path("lock", path),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_lock_that_stays_held_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let [holder, waiting] = [(); 2].map(|()| File::open(folder.path()).unwrap());
        flock(&holder, FlockOperation::LockExclusive).unwrap();
        let short = Duration::from_millis(20);
        let error = lock_exclusively(&waiting, folder.path(), short).unwrap_err();
        assert_eq!(
            error.io().raw_os_error(),
            Some(Errno::TIMEDOUT.raw_os_error())
        );
        let path = folder.path().display().to_string();
        assert!(error.to_string().contains(&path), "{error}");
        drop(holder);
        lock_exclusively(&waiting, folder.path(), short).unwrap();
    }
}
