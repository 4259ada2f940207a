//! The connection between the terminal of this process and that of a process in a sandbox.

use std::io;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::ShellError;
use super::local_terminal::{self, RawMode};
use crate::{Error, Stdin, Terminal};

/// The most bytes of input that are read at once.
const INPUT_PIECE: usize = 4096;
/// The pieces of input that wait to be sent.
const WAITING_INPUT: usize = 64;
/// The variables of this process that tell programs about its terminal.
const TERMINAL_VARIABLES: [&str; 2] = ["TERM", "COLORTERM"];

/// The end of a connection.
pub(in crate::cli) enum ConnectionEnd {
    /// The process has ended, and its output was shown.
    Shown,
    /// The process had ended before, so that its output is only in its record.
    Missed,
    /// A signal ends this program with this status. The process may still run.
    Signal(u8),
}

/// The variables of this process that tell programs about its terminal.
pub(in crate::cli) fn terminal_variables() -> impl Iterator<Item = (&'static str, String)> {
    TERMINAL_VARIABLES
        .into_iter()
        .filter_map(|name| Some((name, std::env::var(name).ok()?)))
}

/// Connects the terminal of this process with that of a process in a sandbox, until the process
/// ends or a signal ends this program. `started_with` is the size that the terminal inside has.
///
/// The terminal of this process is restored however it ends.
///
/// # Errors
/// If this process has no terminal, or the connection fails.
pub(in crate::cli) async fn connect(
    terminal: impl Fn() -> Terminal,
    input: Stdin,
    started_with: (u16, u16),
) -> Result<ConnectionEnd, ShellError> {
    let mut signals = EndSignals::listen().map_err(ShellError::Terminal)?;
    let shown = tokio::select! {
        shown = show(terminal, input, started_with) => shown,
        status = signals.next() => Ok(ConnectionEnd::Signal(status)),
    };
    local_terminal::restore();
    shown
}

async fn show(
    terminal: impl Fn() -> Terminal,
    input: Stdin,
    started_with: (u16, u16),
) -> Result<ConnectionEnd, ShellError> {
    let mut output = match terminal().output().await {
        Ok(output) => output,
        Err(error) if is_over(&error) => return Ok(ConnectionEnd::Missed),
        Err(error) => return Err(error.into()),
    };
    let raw = RawMode::enter().map_err(ShellError::Terminal)?;
    let sizes = AbortOnDrop(contree_tasks::spawn(follow_size(terminal(), started_with)));
    let input = AbortOnDrop(contree_tasks::spawn(send_input(input, read_input())));
    let pauses = AbortOnDrop(contree_tasks::spawn(follow_pauses(terminal())));
    let mut stdout = tokio::io::stdout();
    while let Some(piece) = output.next().await {
        let piece = piece.map_err(ShellError::Lost)?;
        local_terminal::observe(&piece);
        let written = async {
            stdout.write_all(&piece).await?;
            stdout.flush().await
        };
        written.await.map_err(ShellError::Terminal)?;
    }
    drop((sizes, input, pauses, raw));
    Ok(ConnectionEnd::Shown)
}

/// Whether the run, or its main process, has ended.
fn is_over(error: &Error) -> bool {
    matches!(
        error.status().map(|status| status.as_u16()),
        Some(404 | 409 | 410)
    )
}

/// Passes each new size of the terminal on.
async fn follow_size(terminal: Terminal, started_with: (u16, u16)) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    let mut sent = started_with;
    loop {
        let size = local_terminal::size();
        if size != sent && terminal.resize(size.0, size.1).await.is_ok() {
            sent = size;
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

/// Leaves raw mode while this process is stopped, and enters it again when it continues.
async fn follow_pauses(terminal: Terminal) {
    let kind = |signal: Signal| SignalKind::from_raw(signal.as_raw());
    let (Ok(mut stops), Ok(mut continues)) =
        (signal(kind(Signal::TSTP)), signal(kind(Signal::CONT)))
    else {
        return;
    };
    loop {
        let resumed = tokio::select! {
            Some(()) = stops.recv() => local_terminal::suspend(),
            Some(()) = continues.recv() => local_terminal::resume(),
            else => return,
        };
        if let Err(error) = resumed {
            tracing::debug!(%error, "cannot enter raw mode again");
        }
        // The window may have another size now.
        let (columns, rows) = local_terminal::size();
        let _ = terminal.resize(columns, rows).await;
    }
}

/// Reads the keys of the terminal, on a thread of its own because the read cannot be cancelled.
fn read_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(WAITING_INPUT);
    let read = move || {
        let mut buffer = [0; INPUT_PIECE];
        loop {
            match rustix::io::read(io::stdin(), &mut buffer) {
                // At the end of a terminal, this process gets SIGHUP.
                Ok(0) => return,
                Ok(read) => {
                    if sender.blocking_send(buffer[..read].to_vec()).is_err() {
                        return;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    };
    // Without the thread, the receiver ends at once.
    if let Err(error) = std::thread::Builder::new()
        .name("contree-input".into())
        .spawn(read)
    {
        tracing::warn!(%error, "cannot read the terminal");
    }
    receiver
}

/// Sends input to the command until it has ended.
async fn send_input(mut to: Stdin, mut from: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut bytes) = from.recv().await {
        while let Ok(more) = from.try_recv() {
            bytes.extend(more);
        }
        let sent = async {
            to.write_all(&bytes).await?;
            to.flush().await
        };
        match sent.await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return,
            // The command does not read. Later keys may still interrupt it.
            Err(error) => tracing::debug!(%error, "input was lost"),
        }
    }
}

/// The signals that end this process. Their default action would leave the terminal raw.
struct EndSignals {
    statuses: mpsc::Receiver<u8>,
    _tasks: Vec<AbortOnDrop>,
}

impl EndSignals {
    fn listen() -> io::Result<Self> {
        let (sender, statuses) = mpsc::channel(1);
        let kinds = [
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::terminate(),
        ];
        let tasks = kinds.map(|kind| {
            let mut signals = signal(kind)?;
            let sender = sender.clone();
            let status = u8::try_from(128 + kind.as_raw_value()).unwrap_or(u8::MAX);
            Ok(AbortOnDrop(contree_tasks::spawn(async move {
                while signals.recv().await.is_some() {
                    // At the second signal, the process does not wait any longer.
                    if sender.try_send(status).is_err() {
                        local_terminal::restore();
                        std::process::exit(status.into());
                    }
                }
            })))
        });
        Ok(Self {
            statuses,
            _tasks: tasks.into_iter().collect::<io::Result<_>>()?,
        })
    }

    /// The exit status of the next signal.
    async fn next(&mut self) -> u8 {
        match self.statuses.recv().await {
            Some(status) => status,
            None => std::future::pending().await,
        }
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
