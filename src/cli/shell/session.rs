//! A command in a sandbox on the terminal of this process.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use contree_error_codes::ErrorCode;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::super::output::print_message;
use super::ShellOptions;
use super::local_terminal::{self, RawMode};
use crate::{Client, Error, OperationStatus, types};

/// Exit status if the time limit of the command expired, as of `timeout(1)`.
const TIMED_OUT: u8 = 124;
/// Exit status if the command has none.
const FAILED: u8 = 125;
/// The time for cancelling a command whose terminal is gone.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of input that are read at once.
const INPUT_PIECE: usize = 4096;
/// The pieces of input that wait to be sent.
const WAITING_INPUT: usize = 64;
/// The variables of this process that tell programs about its terminal.
const TERMINAL_VARIABLES: [&str; 2] = ["TERM", "COLORTERM"];
/// Starts the shell that `SHELL` names, else bash if the image has it, else sh.
const SHELL: &str = "if [ -n \"$SHELL\" ]; then exec \"$SHELL\"; fi; command -v bash >/dev/null 2>&1 && exec bash; exec sh";

/// An error of a command on the terminal.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShellError {
    #[error(
        "standard input and output must be a terminal; to run a command without one, use `contree-mcp call --raw run`"
    )]
    NoTerminal,
    #[error("cannot use the terminal: {0}")]
    Terminal(#[source] io::Error),
    #[error(transparent)]
    Backend(#[from] Error),
    /// The command was started, and then the connection to its terminal failed.
    #[error("the terminal of the sandbox is lost, so its command was ended: {0}")]
    Lost(#[source] Error),
    /// The operation failed.
    #[error("{0}")]
    Operation(String),
}

impl ShellError {
    /// The code of the error.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::NoTerminal => ErrorCode::Usage,
            Self::Terminal(_) => ErrorCode::ResourcesRefused,
            Self::Backend(error) => error.code(),
            Self::Lost(_) => ErrorCode::SandboxGone,
            Self::Operation(_) => ErrorCode::OperationFailed,
        }
    }
}

/// The end of a command on the terminal.
pub(super) struct ShellEnd {
    pub(super) status: u8,
    /// The image with the changes, if they are kept.
    pub(super) image: Option<Uuid>,
}

/// Runs a command in a new sandbox, on the terminal of this process. The terminal is restored
/// however it ends.
///
/// # Errors
/// If there is no terminal, if the backend fails, or if the command cannot run.
pub(super) async fn run_shell(
    client: &Client,
    options: ShellOptions,
) -> Result<ShellEnd, ShellError> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(ShellError::NoTerminal);
    }
    let keep = options.keep;
    let size = local_terminal::size();
    let request = request(client, options, size).await?;
    let (run, ports) = client.start_published(request).await?;
    for port in ports {
        print_message(format_args!(
            "port {} of the sandbox is at {}",
            port.port, port.url
        ));
    }
    let operation = run.operation;
    let mut signals = EndSignals::listen().map_err(ShellError::Terminal)?;
    let shown = tokio::select! {
        shown = show(client, operation, size) => shown,
        status = signals.next() => {
            local_terminal::restore();
            cancel(client, operation).await;
            return Ok(ShellEnd { status, image: None });
        }
    };
    local_terminal::restore();
    match shown {
        Ok(has_output) => end(client, operation, keep, has_output).await,
        Err(error) => {
            cancel(client, operation).await;
            Err(error)
        }
    }
}

/// The request for the command.
async fn request(
    client: &Client,
    options: ShellOptions,
    (columns, rows): (u16, u16),
) -> Result<types::InstanceSpawnRequest, Error> {
    let timeout = match options.timeout {
        Some(seconds) => Some(i64::from(seconds)),
        None => longest_run(client).await?,
    };
    let mut env: BTreeMap<String, Option<String>> = TERMINAL_VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), Some(std::env::var(name).ok()?))))
        .collect();
    env.extend(
        options
            .env
            .into_iter()
            .map(|(name, value)| (name, Some(value))),
    );
    let command = match options.command.as_slice() {
        [] => SHELL.to_owned(),
        words => {
            let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
            format!("exec {}", words.join(" "))
        }
    };
    let request = types::InstanceSpawnRequest::builder()
        .image(options.image)
        .command(command)
        .shell(true)
        .disposable(!options.keep)
        .env(env)
        .cwd(options.cwd)
        .timeout(timeout)
        .stdin(types::ClosableStreamRepr {
            close: Some(false),
            encoding: None,
            value: String::new(),
        })
        .x_ports(options.ports.into_iter().map(u64::from).collect::<Vec<_>>())
        .x_terminal(types::TerminalSize {
            columns: columns.into(),
            rows: rows.into(),
        });
    request
        .try_into()
        .map_err(|error: types::error::ConversionError| Error::InvalidArgument(error.to_string()))
}

