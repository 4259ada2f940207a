//! `contree session branch`: lists, creates and deletes branches.

use clap::Args;
use serde::Serialize;

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::rows::{print_result, print_rows};
use super::super::session_state::{EntryRef, no_image};
use super::lookup::short_text;
use crate::store::sessions;

/// List, create or delete branches
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree session branch try --from @3    at entry 3; without --from, at the newest one
  contree session branch -d try           delete it

`@try` names the image of a branch, as in `contree diff @main @try`.")]
pub(super) struct Branch {
    /// Branch to create, at the newest entry of the active one
    pub(super) name: Option<String>,
    /// Branch, or entry such as @3, to begin at
    #[arg(long, value_name = "BRANCH|@N")]
    pub(super) from: Option<String>,
    /// Delete the branch; its history stays
    #[arg(
        short = 'U',
        visible_short_alias = 'd',
        short_alias = 'D',
        long,
        visible_alias = "rm",
        requires = "name"
    )]
    pub(super) delete: bool,
    /// Whether JSON says nothing, since it is a part of another verb.
    #[arg(skip)]
    pub(super) is_part: bool,
}

/// A created or deleted branch as JSON.
#[derive(Serialize)]
struct ChangedBranch<'a> {
    branch: &'a str,
    /// The entry at which it begins, unless it was deleted.
    entry: Option<i64>,
}

/// A branch in the list.
#[derive(Serialize)]
pub(super) struct BranchRow {
    marker: &'static str,
    branch: String,
    entry: i64,
    image: Option<String>,
}

impl Branch {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
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
                return Err(active_branch(&name, &branches));
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
            let record = ChangedBranch {
                branch: &name,
                entry: None,
            };
            print_result(cx.format, &record, &format!("deleted branch {name}"))?;
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
        if !(self.is_part && cx.format.is_json()) {
            let record = ChangedBranch {
                branch: &name,
                entry: Some(tip),
            };
            let sentence = format!("created branch {name} at @{tip}");
            print_result(cx.format, &record, &sentence)?;
        }
        Ok(0)
    }
}

/// The error of deleting the active branch, which names the command that leaves it.
fn active_branch(name: &str, branches: &[(String, i64)]) -> VerbError {
    let other = branches.iter().find(|(branch, _)| branch != name);
    let leave = match other {
        Some((other, _)) => format!("`contree session checkout {other}` first"),
        None => {
            "it is the only one; `contree session checkout -b NAME` begins another first".to_owned()
        }
    };
    VerbError::Usage(format!(
        "`{name}` is the active branch, which cannot be deleted: {leave}"
    ))
}
