//! Enforces the limit on the writable layer of a sandbox, and leaves free space to others.
//!
//! The first stage does this while pid 1 and its descendants live. It may read every file of the
//! layer, sees the processes from outside, and can end the tree by killing pid 1.
//!
//! - The free blocks and inodes of the file system take a microsecond to read. They give an upper
//!   bound on the layer's growth. The layer itself is measured only when that bound reaches the
//!   limit.
//! - The interval between checks depends on the remaining space, which keeps an overshoot small.
//! - A large call of fallocate waits for the watcher, which performs it if there is room.
//! - If the file system is nearly full, sandboxes end whatever was measured.
//!
//! Space is counted in blocks. A sparse file counts with its allocated blocks; a deleted file
//! counts while a process has it open.

mod allocation;
mod allocator;
mod bound;
mod layer;
mod stop;
mod unnamed;
mod verify;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use self::allocation::AllocationQueue;
pub(super) use self::allocator::Allocator;
use self::bound::UsageBound;
use self::layer::{LayerUse, WatchedLayer};
use self::stop::ProcessStopper;
use super::setup::temporary_lines::LinesUse;
use crate::os::free_space::{FileSystemSpace, FreeAmount, has_exact_counts};
use crate::os::poll::timespec;
use crate::os::scheduling::prefer_short_slices;
use crate::os::sys;
use crate::protocol::layer_limit::{LayerExcess, max_files};
use crate::protocol::watcher::WatcherMessage;
use crate::protocol::wire;

/// The assumed highest write rate in bytes per second. No machine fills its page cache faster.
const MAX_WRITE_RATE: u64 = 8 << 30;
/// The assumed highest rate at which files are made, per second.
const MAX_FILE_RATE: u64 = 1_000_000;
/// The space that the layer gets until the setup is complete. No command runs before.
const SETUP_BYTES: u64 = 256 << 20;
/// The files that the layer may get until the setup is complete.
const SETUP_INODES: u64 = 10_000;
/// The bounds of the interval between checks.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
const MAX_INTERVAL: Duration = Duration::from_millis(200);
/// The shortest interval between measurements that a deletion causes. Deletions by other processes
/// can hide the layer's growth from the count of free blocks.
const REMEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// Such measurements take at most this part of the time.
const REMEASURE_PART: u32 = 50;
/// The most time of a measurement while processes run. They may change directories that were
/// measured already.
const RUNNING_TIME: Duration = Duration::from_millis(100);
/// The shortest time between two measurements with stopped processes while little was added.
/// Otherwise a layer that is nearly full would be measured all the time when other programs write.
const VERIFY_INTERVAL: Duration = Duration::from_millis(50);
const LITTLE_BYTES: u64 = 16 << 20;
const LITTLE_FILES: u64 = 1000;
/// The most room that allocations leave, so that a command to which one was refused can continue.
const MAX_RESERVE: u64 = 1 << 20;
/// A sandbox may end for a full disk if at least this part of the floor was written since it began.
const OWN_PART: u64 = 16;
/// Near the floor, the sandboxes end first whose layers have at least this part of it.
const LARGE_PART: u64 = 4;

/// Waits for the end of pid 1, and kills it if the layer grows beyond `limit` bytes or the disk is
/// nearly full. Returns the reason in that case. On return pid 1 is gone in any case.
pub(crate) fn watch_until_end(
    pid: i32,
    store: &OwnedFd,
    run: &Path,
    limit: u64,
    pid1: &OwnedFd,
    allocator: Allocator,
) -> Result<Option<LayerExcess>, Errno> {
    prefer_short_slices();
    let mut watch = LayerWatcher::new(pid, store, run, limit, pid1, allocator);
    let outcome = match &mut watch {
        Ok(watch) => watch.run(),
        Err(error) => Err(*error),
    };
    if !matches!(outcome, Ok(None)) {
        // A sandbox that cannot be watched is killed too.
        let _ = sys::kill(pid, libc::SIGKILL);
    }
    let _ = sys::wait(pid, true);
    match outcome? {
        Some(excess) => Ok(Some(excess)),
        // The sandbox may have exceeded the limit just before its end.
        None => watch?.check_after_end(),
    }
}

