//! The set-up of every command: options, environment, files, and the session made from them.

use std::sync::Arc;

use contree_error_codes::ErrorCode;
use futures_util::FutureExt;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::error::CommandError;
#[cfg(all(feature = "engine", target_os = "linux"))]
use super::error::SettingsError;
use super::options::{LogLevel, Options};
use crate::config::{
    BackendSelection, CloudBackend, Directories, DirectoryError, Environment, ProfileFiles,
    SelectedBackend, select_backend,
};
use crate::tools::{BackendInfo, ClientFactory, LocalAccess, Session, ToolError, ToolSelection};
use crate::{Client, Error};

/// A note of `whoami`, in addition to the engine's own notes.
const LOCAL_NOTE: &str = "operations end with this process";

/// The inputs of a command.
pub(super) struct Setup {
    pub(super) options: Options,
    pub(super) environment: Environment,
    pub(super) files: ProfileFiles,
    pub(super) backend_selection: BackendSelection,
    pub(super) directories: Result<Directories, DirectoryError>,
    /// The tools that are offered.
    pub(super) tool_selection: ToolSelection,
    /// Whether a person uses this process, and not a program that talks to a server.
    pub(super) for_a_person: bool,
}

impl Setup {
    pub(super) fn new(options: Options) -> Self {
        let environment = Environment::of_process();
        let files = ProfileFiles::load(&environment);
        let backend_selection = select_backend(&options.flags(), &environment, &files);
        let directories = Directories::find(&environment);
        Self {
            options,
            environment,
            files,
            backend_selection,
            directories,
            tool_selection: ToolSelection::default(),
            for_a_person: std::io::IsTerminal::is_terminal(&std::io::stdin()),
        }
    }

    /// Starts logging to standard error, and warns about options without effect.
    pub(super) fn start_logging(&self) {
        let level = self.options.level(&self.environment);
        let own_level = level_filter(level);
        // rmcp warns about every error that it passes on, which is useful only for debugging. It
        // never logs more than INFO: at DEBUG, it logs whole requests, which may contain secrets.
        let rmcp = if own_level >= LevelFilter::DEBUG {
            LevelFilter::INFO
        } else {
            own_level.min(LevelFilter::ERROR)
        };
        // It reports each answer whose client has gone, which is not an error of this server.
        let rmcp_answers = if own_level >= LevelFilter::DEBUG {
            LevelFilter::INFO
        } else {
            LevelFilter::OFF
        };
        let targets = Targets::new()
            .with_default(own_level.min(LevelFilter::INFO))
            .with_target("contree", own_level)
            .with_target("rmcp", rmcp)
            .with_target("rmcp::service", rmcp_answers);
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(super::output::LogWriter::new)
            .with_ansi(terminal)
            .with_target(false);
        tracing_subscriber::registry()
            .with(targets)
            .with(layer)
            .init();
        let unused = self.options.without_effect();
        if !unused.is_empty() {
            tracing::warn!(
                "options without effect, which are accepted only for old configurations: {}",
                unused.join(", ")
            );
        }
    }

    /// The backend and the reason for it, as text for users.
    pub(super) fn backend(&self) -> String {
        match &self.backend_selection.backend {
            Ok(SelectedBackend::Local) => {
                format!("the embedded engine ({})", self.backend_selection.why)
            }
            Ok(SelectedBackend::Cloud(cloud)) => {
                format!("{} ({})", cloud.url, self.backend_selection.why)
            }
            Err(_) => format!("none ({})", self.backend_selection.why),
        }
    }

