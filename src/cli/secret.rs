//! Asking for secrets on a terminal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::process::{ProcessError, runtime};
use super::signals;

/// Why a secret cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("{name}: {source}")]
    Terminal {
        name: String,
        source: std::io::Error,
    },
    #[error("{name}: {source}")]
    Reading {
        name: String,
        source: tokio::task::JoinError,
    },
}

/// Asks for a secret without showing what is typed. A signal that ends the process meanwhile leaves the terminal as it was.
///
/// # Errors
/// If there is no terminal, or nothing more to read from it.
pub(super) fn ask(name: &str) -> Result<String, SecretError> {
    let failed = |source| SecretError::Terminal {
        name: name.to_owned(),
        source,
    };
    let hidden = Arc::new(Mutex::new(None::<Hidden>));
    let runtime = runtime()?;
    let asked = runtime.block_on(async {
        let at_end = hidden.clone();
        signals::on_end(move |status| {
            // Held to the end, so that the terminal is not changed again.
            let mut hidden = lock(&at_end);
            if hidden.take().is_some() {
                eprintln!();
            }
            std::process::exit(status.into());
        })?;
        // Before the prompt, so that nothing is shown of what a program types as soon as it sees it.
        {
            let mut hidden = lock(&hidden);
            *hidden = Some(Hidden::begin().map_err(failed)?);
        }
        let prompt = format!("{name}: ");
        tokio::task::spawn_blocking(move || read(&prompt))
            .await
            .map_err(|source| SecretError::Reading {
                name: name.to_owned(),
                source,
            })?
            .map_err(failed)
    });
    lock(&hidden).take();
    // Who was interrupted does not wait for the thread that reads.
    runtime.shutdown_background();
    asked
}

fn lock(hidden: &Mutex<Option<Hidden>>) -> MutexGuard<'_, Option<Hidden>> {
    hidden.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a line as it is typed. It leaves the modes of the terminal alone: two who set them, one of them at a signal, would
/// undo what the other has done.
#[cfg(unix)]
fn read(prompt: &str) -> std::io::Result<String> {
    use std::io::Write;
    let mut terminal = terminal()?;
    terminal.write_all(prompt.as_bytes())?;
    let config = rpassword::ConfigBuilder::new()
        .input_reader(terminal.try_clone()?)
        .output_discard()
        .build();
    let secret = rpassword::read_password_with_config(config);
    terminal.write_all(b"\n")?;
    secret
}

#[cfg(not(unix))]
fn read(prompt: &str) -> std::io::Result<String> {
    rpassword::prompt_password(prompt)
}

#[cfg(unix)]
fn terminal() -> std::io::Result<std::fs::File> {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
}

/// The terminal of this process while it gives each key as it is typed and shows none. Interrupts are all that it still makes
/// signals of: a stopped process would come back to a terminal that shows everything.
struct Hidden {
    #[cfg(unix)]
    terminal: std::fs::File,
    #[cfg(unix)]
    before: rustix::termios::Termios,
}

#[cfg(unix)]
impl Hidden {
    fn begin() -> std::io::Result<Self> {
        use rustix::termios::{
            LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr,
        };
        let terminal = terminal()?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        // Whole lines would be cut at 4,096 bytes, and at 1,024 on macOS; tokens of some registries are longer.
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        for disabled in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            silent.special_codes[disabled] = DISABLED;
        }
        tcsetattr(&terminal, OptionalActions::Now, &silent)?;
        Ok(Self { terminal, before })
    }
}

/// `_POSIX_VDISABLE`: no key has the function.
#[cfg(unix)]
const DISABLED: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

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