/// The watcher of one writable layer.
struct LayerWatcher<'a> {
    /// The pidfd of pid 1.
    ended: OwnedFd,
    pid1: &'a OwnedFd,
    stopper: ProcessStopper<'a>,
    layer: WatchedLayer,
    has_exact_counts: bool,
    /// The process that makes allocations, until the queue has it.
    allocator: Option<Allocator>,
    allocations: Option<AllocationQueue>,
    /// The bytes that the layer may have, without what the setup adds for a time.
    limit: u64,
    bytes: UsageBound,
    inodes: UsageBound,
    /// The file system's space at the last check.
    space: FileSystemSpace,
    /// The number of measurements since the last one with stopped processes.
    running_measurements: u32,
    /// The time of that one.
    verified_at: Option<Instant>,
    /// True if descriptors waited in sockets at the last measurement with stopped processes.
    held_in_flight: bool,
    /// The time and the duration of the last measurement.
    measured_at: Instant,
    measure_time: Duration,
}

impl<'a> LayerWatcher<'a> {
    fn new(
        pid: i32,
        store: &OwnedFd,
        run: &Path,
        limit: u64,
        pid1: &'a OwnedFd,
        allocator: Allocator,
    ) -> Result<Self, Errno> {
        let layer = WatchedLayer::open(store, run)?;
        let process = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        let space = FileSystemSpace::read(&layer.directory)?;
        Ok(Self {
            ended: pidfd_open(process, PidfdFlags::empty())?,
            pid1,
            has_exact_counts: has_exact_counts(&layer.directory),
            layer,
            stopper: ProcessStopper::new(pid1),
            allocator: Some(allocator),
            allocations: None,
            limit,
            bytes: UsageBound::new(limit.saturating_add(SETUP_BYTES), space.used_bytes),
            inodes: UsageBound::new(
                max_files(limit).saturating_add(SETUP_INODES),
                space.used_inodes,
            ),
            space,
            running_measurements: 0,
            verified_at: None,
            held_in_flight: false,
            measured_at: Instant::now(),
            measure_time: Duration::ZERO,
        })
    }

    /// Watches until pid 1 has ended, or until there is a reason to end it.
    fn run(&mut self) -> Result<Option<LayerExcess>, Errno> {
        let mut connected = true;
        loop {
            let [exited, message, called, answered] = {
                // `ended` stands in for a missing descriptor; it becomes ready only at the end.
                let ended = self.ended.as_fd();
                let (calls, results) = match &self.allocations {
                    Some(queue) => (queue.calls().as_fd(), queue.results().as_fd()),
                    None => (ended, ended),
                };
                let connection = if connected { self.pid1.as_fd() } else { ended };
                let mut polled = [
                    PollFd::from_borrowed_fd(ended, PollFlags::IN),
                    PollFd::from_borrowed_fd(connection, PollFlags::IN),
                    PollFd::from_borrowed_fd(calls, PollFlags::IN),
                    PollFd::from_borrowed_fd(results, PollFlags::IN),
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
                    Ok((
                        WatcherMessage::Ready {
                            device,
                            extra_bytes,
                            extra_inodes,
                        },
                        files,
                    )) => {
                        self.layer.device = Some(device);
                        self.bytes.limit = self.limit.saturating_add(extra_bytes);
                        self.inodes.limit = max_files(self.limit).saturating_add(extra_inodes);
                        let listener = files.into_iter().next().zip(self.allocator.take());
                        self.allocations = listener
                            .map(|(listener, allocator)| AllocationQueue::new(listener, allocator));
                    }
                    Ok(_) => {}
                    Err(_) => connected = false,
                }
            }
            // A flood of calls must not keep the watcher from its checks: one call, then one check.
            if called && let Some(queue) = &mut self.allocations {
                queue.receive_call()?;
            }
            let excess = match self.check()? {
                None => self.allocate(answered)?,
                excess => excess,
            };
            if excess.is_some() {
                return Ok(excess);
            }
        }
    }

    fn interval(&self) -> Duration {
        if self
            .allocations
            .as_ref()
            .is_some_and(|queue| queue.can_begin())
        {
            return Duration::ZERO;
        }
        let bytes = self.bytes.remaining().min(self.space.bytes().above_floor());
        let inodes = self
            .space
            .inodes()
            .map_or(u64::MAX, |inodes| inodes.above_floor())
            .min(self.inodes.remaining());
        let micros =
            (bytes / (MAX_WRITE_RATE / 1_000_000)).min(inodes / (MAX_FILE_RATE / 1_000_000));
        Duration::from_micros(micros).clamp(MIN_INTERVAL, MAX_INTERVAL)
    }

    /// Reads the file system's space and raises the bounds by the growth.
    fn observe(&mut self) -> Result<(), Errno> {
        self.space = FileSystemSpace::read(&self.layer.directory)?;
        self.bytes.observe(self.space.used_bytes);
        self.inodes.observe(self.space.used_inodes);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.bytes.is_full() || self.inodes.is_full()
    }

