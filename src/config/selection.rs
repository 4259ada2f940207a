//! The rules that select a backend from flags, environment and profile files.

use super::error::{ConfigError, MissingToken};
use super::files::Profile;
use super::{AuthType, BackendChoice, Environment, Flags, ProfileFiles};
use crate::{Backend, Error};

/// The hosted service's address for IAM tokens.
pub const DEFAULT_IAM_URL: &str = "https://api.tokenfactory.nebius.com/sandboxes";
/// The address that the first release used for a token without a URL.
pub const FIRST_RELEASE_URL: &str = "https://contree.dev";

/// A Contree service and the credentials for it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloudBackend {
    /// The base URL, without `/v1`.
    pub url: String,
    /// The bearer token.
    pub token: String,
    /// The project; only an IAM token has one.
    pub project: Option<String>,
    /// The kind of the token.
    pub auth_type: AuthType,
}

impl CloudBackend {
    /// The backend that a client connects to.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the URL cannot be used.
    pub fn backend(&self) -> Result<Backend, Error> {
        let backend = Backend::new(&self.url)?.with_token(&self.token);
        Ok(match &self.project {
            Some(project) => backend.with_project(project),
            None => backend,
        })
    }
}

impl std::fmt::Debug for CloudBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudBackend")
            .field("url", &self.url)
            .field("token", &"<hidden>")
            .field("project", &self.project)
            .field("auth_type", &self.auth_type)
            .finish()
    }
}

/// The backend in use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SelectedBackend {
    /// A service.
    Cloud(CloudBackend),
    /// The embedded engine.
    Local,
}

/// The selected backend, the reason for it, and notes for the user.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackendSelection {
    /// The backend, or the error that prevents the use of one.
    pub backend: Result<SelectedBackend, ConfigError>,
    /// The reason for this backend, as text for users.
    pub why: String,
    /// Notes for the user, such as ignored variables and files that other users may read.
    pub notes: Vec<String>,
}

/// A value and its source.
#[derive(Clone)]
struct SourcedValue {
    value: String,
    source: String,
    first_release: bool,
}

/// The sources of token, URL and project. Each method reads them in order of precedence.
struct ValueSources<'a> {
    flags: &'a Flags,
    environment: &'a Environment,
    files: &'a ProfileFiles,
    profile: Option<(&'a str, &'a Profile)>,
    nebius: bool,
}

/// Selects a backend from flags, environment and files alone. It does no input or output.
#[must_use]
pub fn select_backend(
    flags: &Flags,
    environment: &Environment,
    files: &ProfileFiles,
) -> BackendSelection {
    let mut notes = files.warnings.clone();
    let nebius = has_nebius_variables(environment, &mut notes);
    let (backend, why) = match choice(flags, environment) {
        Err(error) => (Err(error), "the name of the backend is unknown".to_owned()),
        Ok((BackendChoice::Local, source)) => {
            (Ok(SelectedBackend::Local), format!("selected by {source}"))
        }
        Ok((choice, source)) => cloud_or_local(
            choice,
            &source,
            flags,
            environment,
            files,
            nebius,
            &mut notes,
        ),
    };
    BackendSelection {
        backend,
        why,
        notes,
    }
}

fn choice(
    flags: &Flags,
    environment: &Environment,
) -> Result<(BackendChoice, String), ConfigError> {
    if let Some(choice) = flags.backend {
        return Ok((choice, "--backend".into()));
    }
    match environment.get("CONTREE_BACKEND") {
        Some(text) => text
            .parse()
            .map(|choice| (choice, "CONTREE_BACKEND".into()))
            .map_err(ConfigError::Backend),
        None => Ok((BackendChoice::Auto, "the default".into())),
    }
}

