//! `contree-mcp doctor`: what works on this machine, and what to do about the rest.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::error::CommandError;
#[cfg(not(all(feature = "engine", target_os = "linux")))]
use super::error::NO_ENGINE;
use super::output::print;
use super::process::runtime;
use super::setup::Setup;
use crate::config::{DirectoryError, Selected};
use crate::tools::{Session, ToolError};

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Say what works here, and what to do about the rest
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Fine,
    Degraded,
    Missing,
}

#[derive(Debug, Serialize)]
struct Check {
    area: &'static str,
    name: String,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn new(
        area: &'static str,
        name: impl Into<String>,
        state: State,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            area,
            name: name.into(),
            state,
            detail: detail.into(),
            remedy: None,
        }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

impl Doctor {
    pub(super) fn run(&self, setup: Setup) -> Result<u8, CommandError> {
        let local = matches!(setup.decision.selected, Ok(Selected::Local));
        let mut checks = credentials(&setup);
        if matches!(setup.decision.selected, Ok(Selected::Cloud(_))) {
            checks.push(service(&setup)?);
        }
        checks.extend(directories(&setup));
        checks.extend(sandbox(&setup));
        let runs = checks
            .iter()
            .all(|check| check.state != State::Missing || (check.area == "sandbox" && !local));
        if self.json {
            let report = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "backend": match &setup.decision.selected { Ok(Selected::Local) => Some("local"), Ok(_) => Some("cloud"), Err(_) => None },
                "why": setup.decision.why,
                "runs": runs,
                "checks": checks,
            });
            print(&format!("{report:#}\n"))?;
        } else {
            print(&human(&setup, &checks, runs))?;
        }
        Ok(u8::from(!runs))
    }
}

fn human(setup: &Setup, checks: &[Check], runs: bool) -> String {
    let mut text = format!(
        "contree-mcp {}, backend: {}\n",
        env!("CARGO_PKG_VERSION"),
        setup.backend()
    );
    let mut area = "";
    for check in checks {
        if check.area != area {
            area = check.area;
            text.push_str(&format!("\n{area}\n"));
        }
        let state = match check.state {
            State::Fine => "fine    ",
            State::Degraded => "degraded",
            State::Missing => "missing ",
        };
        text.push_str(&format!("  {state}  {}: {}\n", check.name, check.detail));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("            -> {remedy}\n"));
        }
    }
    text.push_str(if runs {
        "\nThis backend can run commands.\n"
    } else {
        "\nThis backend cannot run commands.\n"
    });
    text
}

fn credentials(setup: &Setup) -> Vec<Check> {
    const AREA: &str = "credentials";
    let decision = &setup.decision;
    let mut checks = vec![match &decision.selected {
        Ok(Selected::Local) => Check::new(
            AREA,
            "backend",
            State::Fine,
            format!("embedded engine: {}", decision.why),
        ),
        Ok(Selected::Cloud(cloud)) => Check::new(
            AREA,
            "backend",
            State::Fine,
            format!(
                "{} with a token of type {}: {}",
                cloud.url, cloud.auth_type, decision.why
            ),
        ),
        Err(error) => Check::new(AREA, "backend", State::Missing, decision.why.clone())
            .remedy(error.to_string()),
    }];
    checks.extend(
        decision
            .notes
            .iter()
            .map(|note| Check::new(AREA, "note", State::Degraded, note)),
    );
    let problems = setup
        .files
        .problems
        .iter()
        .filter(|_| decision.selected.is_ok());
    checks.extend(problems.map(|problem| Check::new(AREA, "profiles", State::Degraded, problem)));
    checks
}

/// Asks the service who we are.
fn service(setup: &Setup) -> Result<Check, CommandError> {
    let session = setup.session(false)?;
    let runtime = runtime()?;
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, whoami(&session)).await });
    runtime.shutdown_background();
    Ok(match answer {
        Ok(Ok(())) => Check::new("credentials", "service", State::Fine, "it answers and knows the token"),
        Ok(Err(error)) => Check::new("credentials", "service", State::Missing, error.to_string())
            .remedy("check the URL, the token and the project, and whether the service can be reached from here"),
        Err(_) => Check::new("credentials", "service", State::Missing, format!("no answer within {} s", PATIENCE.as_secs()))
            .remedy("check the URL, the proxy settings and whether the service can be reached from here"),
    })
}

/// Why the service does not tell who we are.
#[derive(Debug, thiserror::Error)]
enum ServiceError {
    #[error(transparent)]
    Connect(#[from] ToolError),
    #[error(transparent)]
    Answer(#[from] crate::Error),
}

async fn whoami(session: &Session) -> Result<(), ServiceError> {
    let client = session.client().await?;
    client.who_am_i().send().await.map_err(crate::Error::from)?;
    Ok(())
}

fn directories(setup: &Setup) -> Vec<Check> {
    match &setup.directories {
        Ok(found) => vec![
            directory("data", &found.data),
            directory("state", &found.state),
        ],
        Err(error @ DirectoryError) => {
            vec![Check::new(
                "directories",
                "data and state",
                State::Missing,
                error.to_string(),
            )]
        }
    }
}

/// Whether the directory can be written to, or made. Nothing is left behind.
fn directory(name: &str, path: &Path) -> Check {
    const AREA: &str = "directories";
    let shown = path.display();
    let variable = format!("CONTREE_{}_DIR", name.to_uppercase());
    let Some(existing) = path.ancestors().find(|ancestor| ancestor.exists()) else {
        return Check::new(
            AREA,
            name,
            State::Missing,
            format!("{shown} cannot be made"),
        );
    };
    match tempfile::tempfile_in(existing) {
        Ok(_) if existing == path => Check::new(
            AREA,
            name,
            State::Fine,
            format!("{shown} is there and can be written to"),
        ),
        Ok(_) => Check::new(
            AREA,
            name,
            State::Fine,
            format!("{shown} is made at the first use"),
        ),
        Err(error) => Check::new(
            AREA,
            name,
            State::Missing,
            format!("cannot write to {}: {error}", existing.display()),
        )
        .remedy(format!(
            "make {shown} yours, or set {variable} to a directory that is"
        )),
    }
}

#[cfg(all(feature = "engine", target_os = "linux"))]
fn sandbox(setup: &Setup) -> Vec<Check> {
    use crate::engine;
    let config = match (setup.local_config(), &setup.directories) {
        (Ok(config), _) => config,
        // Said already.
        (Err(_), Err(_)) => return Vec::new(),
        (Err(error), Ok(_)) => {
            return vec![Check::new(
                "sandbox",
                "network",
                State::Missing,
                error.to_string(),
            )];
        }
    };
    // As a call does, so that what is said is what is had.
    contree_engine::ControlGroups::enter(false);
    let checks = engine::diagnose(&config).into_iter();
    checks
        .map(|check| Check {
            area: "sandbox",
            name: check.name.to_owned(),
            state: match check.state {
                engine::CheckState::Fine => State::Fine,
                engine::CheckState::Degraded => State::Degraded,
                _ => State::Missing,
            },
            detail: check.detail,
            remedy: check.remedy,
        })
        .collect()
}

#[cfg(not(all(feature = "engine", target_os = "linux")))]
fn sandbox(_setup: &Setup) -> Vec<Check> {
    vec![Check::new(
        "sandbox",
        "embedded engine",
        State::Missing,
        NO_ENGINE,
    )]
}
