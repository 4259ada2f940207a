//! `contree-mcp doctor`: checks the configuration and this machine, and suggests fixes.

mod fix;
mod report;
mod surroundings;

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::error::CommandError;
#[cfg(not(all(feature = "engine", target_os = "linux")))]
use super::error::NO_ENGINE;
use super::output::{print, print_json};
use super::process::runtime;
use super::setup::Setup;
use crate::config::SelectedBackend;
use crate::tools::{Session, ToolError};

/// Time limit for the answer of the service.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(15);

/// Check the configuration and this machine, and suggest fixes
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Offer the repairs that a command can make, and check again
    #[arg(long, conflicts_with_all = ["json", "report"])]
    fix: bool,
    /// Make the repairs without asking
    #[arg(long, requires = "fix")]
    yes: bool,
    /// Print a text for a bug report, without secrets
    #[arg(long, conflicts_with = "json")]
    report: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CheckState {
    Fine,
    Degraded,
    Missing,
}

#[derive(Debug, Serialize)]
struct DoctorCheck {
    area: &'static str,
    name: String,
    state: CheckState,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl DoctorCheck {
    fn new(
        area: &'static str,
        name: impl Into<String>,
        state: CheckState,
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
        let (mut checks, mut can_run) = check(&setup)?;
        if self.fix {
            print(&report_text(&setup, &checks, can_run))?;
            let fixes = fix::plan(&checks, &fix::Facts::read());
            if fix::offer(&fixes, self.yes)? == fix::FixState::Nothing {
                return Ok(u8::from(!can_run));
            }
            print("\nChecking again.\n\n")?;
            (checks, can_run) = check(&setup)?;
        }
        if self.json {
            let report = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "backend": match &setup.backend_selection.backend { Ok(SelectedBackend::Local) => Some("local"), Ok(_) => Some("cloud"), Err(_) => None },
                "why": setup.backend_selection.why,
                "runs": can_run,
                "checks": checks,
            });
            print_json(&format!("{report:#}\n"))?;
        } else if self.report {
            print(&report::report(&setup, &checks, can_run))?;
        } else {
            print(&report_text(&setup, &checks, can_run))?;
        }
        Ok(u8::from(!can_run))
    }
}

/// Makes all checks. Also returns whether the backend can run commands.
fn check(setup: &Setup) -> Result<(Vec<DoctorCheck>, bool), CommandError> {
    let local = matches!(setup.backend_selection.backend, Ok(SelectedBackend::Local));
    let mut checks = credentials(setup);
    if matches!(
        setup.backend_selection.backend,
        Ok(SelectedBackend::Cloud(_))
    ) {
        checks.push(service(setup)?);
    }
    checks.extend(directories(setup));
    checks.extend(surroundings::checks(&setup.environment));
    checks.extend(sandbox(setup));
    let can_run = checks
        .iter()
        .all(|check| check.state != CheckState::Missing || (check.area == "sandbox" && !local));
    Ok((checks, can_run))
}

fn report_text(setup: &Setup, checks: &[DoctorCheck], can_run: bool) -> String {
    let mut text = format!(
        "{} {}, backend: {}\n",
        super::output::program(),
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
            CheckState::Fine => "fine    ",
            CheckState::Degraded => "degraded",
            CheckState::Missing => "missing ",
        };
        text.push_str(&format!("  {state}  {}: {}\n", check.name, check.detail));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("            -> {remedy}\n"));
        }
    }
    text.push_str(if can_run {
        "\nThis backend can run commands.\n"
    } else {
        "\nThis backend cannot run commands.\n"
    });
    text
}

fn credentials(setup: &Setup) -> Vec<DoctorCheck> {
    const AREA: &str = "credentials";
    let selection = &setup.backend_selection;
    let mut checks = vec![match &selection.backend {
        Ok(SelectedBackend::Local) => DoctorCheck::new(
            AREA,
            "backend",
            CheckState::Fine,
            format!("embedded engine: {}", selection.why),
        ),
        Ok(SelectedBackend::Cloud(cloud)) => DoctorCheck::new(
            AREA,
            "backend",
            CheckState::Fine,
            format!(
                "{} with a token of type {}: {}",
                cloud.url, cloud.auth_type, selection.why
            ),
        ),
        Err(error) => DoctorCheck::new(AREA, "backend", CheckState::Missing, selection.why.clone())
            .remedy(error.to_string()),
    }];
    checks.extend(
        selection
            .notes
            .iter()
            .map(|note| DoctorCheck::new(AREA, "note", CheckState::Degraded, note)),
    );
    let problems = setup
        .files
        .problems
        .iter()
        .filter(|_| selection.backend.is_ok());
    checks.extend(
        problems.map(|problem| DoctorCheck::new(AREA, "profiles", CheckState::Degraded, problem)),
    );
    checks
}

