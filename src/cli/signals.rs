//! Signals that request the end of the process.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::process::ProcessError;

/// The exit status after SIGINT.
const INTERRUPTED: u8 = 130;

/// Whether SIGINT came.
static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends the line on which the terminal shows `^C`, so that the prompt begins one. Does nothing
/// unless SIGINT came.
pub(super) fn end_echoed_line() {
    let is_on_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if is_on_terminal && IS_INTERRUPTED.swap(false, Ordering::AcqRel) {
        let _ = writeln!(std::io::stderr());
    }
}

/// Calls `on_first` with the signal's exit status at the first signal that requests the end. Exits
/// at the second.
///
/// A signal that was ignored when the process started stays ignored: `nohup` ignores SIGHUP, and a
/// shell script ignores SIGINT for the programs that it starts in the background.
///
/// # Errors
/// If the process cannot listen for signals.
pub(super) fn on_end(on_first: impl Fn(u8) + Send + Sync + 'static) -> Result<(), ProcessError> {
    let signalled = Arc::new(AtomicBool::new(false));
    let on_first = Arc::new(on_first);
    let handle = move |status: u8| {
        if status == INTERRUPTED {
            IS_INTERRUPTED.store(true, Ordering::Release);
        }
        if signalled.swap(true, Ordering::AcqRel) {
            #[cfg(unix)]
            super::shell::restore_terminal();
            end_echoed_line();
            std::process::exit(status.into());
        }
        on_first(status);
    };
    listen(handle).map_err(ProcessError::Signals)
}

#[cfg(unix)]
fn listen(handle: impl Fn(u8) + Clone + Send + 'static) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        if is_ignored(kind) {
            continue;
        }
        let mut signals = signal(kind)?;
        let handle = handle.clone();
        let status = u8::try_from(128 + kind.as_raw_value()).unwrap_or(u8::MAX);
        contree_tasks::spawn(async move {
            while signals.recv().await.is_some() {
                handle(status);
            }
        });
    }
    Ok(())
}

/// Reports whether this process ignores a signal (proc_pid_status(5), `SigIgn`).
#[cfg(target_os = "linux")]
fn is_ignored(kind: tokio::signal::unix::SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let bit = u32::try_from(kind.as_raw_value() - 1).unwrap_or(u32::MAX);
    ignored.checked_shr(bit).unwrap_or(0) & 1 == 1
}

/// Asking the system would need unsafe code here.
#[cfg(all(unix, not(target_os = "linux")))]
fn is_ignored(_kind: tokio::signal::unix::SignalKind) -> bool {
    false
}

#[cfg(not(unix))]
fn listen(handle: impl Fn(u8) + Clone + Send + 'static) -> std::io::Result<()> {
    contree_tasks::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            handle(130);
        }
    });
    Ok(())
}