/// Whether both Nebius variables are set. One alone is ignored with a note, since it is often set
/// for another program.
fn has_nebius_variables(environment: &Environment, notes: &mut Vec<String>) -> bool {
    const KEY: &str = "NEBIUS_API_KEY";
    const PROJECT: &str = "NEBIUS_AI_PROJECT";
    let ignored = |set, unset| format!("{set} is set without {unset}, so it is ignored");
    match (
        environment.get(KEY).is_some(),
        environment.get(PROJECT).is_some(),
    ) {
        (true, true) => return true,
        (true, false) => notes.push(ignored(KEY, PROJECT)),
        (false, true) => notes.push(ignored(PROJECT, KEY)),
        (false, false) => {}
    }
    false
}

fn cloud_or_local(
    choice: BackendChoice,
    source: &str,
    flags: &Flags,
    environment: &Environment,
    files: &ProfileFiles,
    nebius: bool,
    notes: &mut Vec<String>,
) -> (Result<SelectedBackend, ConfigError>, String) {
    if let Some(problem) = files.problems.first() {
        return (
            Err(ConfigError::File(problem.clone())),
            "a profile file cannot be used".into(),
        );
    }
    let profile = match profile(flags, environment, files) {
        Ok(profile) => profile,
        Err(error) => return (Err(error), "the profile cannot be used".into()),
    };
    let sources = ValueSources {
        flags,
        environment,
        files,
        profile,
        nebius,
    };
    let (token, url, project) = (sources.token(), sources.url(), sources.project());
    let used_sources: Vec<&str> = [&token, &url, &project]
        .into_iter()
        .flatten()
        .map(|value| value.source.as_str())
        .collect();
    let cloud_setting = if flags.auth_type.is_some() {
        Some("--auth-type")
    } else if flags.profile.is_some() {
        Some("--profile")
    } else {
        environment
            .get("CONTREE_PROFILE")
            .map(|_| "CONTREE_PROFILE")
    };
    if choice == BackendChoice::Auto && used_sources.is_empty() && cloud_setting.is_none() {
        return (
            Ok(SelectedBackend::Local),
            "no token and no URL are configured".into(),
        );
    }
    let why = match choice {
        BackendChoice::Cloud => format!("selected by {source}"),
        _ => format!("found {}", unique_sources(&used_sources, cloud_setting)),
    };
    (
        cloud(&sources, token, url, project, notes).map(SelectedBackend::Cloud),
        why,
    )
}

fn unique_sources(used: &[&str], cloud_setting: Option<&str>) -> String {
    let mut unique: Vec<&str> = Vec::new();
    for source in used.iter().copied().chain(cloud_setting) {
        if !unique.contains(&source) {
            unique.push(source);
        }
    }
    unique.join(", ")
}

/// The active profile. A profile that the user names must exist; the profile `default` need not.
fn profile<'a>(
    flags: &'a Flags,
    environment: &'a Environment,
    files: &'a ProfileFiles,
) -> Result<Option<(&'a str, &'a Profile)>, ConfigError> {
    let (name, named_by) = if let Some(name) = &flags.profile {
        (name.as_str(), "--profile".to_owned())
    } else if let Some(name) = environment.get("CONTREE_PROFILE") {
        (name, "CONTREE_PROFILE".to_owned())
    } else if let Some(name) = &files.active {
        (
            name.as_str(),
            format!("`[DEFAULT] profile` in {}", files.folder.display()),
        )
    } else {
        return Ok(files
            .profiles
            .get_key_value("default")
            .map(|(name, profile)| (name.as_str(), profile)));
    };
    files
        .profiles
        .get_key_value(name)
        .map(|(name, profile)| Some((name.as_str(), profile)))
        .ok_or_else(|| {
            let known: Vec<String> = files
                .profiles
                .keys()
                .map(|name| format!("`{name}`"))
                .collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            ConfigError::Profile {
                named_by,
                name: name.to_owned(),
                folder: files.folder.clone(),
                known,
            }
        })
}

