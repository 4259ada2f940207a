//! The exit statuses that verbs have in common.

/// Exit status if the command's time limit expired, as of `timeout(1)`.
pub(super) const TIMED_OUT: u8 = 124;
/// Exit status if the command could not run.
pub(super) const FAILED: u8 = 125;
/// Exit status if the reader closed standard output, as of a program ended by SIGPIPE.
pub(in crate::cli) const CLOSED: u8 = 141;
