//! `contree session`: branches and history of a session.

use clap::{Args, Subcommand};
use contree_error_codes::ErrorCode;
use serde::Serialize;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::{nearest, short};
use super::rows::print_rows;
use super::session_state::{EntryRef, no_image};
use super::use_image;
use crate::cli::output::{print, print_message};
use crate::cli::units::{age, parse_time, rfc_3339, time_of};
use crate::store::sessions::{self, SessionEntry, SessionRow};

/// Entries that `session show` lists unless the user asks for more.
const SHOWN_ENTRIES: usize = 20;

/// Branches and history of the session
#[derive(Args, Debug)]
#[command(
    visible_alias = "s",
    after_help = "\
Examples:
  contree session branch try && contree session checkout try
  contree session rollback         back to before the last command"
)]
pub(in crate::cli) struct Session {
    #[command(subcommand)]
    command: Option<SessionCommand>,
}

#[derive(Subcommand, Debug)]
enum SessionCommand {
    #[command(visible_alias = "ls")]
    List(List),
    Use(UseSession),
    #[command(visible_alias = "br")]
    Branch(Branch),
    #[command(visible_alias = "co")]
    Checkout(Checkout),
    #[command(visible_alias = "rb")]
    Rollback(Rollback),
    Show(ShowHistory),
    #[command(visible_aliases = ["rm", "del"])]
    Delete(Delete),
}

impl Session {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        match self.command {
            None => use_image::show(cx).await,
            Some(SessionCommand::List(list)) => list.run(cx).await,
            Some(SessionCommand::Use(session)) => session.run(cx).await,
            Some(SessionCommand::Branch(branch)) => branch.run(cx).await,
            Some(SessionCommand::Checkout(checkout)) => checkout.run(cx).await,
            Some(SessionCommand::Rollback(rollback)) => rollback.run(cx).await,
            Some(SessionCommand::Show(show)) => show.run(cx).await,
            Some(SessionCommand::Delete(delete)) => delete.run(cx).await,
        }
    }
}

/// List the sessions
#[derive(Args, Debug)]
struct List {
    /// Only keys with this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// A session in the list.
#[derive(Serialize)]
struct ListedSession {
    session_key: String,
    active_branch: String,
    current_image: Option<String>,
    last_kind: Option<String>,
    last_title: Option<String>,
    updated_at: String,
}

impl From<SessionRow> for ListedSession {
    fn from(row: SessionRow) -> Self {
        let tip = row.tip;
        Self {
            session_key: row.key,
            active_branch: row.branch,
            current_image: tip.as_ref().map(|tip| tip.image.clone()),
            last_kind: tip.as_ref().map(|tip| tip.kind.clone()),
            last_title: tip.map(|tip| tip.title),
            updated_at: rfc_3339(time_of(row.used_at)),
        }
    }
}

fn short_text(uuid: &str) -> String {
    uuid.parse()
        .as_ref()
        .map_or_else(|_| uuid.to_owned(), short)
}

impl List {
    async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let backend = cx.backend();
        let listed = cx
            .tools
            .store()
            .read_durably(move |c| sessions::list(c, &backend));
        let rows: Vec<ListedSession> = listed
            .await?
            .into_iter()
            .filter(|row| {
                self.filter
                    .as_ref()
                    .is_none_or(|text| row.key.contains(text))
            })
            .map(ListedSession::from)
            .collect();
        print_rows(
            cx.format,
            &rows,
            &[
                ("session", &|row: &ListedSession| row.session_key.clone()),
                ("branch", &|row| row.active_branch.clone()),
                ("image", &|row| {
                    row.current_image
                        .as_deref()
                        .map(short_text)
                        .unwrap_or_default()
                }),
                ("last", &|row| row.last_title.clone().unwrap_or_default()),
                ("used", &|row| age(&row.updated_at)),
            ],
        )?;
        Ok(0)
    }
}

/// Use the current image of another session
#[derive(Args, Debug)]
struct UseSession {
    /// Its key, or the end of it
    key: String,
}

