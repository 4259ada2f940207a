//! `contree login`: stores the login for a service or a registry.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::sync::Arc;

use clap::Args;
use contree_error_codes::ErrorCode;
use contree_registry::{CredentialCheck, RegistryHost};
use serde::Serialize;

use super::context::{VerbContext, run_verb};
use super::error::VerbError;
use super::profile_file::ProfileFile;
use super::rows::{VerbOptions, print_record};
use crate::cli::error::CommandError;
use crate::cli::output::{print, print_error, print_message};
use crate::cli::process::runtime;
use crate::cli::secret;
use crate::cli::setup::Setup;
use crate::config::{AuthType, CloudBackend, DEFAULT_IAM_URL, Profile};
use crate::tools::{SilentWatcher, ToolError, log_in};
use crate::{Client, Error};

/// The word for the service.
const CLOUD: &str = "cloud";
/// The profile that is written unless `-p` names one.
const DEFAULT_PROFILE: &str = "default";
/// The permission without which a token is of no use.
const NEEDED_PERMISSION: &str = "list";

/// Store the login for a Contree service or a registry
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree login cloud --project my-project     asks for the token of the hosted service
  contree login ghcr.io --username me          asks for the password, for imports and pushes

`cloud` is the default. The service gets a profile in auth.ini, which the other Contree clients read:
`-p NAME` names it, and `--url URL` the service. Nothing is stored unless the login works.")]
pub(in crate::cli) struct Login {
    /// `cloud`, or a registry such as ghcr.io or docker.io
    #[arg(value_name = "cloud|REGISTRY")]
    service: Option<String>,
    /// User name for the registry; asked for if it is missing
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password or the token from standard input
    #[arg(long, visible_alias = "token-stdin")]
    password_stdin: bool,
    #[command(flatten)]
    cloud: CloudLogin,
}

/// The options of the login for a service.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct CloudLogin {
    /// Kind of the token; default: iam, or jwt if there is a URL and no project
    #[arg(long = "type", value_name = "iam|jwt")]
    kind: Option<AuthType>,
    /// Replace an existing profile without asking
    #[arg(short, long, visible_short_alias = 'y')]
    force: bool,
}

/// A written profile as JSON.
#[derive(Serialize)]
struct SavedProfile<'a> {
    profile: &'a str,
    r#type: String,
    url: &'a str,
    project: Option<&'a str>,
    active: bool,
    file: String,
}

/// A stored registry login as JSON.
#[derive(Serialize)]
struct SavedLogin<'a> {
    registry: &'a str,
    username: &'a str,
    checked: bool,
}

impl Login {
    pub(super) fn run(self, setup: &Setup, options: &VerbOptions) -> Result<u8, CommandError> {
        let registry = match self.service.as_deref() {
            None | Some(CLOUD) => {
                if let Some(name) = self.username {
                    return Ok(report(Err(VerbError::Usage(format!(
                        "--username is for registries; name one, as in `contree login ghcr.io --username {name}`"
                    )))));
                }
                return Ok(report(cloud(
                    setup,
                    options,
                    &self.cloud,
                    self.password_stdin,
                )));
            }
            Some(registry) => registry,
        };
        let read = (|| {
            let registry = RegistryHost::for_login(registry)
                .map_err(|error| VerbError::Usage(error.to_string()))?;
            if self.username.is_none() && self.password_stdin {
                return Err(VerbError::Usage(
                    "--password-stdin needs --username NAME".to_owned(),
                ));
            }
            let username = match self.username {
                Some(name) => name,
                None => line("user name", "--username NAME")?,
            };
            let secret = secret("password or token", self.password_stdin)?;
            Ok((registry, username, secret))
        })();
        let (registry, username, secret) = match read {
            Ok(read) => read,
            Err(error) => return Ok(report(Err(error))),
        };
        run_verb(setup, options, async |cx: &VerbContext| {
            let call = cx.call(Arc::new(SilentWatcher));
            let stored = log_in(&call, registry, &username, &secret).await?;
            let checked = matches!(stored.check, CredentialCheck::Accepted);
            let registry = stored.registry.as_str();
            if cx.format.is_json() {
                let record = SavedLogin {
                    registry,
                    username: &username,
                    checked,
                };
                print_record(cx.format, &record)?;
            } else {
                print(&format!("logged in to {registry} as {username}\n"))?;
                if !checked {
                    print_message(format_args!(
                        "{registry} asks for no login, so this one could not be checked"
                    ));
                }
            }
            Ok(0)
        })
    }
}

/// Prints an error, and returns the exit status.
pub(super) fn report(done: Result<u8, VerbError>) -> u8 {
    match done {
        Ok(status) => status,
        Err(error) => {
            let status = match error {
                VerbError::Usage(_) => crate::cli::USAGE,
                _ => 1,
            };
            print_error(&error, error.code());
            status
        }
    }
}

