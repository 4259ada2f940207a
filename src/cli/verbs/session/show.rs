//! `contree session show`: the history.

use clap::Args;
use serde::Serialize;

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::rows::print_rows;
use super::lookup::{session_key, short_text};
use crate::cli::number;
use crate::cli::units::{age, parse_time, rfc_3339, time_of};

/// Entries that `session show` lists unless the user asks for more.
const SHOWN_ENTRIES: usize = 20;

/// Show the history of the session
#[derive(Args, Debug)]
pub(super) struct ShowHistory {
    /// Key of another session, or the end of it
    key: Option<String>,
    /// Show all entries; default: the newest 20
    #[arg(short, long)]
    all: bool,
    /// Only entries of a kind: use, run, cd, env
    #[arg(short, long)]
    kind: Option<String>,
    /// Only the last N entries
    #[arg(short, long, value_name = "N", value_parser = number::count::<usize>)]
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
pub(super) struct HistoryRow {
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
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
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