    /// Creates the session of this process. It does not connect yet.
    ///
    /// # Errors
    /// If an allowed path does not exist.
    pub(super) fn session(&self, over_http: bool) -> Result<Arc<Session>, CommandError> {
        let mut info = BackendInfo::default();
        info.why.clone_from(&self.backend_selection.why);
        info.notes.clone_from(&self.backend_selection.notes);
        let connect: ClientFactory = match (&self.backend_selection.backend, &self.directories) {
            (Ok(SelectedBackend::Cloud(cloud)), _) => {
                info.name = "cloud";
                let cloud = cloud.clone();
                Box::new(move || std::future::ready(connect(&cloud).map_err(no_backend)).boxed())
            }
            (Ok(SelectedBackend::Local), Ok(directories)) => {
                info.name = "local";
                info.ends_with_process = true;
                info.notes.push(LOCAL_NOTE.to_owned());
                self.local_factory(directories, over_http)
            }
            (Ok(SelectedBackend::Local), Err(error)) => {
                failing_factory(error.to_string(), error.code())
            }
            (Err(error), _) => failing_factory(error.to_string(), error.code()),
        };
        let is_local = !over_http;
        let mut session = Session::new(info, connect)
            .with_selection(self.tool_selection.clone())
            .with_desktop(is_local && has_desktop(&self.environment))
            .with_local_access(self.local_access(over_http)?);
        if let Ok(directories) = &self.directories {
            session = session.with_state_directory(directories.state.clone());
        }
        #[cfg(all(feature = "engine", target_os = "linux"))]
        if matches!(self.backend_selection.backend, Ok(SelectedBackend::Local))
            && let Ok(config) = self.local_config()
        {
            session = session.with_disk_usage(super::engine::disk_usage_reader(config));
        }
        Ok(Arc::new(session))
    }

    /// The files of this machine that tools may access.
    fn local_access(&self, over_http: bool) -> Result<LocalAccess, CommandError> {
        let allowed = &self.options.allow_path;
        let access = if over_http || !allowed.is_empty() {
            LocalAccess::only(allowed)?
        } else {
            LocalAccess::everything()
        };
        let access = access.with_secrets(self.options.http.token_file().cloned());
        let mut own_directories = Directories::defaults(&self.environment);
        if let Ok(directories) = &self.directories {
            own_directories.extend([directories.state.clone(), directories.data.clone()]);
        }
        // Tools may access no file in these directories: a state store that was set aside contains
        // credentials too.
        Ok(access.with_own_directories(own_directories))
    }

    /// The embedded engine's settings: options, else the environment, else defaults.
    ///
    /// # Errors
    /// An invalid option or variable, or a missing home directory.
    #[cfg(all(feature = "engine", target_os = "linux"))]
    pub(super) fn local_config(&self) -> Result<crate::engine::LocalConfig, SettingsError> {
        let directories = self.directories.as_ref().map_err(Clone::clone)?;
        let mut config = crate::engine::LocalConfig::new(&directories.data).for_own_process();
        self.options
            .network
            .configure(&self.environment, &mut config)?;
        self.options
            .sandbox
            .configure(&self.environment, self.for_a_person, &mut config)?;
        Ok(config)
    }

    #[cfg(all(feature = "engine", target_os = "linux"))]
    fn local_factory(&self, _directories: &Directories, is_server: bool) -> ClientFactory {
        match self.local_config() {
            Ok(config) => {
                super::network::warn(&config);
                engine_factory(config, is_server)
            }
            Err(error) => failing_factory(error.to_string(), error.code()),
        }
    }

    #[cfg(not(all(feature = "engine", target_os = "linux")))]
    fn local_factory(&self, _directories: &Directories, _is_server: bool) -> ClientFactory {
        failing_factory(super::error::NO_ENGINE.to_owned(), ErrorCode::NoEngine)
    }
}

/// Whether the user would see a browser that this process starts.
fn has_desktop(environment: &Environment) -> bool {
    if cfg!(any(target_os = "macos", target_os = "windows")) {
        return environment.get("SSH_CONNECTION").is_none();
    }
    environment
        .get("WAYLAND_DISPLAY")
        .or(environment.get("DISPLAY"))
        .is_some()
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Returns a factory whose every call fails.
fn failing_factory(why: String, code: ErrorCode) -> ClientFactory {
    let error = ToolError::no_backend_because(why).with_code(code);
    Box::new(move || std::future::ready(Err(error.clone())).boxed())
}

/// The error of a backend that cannot be used.
fn no_backend(error: Error) -> ToolError {
    let code = error.code();
    ToolError::no_backend(error).with_code(code)
}

fn connect(cloud: &CloudBackend) -> Result<Client, Error> {
    Client::connect(cloud.backend()?)
}

#[cfg(all(feature = "engine", target_os = "linux"))]
fn engine_factory(config: crate::engine::LocalConfig, is_server: bool) -> ClientFactory {
    Box::new(move || {
        let config = config.clone();
        async move {
            contree_tasks::blocking(move || contree_engine::ControlGroups::enter(is_server))
                .await
                .map_err(ToolError::no_backend)?;
            Client::local(config).await.map_err(no_backend)
        }
        .boxed()
    })
}
