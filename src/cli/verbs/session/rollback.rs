//! `contree session rollback`: goes back and forward in the history.

use clap::Args;
use contree_error_codes::ErrorCode;

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::session_state::EntryRef;
use super::super::use_image;
use super::lookup::short_text;
use crate::cli::output::print_message;
use crate::store::sessions::{self, SessionEntry};

/// Go back or forward in the history of the branch
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree session rollback       to before the last entry
  contree session rollback @3    to entry 3; also 3, -1 and +1")]
pub(super) struct Rollback {
    /// @N or N: an entry; -N: back; +N: forward
    #[arg(
        default_value = "-1",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    target: String,
}

impl Rollback {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let state = cx.state().await?;
        let text = self.target.as_str();
        let wrong = || {
            VerbError::Usage(format!(
                "`{text}` is not an entry of the history; give an entry such as @3, or -1, or +1"
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
        if cx.format.is_json() {
            return use_image::show(cx).await;
        }
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
    let begin = tip.and_then(|tip| entries.iter().find(|entry| entry.id == tip));
    let next = |before: &SessionEntry| {
        let mut newest_first = entries.iter().rev();
        newest_first.find(|entry| entry.parent == Some(before.id))
    };
    let found = begin.and_then(|begin| (0..steps).try_fold(begin, |before, _| next(before)));
    found.cloned().ok_or_else(|| {
        VerbError::WithCode(
            ErrorCode::SessionEntryNotFound,
            "the history has no entry so far forward; `contree session show` lists it".to_owned(),
        )
    })
}