/// Checks that the service answers and accepts the token.
fn service(setup: &Setup) -> Result<DoctorCheck, CommandError> {
    let session = setup.session(false)?;
    let runtime = runtime()?;
    let answer = contree_tasks::block_on(&runtime, async {
        tokio::time::timeout(SERVICE_TIMEOUT, whoami(&session)).await
    });
    runtime.shutdown_background();
    Ok(match answer {
        Ok(Ok(())) => DoctorCheck::new("credentials", "service", CheckState::Fine, "it answers and accepts the token"),
        Ok(Err(error)) => DoctorCheck::new("credentials", "service", CheckState::Missing, error.to_string())
            .remedy("check the URL, the token and the project, and whether the service can be reached from here"),
        Err(_) => DoctorCheck::new("credentials", "service", CheckState::Missing, format!("no answer within {} s", SERVICE_TIMEOUT.as_secs()))
            .remedy("check the URL, the proxy settings and whether the service can be reached from here"),
    })
}

/// An error of the request to the service.
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

fn directories(setup: &Setup) -> Vec<DoctorCheck> {
    match &setup.directories {
        Ok(found) => vec![
            directory("data", &found.data),
            directory("state", &found.state),
        ],
        Err(error) => {
            vec![DoctorCheck::new(
                "directories",
                "data and state",
                CheckState::Missing,
                error.to_string(),
            )]
        }
    }
}

/// Checks that the directory is writable or can be created. It leaves nothing behind.
fn directory(name: &str, path: &Path) -> DoctorCheck {
    const AREA: &str = "directories";
    let shown = path.display();
    let variable = format!("CONTREE_{}_DIR", name.to_uppercase());
    let Some(existing) = path.ancestors().find(|ancestor| ancestor.exists()) else {
        return DoctorCheck::new(
            AREA,
            name,
            CheckState::Missing,
            format!("{shown} cannot be created"),
        );
    };
    match tempfile::tempfile_in(existing) {
        Ok(_) if existing == path => DoctorCheck::new(
            AREA,
            name,
            CheckState::Fine,
            format!("{shown} exists and is writable"),
        ),
        Ok(_) => DoctorCheck::new(
            AREA,
            name,
            CheckState::Fine,
            format!("{shown} is created at the first use"),
        ),
        Err(error) => DoctorCheck::new(
            AREA,
            name,
            CheckState::Missing,
            format!("cannot write to {}: {error}", existing.display()),
        )
        .remedy(format!(
            "make {shown} writable, or set {variable} to a writable directory"
        )),
    }
}

#[cfg(all(feature = "engine", target_os = "linux"))]
fn sandbox(setup: &Setup) -> Vec<DoctorCheck> {
    use crate::engine;
    let config = match (setup.local_config(), &setup.directories) {
        (Ok(config), _) => config,
        // Already reported by `directories`.
        (Err(_), Err(_)) => return Vec::new(),
        (Err(error), Ok(_)) => {
            return vec![DoctorCheck::new(
                "sandbox",
                "network",
                CheckState::Missing,
                error.to_string(),
            )];
        }
    };
    // Tool calls request a control group in the same way, so that the checks apply to them.
    contree_engine::ControlGroups::enter(false);
    let checks = engine::diagnose(&config).into_iter();
    checks
        .map(|check| DoctorCheck {
            area: "sandbox",
            name: check.name.to_owned(),
            state: match check.state {
                engine::CheckState::Fine => CheckState::Fine,
                engine::CheckState::Degraded => CheckState::Degraded,
                _ => CheckState::Missing,
            },
            detail: check.detail,
            remedy: check.remedy,
        })
        .collect()
}

#[cfg(not(all(feature = "engine", target_os = "linux")))]
fn sandbox(_setup: &Setup) -> Vec<DoctorCheck> {
    vec![DoctorCheck::new(
        "sandbox",
        "embedded engine",
        CheckState::Missing,
        NO_ENGINE,
    )]
}
