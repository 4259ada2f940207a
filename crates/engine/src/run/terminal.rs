//! The terminal of a process, and its output for the client that shows it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use contree_sandbox::{Terminal, TerminalSize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::sync::Notify;

/// The newest output that is kept while no client shows the terminal, in bytes.
const KEPT: usize = 256 * 1024;
/// The most output that waits for the client that shows the terminal. Beyond it, the process waits.
/// So an interrupt takes effect at once, and not after a long output.
const MAX_WAITING: usize = 16 * 1024;
/// The most output in one answer.
const MAX_PIECE: usize = 64 * 1024;
/// The character that ends the input of a terminal (termios(3), `VEOF`).
const END_OF_INPUT: &[u8] = b"\x04";

/// The terminal of a process.
pub(crate) struct ProcessTerminal {
    device: AsyncFd<Terminal>,
    output: Mutex<TerminalOutput>,
    /// Notified when there is output, when it has ended, or when another client shows it.
    filled: Notify,
    /// Notified when output was taken, or when no client shows the terminal.
    room: Notify,
}

#[derive(Default)]
struct TerminalOutput {
    waiting: VecDeque<u8>,
    /// The number of the newest client that shows the terminal.
    newest_viewer: u64,
    is_shown: bool,
    has_ended: bool,
}

impl ProcessTerminal {
    /// Needs a Tokio runtime.
    ///
    /// # Errors
    /// If the runtime cannot watch the terminal.
    pub(super) fn new(terminal: Terminal) -> io::Result<Arc<Self>> {
        terminal.set_nonblocking(true)?;
        #[expect(
            deprecated,
            reason = "the newer constructor is unsafe; a terminal keeps its descriptor as long as it lives"
        )]
        let device = AsyncFd::new(terminal)?;
        Ok(Arc::new(Self {
            device,
            output: Mutex::default(),
            filled: Notify::new(),
            room: Notify::new(),
        }))
    }

    /// Changes the size.
    ///
    /// # Errors
    /// The kernel's error.
    pub(crate) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        self.device.get_ref().resize(size)
    }

    /// Writes input. Waits while the terminal takes none.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self
                .device
                .async_io(Interest::WRITABLE, |terminal| {
                    Ok(rustix::io::write(terminal, bytes)?)
                })
                .await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Ends the input as a user does, with Ctrl-D.
    pub(super) async fn end_input(&self) -> io::Result<()> {
        self.write_all(END_OF_INPUT).await
    }

    /// Passes output on. Waits while the client that shows the terminal has much to read.
    pub(super) async fn show(&self, bytes: &[u8]) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before the check, so that a notification after it is not missed.
            room.as_mut().enable();
            {
                let mut output = self.output();
                if !output.is_shown || output.waiting.len() < MAX_WAITING {
                    output.waiting.extend(bytes);
                    if !output.is_shown {
                        let excess = output.waiting.len().saturating_sub(KEPT);
                        output.waiting.drain(..excess);
                    }
                    break;
                }
            }
            room.await;
        }
        self.filled.notify_waiters();
    }

    /// Marks the end of the output.
    pub(super) fn end(&self) {
        self.output().has_ended = true;
        self.filled.notify_waiters();
    }

    /// Shows the terminal to a client, beginning with the kept output. An earlier client gets no
    /// further output.
    pub(crate) fn view(self: &Arc<Self>) -> TerminalView {
        let mut output = self.output();
        output.newest_viewer += 1;
        output.is_shown = true;
        let viewer = output.newest_viewer;
        drop(output);
        self.filled.notify_waiters();
        self.room.notify_waiters();
        TerminalView {
            terminal: Arc::clone(self),
            viewer,
        }
    }

    fn output(&self) -> MutexGuard<'_, TerminalOutput> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The output of a terminal, for one client.
pub(crate) struct TerminalView {
    terminal: Arc<ProcessTerminal>,
    viewer: u64,
}

/// The next event on a terminal.
pub(crate) enum TerminalEvent {
    Output(Vec<u8>),
    /// Another client shows the terminal now.
    TakenOver,
    /// All processes have closed the terminal.
    Ended,
}

impl TerminalView {
    /// Waits for more output, or for the end.
    pub(crate) async fn next(&mut self) -> TerminalEvent {
        loop {
            let filled = self.terminal.filled.notified();
            tokio::pin!(filled);
            filled.as_mut().enable();
            {
                let mut output = self.terminal.output();
                if output.newest_viewer != self.viewer {
                    return TerminalEvent::TakenOver;
                }
                let length = output.waiting.len().min(MAX_PIECE);
                if length > 0 {
                    let piece = output.waiting.drain(..length).collect();
                    drop(output);
                    self.terminal.room.notify_waiters();
                    return TerminalEvent::Output(piece);
                }
                if output.has_ended {
                    return TerminalEvent::Ended;
                }
            }
            filled.await;
        }
    }
}

impl Drop for TerminalView {
    fn drop(&mut self) {
        let mut output = self.terminal.output();
        if output.newest_viewer == self.viewer {
            output.is_shown = false;
            drop(output);
            self.terminal.room.notify_waiters();
        }
    }
}

/// Reads the output of a terminal. It ends when no process has the terminal open.
pub(super) struct TerminalReader(pub(super) Arc<ProcessTerminal>);

impl AsyncRead for TerminalReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.device.poll_read_ready(cx))?;
            let read = ready.try_io(|device| {
                let free = buffer.initialize_unfilled();
                Ok(rustix::io::read(device.get_ref(), free)?)
            });
            match read {
                Ok(Ok(read)) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // The end of a terminal (ioctl_tty(2)).
                Ok(Err(error)) if error.raw_os_error() == Some(END_OF_TERMINAL) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                // The terminal was not ready after all.
                Err(_) => {}
            }
        }
    }
}

/// The error of a read if no process has the terminal open.
const END_OF_TERMINAL: i32 = rustix::io::Errno::IO.raw_os_error();
