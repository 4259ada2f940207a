//! `contree-mcp install`: adds this server to the configurations of MCP clients.

mod change;
mod client;
mod edit;
mod error;
mod file;
mod json;
mod plan;
mod record;
mod skill;
mod toml;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CommandError;
use super::output::print;
use super::setup::Setup;
use client::Client;
pub(super) use error::InstallError;
use plan::{Content, Plan};
use record::Records;
pub(super) use skill::Skill;

/// The program that clients start.
const PROGRAM: &str = "contree-mcp";

/// Add this server to the configuration of an MCP client
#[derive(Args, Debug)]
#[command(after_help = "\
Without a client, lists the clients of this machine. The change is shown as a diff. Comments and other entries \
stay. --uninstall restores the file as it was. No token is written: set CONTREE_TOKEN or a profile for a service.")]
pub(super) struct Install {
    /// The clients
    #[arg(value_name = "CLIENT")]
    clients: Vec<Client>,
    /// Remove the entry again
    #[arg(long, requires = "clients")]
    uninstall: bool,
    /// Show the change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Change the configuration of the project in the current directory instead of the user's
    // The option for the project of a service has this name too, so it has the same type.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "here", hide_possible_values = true, value_name = "here", value_parser = ["here"])]
    project: Option<String>,
}

impl Install {
    pub(super) fn run(self, setup: &Setup) -> Result<u8, CommandError> {
        if self.clients.is_empty() {
            print(&list(setup, self.project.is_some())?)?;
            return Ok(0);
        }
        let project = project_directory(self.project.is_some())?;
        let command = command(self.project.is_some())?;
        let records = records(setup)?;
        let mut plans = Vec::new();
        for client in unique(&self.clients) {
            let path = match &project {
                Some(project) => client.project_file(project)?,
                None => client.user_file(&setup.environment)?,
            };
            let content = Content::Entry {
                form: client.form(),
                command: &command,
            };
            let plan = if self.uninstall {
                Plan::uninstall(&path, project.as_deref(), content, &records)?
            } else {
                Plan::install(&path, project.as_deref(), content, &records)?
            };
            plans.push((client.title().to_owned(), plan));
        }
        carry_out(&plans, &records, self.dry_run, self.uninstall)?;
        Ok(0)
    }
}

/// The clients without those that are named twice.
fn unique(clients: &[Client]) -> Vec<Client> {
    let mut found = Vec::new();
    for client in clients {
        if !found.contains(client) {
            found.push(*client);
        }
    }
    found
}

/// Shows all plans, then makes their changes. Every plan was made before the first file changes.
fn carry_out(
    plans: &[(String, Plan)],
    records: &Records,
    dry_run: bool,
    uninstall: bool,
) -> Result<(), CommandError> {
    for (title, plan) in plans {
        let path = plan.path().display();
        if plan.changes_nothing() {
            let state = if uninstall {
                "not set up"
            } else {
                "set up already"
            };
            print(&format!("{title}: {state} in {path}\n"))?;
            if uninstall && !dry_run {
                records.forget(plan.path());
            }
            continue;
        }
        print(&plan.diff())?;
        if dry_run {
            print(&format!("{title}: would change {path}\n"))?;
            continue;
        }
        plan.apply(records)?;
        let advice = if uninstall {
            ""
        } else {
            "; restart it if it is running"
        };
        print(&format!("{title}: changed {path}{advice}\n"))?;
    }
    Ok(())
}

fn records(setup: &Setup) -> Result<Records, CommandError> {
    let directories = setup
        .directories
        .as_ref()
        .map_err(|error| super::error::SettingsError::from(error.clone()))?;
    Ok(Records::below(&directories.state))
}

/// The current directory, if the command is about a project.
fn project_directory(project: bool) -> Result<Option<PathBuf>, InstallError> {
    project
        .then(std::env::current_dir)
        .transpose()
        .map_err(|source| InstallError::file("find", Path::new("."), source))
}

/// The command in configurations: the path of this program, since programs with a window often have
/// another `PATH`. Projects are shared, so they get the name alone.
fn command(project: bool) -> Result<String, InstallError> {
    if project {
        return Ok(PROGRAM.to_owned());
    }
    let own = std::env::current_exe().map_err(InstallError::Program)?;
    let server = own.with_file_name(PROGRAM);
    let path = if server.is_file() { server } else { own };
    path.into_os_string()
        .into_string()
        .map_err(|_| InstallError::ProgramPath)
}

/// The clients of this machine, with the state of each.
fn list(setup: &Setup, project: bool) -> Result<String, InstallError> {
    let project = project_directory(project)?;
    let mut text = String::new();
    for &client in Client::all() {
        let path = match &project {
            Some(project) => match client.project_file(project) {
                Ok(path) => path,
                Err(_) => continue,
            },
            None => client.user_file(&setup.environment)?,
        };
        let state = if !path.exists() && !client.is_found(&setup.environment) {
            "not found".to_owned()
        } else {
            match state(client, &path, project.as_deref()) {
                Ok(true) => "set up".to_owned(),
                Ok(false) => "found".to_owned(),
                Err(error) => format!("unusable: {error}"),
            }
        };
        let _ = writeln!(text, "{:<15} {state:<10} {}", client.id(), path.display());
    }
    text.push_str(&format!(
        "\nSet one up with `{} install CLIENT`, and see the change first with `--dry-run`.\n",
        super::output::program()
    ));
    Ok(text)
}

fn state(client: Client, path: &Path, project: Option<&Path>) -> Result<bool, InstallError> {
    let file = file::TextFile::read(path, project)?;
    match &file.text {
        None => Ok(false),
        Some(text) => edit::has_entry(client.form(), text).map_err(|source| InstallError::Edit {
            path: path.to_owned(),
            source,
        }),
    }
}
