//! `contree auth`: the profiles and the stored logins.

use std::time::Duration;

use clap::{Args, Subcommand};
use contree_error_codes::ErrorCode;
use contree_registry::{Digest, RegistryHost};
use futures_util::future::join_all;
use serde::Serialize;

use super::complete::{self, Known};
use super::context::{VerbContext, run_verb};
use super::error::VerbError;
use super::login::{self, CloudLogin};
use super::profile_file::ProfileFile;
use super::rows::{VerbOptions, print_record, print_result, print_rows};
use crate::cli::error::CommandError;
use crate::cli::output::{print, print_message};
use crate::cli::process::runtime;
use crate::cli::setup::Setup;
use crate::config::{AuthType, CloudBackend, DEFAULT_IAM_URL, Profile};
use crate::store::credentials;
use crate::{Client, Error};

/// How long the service of a profile may take to answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// The digits of a token's hash in the list.
const HASH_DIGITS: usize = 16;

/// Manage the profiles of services and the logins of registries
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  contree auth list              the profiles, and whether their services accept the tokens
  contree auth switch work       the profile that is used without -p
  contree auth logout ghcr.io    forgets the login of a registry, or of a profile

Without a command, it is the same as `contree login cloud`."
)]
pub(in crate::cli) struct Auth {
    #[command(subcommand)]
    command: Option<AuthCommand>,
    /// Read the token from standard input
    #[arg(long)]
    token_stdin: bool,
    #[command(flatten)]
    login: CloudLogin,
}

#[derive(Subcommand, Debug)]
enum AuthCommand {
    #[command(visible_aliases = ["ls", "profiles"])]
    List(List),
    Switch(Switch),
    #[command(visible_aliases = ["remove", "rm", "del"])]
    Logout(Logout),
    Status(Status),
}

/// List the profiles
#[derive(Args, Debug)]
struct List {
    /// Do not ask the services
    #[arg(short = 'O', long)]
    offline: bool,
}

/// Choose the profile that is used without -p
#[derive(Args, Debug)]
struct Switch {
    /// The profile
    #[arg(add = complete::values(Known::Profiles))]
    name: String,
}

/// Remove a profile, or the login of a registry
#[derive(Args, Debug)]
struct Logout {
    /// A profile or a registry; default: the active profile
    #[arg(add = complete::values(Known::Profiles))]
    name: Option<String>,
    /// Accepted for the command line of contree-cli; nothing is asked
    #[arg(short, long, short_alias = 'y', hide = true)]
    force: bool,
}

/// Show the backend in use and the logins of registries
#[derive(Args, Debug)]
struct Status {}

/// A profile in the list, with the fields of the official command line.
#[derive(Serialize)]
struct ListedProfile {
    name: String,
    r#type: String,
    url: String,
    project: Option<String>,
    token_sha256: String,
    active: bool,
    status: String,
}

/// The backend in use.
#[derive(Serialize)]
struct AuthStatus {
    backend: String,
    reason: String,
    profile: Option<String>,
    status: String,
    registries: Vec<RegistryLogin>,
}

/// The profile that is used from now on.
#[derive(Serialize)]
struct SelectedProfile<'a> {
    profile: &'a str,
}

/// A removed profile, or the removed login of a registry.
#[derive(Serialize)]
struct RemovedLogin<'a> {
    profile: Option<&'a str>,
    registry: Option<&'a str>,
    /// The profile that became the default instead.
    active: Option<&'a str>,
}

/// The login of a registry.
#[derive(Serialize)]
struct RegistryLogin {
    registry: String,
    username: String,
}

impl Auth {
    pub(super) fn run(self, setup: &Setup, options: &VerbOptions) -> Result<u8, CommandError> {
        match self.command {
            None => Ok(login::report(login::cloud(
                setup,
                options,
                &self.login,
                self.token_stdin,
            ))),
            Some(AuthCommand::List(list)) => Ok(login::report(list.run(setup, options))),
            Some(AuthCommand::Switch(switch)) => Ok(login::report(switch.run(setup, options))),
            Some(AuthCommand::Logout(logout)) => logout.run(setup, options),
            Some(AuthCommand::Status(_)) => show_status(setup, options),
        }
    }
}

