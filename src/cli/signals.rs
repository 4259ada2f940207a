//! Signals that request the end of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::process::ProcessError;

/// Calls `on_first` with the signal's exit status at the first signal that requests the end. Exits
/// at the second.
///
/// # Errors
/// If the process cannot listen for signals.
pub(super) fn on_end(on_first: impl Fn(u8) + Send + Sync + 'static) -> Result<(), ProcessError> {
    let signalled = Arc::new(AtomicBool::new(false));
    let on_first = Arc::new(on_first);
    let handle = move |status: u8| {
        if signalled.swap(true, Ordering::AcqRel) {
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
        let mut signals = signal(kind)?;
        let handle = handle.clone();
        let status = u8::try_from(128 + kind.as_raw_value()).unwrap_or(u8::MAX);
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                handle(status);
            }
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn listen(handle: impl Fn(u8) + Clone + Send + 'static) -> std::io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            handle(130);
        }
    });
    Ok(())
}
