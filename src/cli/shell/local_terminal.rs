//! The terminal of this process: entering and leaving raw mode.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::terminal_modes::TerminalModes;

/// The settings to restore. They are global, so that a panic and a signal can restore them too.
static SAVED: Mutex<Option<SavedTerminal>> = Mutex::new(None);

/// The terminal before raw mode, and the modes that output has changed since.
struct SavedTerminal {
    settings: Termios,
    modes: TerminalModes,
}

/// The raw mode of the terminal on standard input: each key is read at once and unchanged. Dropping
/// it, a panic and [`restore`] end it.
pub(super) struct RawMode(());

impl RawMode {
    /// # Errors
    /// If standard input is not a terminal.
    pub(super) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                report(panic);
            }));
        });
        let settings = tcgetattr(io::stdin())?;
        *saved() = Some(SavedTerminal {
            settings: settings.clone(),
            modes: TerminalModes::default(),
        });
        let mode = Self(());
        make_raw(settings)?;
        Ok(mode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the settings and modes from before raw mode. Does nothing outside of raw mode.
pub(in crate::cli) fn restore() {
    // Taken in one statement: the lock is free while the terminal is written to.
    let terminal = saved().take();
    if let Some(terminal) = terminal {
        // The terminal may be gone. Then there is no place for an error message.
        let _ = rustix::io::write(io::stdout(), &terminal.modes.undo());
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &terminal.settings);
    }
}

/// Notes output that is about to be shown.
pub(super) fn observe(output: &[u8]) {
    if let Some(terminal) = saved().as_mut() {
        terminal.modes.observe(output);
    }
}

/// Stops this process as Ctrl-Z does, with the terminal as it was before raw mode. Returns when the
/// process continues.
///
/// # Errors
/// The system's error.
pub(super) fn suspend() -> io::Result<()> {
    if let Some(terminal) = saved().as_ref() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &terminal.settings);
    }
    kill_process(getpid(), Signal::STOP)?;
    resume()
}

/// Enters raw mode again. The shell that continues this process has changed the settings.
///
/// # Errors
/// The system's error.
pub(super) fn resume() -> io::Result<()> {
    let settings = saved().as_ref().map(|terminal| terminal.settings.clone());
    settings.map_or(Ok(()), make_raw)
}

/// The size in columns and rows. A terminal that does not know its size has that of a classic one.
pub(in crate::cli) fn size() -> (u16, u16) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => (80, 24),
    }
}

fn make_raw(mut settings: Termios) -> io::Result<()> {
    settings.make_raw();
    Ok(tcsetattr(io::stdin(), OptionalActions::Now, &settings)?)
}

fn saved() -> std::sync::MutexGuard<'static, Option<SavedTerminal>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}