/// The key of the one session that a text names: its whole key, or its end.
async fn session_key(cx: &VerbContext, text: &str) -> Result<SessionRow, VerbError> {
    let backend = cx.backend();
    let all = cx
        .tools
        .store()
        .read_durably(move |c| sessions::list(c, &backend));
    let all = all.await?;
    let found: Vec<&SessionRow> = match all.iter().find(|row| row.key == text) {
        Some(row) => vec![row],
        None => all.iter().filter(|row| row.key.ends_with(text)).collect(),
    };
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(VerbError::Missing(
            ErrorCode::SessionNotFound,
            format!("there is no session `{text}`; `contree session list` lists them"),
        )),
        _ => Err(VerbError::Missing(
            ErrorCode::AmbiguousName,
            format!(
                "`{text}` is the end of {} sessions; give more of the key",
                found.len()
            ),
        )),
    }
}

impl UseSession {
    async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let row = session_key(cx, &self.key).await?;
        let tip = row.tip.ok_or_else(no_image)?;
        use_image::select(cx, &tip.image).await?;
        print_message(format_args!(
            "using {} of {}",
            short_text(&tip.image),
            row.key
        ));
        Ok(0)
    }
}

/// List, create or delete branches
#[derive(Args, Debug)]
struct Branch {
    /// Branch to create, at the newest entry of the active one
    name: Option<String>,
    /// Branch, or entry such as @3, to begin at
    #[arg(long, value_name = "BRANCH|@N")]
    from: Option<String>,
    /// Delete the branch; its history stays
    #[arg(short = 'U', long, visible_alias = "rm", requires = "name")]
    delete: bool,
}

/// A branch in the list.
#[derive(Serialize)]
struct BranchRow {
    marker: &'static str,
    branch: String,
    entry: i64,
    image: Option<String>,
}

impl VerbContext {
    async fn branches(&self) -> Result<Vec<(String, i64)>, VerbError> {
        let (backend, key) = (self.backend(), self.key.clone());
        let store = self.tools.store();
        let branches = store.read_durably(move |c| sessions::branches(c, &backend, &key));
        Ok(branches.await?)
    }

    fn unknown_branch(&self, name: &str, branches: &[(String, i64)]) -> VerbError {
        let near = nearest(name, branches.iter().map(|(name, _)| name.as_str()));
        let hint = match &near[..] {
            [] => "`contree session branch` lists the branches".to_owned(),
            near => format!("did you mean {}?", near.join(" or ")),
        };
        VerbError::Missing(
            ErrorCode::SessionEntryNotFound,
            format!("the session has no branch `{name}`; {hint}"),
        )
    }
}

impl Branch {
    async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let state = cx.state().await?;
        let branches = cx.branches().await?;
        let Some(name) = self.name else {
            let entries = cx.history().await?;
            let rows: Vec<BranchRow> = branches
                .into_iter()
                .map(|(branch, tip)| BranchRow {
                    marker: if branch == state.branch { "*" } else { "" },
                    image: entries
                        .iter()
                        .find(|entry| entry.id == tip)
                        .map(|entry| entry.image.clone()),
                    branch,
                    entry: tip,
                })
                .collect();
            print_rows(
                cx.format,
                &rows,
                &[
                    ("", &|row: &BranchRow| row.marker.to_owned()),
                    ("branch", &|row| row.branch.clone()),
                    ("entry", &|row| format!("@{}", row.entry)),
                    ("image", &|row| {
                        row.image.as_deref().map(short_text).unwrap_or_default()
                    }),
                ],
            )?;
            return Ok(0);
        };
        let (backend, key) = (cx.backend(), cx.key.clone());
        let store = cx.tools.store();
        if self.delete {
            if name == state.branch {
                return Err(VerbError::Usage(format!(
                    "`{name}` is the active branch; check out another one first"
                )));
            }
            let deleted = {
                let name = name.clone();
                store
                    .write_durably(move |c| sessions::delete_branch(c, &backend, &key, &name))
                    .await?
            };
            if !deleted {
                return Err(cx.unknown_branch(&name, &branches));
            }
            print(&format!("deleted branch {name}\n"))?;
            return Ok(0);
        }
        if name.is_empty() || name.starts_with(['@', '-']) {
            return Err(VerbError::Usage(format!(
                "`{name}` cannot name a branch; begin with a letter"
            )));
        }
        if branches.iter().any(|(branch, _)| *branch == name) {
            return Err(VerbError::Usage(format!(
                "there is a branch `{name}` already; `contree session checkout {name}` switches to it"
            )));
        }
        let tip = match &self.from {
            None => state.tip.ok_or_else(no_image)?,
            Some(from) => match EntryRef::parse(from) {
                Some(reference) => cx.entry(reference).await?.id,
                None => {
                    let found = branches.iter().find(|(branch, _)| branch == from);
                    found
                        .map(|(_, tip)| *tip)
                        .ok_or_else(|| cx.unknown_branch(from, &branches))?
                }
            },
        };
        let created = name.clone();
        store
            .write_durably(move |c| sessions::set_branch(c, &backend, &key, &created, tip))
            .await?;
        print(&format!("created branch {name} at @{tip}\n"))?;
        Ok(0)
    }
}