/// Checks a token with its service, and stores both as a profile.
pub(super) fn cloud(
    setup: &Setup,
    options: &VerbOptions,
    login: &CloudLogin,
    from_stdin: bool,
) -> Result<u8, VerbError> {
    let flags = setup.options.flags();
    if flags.token.is_some() {
        return Err(VerbError::Usage(
            "other users can see the token of --token; use --token-stdin, CONTREE_TOKEN, or the prompt"
                .to_owned(),
        ));
    }
    let name = flags.profile.unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
    if name.trim().is_empty() || name.contains(['[', ']', '\n', '\r']) {
        return Err(VerbError::Usage(format!(
            "`{}` cannot name a profile; give a name without brackets",
            name.escape_debug()
        )));
    }
    // A file that cannot be read or changed is reported before any question.
    ProfileFile::open(&setup.files)?;
    let exists = setup.files.profiles.contains_key(&name);
    if exists && !login.force && !confirmed(&format!("Replace the profile `{name}`?"))? {
        return Err(VerbError::WithCode(
            ErrorCode::ProfileFileInvalid,
            format!(
                "the profile `{name}` exists; --force replaces it, and `-p NAME` writes another one"
            ),
        ));
    }
    let variable = |names: &[&str]| {
        let found = names.iter().find_map(|name| setup.environment.get(name));
        found.map(str::to_owned)
    };
    let url = flags.url.or_else(|| variable(&["CONTREE_URL"]));
    let project = flags
        .project
        .or_else(|| variable(&["CONTREE_PROJECT", "NEBIUS_AI_PROJECT"]));
    let kind = login.kind.or(flags.auth_type).unwrap_or({
        if url.is_some() && project.is_none() {
            AuthType::Jwt
        } else {
            AuthType::Iam
        }
    });
    let url = match (url, kind) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, AuthType::Iam) => DEFAULT_IAM_URL.to_owned(),
        (None, _) => line("URL of the service", "--url URL")?,
    };
    let project = match (kind, project) {
        (AuthType::Iam, None) => Some(line("project", "--project ID")?),
        (AuthType::Iam, project) => project,
        (AuthType::Jwt, _) => None,
    };
    let token = match variable(&["CONTREE_TOKEN", "NEBIUS_API_KEY"]) {
        Some(token) if !from_stdin => token,
        _ => secret("token", from_stdin)?,
    };
    check(&CloudBackend {
        url: url.clone(),
        token: token.clone(),
        project: project.clone(),
        auth_type: kind,
    })?;
    let profile = Profile {
        token: Some(token),
        url: Some(url.clone()),
        project: project.clone(),
        auth_type: Some(kind.to_string()),
    };
    // Read again, since others may have changed it during the questions.
    let mut file = ProfileFile::open(&setup.files)?;
    file.set_profile(&name, &profile);
    let active = setup.files.active.as_deref();
    let is_active = match active {
        Some(active) => active == name || !setup.files.profiles.contains_key(active),
        None => name == DEFAULT_PROFILE || !setup.files.profiles.contains_key(DEFAULT_PROFILE),
    };
    if is_active {
        file.set_active(Some(&name));
    }
    file.write()?;
    let format = options.format();
    if format.is_json() {
        let record = SavedProfile {
            profile: &name,
            r#type: kind.to_string(),
            url: &url,
            project: project.as_deref(),
            active: is_active,
            file: file.path().display().to_string(),
        };
        print_record(format, &record)?;
        return Ok(0);
    }
    print(&format!("logged in to {url} as profile {name}\n"))?;
    if !is_active {
        print_message(format_args!(
            "`-p {name}` uses it; `contree auth switch {name}` makes it the default"
        ));
    }
    Ok(0)
}

/// Checks a token with its service.
fn check(service: &CloudBackend) -> Result<(), VerbError> {
    let backend = service.backend()?;
    let runtime = runtime()?;
    let account = contree_tasks::block_on(&runtime, async {
        let client = Client::connect(backend)?;
        let answer = client.who_am_i().send().await?;
        Ok::<_, Error>(answer.into_inner())
    });
    runtime.shutdown_background();
    let account = account.map_err(|error| {
        let code = error.code();
        let message = format!(
            "{}; nothing was stored",
            ToolError::from(error).details().message()
        );
        VerbError::WithCode(code, message)
    })?;
    if account.permissions.get(NEEDED_PERMISSION) == Some(&false) {
        print_message(
            "the token is valid, but the service permits nothing to it; ask its operator to enable sandboxes",
        );
    }
    Ok(())
}

/// A secret, from standard input or from a prompt that does not show it.
fn secret(name: &str, from_stdin: bool) -> Result<String, VerbError> {
    let text = if from_stdin {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(VerbError::file("standard input"))?;
        text
    } else {
        secret::ask(name).map_err(|_| {
            VerbError::Usage(format!(
                "there is no terminal to ask for the {name}; give it with --password-stdin"
            ))
        })?
    };
    let text = text.trim().to_owned();
    if text.is_empty() || text.contains(char::is_control) {
        return Err(VerbError::Usage(format!(
            "the {name} is empty, or not one line of text"
        )));
    }
    Ok(text)
}

/// A line of text from the terminal.
fn line(name: &str, option: &str) -> Result<String, VerbError> {
    let missing = || VerbError::Usage(format!("the {name} is missing; give {option}"));
    if !std::io::stdin().is_terminal() {
        return Err(missing());
    }
    let mut stderr = std::io::stderr();
    let asked = write!(stderr, "{name}: ").and_then(|()| stderr.flush());
    asked.map_err(VerbError::file("standard error"))?;
    let mut text = String::new();
    let read = std::io::stdin().lock().read_line(&mut text);
    read.map_err(VerbError::file("standard input"))?;
    let text = text.trim().to_owned();
    match text.is_empty() || text.contains(char::is_control) {
        true => Err(missing()),
        false => Ok(text),
    }
}

/// Asks a question on a terminal. Elsewhere, the answer is no.
fn confirmed(question: &str) -> Result<bool, VerbError> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut stderr = std::io::stderr();
    let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    asked.map_err(VerbError::file("standard error"))?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(VerbError::file("standard input"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
