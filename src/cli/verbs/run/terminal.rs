//! Runs on the terminal of this process.

#[cfg(unix)]
pub(in crate::cli::verbs) use crate::cli::shell::{
    ConnectionEnd, SHELL, connect, is_on_terminal, longest_run, terminal_size, terminal_variables,
};

#[cfg(not(unix))]
pub(in crate::cli::verbs) use other_systems::*;

/// Stand-ins on systems without terminals, where nothing is connected.
#[cfg(not(unix))]
mod other_systems {
    use crate::{Client, Error, Stdin, Terminal};

    /// Starts a shell of the image.
    pub(in crate::cli::verbs) const SHELL: &str = "exec sh";

    /// The error of a connection.
    pub(in crate::cli::verbs) type ShellError = Error;

    /// The end of a connection.
    pub(in crate::cli::verbs) enum ConnectionEnd {
        Shown,
        Missed,
        Signal(u8),
    }

    pub(in crate::cli::verbs) fn is_on_terminal() -> bool {
        false
    }

    pub(in crate::cli::verbs) fn terminal_size() -> (u16, u16) {
        (80, 24)
    }

    pub(in crate::cli::verbs) fn terminal_variables() -> impl Iterator<Item = (&'static str, String)>
    {
        std::iter::empty()
    }

    pub(in crate::cli::verbs) async fn longest_run(_: &Client) -> Result<Option<i64>, Error> {
        Ok(None)
    }

    pub(in crate::cli::verbs) async fn connect(
        _: impl Fn() -> Terminal,
        _: Stdin,
        _: (u16, u16),
    ) -> Result<ConnectionEnd, ShellError> {
        Ok(ConnectionEnd::Missed)
    }
}
