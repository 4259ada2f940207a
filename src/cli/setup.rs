//! What every command begins with: options, environment and files, and from them the session.

use std::sync::Arc;

use futures_util::FutureExt;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::error::CommandError;
#[cfg(all(feature = "engine", target_os = "linux"))]
use super::error::SettingsError;
use super::options::{Level, Options};
use crate::config::{
    Cloud, Decision, Directories, DirectoryError, Environment, ProfileFiles, Selected, decide,
};
use crate::tools::{BackendInfo, ClientFactory, LocalAccess, Session, ToolError, ToolSelection};
use crate::{Client, Error};

/// Said by `whoami`, beside what the engine says of itself.
const LOCAL_NOTE: &str = "operations end with this process";

/// All that is known before anything is done.
pub(super) struct Setup {
    pub(super) options: Options,
    pub(super) environment: Environment,
    pub(super) files: ProfileFiles,
    pub(super) decision: Decision,
    pub(super) directories: Result<Directories, DirectoryError>,
    /// Which tools there are to call.
    pub(super) offer: ToolSelection,
}

impl Setup {
    pub(super) fn new(options: Options) -> Self {
        let environment = Environment::of_process();
        let files = ProfileFiles::load(&environment);
        let decision = decide(&options.flags(), &environment, &files);
        let directories = Directories::find(&environment);
        Self {
            options,
            environment,
            files,
            decision,
            directories,
            offer: ToolSelection::default(),
        }
    }

    /// Begins logging to standard error and says what the options left to say.
    pub(super) fn log(&self) {
        let level = self.options.level(&self.environment);
        let own = filter(level);
        // rmcp warns of every error it passes on; that is of use only when looking closer. Never closer than this: from its next
        // level on it writes whole requests down, and there may be secrets in them.
        let rmcp = if own >= LevelFilter::DEBUG {
            LevelFilter::INFO
        } else {
            own.min(LevelFilter::ERROR)
        };
        let targets = Targets::new()
            .with_default(own.min(LevelFilter::INFO))
            .with_target("contree", own)
            .with_target("rmcp", rmcp);
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(terminal)
            .with_target(false);
        tracing_subscriber::registry()
            .with(targets)
            .with(layer)
            .init();
        let unused = self.options.without_effect();
        if !unused.is_empty() {
            tracing::warn!(
                "no longer of any effect, and accepted for old configurations only: {}",
                unused.join(", ")
            );
        }
    }

    /// The backend for people: which, and why.
    pub(super) fn backend(&self) -> String {
        match &self.decision.selected {
            Ok(Selected::Local) => format!("the embedded engine ({})", self.decision.why),
            Ok(Selected::Cloud(cloud)) => format!("{} ({})", cloud.url, self.decision.why),
            Err(_) => format!("none ({})", self.decision.why),
        }
    }

    /// The session of this process. Nothing is connected to yet.
    ///
    /// # Errors
    /// If an allowed path is not there.
    pub(super) fn session(&self, over_http: bool) -> Result<Arc<Session>, CommandError> {
        let mut info = BackendInfo::default();
        info.why.clone_from(&self.decision.why);
        info.notes.clone_from(&self.decision.notes);
        let connect: ClientFactory = match (&self.decision.selected, &self.directories) {
            (Ok(Selected::Cloud(cloud)), _) => {
                info.name = "cloud";
                let cloud = cloud.clone();
                Box::new(move || {
                    std::future::ready(connect(&cloud).map_err(ToolError::no_backend)).boxed()
                })
            }
            (Ok(Selected::Local), Ok(directories)) => {
                info.name = "local";
                info.ends_with_process = true;
                info.notes.push(LOCAL_NOTE.to_owned());
                self.local(directories, over_http)
            }
            (Ok(Selected::Local), Err(error)) => failing(error.to_string()),
            (Err(error), _) => failing(error.to_string()),
        };
        let is_near = !over_http;
        let mut session = Session::new(info, connect)
            .with_selection(self.offer.clone())
            .with_desktop(is_near && has_desktop(&self.environment))
            .with_local_access(self.local_access(over_http)?);
        if let Ok(directories) = &self.directories {
            session = session.with_state_directory(directories.state.clone());
        }
        Ok(Arc::new(session))
    }

    /// What tools may touch on this machine.
    fn local_access(&self, over_http: bool) -> Result<LocalAccess, CommandError> {
        let allowed = &self.options.allow_path;
        let access = if over_http || !allowed.is_empty() {
            LocalAccess::only(allowed)?
        } else {
            LocalAccess::everything()
        };
        let access = access.with_secrets(self.options.http.token_file().cloned());
        let mut ours = Directories::usual(&self.environment);
        if let Ok(directories) = &self.directories {
            ours.extend([directories.state.clone(), directories.data.clone()]);
        }
        // The whole directories: a store that was set aside has credentials in it too.
        Ok(access.with_own(ours))
    }

    /// The embedded engine's settings: options, else the environment, else defaults.
    ///
    /// # Errors
    /// A sentence about what cannot be read, or that there is nowhere to keep data.
    #[cfg(all(feature = "engine", target_os = "linux"))]
    pub(super) fn local_config(&self) -> Result<crate::engine::LocalConfig, SettingsError> {
        let directories = self.directories.as_ref().map_err(Clone::clone)?;
        let mut config = crate::engine::LocalConfig::new(&directories.data);
        self.options
            .network
            .configure(&self.environment, &mut config)?;
        Ok(config)
    }

    #[cfg(all(feature = "engine", target_os = "linux"))]
    fn local(&self, _directories: &Directories, stays: bool) -> ClientFactory {
        match self.local_config() {
            Ok(config) => {
                super::network::warn(&config);
                local(config, stays)
            }
            Err(error) => failing(error.to_string()),
        }
    }

    #[cfg(not(all(feature = "engine", target_os = "linux")))]
    fn local(&self, _directories: &Directories, _stays: bool) -> ClientFactory {
        failing(super::error::NO_ENGINE.to_owned())
    }
}

/// Whether a browser started here would be seen by the user.
fn has_desktop(environment: &Environment) -> bool {
    if cfg!(any(target_os = "macos", target_os = "windows")) {
        return environment.get("SSH_CONNECTION").is_none();
    }
    environment
        .get("WAYLAND_DISPLAY")
        .or(environment.get("DISPLAY"))
        .is_some()
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warning => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

fn failing(why: String) -> ClientFactory {
    let error = ToolError::no_backend_because(why);
    Box::new(move || std::future::ready(Err(error.clone())).boxed())
}

fn connect(cloud: &Cloud) -> Result<Client, Error> {
    Client::connect(cloud.backend()?)
}

#[cfg(all(feature = "engine", target_os = "linux"))]
fn local(config: crate::engine::LocalConfig, stays: bool) -> ClientFactory {
    Box::new(move || {
        let config = config.clone();
        async move {
            tokio::task::spawn_blocking(move || contree_engine::ControlGroups::enter(stays))
                .await
                .map_err(ToolError::no_backend)?;
            Client::local(config).await.map_err(ToolError::no_backend)
        }
        .boxed()
    })
}
