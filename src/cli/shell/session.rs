//! A command in a sandbox on the terminal of this process.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::super::output::print_message;
use super::ShellOptions;
use super::connection::{ConnectionEnd, connect, terminal_variables};
use super::error::ShellError;
use super::local_terminal;
use crate::{Client, Error, OperationStatus, types};

/// Exit status if the time limit of the command expired, as of `timeout(1)`.
const TIMED_OUT: u8 = 124;
/// Exit status if the command has none.
const FAILED: u8 = 125;
/// The time for cancelling a command whose terminal is gone.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// Starts the shell that `SHELL` names, else bash if the image has it, else sh.
pub(in crate::cli) const SHELL: &str = "if [ -n \"$SHELL\" ]; then exec \"$SHELL\"; fi; command -v bash >/dev/null 2>&1 && exec bash; exec sh";

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
    if !is_on_terminal() {
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
    let run = client.attach(operation);
    match connect(|| run.terminal(), run.stdin(), size).await {
        Ok(ConnectionEnd::Signal(status)) => {
            cancel(client, operation).await;
            Ok(ShellEnd {
                status,
                image: None,
            })
        }
        Ok(shown) => {
            let has_output = matches!(shown, ConnectionEnd::Shown);
            end(client, operation, keep, has_output).await
        }
        Err(error) => {
            cancel(client, operation).await;
            Err(error)
        }
    }
}

/// Whether a person sits at standard input and output.
pub(in crate::cli) fn is_on_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
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
    let mut env: BTreeMap<String, Option<String>> = terminal_variables()
        .map(|(name, value)| (name.to_owned(), Some(value)))
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
pub(in crate::cli) async fn longest_run(client: &Client) -> Result<Option<i64>, Error> {
    let account = client.who_am_i().send().await?.into_inner();
    Ok(account.limits.get("instance_max_timeout").copied())
}

/// Quotes a word for a POSIX shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
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
