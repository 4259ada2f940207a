//! `contree-mcp skill install`: puts a short skill where agents look for skills.

use clap::{Args, Subcommand};

use super::client::{Client, ENTRY};
use super::plan::{Content, Plan};
use super::{InstallError, carry_out, project_directory, records, unique};
use crate::cli::error::CommandError;
use crate::cli::setup::Setup;

/// The page of the documentation that holds the skill. The build makes it from the manifest.
const PAGE: &str = include_str!("../../../docs/skill.md");

/// Install a skill that tells agents when and how to use sandboxes
#[derive(Args, Debug)]
pub(in crate::cli) struct Skill {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Install(SkillInstall),
}

/// Put the skill where agents look
#[derive(Args, Debug)]
#[command(after_help = "\
Without a client, puts it where the clients of this machine look. Skills that were edited stay as they are.")]
struct SkillInstall {
    /// The clients
    #[arg(value_name = "CLIENT")]
    clients: Vec<Client>,
    /// Remove the skill again
    #[arg(long)]
    uninstall: bool,
    /// Show the change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Use the project in the current directory instead of the user's directories
    // The option for the project of a service has this name too, so it has the same type.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "here", hide_possible_values = true, value_name = "here", value_parser = ["here"])]
    project: Option<String>,
}

impl Skill {
    pub(in crate::cli) fn run(self, setup: &Setup) -> Result<u8, CommandError> {
        let Command::Install(install) = self.command;
        install.run(setup)
    }
}

impl SkillInstall {
    fn run(self, setup: &Setup) -> Result<u8, CommandError> {
        let project = project_directory(self.project.is_some())?;
        let records = records(setup)?;
        let clients = if self.clients.is_empty() {
            found(setup)?
        } else {
            unique(&self.clients)
        };
        let mut plans: Vec<(String, Plan)> = Vec::new();
        for client in clients {
            let directory = client.skills(&setup.environment, project.as_deref())?;
            let path = directory.join(ENTRY).join("SKILL.md");
            if plans.iter().any(|(_, plan)| plan.path() == path) {
                continue;
            }
            let content = Content::Whole(text());
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

/// The clients of this machine that read skills.
fn found(setup: &Setup) -> Result<Vec<Client>, InstallError> {
    let reads_skills = |client: &Client| client.skills(&setup.environment, None).is_ok();
    let found: Vec<Client> = Client::all()
        .iter()
        .copied()
        .filter(|client| client.is_found(&setup.environment) && reads_skills(client))
        .collect();
    if found.is_empty() {
        return Err(InstallError::NothingFound);
    }
    Ok(found)
}

/// The skill: the page without the comment before its head.
fn text() -> &'static str {
    PAGE.find("---\n").map_or(PAGE, |start| &PAGE[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skill_has_the_head_that_agents_read() {
        let head: Vec<&str> = text().split("---\n").nth(1).unwrap().lines().collect();
        assert_eq!(head[0], "name: contree");
        let description = head[1].strip_prefix("description: ").unwrap();
        assert!(
            description.len() > 40 && description.len() < 1024,
            "{description}"
        );
        assert_eq!(head.len(), 2);
    }
}
