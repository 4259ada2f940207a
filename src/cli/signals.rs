//! Signals that ask the process to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::process::ProcessError;

/// Calls `first` at the first such signal, with the exit status that goes with it, and ends the process at the second.
///
/// # Errors
/// When the system does not let us listen.
pub(super) fn on_end(first: impl Fn(u8) + Send + Sync + 'static) -> Result<(), ProcessError> {
    let asked = Arc::new(AtomicBool::new(false));
    let first = Arc::new(first);
    let ask = move |status: u8| {
        if asked.swap(true, Ordering::AcqRel) {
            std::process::exit(status.into());
        }
        first(status);
    };
    listen(ask).map_err(ProcessError::Signals)
}

#[cfg(unix)]
fn listen(ask: impl Fn(u8) + Clone + Send + 'static) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind)?;
        let ask = ask.clone();
        let status = u8::try_from(128 + kind.as_raw_value()).unwrap_or(u8::MAX);
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                ask(status);
            }
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn listen(ask: impl Fn(u8) + Clone + Send + 'static) -> std::io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            ask(130);
        }
    });
    Ok(())
}