/// The longest time limit that the backend allows, in seconds.
async fn longest_run(client: &Client) -> Result<Option<i64>, Error> {
    let account = client.who_am_i().send().await?.into_inner();
    Ok(account.limits.get("instance_max_timeout").copied())
}

/// Quotes a word for a POSIX shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Connects the terminal of this process with that of the command, until the command ends. Returns
/// false if the command had ended before, so that its output is only in its record.
async fn show(
    client: &Client,
    operation: Uuid,
    started_with: (u16, u16),
) -> Result<bool, ShellError> {
    let run = client.attach(operation);
    let terminal = run.terminal();
    let mut output = match terminal.output().await {
        Ok(output) => output,
        Err(error) if is_over(&error) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let raw = RawMode::enter().map_err(ShellError::Terminal)?;
    let sizes = AbortOnDrop(tokio::spawn(follow_size(run.terminal(), started_with)));
    let input = AbortOnDrop(tokio::spawn(send_input(run.stdin(), read_input())));
    let pauses = AbortOnDrop(tokio::spawn(follow_pauses(run.terminal())));
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
    Ok(true)
}

/// Whether the run, or its main process, has ended.
fn is_over(error: &Error) -> bool {
    matches!(
        error.status().map(|status| status.as_u16()),
        Some(404 | 409 | 410)
    )
}

/// Passes each new size of the terminal on.
async fn follow_size(terminal: crate::Terminal, started_with: (u16, u16)) {
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

/// Leaves raw mode while this process is stopped, and enters it again when it goes on.
async fn follow_pauses(terminal: crate::Terminal) {
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
async fn send_input(mut to: crate::Stdin, mut from: mpsc::Receiver<Vec<u8>>) {
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

/// Waits for the end of the operation, and returns the status of its command.
async fn end(
    client: &Client,
    operation: Uuid,
    keep: bool,
    has_output: bool,
) -> Result<ShellEnd, ShellError> {
    let outcome = client.outcome(operation, |_| {}).await?;
    if !has_output {
        let mut stdout = tokio::io::stdout();
        let written = async {
            stdout.write_all(&outcome.stdout.bytes).await?;
            stdout.flush().await
        };
        written.await.map_err(ShellError::Terminal)?;
    }
    if outcome.status == OperationStatus::Failed {
        let reason = outcome.error;
        let reason = reason.unwrap_or_else(|| "the backend gave no reason".to_owned());
        return Err(ShellError::Operation(reason));
    }
    let number = |number: i64| u8::try_from(number).ok();
    let status = match (outcome.signal, outcome.exit_code) {
        _ if outcome.timed_out => {
            print_message("the time limit of the shell has expired (--timeout)");
            TIMED_OUT
        }
        (Some(signal), _) => number(128 + signal).unwrap_or(FAILED),
        (None, Some(code)) => number(code).unwrap_or(FAILED),
        (None, None) => {
            let reason = outcome.error;
            let reason = reason.unwrap_or_else(|| outcome.status.to_string());
            print_message(format_args!("the shell has no exit status: {reason}"));
            FAILED
        }
    };
    Ok(ShellEnd {
        status,
        image: outcome.result_image.filter(|_| keep),
    })
}

/// Cancels a command that has lost its terminal.
async fn cancel(client: &Client, operation: Uuid) {
    let cancelled = tokio::time::timeout(CANCEL_TIMEOUT, client.cancel(operation)).await;
    if !matches!(cancelled, Ok(Ok(_))) {
        tracing::warn!(%operation, "the command of the terminal may still run");
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
            Ok(AbortOnDrop(tokio::spawn(async move {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_unchanged() {
        for word in ["", "a b", "it's", "$HOME `id` \\ \"x\"", "\n"] {
            let script = format!("printf %s {}", quote(word));
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output();
            assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), word);
        }
    }
}
