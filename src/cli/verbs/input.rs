//! Forwards standard input to a command.

use std::io::IsTerminal as _;

use tokio::io::AsyncWriteExt as _;

use crate::Stdin;

/// The kind of standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputKind {
    /// A terminal, or nothing: the command gets an empty input.
    Empty,
    /// A pipe or a file, whose bytes the command gets as they arrive.
    Forwarded,
}

impl InputKind {
    /// The kind of this process's standard input.
    pub(super) fn of_process() -> Self {
        if std::io::stdin().is_terminal() || is_null_device() {
            Self::Empty
        } else {
            Self::Forwarded
        }
    }
}

/// Whether standard input is `/dev/null`, which has nothing to forward.
#[cfg(unix)]
fn is_null_device() -> bool {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let device = |path: &str| {
        let metadata = std::fs::metadata(path).ok()?;
        let is_device = metadata.file_type().is_char_device();
        is_device.then(|| metadata.rdev())
    };
    match (device("/dev/stdin"), device("/dev/null")) {
        (Some(input), Some(null)) => input == null,
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_null_device() -> bool {
    false
}

/// Sends standard input to a process, and closes the input of the process at the end. A process
/// that has ended or reads no more is not an error.
pub(super) async fn forward(mut input: Stdin) {
    let mut own = tokio::io::stdin();
    let copied = tokio::io::copy(&mut own, &mut input).await;
    if let Err(error) = copied
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        tracing::warn!("standard input was forwarded only in part: {error}");
    }
    if let Err(error) = input.shutdown().await {
        tracing::debug!("the input of the command cannot be closed: {error}");
    }
}