/// The profile in use, whether it exists or not.
fn active(setup: &Setup) -> String {
    let flags = setup.options.flags();
    let named = flags.profile.as_deref();
    let named = named.or_else(|| setup.environment.get("CONTREE_PROFILE"));
    let named = named.or(setup.files.active.as_deref());
    named.unwrap_or("default").to_owned()
}

impl List {
    fn run(&self, setup: &Setup, options: &VerbOptions) -> Result<u8, VerbError> {
        let active = active(setup);
        let runtime = runtime()?;
        let statuses = contree_tasks::block_on(
            &runtime,
            join_all(
                setup
                    .files
                    .profiles
                    .values()
                    .map(|profile| status_of(profile, self.offline)),
            ),
        );
        runtime.shutdown_background();
        let profiles = setup.files.profiles.iter().zip(statuses);
        let rows: Vec<ListedProfile> = profiles
            .map(|((name, profile), status)| ListedProfile {
                name: name.clone(),
                r#type: kind(profile).to_string(),
                url: url(profile).unwrap_or_default(),
                project: profile.project.clone(),
                token_sha256: profile.token.as_deref().map(hash).unwrap_or_default(),
                active: *name == active,
                status,
            })
            .collect();
        if rows.is_empty() {
            print_message("there is no profile; `contree login` writes one");
        }
        let mark = |row: &ListedProfile| if row.active { "*" } else { "" }.to_owned();
        print_rows(
            options.format(),
            &rows,
            &[
                ("", &mark),
                ("profile", &|row| row.name.clone()),
                ("type", &|row| row.r#type.clone()),
                ("url", &|row| row.url.clone()),
                ("project", &|row| row.project.clone().unwrap_or_default()),
                ("token", &|row| row.token_sha256.clone()),
                ("status", &|row| row.status.clone()),
            ],
        )?;
        Ok(0)
    }
}

fn hash(token: &str) -> String {
    let mut digits = Digest::of(token.as_bytes()).hex().to_owned();
    digits.truncate(HASH_DIGITS);
    digits
}

fn kind(profile: &Profile) -> AuthType {
    let given = profile
        .auth_type
        .as_deref()
        .and_then(|kind| kind.parse().ok());
    given.unwrap_or(match profile.project {
        Some(_) => AuthType::Iam,
        None => AuthType::Jwt,
    })
}

fn url(profile: &Profile) -> Option<String> {
    let default = (kind(profile) == AuthType::Iam).then(|| DEFAULT_IAM_URL.to_owned());
    profile.url.clone().or(default)
}

/// Whether the service of a profile accepts its token.
async fn status_of(profile: &Profile, offline: bool) -> String {
    let (Some(token), Some(url)) = (&profile.token, url(profile)) else {
        return match profile.token {
            Some(_) => "no url".to_owned(),
            None => "no token".to_owned(),
        };
    };
    if offline {
        return "not asked".to_owned();
    }
    let account = async {
        let service = CloudBackend {
            url,
            token: token.clone(),
            project: profile.project.clone(),
            auth_type: kind(profile),
        };
        let client = Client::connect(service.backend()?)?;
        let answer = client.who_am_i().send().await?;
        Ok::<_, Error>(answer.into_inner())
    };
    match tokio::time::timeout(CHECK_TIMEOUT, account).await {
        Err(_) => "no answer".to_owned(),
        Ok(Err(error)) if error.status().is_some_and(|status| status == 401) => {
            "token refused".to_owned()
        }
        Ok(Err(_)) => "error".to_owned(),
        Ok(Ok(account)) => match account.permissions.get("list") {
            Some(false) => "inactive".to_owned(),
            _ => "ok".to_owned(),
        },
    }
}

fn unknown(setup: &Setup, name: &str) -> VerbError {
    let known = setup.files.profiles.keys().map(String::as_str);
    let near = super::image_name::nearest(name, known);
    let hint = match &near[..] {
        [] => "`contree auth list` lists them".to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    };
    VerbError::WithCode(
        ErrorCode::ProfileUnknown,
        format!("there is no profile `{name}`; {hint}"),
    )
}

impl Switch {
    fn run(&self, setup: &Setup, options: &VerbOptions) -> Result<u8, VerbError> {
        let mut file = ProfileFile::open(&setup.files)?;
        if !setup.files.profiles.contains_key(&self.name) {
            return Err(unknown(setup, &self.name));
        }
        file.set_active(Some(&self.name));
        file.write()?;
        let sentence = format!("using profile {}", self.name);
        let record = SelectedProfile {
            profile: &self.name,
        };
        print_result(options.format(), &record, &sentence)?;
        Ok(0)
    }
}

impl Logout {
    fn run(self, setup: &Setup, options: &VerbOptions) -> Result<u8, CommandError> {
        let is_named = self.name.is_some();
        let name = self.name.unwrap_or_else(|| active(setup));
        if setup.files.profiles.contains_key(&name) {
            return Ok(login::report(remove_profile(setup, options, &name)));
        }
        let registry = RegistryHost::for_login(&name);
        let (true, Ok(registry)) = (is_named, registry) else {
            return Ok(login::report(Err(unknown(setup, &name))));
        };
        run_verb(setup, options, async |cx: &VerbContext| {
            let (backend, key) = (cx.backend(), registry.clone());
            let store = cx.tools.store();
            let deleted =
                store.write_durably(move |c| credentials::delete(c, &backend, key.as_str()));
            if !deleted.await? {
                return Err(VerbError::WithCode(
                    ErrorCode::ProfileUnknown,
                    format!(
                        "there is no profile and no login `{name}`; `contree auth list` and `contree auth status` list them"
                    ),
                ));
            }
            let record = RemovedLogin {
                profile: None,
                registry: Some(registry.as_str()),
                active: None,
            };
            let sentence = format!("forgot the login of {registry}");
            print_result(cx.format, &record, &sentence)?;
            Ok(0)
        })
    }
}

fn remove_profile(setup: &Setup, options: &VerbOptions, name: &str) -> Result<u8, VerbError> {
    let mut file = ProfileFile::open(&setup.files)?;
    if !file.remove_profile(name) {
        return Err(VerbError::WithCode(
            ErrorCode::ProfileFileInvalid,
            format!(
                "the profile `{name}` is in {}; remove it there",
                setup.files.folder.join("cli.ini").display()
            ),
        ));
    }
    let mut others = setup.files.profiles.keys().filter(|other| *other != name);
    let next = match setup.files.active.as_deref() == Some(name) {
        true => {
            let next = others.next();
            file.set_active(next.map(String::as_str));
            next
        }
        false => None,
    };
    file.write()?;
    let record = RemovedLogin {
        profile: Some(name),
        registry: None,
        active: next.map(String::as_str),
    };
    let sentence = format!("removed the profile {name}");
    print_result(options.format(), &record, &sentence)?;
    if let Some(next) = next {
        print_message(format_args!(
            "the profile {next} is the default now; `contree auth switch NAME` chooses another one"
        ));
    }
    Ok(0)
}

fn show_status(setup: &Setup, options: &VerbOptions) -> Result<u8, CommandError> {
    run_verb(setup, options, async |cx: &VerbContext| {
        let name = active(setup);
        let backend = cx.backend();
        let store = cx.tools.store();
        let listed = store.read_durably(move |c| credentials::list(c, &backend));
        let registries = listed.await?.into_iter();
        let account = cx.client.who_am_i().send().await.map_err(Error::from);
        let failed = account.is_err();
        let status = AuthStatus {
            backend: setup.backend(),
            reason: setup.backend_selection.why.clone(),
            profile: setup.files.profiles.contains_key(&name).then_some(name),
            status: match account {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            },
            registries: registries
                .map(|(registry, username)| RegistryLogin { registry, username })
                .collect(),
        };
        if cx.format.is_json() {
            print_record(cx.format, &status)?;
            return Ok(u8::from(failed));
        }
        let mut text = format!("backend:   {}\n", status.backend);
        if let Some(profile) = &status.profile {
            text.push_str(&format!("profile:   {profile}\n"));
        }
        text.push_str(&format!("status:    {}\n", status.status));
        for login in &status.registries {
            text.push_str(&format!(
                "registry:  {} as {}\n",
                login.registry, login.username
            ));
        }
        print(&text)?;
        Ok(u8::from(failed))
    })
}
