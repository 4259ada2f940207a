//! The options that every command takes.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::http::Http;
use crate::config::{AuthType, BackendChoice, Environment, Flags};
use crate::tools::{SelectionError, ToolSelection};

/// Help headings, so that the options of a command come first in its help.
const BACKEND: &str = "Backend options";
const OFFER: &str = "What is offered";
const OTHER: &str = "General options";

/// Why it cannot be told which tools are offered.
#[derive(Debug, thiserror::Error)]
pub(super) enum OfferError {
    #[error("CONTREE_READ_ONLY is `{0}`: give true or false")]
    ReadOnly(String),
    #[error("{0} names nothing: give a name, or leave it out")]
    NoName(&'static str),
    /// A name is that of no tool or toolset, or nothing is left to offer.
    #[error(transparent)]
    Selection(#[from] SelectionError),
}

#[derive(Args, Debug, Clone, Default)]
pub(super) struct Options {
    /// The cloud if credentials or a URL are set, else the embedded engine [env: CONTREE_BACKEND]
    #[arg(long, global = true, value_name = "auto|cloud|local", help_heading = BACKEND)]
    backend: Option<BackendChoice>,
    /// A profile of the Contree clients' files [env: CONTREE_PROFILE]
    #[arg(long, global = true, value_name = "NAME", help_heading = BACKEND)]
    profile: Option<String>,
    /// The base URL of a Contree service [env: CONTREE_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = BACKEND)]
    url: Option<String>,
    /// An access token; better given by the variable, since others can see command lines [env: CONTREE_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", help_heading = BACKEND, hide = true)]
    token: Option<String>,
    /// The project, for IAM tokens [env: CONTREE_PROJECT]
    #[arg(long, global = true, value_name = "ID", help_heading = BACKEND)]
    project: Option<String>,
    /// The token's kind; iam if a project is set
    #[arg(long, global = true, value_name = "iam|jwt", help_heading = BACKEND)]
    auth_type: Option<AuthType>,
    /// Offer only tools that change nothing [env: CONTREE_READ_ONLY]
    #[arg(long, global = true, help_heading = OFFER)]
    read_only: bool,
    /// Offer only the tools of these toolsets [env: CONTREE_TOOLSET]
    #[arg(long, global = true, value_name = "NAME,…", value_delimiter = ',', help_heading = OFFER)]
    toolset: Vec<String>,
    /// Offer only these tools, beside those of --toolset [env: CONTREE_TOOLS]
    #[arg(long, global = true, value_name = "NAME,…", value_delimiter = ',', help_heading = OFFER)]
    tools: Vec<String>,
    #[command(flatten)]
    pub(super) network: super::network::Network,
    /// Let tools touch files of this machine only at or below DIR; may be repeated, and names places of credentials if they
    /// are meant. Over HTTP nothing may be touched without it
    #[arg(long, global = true, value_name = "DIR", help_heading = OTHER)]
    pub(super) allow_path: Vec<std::path::PathBuf>,
    /// How much to log to standard error [env: CONTREE_MCP_LOG_LEVEL]
    #[arg(long, global = true, value_name = "LEVEL", ignore_case = true, help_heading = OTHER)]
    log_level: Option<Level>,
    #[command(flatten)]
    pub(super) http: Http,
    #[command(flatten)]
    ignored: Ignored,
}

/// Options of the reference server that mean nothing here.
#[derive(Args, Debug, Clone, Default)]
struct Ignored {
    #[arg(long, global = true, hide = true)]
    cache_files: Option<OsString>,
    #[arg(long, global = true, hide = true)]
    cache_general: Option<OsString>,
    #[arg(long, global = true, hide = true)]
    cache_prune_days: Option<OsString>,
}

/// How much is logged.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Off,
    #[value(alias = "critical", alias = "fatal")]
    Error,
    #[value(alias = "warn")]
    Warning,
    Info,
    Debug,
    Trace,
}

/// The names of an option, else those of its variable.
fn names(option: &[String], variable: Option<&str>) -> Vec<String> {
    let names: Vec<&str> = match variable {
        Some(variable) if option.is_empty() => variable.split(',').collect(),
        _ => option.iter().map(String::as_str).collect(),
    };
    let names = names.into_iter().map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Options {
    /// An option that bounds tools or chooses a backend, if one was given: where there are no tools it would be believed and not heeded.
    #[cfg(all(feature = "engine", target_os = "linux"))]
    pub(super) fn for_tools_only(&self) -> Option<&'static str> {
        [
            ("--read-only", self.read_only),
            ("--toolset", !self.toolset.is_empty()),
            ("--tools", !self.tools.is_empty()),
            ("--allow-path", !self.allow_path.is_empty()),
            ("--mode and its options", self.http.is_given()),
            (
                "--backend cloud",
                self.backend == Some(BackendChoice::Cloud),
            ),
        ]
        .into_iter()
        .find_map(|(option, given)| given.then_some(option))
    }

    /// The tools that are offered.
    ///
    /// # Errors
    /// Says which name is wrong, and the nearest that is not.
    pub(super) fn offer(&self, environment: &Environment) -> Result<ToolSelection, OfferError> {
        let read_only = match environment.get("CONTREE_READ_ONLY") {
            _ if self.read_only => true,
            None => false,
            Some(text) => match text.trim().to_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => true,
                "0" | "false" | "no" | "off" => false,
                _ => return Err(OfferError::ReadOnly(text.to_owned())),
            },
        };
        let toolsets = names(&self.toolset, environment.get("CONTREE_TOOLSET"));
        let tools = names(&self.tools, environment.get("CONTREE_TOOLS"));
        // Nobody who means to bound what is offered wants everything for a variable that was not set.
        for (option, given, names) in [
            ("--toolset", &self.toolset, &toolsets),
            ("--tools", &self.tools, &tools),
        ] {
            if !given.is_empty() && names.is_empty() {
                return Err(OfferError::NoName(option));
            }
        }
        Ok(ToolSelection::choose(read_only, &toolsets, &tools)?)
    }

    /// What they say about the backend.
    pub(super) fn flags(&self) -> Flags {
        Flags {
            backend: self.backend,
            profile: self.profile.clone(),
            token: self.token.clone(),
            url: self.url.clone(),
            project: self.project.clone(),
            auth_type: self.auth_type,
        }
    }

    /// How much to log: the option, else the first release's variable, else warnings.
    pub(super) fn level(&self, environment: &Environment) -> Level {
        let from_variable =
            || Level::from_str(environment.get("CONTREE_MCP_LOG_LEVEL")?, true).ok();
        self.log_level
            .or_else(from_variable)
            .unwrap_or(Level::Warning)
    }

    /// The options that were given and do nothing.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        [
            ("--cache-files", &self.ignored.cache_files),
            ("--cache-general", &self.ignored.cache_general),
            ("--cache-prune-days", &self.ignored.cache_prune_days),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.is_some().then_some(name))
        .collect()
    }
}
