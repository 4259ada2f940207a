//! Performs large calls of fallocate for the sandbox's processes if there is room.
//!
//! Each call works on a duplicate of the descriptor, so that the file cannot be exchanged after the
//! check. It is made in pieces, so that the room is checked between them.

use std::collections::VecDeque;
use std::fs;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FallocateFlags, FileType, OFlags, fallocate, fcntl_getfl, fstat};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal,
};

use super::allocator::{Allocator, Piece, PieceResult};
use crate::os::notifier::{Notifier, PendingCall};

/// The largest piece on a disk, in bytes.
const DISK_PIECE: u64 = 64 << 20;
/// The largest piece of a file in memory, in bytes. It takes a millisecond at most. If the kernel
/// kills the caller for lack of memory, the next piece is not made.
const MEMORY_PIECE: u64 = 1 << 20;
/// The flag of `pidfd_open` for a thread that is not the first of its process, since Linux 6.9.
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.unsigned_abs());
/// The modes that may be split, apart from `FALLOC_FL_KEEP_SIZE`.
const MODES: [i32; 3] = [0, libc::FALLOC_FL_ZERO_RANGE, libc::FALLOC_FL_UNSHARE_RANGE];

/// The calls that wait for the watcher.
#[derive(Debug)]
pub(super) struct AllocationQueue {
    notifier: Notifier,
    allocator: Allocator,
    waiting: VecDeque<PendingCall>,
    current: Option<Allocation>,
    state: PieceState,
    /// The room with which the last piece was begun.
    tried_room: u64,
}

/// The state of the current allocation's next piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PieceState {
    /// It is not begun.
    Idle,
    /// The allocator is making it.
    Begun,
    /// There was no room for it.
    NoRoom,
    /// The allocator is gone, so that no piece can be made.
    Impossible,
}

/// A call that is being performed.
#[derive(Debug)]
struct Allocation {
    call: PendingCall,
    file: OwnedFd,
    mode: i32,
    offset: u64,
    end: u64,
    in_layer: bool,
}

impl AllocationQueue {
    pub(super) fn new(listener: OwnedFd, allocator: Allocator) -> Self {
        Self {
            notifier: Notifier::new(listener),
            allocator,
            waiting: VecDeque::new(),
            current: None,
            state: PieceState::Idle,
            tried_room: 0,
        }
    }

    /// The descriptor that is readable while a call has not been received.
    pub(super) fn calls(&self) -> &OwnedFd {
        self.notifier.descriptor()
    }

    /// The descriptor that is readable when a piece has its result.
    pub(super) fn results(&self) -> &OwnedFd {
        self.allocator.descriptor()
    }

    /// Receives a call, which from then on only fatal signals interrupt.
    pub(super) fn receive_call(&mut self) -> Result<(), Errno> {
        self.waiting.extend(self.notifier.receive()?);
        Ok(())
    }

    /// Returns true if a piece can be begun now.
    pub(super) fn can_begin(&self) -> bool {
        let is_free = matches!(self.state, PieceState::Idle | PieceState::Impossible);
        is_free && (self.current.is_some() || !self.waiting.is_empty())
    }

    /// Returns true if there was no room for the current piece.
    pub(super) fn lacks_room(&self) -> bool {
        self.state == PieceState::NoRoom
    }

    /// Begins the next piece. `room` limits what the rest of its call may take in the layer, and
    /// `device` is the overlay's device.
    pub(super) fn begin(&mut self, device: Option<u64>, room: u64) {
        if !self.can_begin() {
            return;
        }
        self.current
            .take_if(|allocation| !self.notifier.is_waiting(&allocation.call));
        if self.current.is_none()
            && let Some(call) = self.waiting.pop_front()
        {
            match Allocation::begin(&self.notifier, call, device) {
                Ok(allocation) => self.current = Some(allocation),
                Err(Some((call, result))) => self.notifier.answer(&call, result),
                Err(None) => {}
            }
        }
        let Some(allocation) = &self.current else {
            return;
        };
        let is_sent = self.state == PieceState::Idle
            && self
                .allocator
                .send(&allocation.piece(room), &allocation.file)
                .is_ok();
        if is_sent {
            self.tried_room = room;
            self.state = PieceState::Begun;
        } else {
            self.state = PieceState::Impossible;
            self.end(Err(Errno::OPNOTSUPP));
        }
    }

    /// Receives the result of a piece. Returns the bytes that it took in the layer at most.
    pub(super) fn receive_result(&mut self) -> u64 {
        let result = self.allocator.receive();
        self.state = PieceState::Idle;
        let mut allocated = 0;
        match (result, &mut self.current) {
            (Ok(PieceResult::NoRoom), Some(_)) => self.state = PieceState::NoRoom,
            (Ok(PieceResult::Done { errno: 0 }), Some(allocation)) => {
                let length = allocation.piece_length();
                allocation.offset += length;
                if allocation.in_layer {
                    allocated = length;
                }
                if allocation.offset == allocation.end {
                    self.end(Ok(()));
                }
            }
            (Ok(PieceResult::Done { errno }), Some(_)) => {
                self.end(Err(Errno::from_raw_os_error(errno)));
            }
            (Ok(_), None) => {}
            // The kernel may have ended it for lack of memory.
            (Err(_), _) => {
                self.state = PieceState::Impossible;
                self.end(Err(Errno::NOMEM));
            }
        }
        allocated
    }

    /// Tries the piece again for which there was no room if there is more `room` now. Refuses its
    /// call otherwise.
    pub(super) fn decide(&mut self, room: u64) {
        self.state = PieceState::Idle;
        if room <= self.tried_room {
            self.end(Err(Errno::NOSPC));
        }
    }

