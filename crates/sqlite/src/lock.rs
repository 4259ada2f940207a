//! Locks files, with a bounded wait. The log names a lock that another process holds.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait before the log names the lock.
const NOTICE_AFTER: Duration = Duration::from_secs(2);

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// Takes an exclusive advisory lock on an open file, and waits at most `longest` for it. After
/// two seconds, the log names the lock.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] if another process holds the lock for longer. The message gives the
/// remedy.
pub fn lock_file(file: &File, path: &Path, longest: Duration) -> io::Result<()> {
    wait_for(|| file.try_lock(), path, NOTICE_AFTER, longest)
}

fn wait_for(
    try_lock: impl Fn() -> Result<(), TryLockError>,
    path: &Path,
    notice_after: Duration,
    longest: Duration,
) -> io::Result<()> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(200);
    let mut is_logged = false;
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {}
        }
        let waited = begun.elapsed();
        if waited >= longest {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "another process has held the lock {} for {} seconds; `fuser -v {0}` shows the process: wait until it ends, or end it, then try again",
                    path.display(),
                    longest.as_secs()
                ),
            ));
        }
        if !is_logged && waited >= notice_after {
            is_logged = true;
            tracing::warn!(
                "waiting for the lock {}, which another process holds",
                path.display()
            );
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_held_lock_is_bounded_and_names_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("lock");
        let holder = File::create(&path).expect("create");
        holder.lock().expect("lock");
        let waiting = File::open(&path).expect("open");
        let error = lock_file(&waiting, &path, Duration::ZERO).expect_err("held");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains(path.to_str().expect("UTF-8")));
        drop(holder);
        lock_file(&waiting, &path, Duration::ZERO).expect("free");
    }
}
