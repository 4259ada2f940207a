//! The process that makes allocations for the watcher.
//!
//! fallocate waits for the lock of its file, which a program can hold for seconds with one large
//! write. The watcher must not wait, so it leaves the calls to this process.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use crate::os::extents::allocated_bytes;
use crate::os::sys::{self, Fork};
use crate::protocol::wire::{self, WireError};

/// A part of an allocation. The file comes with the message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Piece {
    pub mode: i32,
    pub offset: u64,
    pub length: u64,
    /// The end of the whole allocation.
    pub end: u64,
    /// The bytes that the rest of the whole allocation may take, if they are limited.
    pub room: Option<u64>,
}

/// The result of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PieceResult {
    /// The call returned this error number, or 0.
    Done { errno: i32 },
    /// There is no room for the rest of the allocation, and nothing was done.
    NoRoom,
}

/// The process, and the connection to it. Dropping the value ends the process.
#[derive(Debug)]
pub(crate) struct Allocator {
    /// `None` in a process that does not own it.
    pid: Option<i32>,
    socket: OwnedFd,
}

impl Allocator {
    /// Starts the process. The caller makes the pid namespace afterwards, so that the process is
    /// outside.
    pub(crate) fn start() -> Result<Self, Errno> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        match sys::fork()? {
            Fork::Child => serve(&theirs),
            Fork::Parent(pid) => Ok(Self {
                pid: Some(pid),
                socket,
            }),
        }
    }

    /// Closes the connection in a child of the watcher, which must not end the process.
    pub(crate) fn disown(mut self) {
        self.pid = None;
    }

    /// The descriptor that is readable when a piece has its result.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn send(&self, piece: &Piece, file: &OwnedFd) -> Result<(), WireError> {
        wire::send(&self.socket, piece, &[file.as_fd()])
    }

    /// Receives the result of the last piece. Waits for it.
    pub(super) fn receive(&self) -> Result<PieceResult, WireError> {
        wire::receive(&self.socket, None).map(|(result, _)| result)
    }
}

impl Drop for Allocator {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = sys::kill(pid, libc::SIGKILL);
            let _ = sys::wait(pid, true);
        }
    }
}

/// Makes pieces until the watcher is gone. Never returns.
fn serve(socket: &OwnedFd) -> ! {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // The calls are those of others. This process's own limit of file sizes must not end it.
    sys::block_signals(&[libc::SIGXFSZ]);
    let number = socket.as_raw_fd().unsigned_abs();
    // This process ends without dropping the values that own these descriptors.
    let closed = sys::close_range(0, number - 1).and(sys::close_range(number + 1, u32::MAX));
    while closed.is_ok() {
        let Ok((piece, files)) = wire::receive::<Piece>(socket, None) else {
            break;
        };
        let result = match wire::exact_files(files) {
            Ok([file]) => make(&piece, &file),
            Err(_) => break,
        };
        if wire::send(socket, &result, &[]).is_err() {
            break;
        }
    }
    sys::exit_now(0)
}

fn make(piece: &Piece, file: &OwnedFd) -> PieceResult {
    if let Some(room) = piece.room {
        let rest = piece.end - piece.offset;
        if rest > room && rest - allocated_bytes(file, piece.offset, piece.end).min(rest) > room {
            return PieceResult::NoRoom;
        }
    }
    let flags = FallocateFlags::from_bits_retain(piece.mode.cast_unsigned());
    loop {
        match fallocate(file, flags, piece.offset, piece.length) {
            Err(Errno::INTR) => {}
            result => {
                let errno = result.err().map_or(0, Errno::raw_os_error);
                return PieceResult::Done { errno };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn piece(offset: u64, length: u64, room: u64) -> Piece {
        Piece {
            mode: 0,
            offset,
            length,
            end: offset + length,
            room: Some(room),
        }
    }

    #[test]
    fn only_bytes_without_space_need_room() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        let file = OwnedFd::from(file);
        if allocated_bytes(&file, 0, 1 << 20) == 0 {
            println!("not tried: this file system does not list extents");
            return;
        }
        let done = PieceResult::Done { errno: 0 };
        assert_eq!(make(&piece(0, 1 << 20, 0), &file), done);
        let next = piece(1 << 20, 1 << 20, (1 << 20) - 1);
        assert_eq!(make(&next, &file), PieceResult::NoRoom);
        assert_eq!(make(&piece(1 << 20, 1 << 20, 1 << 20), &file), done);
        assert_eq!(make(&piece(0, 2 << 20, 0), &file), done);
    }
}