/// Switch to another branch
#[derive(Args, Debug)]
struct Checkout {
    /// The branch
    branch: String,
    /// Create the branch first, at the newest entry of the active one
    #[arg(short = 'b', long)]
    create: bool,
}

impl Checkout {
    async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        if self.create {
            let branch = Branch {
                name: Some(self.branch.clone()),
                from: None,
                delete: false,
            };
            branch.run(cx).await?;
        }
        let branches = cx.branches().await?;
        let Some((branch, tip)) = branches.iter().find(|(branch, _)| *branch == self.branch) else {
            return Err(cx.unknown_branch(&self.branch, &branches));
        };
        let (backend, key, name) = (cx.backend(), cx.key.clone(), branch.clone());
        let store = cx.tools.store();
        store
            .write_durably(move |c| sessions::activate(c, &backend, &key, &name))
            .await?;
        print_message(format_args!("on branch {branch} at @{tip}"));
        Ok(0)
    }
}

/// Go back or forward in the history of the branch
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree session rollback       to before the last entry
  contree session rollback @3    to entry 3; also 3, -1 and +1")]
struct Rollback {
    /// @N or N: an entry; -N: back; +N: forward
    #[arg(
        default_value = "-1",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    target: String,
}

impl Rollback {
    async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let state = cx.state().await?;
        let text = self.target.as_str();
        let wrong = || {
            VerbError::Usage(format!(
                "`{text}` is no place in the history; give an entry such as @3, or -1, or +1"
            ))
        };
        let entry = if let Some(steps) = text.strip_prefix('-') {
            cx.entry(EntryRef::Back(steps.parse().map_err(|_| wrong())?))
                .await?
        } else if let Some(steps) = text.strip_prefix('+') {
            forward(cx, state.tip, steps.parse().map_err(|_| wrong())?).await?
        } else if let Some(reference) = EntryRef::parse(text) {
            cx.entry(reference).await?
        } else {
            cx.entry(EntryRef::Number(text.parse().map_err(|_| wrong())?))
                .await?
        };
        let (backend, key, id) = (cx.backend(), cx.key.clone(), entry.id);
        let branch = state.branch;
        let store = cx.tools.store();
        store
            .write_durably(move |c| sessions::set_branch(c, &backend, &key, &branch, id))
            .await?;
        print_message(format_args!(
            "now at @{id}: {} ({})",
            entry.title,
            short_text(&entry.image)
        ));
        Ok(0)
    }
}

/// The entry a number of steps after another one. Of several, the newest is taken.
async fn forward(
    cx: &VerbContext,
    tip: Option<i64>,
    steps: u32,
) -> Result<SessionEntry, VerbError> {
    let entries = cx.history().await?;
    let mut found = tip.and_then(|tip| entries.iter().find(|entry| entry.id == tip));
    for _ in 0..steps {
        found = found.and_then(|before| {
            entries
                .iter()
                .rev()
                .find(|entry| entry.parent == Some(before.id))
        });
    }
    found.cloned().ok_or_else(|| {
        VerbError::Missing(
            ErrorCode::SessionEntryNotFound,
            "the history has no entry so far forward; `contree session show` lists it".to_owned(),
        )
    })
}

