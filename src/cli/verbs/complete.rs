//! Completion of names that the backend knows.

use std::ffi::OsStr;
use std::time::Duration;

use clap::Args as _;
use clap::FromArgMatches as _;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use super::context::selected_session;
use super::last_run::LAST_RUN;
use crate::cli::options::Options;
use crate::cli::process::runtime;
use crate::cli::setup::Setup;
use crate::store::{last_runs, sessions};
use crate::tools::Session;

/// How long a completion may take: a shell waits for it.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most operations that are proposed.
const MAX_OPERATIONS: usize = 50;

/// The kind of name that an argument takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    Images,
    Operations,
    /// Operations that have not ended.
    Running,
    Sessions,
    Profiles,
}

/// Completes an argument with the names that the backend knows now. If that takes too long or
/// fails, nothing is proposed.
pub(super) fn values(known: Known) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let current = current.to_str().unwrap_or_default();
        let candidates = candidates(known).unwrap_or_default().into_iter();
        let matching = candidates.filter(|(name, _)| name.starts_with(current));
        matching
            .map(|(name, help)| CompletionCandidate::new(name).help(Some(help.into())))
            .collect()
    })
}

/// The names, each with a few words about it.
fn candidates(known: Known) -> Option<Vec<(String, String)>> {
    // The command line is not complete, so the environment alone selects the backend.
    let command = Options::augment_args(clap::Command::new("contree").no_binary_name(true));
    let matches = command
        .try_get_matches_from(std::iter::empty::<&str>())
        .ok()?;
    let setup = Setup::new(Options::from_arg_matches(&matches).ok()?);
    if matches!(known, Known::Profiles) {
        let names = setup.files.profiles.keys().cloned();
        return Some(names.map(|name| (name, "profile".to_owned())).collect());
    }
    let tools = setup.session(false).ok()?;
    let runtime = runtime().ok()?;
    let found = contree_tasks::block_on(&runtime, async {
        let names = async {
            let client = tools.client().await.ok()?;
            match known {
                Known::Images => {
                    let images = client.images().tagged().all().await.ok()?;
                    let tags = images.into_iter().filter_map(|image| image.tag);
                    Some(tags.map(|tag| (tag, "image".to_owned())).collect())
                }
                Known::Operations | Known::Running => {
                    let mut operations = client.operations();
                    if matches!(known, Known::Running) {
                        operations = operations.status("EXECUTING");
                    }
                    let mut found = Vec::new();
                    while let Some(operation) = operations.next().await
                        && found.len() < MAX_OPERATIONS
                    {
                        let operation = operation.ok()?;
                        found.push((operation.id.to_string(), operation.status.to_string()));
                    }
                    let last = last_run(&setup, &tools, &client.backend().identity()).await;
                    if let Some(last) = last
                        && let Some((id, status)) = found.iter().find(|(id, _)| *id == last)
                    {
                        let help = format!("{status}, the last run of the session: {id}");
                        found.insert(0, (LAST_RUN.to_owned(), help));
                    }
                    Some(found)
                }
                Known::Profiles => None,
                Known::Sessions => {
                    let backend = client.backend().identity();
                    let list = tools
                        .store()
                        .read_durably(move |c| sessions::list(c, &backend));
                    let rows = list.await.ok()?;
                    Some(rows.into_iter().map(|row| (row.key, row.branch)).collect())
                }
            }
        };
        tokio::time::timeout(TIMEOUT, names).await.ok().flatten()
    });
    crate::cli::serve::close(tools, runtime);
    found
}

/// The last run of the session that the environment or the current directory names. The option
/// for another session is not known yet.
async fn last_run(setup: &Setup, tools: &Session, backend: &str) -> Option<String> {
    let (key, _) = selected_session(setup, None).ok()?;
    let backend = backend.to_owned();
    let store = tools.store();
    let found = store.read_durably(move |c| last_runs::find(c, &backend, &key));
    found.await.ok()?
}
