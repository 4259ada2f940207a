//! Prompting for secrets on a terminal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::process::{ProcessError, runtime};
use super::signals;

/// An error of a prompt for a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("cannot read `{name}` from the terminal: {source}; give it as `{name}=@FILE`")]
    Terminal {
        name: String,
        source: std::io::Error,
    },
    #[error("cannot read `{name}`: {source}")]
    Reading {
        name: String,
        source: tokio::task::JoinError,
    },
}

/// Prompts for a secret without showing it. If a signal ends the process meanwhile, the terminal is
/// restored.
///
/// # Errors
/// If there is no terminal, or its input has ended.
pub(super) fn ask(name: &str) -> Result<String, SecretError> {
    let failed = |source| SecretError::Terminal {
        name: name.to_owned(),
        source,
    };
    let hidden = Arc::new(Mutex::new(None::<HiddenInput>));
    let runtime = runtime()?;
    let secret = contree_tasks::block_on(&runtime, async {
        let hidden_on_signal = hidden.clone();
        signals::on_end(move |status| {
            // The lock is held until the exit, so that nothing changes the terminal again.
            let mut hidden = lock(&hidden_on_signal);
            if hidden.take().is_some() {
                eprintln!();
            }
            std::process::exit(status.into());
        })?;
        // The input is hidden before the prompt, since a program may type as soon as it sees the
        // prompt.
        {
            let mut hidden = lock(&hidden);
            *hidden = Some(HiddenInput::start().map_err(failed)?);
        }
        let prompt = format!("{name}: ");
        contree_tasks::blocking(move || read(&prompt))
            .await
            .map_err(|source| SecretError::Reading {
                name: name.to_owned(),
                source,
            })?
            .map_err(failed)
    });
    lock(&hidden).take();
    // The exit does not wait for a thread that still reads.
    runtime.shutdown_background();
    secret
}

fn lock(hidden: &Mutex<Option<HiddenInput>>) -> MutexGuard<'_, Option<HiddenInput>> {
    hidden.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a line as it is typed, without setting terminal modes.
///
/// Only `HiddenInput` sets and restores the modes. If the reader did so too, each would undo the
/// changes of the other after a signal.
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

/// The terminal of this process, set to deliver each key as typed and to show none. The drop
/// restores the modes.
///
/// Only the interrupt key still sends a signal. The suspend key would let the user resume on a
/// terminal that shows the input.
struct HiddenInput {
    #[cfg(unix)]
    terminal: std::fs::File,
    #[cfg(unix)]
    before: rustix::termios::Termios,
}

#[cfg(unix)]
impl HiddenInput {
    fn start() -> std::io::Result<Self> {
        use rustix::termios::{
            LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr,
        };
        let terminal = terminal()?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        // In line mode, the terminal cuts lines at 4,096 bytes (1,024 on macOS); some registries
        // have longer tokens.
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

/// `_POSIX_VDISABLE`, which disables a special character.
#[cfg(unix)]
const DISABLED: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

#[cfg(unix)]
impl Drop for HiddenInput {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        // It fails only if the terminal is gone, and then there is nothing to restore.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(not(unix))]
impl HiddenInput {
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
    fn start() -> std::io::Result<Self> {
        Ok(Self {})
    }
}
