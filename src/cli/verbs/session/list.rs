//! `contree session list`: the sessions.

use clap::Args;
use serde::Serialize;

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::rows::print_rows;
use super::lookup::short_text;
use crate::cli::units::{age, rfc_3339, time_of};
use crate::store::sessions::{self, SessionRow};

/// List the sessions
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only keys with this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// A session in the list.
#[derive(Serialize)]
pub(super) struct ListedSession {
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

impl List {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
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
