//! The options that every command takes.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use contree_error_codes::ErrorCode;

use super::flag;
use super::home_path::home_path;
use super::http::Http;
use crate::config::{AuthType, BackendChoice, Environment, Flags};
use crate::tools::{SelectionError, ToolSelection};

/// Help headings. With them, a command's own options come first in its help.
const BACKEND: &str = "Backend options";
const TOOL_SELECTION: &str = "Tool selection";
const OTHER: &str = "General options";

/// An error in the options that select tools.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolOptionError {
    #[error("CONTREE_READ_ONLY is `{0}`: give true or false")]
    ReadOnly(String),
    #[error("{0} contains no name: give a name, or leave it out")]
    NoName(&'static str),
    /// A name matches no tool or toolset, or the selection is empty.
    #[error(transparent)]
    Selection(#[from] SelectionError),
}

impl ToolOptionError {
    /// The code of the error.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::ReadOnly(_) | Self::NoName(_) => ErrorCode::SettingInvalid,
            Self::Selection(_) => ErrorCode::UnknownTool,
        }
    }
}

#[derive(Args, Debug, Clone, Default)]
pub(super) struct Options {
    /// Backend; default: auto, which is the cloud if credentials or a URL are set, else the
    /// embedded engine [env: CONTREE_BACKEND]
    #[arg(long, global = true, value_name = "auto|cloud|local", help_heading = BACKEND)]
    backend: Option<BackendChoice>,
    /// Profile of the Contree clients' profile files [env: CONTREE_PROFILE]
    #[arg(short, long, global = true, value_name = "NAME", help_heading = BACKEND)]
    profile: Option<String>,
    /// Base URL of a Contree service [env: CONTREE_URL]
    #[arg(short, long, global = true, value_name = "URL", help_heading = BACKEND, value_parser = url)]
    url: Option<String>,
    /// Access token; prefer the variable, since other users can see command lines [env:
    /// CONTREE_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", help_heading = BACKEND, hide = true)]
    token: Option<String>,
    /// Project, for IAM tokens [env: CONTREE_PROJECT]
    #[arg(short = 'P', long, global = true, value_name = "ID", help_heading = BACKEND)]
    project: Option<String>,
    /// Kind of the token; default: that of the profile, else iam if a project is set, else jwt
    #[arg(long, global = true, value_name = "iam|jwt", help_heading = BACKEND)]
    auth_type: Option<AuthType>,
    /// Offer only tools that change nothing [env: CONTREE_READ_ONLY]
    #[arg(long, global = true, help_heading = TOOL_SELECTION)]
    read_only: bool,
    /// Offer only the tools of these toolsets [env: CONTREE_TOOLSET]
    #[arg(long, global = true, value_name = "NAME,…", value_delimiter = ',', help_heading = TOOL_SELECTION)]
    toolset: Vec<String>,
    /// Offer only these tools, in addition to those of --toolset [env: CONTREE_TOOLS]
    #[arg(long, global = true, value_name = "NAME,…", value_delimiter = ',', help_heading = TOOL_SELECTION)]
    tools: Vec<String>,
    #[command(flatten)]
    pub(super) network: super::network::NetworkOptions,
    #[command(flatten)]
    pub(super) sandbox: super::sandbox::SandboxOptions,
    /// Let tools access files of this machine only at or below DIR; repeatable. Files with
    /// credentials, and for writing also files that other programs run, are excluded unless DIR
    /// names them. Over HTTP, tools access no files without this option
    #[arg(long, global = true, value_name = "DIR", value_parser = home_path(), help_heading = OTHER)]
    pub(super) allow_path: Vec<std::path::PathBuf>,
    /// Level of logging to standard error [env: CONTREE_MCP_LOG_LEVEL]
    #[arg(short = 'L', long, global = true, value_name = "LEVEL", ignore_case = true, help_heading = OTHER)]
    log_level: Option<LogLevel>,
    #[command(flatten)]
    pub(super) http: Http,
    #[command(flatten)]
    obsolete: ObsoleteOptions,
}

/// Options of the first release, which are accepted without effect.
#[derive(Args, Debug, Clone, Default)]
struct ObsoleteOptions {
    #[arg(long, global = true, hide = true)]
    cache_files: Option<OsString>,
    #[arg(long, global = true, hide = true)]
    cache_general: Option<OsString>,
    #[arg(long, global = true, hide = true)]
    cache_prune_days: Option<OsString>,
}

/// The level of logging.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogLevel {
    Off,
    #[value(alias = "critical", alias = "fatal")]
    Error,
    #[value(alias = "warn")]
    Warning,
    Info,
    Debug,
    Trace,
}

/// Refuses names and numbers, which `-u` takes elsewhere: users, or variables to remove.
fn url(text: &str) -> Result<String, String> {
    let is_user = |part: &str| {
        let mut letters = part.chars();
        part.parse::<u32>().is_ok()
            || letters.all(|letter| letter.is_ascii_alphabetic() || letter == '_')
    };
    match !text.is_empty() && text != "localhost" && text.split(':').all(is_user) {
        true => Err("-u is the URL of a Contree service, such as https://host/".to_owned()),
        false => Ok(text.to_owned()),
    }
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
    /// The first given option that restricts tools or selects a backend. `engine serve` refuses it,
    /// since it would have no effect there.
    #[cfg(all(feature = "engine", target_os = "linux"))]
    pub(super) fn tools_only_option(&self) -> Option<&'static str> {
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

    /// The selection of offered tools.
    ///
    /// # Errors
    /// - An invalid `CONTREE_READ_ONLY`.
    /// - An option without names, or an unknown name, with the closest known one.
    /// - A named tool that changes something, together with `--read-only`.
    /// - An empty selection.
    pub(super) fn tool_selection(
        &self,
        environment: &Environment,
    ) -> Result<ToolSelection, ToolOptionError> {
        let read_only = match environment.get("CONTREE_READ_ONLY") {
            _ if self.read_only => true,
            None => false,
            Some(text) => {
                flag::parse(text).ok_or_else(|| ToolOptionError::ReadOnly(text.to_owned()))?
            }
        };
        let toolset_variable = environment.get("CONTREE_TOOLSET");
        let tools_variable = environment.get("CONTREE_TOOLS");
        let toolsets = names(&self.toolset, toolset_variable);
        let tools = names(&self.tools, tools_variable);
        // An option without names, as from an unset shell variable, must not offer every tool.
        for (source, is_given, names) in [
            ("--toolset", !self.toolset.is_empty(), &toolsets),
            ("--tools", !self.tools.is_empty(), &tools),
            ("CONTREE_TOOLSET", toolset_variable.is_some(), &toolsets),
            ("CONTREE_TOOLS", tools_variable.is_some(), &tools),
        ] {
            if is_given && names.is_empty() {
                return Err(ToolOptionError::NoName(source));
            }
        }
        Ok(ToolSelection::choose(read_only, &toolsets, &tools)?)
    }

    /// The flags about the backend.
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

    /// The level of logging: the option, else `CONTREE_MCP_LOG_LEVEL`, else warnings.
    pub(super) fn level(&self, environment: &Environment) -> LogLevel {
        let from_variable =
            || LogLevel::from_str(environment.get("CONTREE_MCP_LOG_LEVEL")?, true).ok();
        self.log_level
            .or_else(from_variable)
            .unwrap_or(LogLevel::Warning)
    }

    /// The given options that have no effect.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        [
            ("--cache-files", &self.obsolete.cache_files),
            ("--cache-general", &self.obsolete.cache_general),
            ("--cache-prune-days", &self.obsolete.cache_prune_days),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.is_some().then_some(name))
        .collect()
    }
}
