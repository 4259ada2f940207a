//! Enforces the limit on the disk space of a sandbox's writable layer.
//!
//! The first stage does this while pid 1 and its descendants live. It may read every file of the
//! layer, sees the processes from outside, and can end the tree by killing pid 1.
//!
//! - The number of the file system's free blocks takes a microsecond to read. It gives an upper
//!   bound on the layer's growth. The layer itself is measured only when that bound reaches the
//!   limit.
//! - The interval between checks depends on the remaining space, which keeps an overshoot small.
//! - A call of fallocate can take any amount of space, so it waits until the watcher allows it.
//!
//! Space is counted in blocks. A sparse file counts with its allocated blocks; a deleted file
//! counts while it is open. A file held only by a mapping, without a name or descriptor, is not
//! measured.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, fstatvfs, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::os::error::errno;
use crate::os::poll::timespec;
use crate::os::sys;
use crate::os::tree::disk_space;
use crate::protocol::watcher::WatcherMessage;
use crate::protocol::wire;

/// The assumed highest write rate in bytes per second. No machine fills its page cache faster.
const MAX_WRITE_RATE: u64 = 8 << 30;
/// The bounds of the interval between checks.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
const MAX_INTERVAL: Duration = Duration::from_millis(200);
/// The shortest interval between measurements that a deletion causes. Deletions by other processes
/// can hide the layer's growth from the count of free blocks.
const REMEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// The measuring time above which the next measurement stops the processes.
const SLOW_MEASUREMENT: Duration = Duration::from_millis(10);
/// The time-out for pid 1 to stop the processes.
const STOP_TIMEOUT: Duration = Duration::from_millis(200);

/// Waits for the end of pid 1, and kills it if the layer grows beyond `limit`. Returns the layer's
/// size in that case.
pub(crate) fn watch_until_end(
    pid: i32,
    store: &OwnedFd,
    run: &Path,
    limit: u64,
    pid1: &OwnedFd,
) -> Result<Option<u64>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let layer = openat(store, run.join("L/d"), flags, Mode::empty())?;
    let process = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    let ended = pidfd_open(process, PidfdFlags::empty())?;
    let mut watch = LayerWatcher {
        pid,
        limit,
        pid1,
        used_bytes: used_bytes(&layer)?,
        layer,
        namespace: fs::read_link("/proc/self/ns/pid_for_children").ok(),
        device: None,
        listener: None,
        measured_bytes: 0,
        growth: 0,
        saw_deletion: false,
        measured_at: Instant::now(),
        measure_time: Duration::ZERO,
    };
    let outcome = watch.run(&ended);
    let _ = sys::wait(pid, true);
    match outcome? {
        Some(bytes) => Ok(Some(bytes)),
        // The sandbox may have exceeded the limit just before its end.
        None => watch.check_growth(false),
    }
}

/// The watcher of one writable layer.
struct LayerWatcher<'a> {
    pid: i32,
    limit: u64,
    pid1: &'a OwnedFd,
    layer: OwnedFd,
    /// The sandbox's pid namespace, as the link in /proc names it.
    namespace: Option<PathBuf>,
    /// The overlay's device.
    device: Option<u64>,
    /// The notification descriptor for calls of fallocate.
    listener: Option<OwnedFd>,
    /// The layer's size at the last measurement, in bytes.
    measured_bytes: u64,
    /// The upper bound on bytes added since then.
    growth: u64,
    /// True if something on this file system was deleted since then. Then `growth` may be too low.
    saw_deletion: bool,
    /// The time and the duration of the last measurement.
    measured_at: Instant,
    measure_time: Duration,
    /// The file system's used bytes at the last check.
    used_bytes: u64,
}

