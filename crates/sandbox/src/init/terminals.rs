//! The terminals of a sandbox.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::os::terminal::{Terminal, TerminalSize};

/// The file system of a sandbox's terminals.
const TERMINALS: &str = "/dev/pts";
/// The name of the file in it that makes a terminal.
const MULTIPLEXER: &str = "ptmx";

/// The terminals of one sandbox. Pid 1 makes them in its own file system of terminals, so a
/// terminal never belongs to this machine or to another sandbox.
pub(super) struct Terminals(OwnedFd);

impl Terminals {
    /// Opens the file system of terminals, before any command could replace the path.
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(CWD, TERMINALS, flags, Mode::empty()).map(Self)
    }

    /// Makes a terminal. Returns the side of the command and that of the caller.
    pub(super) fn make(&self, size: TerminalSize) -> Result<(OwnedFd, Terminal), Errno> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let controller = openat(&self.0, MULTIPLEXER, flags, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&controller)?.st_mode) != FileType::CharacterDevice {
            return Err(Errno::NOTTY);
        }
        let terminal = Terminal::new(controller);
        let peer = terminal.open_peer()?;
        terminal
            .resize(size)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok((peer, terminal))
    }
}