    fn end(&mut self, result: Result<(), Errno>) {
        if let Some(allocation) = self.current.take() {
            self.notifier.answer(&allocation.call, result);
        }
    }
}

/// The end of a call that needs no room: its result, or nothing if no call waits for one.
type EarlyEnd = Option<(PendingCall, Result<(), Errno>)>;

impl Allocation {
    fn begin(
        notifier: &Notifier,
        call: PendingCall,
        device: Option<u64>,
    ) -> Result<Self, EarlyEnd> {
        let [number, mode, offset, length, ..] = call.arguments;
        // The kernel ignores the upper halves of these two.
        let (number, mode) = (number as RawFd, mode as i32);
        let file = duplicate(call.thread, number);
        // If the call waits now, its thread number was not in use by another process above.
        if !notifier.is_waiting(&call) {
            return Err(None);
        }
        let prepare = || {
            let file = file?;
            let stat = fstat(&file)?;
            let kept = mode & libc::FALLOC_FL_KEEP_SIZE;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                // Only files take space. The kernel has the right error for everything else.
                let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
                return match fallocate(&file, flags, offset, length) {
                    Ok(()) => Err(Errno::OPNOTSUPP),
                    Err(error) => Err(error),
                };
            }
            let signed = (i64::try_from(offset), i64::try_from(length));
            let (Ok(from), Ok(length @ 1..)) = signed else {
                return Err(Errno::INVAL);
            };
            if !MODES.contains(&(mode & !kept)) {
                return Err(Errno::OPNOTSUPP);
            }
            if fcntl_getfl(&file)? & OFlags::ACCMODE == OFlags::RDONLY {
                return Err(Errno::BADF);
            }
            let end = from.checked_add(length).ok_or(Errno::FBIG)?.unsigned_abs();
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            if kept == 0 && end > size && exceeds_file_limit(call.thread, end) {
                return Err(Errno::FBIG);
            }
            let in_layer = device.is_none_or(|device| device == stat.st_dev);
            Ok((file, end, in_layer))
        };
        match prepare() {
            Ok((file, end, in_layer)) => Ok(Self {
                call,
                file,
                mode,
                offset,
                end,
                in_layer,
            }),
            Err(error) => Err(Some((call, Err(error)))),
        }
    }

    fn piece_length(&self) -> u64 {
        let most = if self.in_layer {
            DISK_PIECE
        } else {
            MEMORY_PIECE
        };
        (self.end - self.offset).min(most)
    }

    fn piece(&self, room: u64) -> Piece {
        let length = self.piece_length();
        let is_last = self.offset + length == self.end;
        Piece {
            // Only the last piece changes the size, so that a call that fails leaves it as it was.
            mode: match is_last {
                true => self.mode,
                false => self.mode | libc::FALLOC_FL_KEEP_SIZE,
            },
            offset: self.offset,
            length,
            end: self.end,
            room: self.in_layer.then_some(room),
        }
    }
}

/// Duplicates a descriptor of a thread.
///
/// # Errors
/// - [`Errno::BADF`] if there is no such descriptor.
/// - [`Errno::OPNOTSUPP`] if this machine does not allow it. C libraries then write zeros.
fn duplicate(thread: i32, number: RawFd) -> Result<OwnedFd, Errno> {
    let unsupported = |error| match error {
        Errno::BADF => error,
        _ => Errno::OPNOTSUPP,
    };
    let pidfd = open_thread(thread).map_err(unsupported)?;
    let file = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).map_err(unsupported)?;
    // Before Linux 6.9 the file is one of the first thread, which may have other descriptors.
    let named = fs::metadata(format!("/proc/{thread}/fd/{number}")).map_err(|_| Errno::BADF)?;
    let stat = fstat(&file)?;
    if (named.dev(), named.ino()) != (stat.st_dev, stat.st_ino) {
        return Err(Errno::OPNOTSUPP);
    }
    Ok(file)
}

/// Opens a pidfd for a thread, or for its process if the kernel has no pidfds of threads.
fn open_thread(thread: i32) -> Result<OwnedFd, Errno> {
    let id = Pid::from_raw(thread).ok_or(Errno::SRCH)?;
    match pidfd_open(id, PIDFD_THREAD) {
        Err(Errno::INVAL) => {}
        other => return other,
    }
    let status = fs::read_to_string(format!("/proc/{thread}/status")).map_err(|_| Errno::SRCH)?;
    let process = status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
        .and_then(Pid::from_raw)
        .ok_or(Errno::SRCH)?;
    pidfd_open(process, PidfdFlags::empty())
}

/// Returns true if a thread may not make a file this large (`RLIMIT_FSIZE`). As the kernel does, it
/// sends the signal that belongs to the error.
fn exceeds_file_limit(thread: i32, size: u64) -> bool {
    let Ok(limits) = fs::read_to_string(format!("/proc/{thread}/limits")) else {
        return false;
    };
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max file size"))
        .and_then(|values| values.split_whitespace().next()?.parse::<u64>().ok());
    let exceeds = limit.is_some_and(|limit| size > limit);
    if exceeds && let Ok(pidfd) = open_thread(thread) {
        let _ = pidfd_send_signal(&pidfd, Signal::XFSZ);
    }
    exceeds
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_descriptor_is_duplicated_and_a_closed_one_is_not() {
        let file = tempfile::tempfile().unwrap();
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let copy = duplicate(own, file.as_raw_fd()).unwrap();
        assert_eq!(fstat(&copy).unwrap().st_ino, fstat(&file).unwrap().st_ino);
        assert_eq!(duplicate(own, 1 << 20).unwrap_err(), Errno::BADF);
    }

    #[test]
    fn the_own_limit_of_file_sizes_is_read() {
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        if limit.is_none() {
            assert!(!exceeds_file_limit(own, u64::MAX));
        }
    }
}