    /// Checks growth and free space. Returns the reason to end the sandbox, if there is one.
    fn check(&mut self) -> Result<Option<LayerExcess>, Errno> {
        self.observe()?;
        if let Some(excess) = self.check_free_space()? {
            return Ok(Some(excess));
        }
        let may_hide_growth =
            self.bytes.saw_deletion || self.inodes.saw_deletion || !self.has_exact_counts;
        if !self.is_full()
            && may_hide_growth
            && self.measured_at.elapsed()
                > REMEASURE_INTERVAL.max(self.measure_time * REMEASURE_PART)
            && let Some((LayerUse { found, .. }, _)) = self.measure_running()
        {
            self.bytes.raise(found.bytes);
            self.inodes.raise(found.inodes);
        }
        let is_recent = self
            .verified_at
            .is_some_and(|last| last.elapsed() < VERIFY_INTERVAL)
            && self.bytes.excess() < LITTLE_BYTES
            && self.inodes.excess() < LITTLE_FILES;
        if self.is_full() && !is_recent {
            return self.verify();
        }
        Ok(None)
    }

    /// Ends sandboxes of a nearly full file system. Large layers end at twice the floor, so that
    /// those who fill the disk end before the others.
    fn check_free_space(&mut self) -> Result<Option<LayerExcess>, Errno> {
        let (space, bytes) = (self.space, self.space.bytes());
        let is_ended = |amount: FreeAmount, bound: &UsageBound| {
            amount.is_below_floor() && bound.total_growth >= amount.floor / OWN_PART
        };
        if is_ended(bytes, &self.bytes) {
            let FreeAmount { free, floor } = bytes;
            return Ok(Some(LayerExcess::FreeBytes { free, floor }));
        }
        if let Some(inodes) = space.inodes()
            && is_ended(inodes, &self.inodes)
        {
            let FreeAmount { free, floor } = inodes;
            return Ok(Some(LayerExcess::FreeInodes { free, floor }));
        }
        let (floor, large) = (2 * bytes.floor, bytes.floor / LARGE_PART);
        if bytes.free < floor
            && self.bytes.upper_bound() >= large
            && self.measured_at.elapsed() > MAX_INTERVAL.max(self.measure_time * REMEASURE_PART)
            && let Some((layer, _)) = self.measure_running()
            && layer.found.bytes >= large
        {
            let free = bytes.free;
            return Ok(Some(LayerExcess::FreeBytes { free, floor }));
        }
        Ok(None)
    }

    fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&self.ended, PollFlags::IN)];
        poll(&mut polled, Some(&timespec(Duration::ZERO))).is_ok_and(|ready| ready > 0)
    }

    /// Goes on with calls of fallocate. `answered`: a piece has its result.
    fn allocate(&mut self, answered: bool) -> Result<Option<LayerExcess>, Errno> {
        let Some(queue) = &mut self.allocations else {
            return Ok(None);
        };
        if answered {
            self.bytes.allocate(queue.receive_result());
        }
        if queue.lacks_room() {
            if self.bytes.may_be_lower() {
                let excess = self.verify()?;
                if excess.is_some() {
                    return Ok(excess);
                }
            }
            let room = self.room();
            if let Some(queue) = &mut self.allocations {
                queue.decide(room);
            }
        }
        let (device, room) = (self.layer.device, self.room());
        if let Some(queue) = &mut self.allocations {
            queue.begin(device, room);
        }
        Ok(None)
    }

    /// The bytes that allocations may take. They leave a reserve for what the command writes next.
    fn room(&self) -> u64 {
        let reserve = (self.bytes.limit / 16).min(MAX_RESERVE);
        self.bytes
            .remaining()
            .min(self.space.bytes().above_floor())
            .saturating_sub(reserve)
    }
}

/// Reports to the watcher that the sandbox is set up. Pid 1 calls it.
pub(crate) fn report_setup(
    watcher: BorrowedFd<'_>,
    device: u64,
    lines_use: LinesUse,
    listener: Option<OwnedFd>,
) -> io::Result<()> {
    let files: Vec<BorrowedFd<'_>> = listener.iter().map(AsFd::as_fd).collect();
    let ready = WatcherMessage::Ready {
        device,
        extra_bytes: lines_use.bytes,
        extra_inodes: lines_use.inodes,
    };
    wire::send(watcher, &ready, &files).map_err(io::Error::other)
}
