//! Asking for secrets on a terminal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{runtime, signals};

/// Asks for a secret without showing what is typed. A signal that ends the process meanwhile leaves the terminal as it was.
///
/// # Errors
/// If there is no terminal, or nothing more to read from it.
pub(super) fn ask(name: &str) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let hidden = Arc::new(Mutex::new(None));
    let runtime = runtime()?;
    let asked = runtime.block_on(async {
        let at_end = hidden.clone();
        signals::on_end(move |status| {
            if let Some(hidden) = lock(&at_end).take() {
                drop::<Hidden>(hidden);
                eprintln!();
                std::process::exit(status.into());
            }
        })?;
        // Before the prompt, so that nothing is shown of what a program types as soon as it sees it.
        *lock(&hidden) = Some(Hidden::begin().map_err(|error| failed(&error))?);
        let prompt = format!("{name}: ");
        tokio::task::spawn_blocking(move || rpassword::prompt_password(prompt))
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))
    });
    lock(&hidden).take();
    // Who was interrupted does not wait for the thread that reads.
    runtime.shutdown_background();
    asked
}

fn lock(hidden: &Mutex<Option<Hidden>>) -> MutexGuard<'_, Option<Hidden>> {
    hidden.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The terminal of this process while it does not show what is typed.
struct Hidden {
    #[cfg(unix)]
    terminal: std::fs::File,
    #[cfg(unix)]
    before: rustix::termios::Termios,
}

#[cfg(unix)]
impl Hidden {
    fn begin() -> std::io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let terminal = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Now, &silent)?;
        Ok(Self { terminal, before })
    }
}

#[cfg(unix)]
impl Drop for Hidden {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        // What else could be done for a terminal that is gone?
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(not(unix))]
impl Hidden {
    #[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
    fn begin() -> std::io::Result<Self> {
        Ok(Self {})
    }
}
