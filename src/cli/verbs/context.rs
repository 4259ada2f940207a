//! The context of every verb: the backend, the session, and the format of the output.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use contree_error_codes::ErrorCode;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio_util::sync::CancellationToken;

use super::error::VerbError;
use super::exit_status::{CLOSED, FAILED};
use super::rows::{OutputFormat, VerbOptions};
use crate::cli::error::CommandError;
use crate::cli::output::print_error;
use crate::cli::process::runtime;
use crate::cli::setup::Setup;
use crate::cli::units::short;
use crate::cli::{USAGE, signals};
use crate::tools::{Session, ToolError};
use crate::{CancelOnDrop, Client, Error, ImageRef};

/// The variable that names the session.
const SESSION_VARIABLE: &str = "CONTREE_SESSION";

/// The context of a verb.
pub(in crate::cli) struct VerbContext {
    pub(super) tools: Arc<Session>,
    pub(super) client: Client,
    pub(super) format: OutputFormat,
    /// The key of the session: a directory, or a name.
    pub(super) key: String,
    /// Whether the user named the session.
    pub(super) is_named: bool,
    /// Cancelled by the first signal, and when the reader closes standard output.
    pub(super) cancelled: CancellationToken,
    /// The exit status of the received signal; 0 if there was none.
    signal_status: Arc<AtomicU8>,
    /// The number of [`Ending`]s.
    endings: Arc<AtomicUsize>,
}

