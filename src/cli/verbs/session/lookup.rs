//! Finds sessions and branches by their names.

use contree_error_codes::ErrorCode;

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::image_name::{nearest, short};
use super::super::session_state::EntryRef;
use crate::store::sessions::{self, SessionEntry, SessionRow};

/// The first digits of a UUID in the store.
pub(super) fn short_text(uuid: &str) -> String {
    uuid.parse()
        .as_ref()
        .map_or_else(|_| uuid.to_owned(), short)
}

/// The key of the one session that a text names: its whole key, or its end.
pub(super) async fn session_key(cx: &VerbContext, text: &str) -> Result<SessionRow, VerbError> {
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
        [] => Err(VerbError::WithCode(
            ErrorCode::SessionNotFound,
            format!("there is no session `{text}`; `contree session list` lists them"),
        )),
        _ => Err(VerbError::WithCode(
            ErrorCode::AmbiguousName,
            format!(
                "`{text}` is the end of {} sessions; give more of the key",
                found.len()
            ),
        )),
    }
}

impl VerbContext {
    /// The branches of the session, with their newest entries.
    pub(in crate::cli::verbs) async fn branches(&self) -> Result<Vec<(String, i64)>, VerbError> {
        let (backend, key) = (self.backend(), self.key.clone());
        let store = self.tools.store();
        let branches = store.read_durably(move |c| sessions::branches(c, &backend, &key));
        Ok(branches.await?)
    }

    /// The newest entry of a branch.
    ///
    /// # Errors
    /// If there is no such branch.
    pub(in crate::cli::verbs) async fn branch_entry(
        &self,
        name: &str,
    ) -> Result<SessionEntry, VerbError> {
        let branches = self.branches().await?;
        let found = branches.iter().find(|(branch, _)| branch == name);
        let (_, tip) = found.ok_or_else(|| self.unknown_branch(name, &branches))?;
        self.entry(EntryRef::Number(*tip)).await
    }

    /// The error for an unknown branch.
    pub(super) fn unknown_branch(&self, name: &str, branches: &[(String, i64)]) -> VerbError {
        let near = nearest(name, branches.iter().map(|(name, _)| name.as_str()));
        let hint = match &near[..] {
            [] => "`contree session branch` lists the branches".to_owned(),
            near => format!("did you mean {}?", near.join(" or ")),
        };
        VerbError::WithCode(
            ErrorCode::SessionEntryNotFound,
            format!("the session has no branch `{name}`; {hint}"),
        )
    }
}