/// Show the history of the session
#[derive(Args, Debug)]
struct ShowHistory {
    /// Key of another session, or the end of it
    key: Option<String>,
    /// Show all entries; default: the newest 20
    #[arg(short, long)]
    all: bool,
    /// Only entries of a kind: use, run, cd, env
    #[arg(short, long)]
    kind: Option<String>,
    /// Only the last N entries
    #[arg(short, long, value_name = "N")]
    last: Option<usize>,
    /// Only since a time: 15m, 2h, 7d, a date
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<std::time::SystemTime>,
    /// Only until a time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<std::time::SystemTime>,
}

/// An entry of the history, with the fields of the official command line.
#[derive(Serialize)]
struct HistoryRow {
    id: i64,
    image: String,
    parent_id: Option<i64>,
    kind: String,
    title: String,
    operation: Option<String>,
    created_at: String,
    branches: String,
}

impl ShowHistory {
    async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let other;
        let cx = match &self.key {
            Some(text) => {
                other = cx.with_key(session_key(cx, text).await?.key);
                &other
            }
            None => cx,
        };
        let state = cx.state().await?;
        let branches = cx.branches().await?;
        let mut rows: Vec<HistoryRow> = Vec::new();
        for entry in cx.history().await? {
            if self.kind.as_ref().is_some_and(|kind| *kind != entry.kind)
                || self
                    .since
                    .is_some_and(|since| time_of(entry.made_at) < since)
                || self
                    .until
                    .is_some_and(|until| time_of(entry.made_at) > until)
            {
                continue;
            }
            let here = branches.iter().filter(|(_, tip)| *tip == entry.id);
            let names: Vec<String> = here
                .map(|(name, _)| match *name == state.branch {
                    true => format!("*{name}"),
                    false => name.clone(),
                })
                .collect();
            rows.push(HistoryRow {
                id: entry.id,
                image: entry.image,
                parent_id: entry.parent,
                kind: entry.kind,
                title: entry.title,
                operation: entry.operation,
                created_at: rfc_3339(time_of(entry.made_at)),
                branches: names.join(" "),
            });
        }
        let limit = match (self.last, self.all) {
            (Some(last), _) => last,
            (None, true) => rows.len(),
            (None, false) => SHOWN_ENTRIES,
        };
        rows.drain(..rows.len().saturating_sub(limit));
        print_rows(
            cx.format,
            &rows,
            &[
                ("entry", &|row: &HistoryRow| format!("@{}", row.id)),
                ("from", &|row| {
                    row.parent_id.map(|id| format!("@{id}")).unwrap_or_default()
                }),
                ("image", &|row| short_text(&row.image)),
                ("kind", &|row| row.kind.clone()),
                ("made", &|row| age(&row.created_at)),
                ("branches", &|row| row.branches.clone()),
                ("title", &|row| row.title.clone()),
            ],
        )?;
        Ok(0)
    }
}

/// Delete sessions with their history; images stay
#[derive(Args, Debug)]
struct Delete {
    /// Their keys
    #[arg(required = true, add = complete::values(Known::Sessions))]
    keys: Vec<String>,
    /// Accepted for scripts; nothing is asked
    #[arg(short, long, visible_short_alias = 'y')]
    force: bool,
}

impl Delete {
    async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        for key in self.keys {
            let (backend, name) = (cx.backend(), key.clone());
            let store = cx.tools.store();
            let deleted = store.write_durably(move |c| sessions::delete(c, &backend, &name));
            if !deleted.await? {
                return Err(VerbError::Missing(
                    ErrorCode::SessionNotFound,
                    format!("there is no session `{key}`; `contree session list` lists them"),
                ));
            }
            print(&format!("deleted session {key}\n"))?;
        }
        Ok(0)
    }
}