/// A part of a verb that a signal does not cut off, such as cancelling a run.
pub(super) struct Ending(Arc<AtomicUsize>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs a verb. The first signal drops its future, which cancels the operations that it started.
/// Then the exit status is that of the signal.
pub(super) fn run_verb<F>(setup: &Setup, options: &VerbOptions, verb: F) -> Result<u8, CommandError>
where
    F: AsyncFnOnce(&VerbContext) -> Result<u8, VerbError>,
{
    run_with_status(setup, options, 1, verb)
}

/// Runs a verb whose exit status is that of a command, as [`run_verb`] does. If the backend cannot
/// be used, the status says that the command could not run.
pub(super) fn run_command_verb<F>(
    setup: &Setup,
    options: &VerbOptions,
    verb: F,
) -> Result<u8, CommandError>
where
    F: AsyncFnOnce(&VerbContext) -> Result<u8, VerbError>,
{
    run_with_status(setup, options, FAILED, verb).or_else(|error| {
        print_error(&error, error.code());
        Ok(FAILED)
    })
}

/// Runs a verb. If it cannot begin, the exit status is `failed`.
fn run_with_status<F>(
    setup: &Setup,
    options: &VerbOptions,
    failed: u8,
    verb: F,
) -> Result<u8, CommandError>
where
    F: AsyncFnOnce(&VerbContext) -> Result<u8, VerbError>,
{
    for note in &setup.backend_selection.notes {
        tracing::warn!("{note}");
    }
    let tools = setup.session(false)?;
    let runtime = runtime()?;
    let status = contree_tasks::block_on(&runtime, async {
        match VerbContext::connect(setup, options, tools.clone()).await {
            Ok(cx) => cx.run(verb(&cx).boxed_local()).await,
            Err(error) => {
                let (status, code) = (status_of(&error, failed), error.code());
                print_error(message(&tools, error), code);
                status
            }
        }
    });
    crate::cli::serve::close(tools, runtime);
    Ok(status)
}

/// The key of the session that an option, the environment or the current directory names. Also
/// whether it has a name.
///
/// # Errors
/// If the name is empty, or if there is no current directory.
pub(super) fn selected_session(
    setup: &Setup,
    option: Option<&str>,
) -> Result<(String, bool), VerbError> {
    match option.or_else(|| setup.environment.get(SESSION_VARIABLE)) {
        Some("") => Err(VerbError::Usage(
            "the name of the session is empty; give -S NAME".into(),
        )),
        Some(name) => Ok((name.to_owned(), true)),
        None => {
            let directory = std::env::current_dir().map_err(VerbError::file("."))?;
            Ok((directory.to_string_lossy().into_owned(), false))
        }
    }
}

/// The exit status of an error; `failed` for one that is not the user's.
fn status_of(error: &VerbError, failed: u8) -> u8 {
    match error {
        VerbError::Usage(_) => USAGE,
        _ => failed,
    }
}

/// The message of an error, with a remedy.
fn message(tools: &Session, error: VerbError) -> String {
    let error = match error {
        VerbError::Client(error) => error,
        other => return other.to_string(),
    };
    let hint = match error.status().map(|status| status.as_u16()) {
        Some(401) => Some("check the token; `contree doctor` says where it comes from"),
        Some(403) => Some("the token does not allow this; ask for another one"),
        Some(429) => Some("wait until running operations end, then try again"),
        Some(400..=499) => None,
        _ => return tools.explain(ToolError::from(error)).to_string(),
    };
    let message = tools.explain(ToolError::from(error));
    let message = message.details().message();
    match hint {
        Some(hint) => format!("{message}; {hint}"),
        None => message.to_owned(),
    }
}

impl VerbContext {
    async fn connect(
        setup: &Setup,
        options: &VerbOptions,
        tools: Arc<Session>,
    ) -> Result<Self, VerbError> {
        let (key, is_named) = selected_session(setup, options.session.as_deref())?;
        let cancelled = CancellationToken::new();
        let signal_status = Arc::new(AtomicU8::new(0));
        let endings = Arc::new(AtomicUsize::new(0));
        let (cancel, received) = (cancelled.clone(), signal_status.clone());
        signals::on_end(move |status| {
            received.store(status, Ordering::Release);
            cancel.cancel();
        })?;
        let client = tools.client().await?.clone();
        Ok(Self {
            client,
            tools,
            format: options.format(),
            key,
            is_named,
            cancelled,
            signal_status,
            endings,
        })
    }

    /// Runs the future of a verb to its end, or drops it at the first signal. Returns the exit
    /// status.
    async fn run(&self, verb: LocalBoxFuture<'_, Result<u8, VerbError>>) -> u8 {
        let done = tokio::select! {
            biased;
            done = verb => done,
            status = self.interrupted_outside_of_endings() => Ok(status),
        };
        let status = match done {
            Ok(status) => status,
            // The user knows of the signal.
            Err(error) if self.signal_status() != 0 && error.code() == ErrorCode::Cancelled => {
                self.signal_status()
            }
            Err(error) => {
                let (status, code) = (status_of(&error, 1), error.code());
                print_error(self.message(error).await, code);
                status
            }
        };
        CancelOnDrop::all_sent().await;
        status
    }

    /// The message of an error, with a remedy. If the image of the session is gone, it says so.
    pub(super) async fn message(&self, error: VerbError) -> String {
        if let VerbError::Client(client_error) = &error
            && let Ok(state) = self.state().await
            && let Some(image) = state.image
            && client_error.to_string().contains(&image.to_string())
        {
            let found = self.client.resolve(&ImageRef::Uuid(image)).await;
            if found.is_err_and(|error| error.is_not_found()) {
                return format!(
                    "the image {} of this session was deleted; `contree use IMAGE` chooses another, and `contree session rollback` goes back",
                    short(&image)
                );
            }
        }
        message(&self.tools, error)
    }

    /// The same context with another session, which the user names from now on.
    pub(super) fn with_key(&self, key: String) -> Self {
        Self {
            tools: self.tools.clone(),
            client: self.client.clone(),
            format: self.format,
            key,
            is_named: true,
            cancelled: self.cancelled.clone(),
            signal_status: self.signal_status.clone(),
            endings: self.endings.clone(),
        }
    }

    /// The identity of the backend, under which the store keeps sessions.
    pub(super) fn backend(&self) -> String {
        self.client.backend().identity()
    }

    /// Whether the embedded engine runs in this process.
    pub(super) fn is_local(&self) -> bool {
        self.tools.is_local()
    }

    /// Resolves after the first signal, with its exit status. It is 0 if the reader closed standard
    /// output.
    pub(super) async fn interrupted(&self) -> u8 {
        self.cancelled.cancelled().await;
        self.signal_status()
    }

    /// The exit status of the received signal; 0 if there was none.
    fn signal_status(&self) -> u8 {
        self.signal_status.load(Ordering::Acquire)
    }

    /// Begins a part of the verb that a signal does not cut off.
    pub(super) fn ending(&self) -> Ending {
        self.endings.fetch_add(1, Ordering::AcqRel);
        Ending(self.endings.clone())
    }

    /// Resolves after the first signal, at once unless the verb is in an [`Ending`].
    async fn interrupted_outside_of_endings(&self) -> u8 {
        /// An ending has this time.
        const GRACE: std::time::Duration = std::time::Duration::from_secs(12);
        let status = self.interrupted().await;
        if self.endings.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(GRACE).await;
        }
        // The reader of standard output has gone.
        if status == 0 { CLOSED } else { status }
    }

    /// The status of a command that could not run. A signal and a wrong command line have others.
    ///
    /// # Errors
    /// The errors that have others.
    pub(super) async fn could_not_run(&self, error: VerbError) -> Result<u8, VerbError> {
        if matches!(error, VerbError::Usage(_)) || self.signal_status() != 0 {
            return Err(error);
        }
        let code = error.code();
        print_error(self.message(error).await, code);
        Ok(FAILED)
    }

    /// Runs work until the first signal. Dropping the work must cancel its operations.
    ///
    /// # Errors
    /// The error of the work, or the end by a signal.
    pub(super) async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, VerbError> {
        tokio::select! {
            biased;
            done = work => Ok(done?),
            _ = self.cancelled.cancelled() => {
                Err(ToolError::cancelled("cancelled").into())
            }
        }
    }
}