impl LayerWatcher<'_> {
    fn run(&mut self, ended: &OwnedFd) -> Result<Option<u64>, Errno> {
        let mut connected = true;
        loop {
            let [exited, message, pending] = {
                // `ended` stands in for a missing descriptor; it becomes ready only at the end.
                let listener = self.listener.as_ref().unwrap_or(ended).as_fd();
                let connection = if connected { self.pid1 } else { ended }.as_fd();
                let mut polled = [
                    PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(connection, PollFlags::IN),
                    PollFd::from_borrowed_fd(listener, PollFlags::IN),
                ];
                match poll(&mut polled, Some(&timespec(self.interval()))) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error),
                }
                polled.map(|fd| fd.revents().contains(PollFlags::IN))
            };
            if exited {
                return Ok(None);
            }
            if message {
                match wire::receive::<WatcherMessage>(self.pid1, None) {
                    Ok((WatcherMessage::Ready { device }, files)) => {
                        self.device = Some(device);
                        self.listener = files.into_iter().next();
                    }
                    Ok(_) => {}
                    Err(_) => connected = false,
                }
            }
            let oversize = match &self.listener {
                Some(_) if pending => self.allocate()?,
                _ => self.check_growth(true)?,
            };
            if oversize.is_some() {
                let _ = sys::kill(self.pid, libc::SIGKILL);
                return Ok(oversize);
            }
        }
    }

    fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.measured_bytes + self.growth)
    }

    fn interval(&self) -> Duration {
        let micros = self.remaining() / (MAX_WRITE_RATE / 1_000_000);
        Duration::from_micros(micros).clamp(MIN_INTERVAL, MAX_INTERVAL)
    }

    /// Checks the growth. Returns the layer's size if it exceeds the limit.
    fn check_growth(&mut self, alive: bool) -> Result<Option<u64>, Errno> {
        let used_bytes = used_bytes(&self.layer)?;
        if used_bytes < self.used_bytes {
            self.saw_deletion = true;
        }
        self.growth += used_bytes.saturating_sub(self.used_bytes);
        self.used_bytes = used_bytes;
        let full = self.measured_bytes + self.growth > self.limit;
        let doubtful = self.saw_deletion
            && self.measured_bytes + self.growth > self.limit / 4
            && self.measured_at.elapsed() > REMEASURE_INTERVAL.max(self.measure_time * 20);
        // The last check also measures if deletions by other processes may have hidden growth.
        let last =
            !alive && (self.saw_deletion || self.measured_bytes + self.growth > self.limit / 4);
        if full || doubtful || last {
            self.measure(alive)?;
        }
        Ok((self.measured_bytes > self.limit).then_some(self.measured_bytes))
    }

    fn measure(&mut self, alive: bool) -> Result<(), Errno> {
        let stopped = alive
            && self.measure_time > SLOW_MEASUREMENT
            && self.send(&WatcherMessage::Stop)
            && self.wait_until_stopped();
        let start = Instant::now();
        // Read this before measuring, so that bytes written meanwhile count twice rather than not
        // at all.
        self.used_bytes = used_bytes(&self.layer)?;
        let file_bytes = disk_space(&self.layer).map_err(|error| errno(&error));
        let deleted_bytes = if alive { self.deleted_bytes() } else { 0 };
        self.measured_at = Instant::now();
        self.measure_time = start.elapsed();
        if stopped {
            self.send(&WatcherMessage::Continue);
        }
        match file_bytes {
            Ok(file_bytes) => {
                self.measured_bytes = file_bytes + deleted_bytes;
                self.growth = 0;
                self.saw_deletion = false;
            }
            // The layer changed during the walk. The next check measures it again.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::LOOP) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn send(&self, message: &WatcherMessage) -> bool {
        wire::send(self.pid1, message, &[]).is_ok()
    }

    fn wait_until_stopped(&self) -> bool {
        let deadline = Some(Instant::now() + STOP_TIMEOUT);
        matches!(
            wire::receive::<WatcherMessage>(self.pid1, deadline),
            Ok((WatcherMessage::Stopped, _))
        )
    }

    /// Answers a call of fallocate, which may take the remaining space.
    fn allocate(&mut self) -> Result<Option<u64>, Errno> {
        let Some(listener) = &self.listener else {
            return Ok(None);
        };
        let Some(pending) = sys::receive_call(listener)? else {
            return Ok(None);
        };
        let [file, _, _, length, ..] = pending.arguments;
        let path = format!("/proc/{}/fd/{}", pending.pid, file);
        // Ignore files in memory. The call itself refuses descriptors that are not files.
        let in_layer = fs::metadata(path).is_ok_and(|metadata| Some(metadata.dev()) == self.device);
        if in_layer && length > self.remaining() {
            self.measure(true)?;
            if length > self.remaining() {
                // The call waits until its process is killed.
                return Ok(Some(self.measured_bytes.saturating_add(length)));
            }
        }
        if let Some(listener) = &self.listener {
            sys::continue_call(listener, &pending);
        }
        // The blocks appear only after the call. Add them now: `growth` is an upper bound.
        if in_layer {
            self.check_growth(true)?;
            self.growth = self.growth.saturating_add(length);
        }
        Ok(None)
    }

    /// The size of deleted files that are still open, in bytes.
    fn deleted_bytes(&self) -> u64 {
        let (Some(device), Some(namespace)) = (self.device, &self.namespace) else {
            return 0;
        };
        let mut counted = HashSet::new();
        let mut bytes = 0;
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = process.file_name();
            let is_process = name
                .as_encoded_bytes()
                .first()
                .is_some_and(u8::is_ascii_digit);
            let path = process.path();
            if !is_process || fs::read_link(path.join("ns/pid")).ok().as_ref() != Some(namespace) {
                continue;
            }
            for file in fs::read_dir(path.join("fd"))
                .into_iter()
                .flatten()
                .flatten()
            {
                if let Ok(metadata) = fs::metadata(file.path())
                    && metadata.is_file()
                    && metadata.nlink() == 0
                    && metadata.dev() == device
                    && counted.insert(metadata.ino())
                {
                    bytes += metadata.blocks() * 512;
                }
            }
        }
        bytes
    }
}

/// The used bytes of the file system, including those of other processes.
fn used_bytes(directory: &OwnedFd) -> Result<u64, Errno> {
    let stats = fstatvfs(directory)?;
    Ok(stats.f_blocks.saturating_sub(stats.f_bfree) * stats.f_frsize)
}

/// Reports to the watcher that the sandbox is set up. Pid 1 calls it.
pub(crate) fn ready(
    watcher: BorrowedFd<'_>,
    device: u64,
    listener: Option<OwnedFd>,
) -> io::Result<()> {
    let files: Vec<BorrowedFd<'_>> = listener.iter().map(AsFd::as_fd).collect();
    wire::send(watcher, &WatcherMessage::Ready { device }, &files).map_err(io::Error::other)
}
