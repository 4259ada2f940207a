//! Pseudo-terminals (pty(7)): one side for the commands of a sandbox, the other for its caller.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use serde::{Deserialize, Serialize};

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// The number of characters in a line.
    pub columns: u16,
    /// The number of lines.
    pub rows: u16,
}

impl Default for TerminalSize {
    /// The size of the classic video terminals: 80 columns and 24 rows.
    fn default() -> Self {
        Self {
            columns: 80,
            rows: 24,
        }
    }
}

/// The caller's side of a command's terminal.
///
/// Reading it returns the output of the command, and writing to it types input. A read fails with
/// `EIO` when no process inside has the terminal open. The kernel keeps at most a few KiB in each
/// direction, so the command waits for its reader.
#[derive(Debug)]
pub struct Terminal(OwnedFd);

impl Terminal {
    /// Creates a terminal from its controlling side.
    pub(crate) fn new(controller: OwnedFd) -> Self {
        Self(controller)
    }

    /// Opens the side of the commands, which differs from [`tty(4)`] in one setting: erasing
    /// removes a whole character of UTF-8.
    ///
    /// It opens by the descriptor and not by a path, which commands may change.
    ///
    /// [`tty(4)`]: https://man7.org/linux/man-pages/man4/tty.4.html
    pub(crate) fn open_peer(&self) -> Result<OwnedFd, Errno> {
        unlockpt(&self.0)?;
        // Without NOCTTY, the terminal could become that of this process.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let peer = ioctl_tiocgptpeer(&self.0, flags)?;
        let mut attributes = tcgetattr(&peer)?;
        attributes.input_modes |= InputModes::IUTF8;
        tcsetattr(&peer, OptionalActions::Now, &attributes)?;
        Ok(peer)
    }

    /// Changes the size, and tells the foreground processes (SIGWINCH).
    ///
    /// # Errors
    /// The kernel's error.
    pub fn resize(&self, size: TerminalSize) -> io::Result<()> {
        Ok(tcsetwinsize(&self.0, window(size))?)
    }

    /// Sets whether reads and writes return at once if they would wait.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.0, nonblocking)?)
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Terminal {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Terminal> for OwnedFd {
    fn from(terminal: Terminal) -> Self {
        terminal.0
    }
}

fn window(size: TerminalSize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