fn cloud(
    sources: &ValueSources<'_>,
    token: Option<SourcedValue>,
    url: Option<SourcedValue>,
    project: Option<SourcedValue>,
    notes: &mut Vec<String>,
) -> Result<CloudBackend, ConfigError> {
    let Some(token) = token else {
        let given = match (url, project) {
            (Some(url), _) => MissingToken::Url(url.source),
            (None, Some(project)) => MissingToken::Project(project.source),
            (None, None) => MissingToken::Nothing,
        };
        let folder = sources.files.folder.clone();
        return Err(ConfigError::Token { given, folder });
    };
    let auth_type = sources.auth_type(project.is_some())?;
    if auth_type == AuthType::Iam && project.is_none() {
        return Err(ConfigError::Project {
            token: token.source,
        });
    }
    let url = match url {
        Some(url) => url.value,
        None if token.first_release => FIRST_RELEASE_URL.into(),
        None if auth_type == AuthType::Iam => DEFAULT_IAM_URL.into(),
        None => {
            return Err(ConfigError::Url {
                token: token.source,
            });
        }
    };
    let project = match (auth_type, project) {
        (AuthType::Iam, project) => project.map(|project| project.value),
        (AuthType::Jwt, Some(project)) => {
            notes.push(format!(
                "the project ({}) is not sent: JWT tokens carry their own",
                project.source
            ));
            None
        }
        (AuthType::Jwt, None) => None,
    };
    Ok(CloudBackend {
        url,
        token: token.value,
        project,
        auth_type,
    })
}

impl ValueSources<'_> {
    fn flag(value: Option<&String>, name: &str) -> Option<SourcedValue> {
        sourced(value.filter(|value| !value.is_empty())?, name)
    }

    fn variable(&self, name: &str) -> Option<SourcedValue> {
        sourced(self.environment.get(name)?, name)
    }

    fn profile(&self, field: impl Fn(&Profile) -> Option<&String>) -> Option<SourcedValue> {
        let (name, profile) = self.profile?;
        sourced(field(profile)?, &format!("profile `{name}`"))
    }

    fn first_release(&self, variable: &str, field: Option<&String>) -> Option<SourcedValue> {
        let value = self
            .variable(variable)
            .or_else(|| sourced(field?, &self.files.first_release_path.display().to_string()))?;
        Some(SourcedValue {
            first_release: true,
            ..value
        })
    }

    fn token(&self) -> Option<SourcedValue> {
        Self::flag(self.flags.token.as_ref(), "--token")
            .or_else(|| self.variable("CONTREE_TOKEN"))
            .or_else(|| self.variable("NEBIUS_API_KEY").filter(|_| self.nebius))
            .or_else(|| self.profile(|profile| profile.token.as_ref()))
            .or_else(|| {
                self.first_release("CONTREE_MCP_TOKEN", self.files.first_release.token.as_ref())
            })
    }

    fn url(&self) -> Option<SourcedValue> {
        Self::flag(self.flags.url.as_ref(), "--url")
            .or_else(|| self.variable("CONTREE_URL"))
            .or_else(|| self.profile(|profile| profile.url.as_ref()))
            .or_else(|| {
                self.first_release("CONTREE_MCP_URL", self.files.first_release.url.as_ref())
            })
    }

    fn project(&self) -> Option<SourcedValue> {
        Self::flag(self.flags.project.as_ref(), "--project")
            .or_else(|| self.variable("CONTREE_PROJECT"))
            .or_else(|| self.variable("NEBIUS_AI_PROJECT").filter(|_| self.nebius))
            .or_else(|| self.profile(|profile| profile.project.as_ref()))
    }

    fn auth_type(&self, has_project: bool) -> Result<AuthType, ConfigError> {
        if let Some(given) = self.flags.auth_type {
            return Ok(given);
        }
        if let Some((name, profile)) = self.profile
            && let Some(text) = &profile.auth_type
        {
            return text.parse().map_err(|source| ConfigError::AuthType {
                profile: name.to_owned(),
                source,
            });
        }
        Ok(if has_project {
            AuthType::Iam
        } else {
            AuthType::Jwt
        })
    }
}

fn sourced(value: &str, source: &str) -> Option<SourcedValue> {
    Some(SourcedValue {
        value: value.to_owned(),
        source: source.to_owned(),
        first_release: false,
    })
}
