//! The session of a verb: its image, directory and variables, and its history.

use std::collections::BTreeMap;

use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use crate::store::sessions::{self, Appended, FIRST_BRANCH, SessionEntry};

/// The tag of the image of this machine's programs, with which a new session begins on the embedded
/// engine.
pub(super) const HOST_TAG: &str = "host";

/// The current state of a session.
#[derive(Clone, Debug)]
pub(super) struct SessionState {
    /// The active branch.
    pub(super) branch: String,
    /// The newest entry of the branch; none for a new session.
    pub(super) tip: Option<i64>,
    pub(super) image: Option<Uuid>,
    /// The working directory; none for that of the image.
    pub(super) cwd: Option<String>,
    pub(super) env: BTreeMap<String, String>,
}

/// A verb's addition to the history.
pub(super) struct Change<'a> {
    pub(super) kind: &'a str,
    pub(super) title: String,
    pub(super) operation: Option<Uuid>,
}

/// The entry for a state. The store sets its id and time.
fn new_entry(state: &SessionState, change: Change<'_>) -> Result<SessionEntry, VerbError> {
    let Some(image) = state.image else {
        return Err(no_image());
    };
    Ok(SessionEntry {
        id: 0,
        parent: state.tip,
        kind: change.kind.to_owned(),
        title: change.title,
        image: image.to_string(),
        operation: change.operation.map(|id| id.to_string()),
        cwd: state.cwd.clone(),
        env: state.env.clone(),
        made_at: 0,
    })
}

impl VerbContext {
    /// The current state of the session.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) async fn state(&self) -> Result<SessionState, VerbError> {
        let (backend, key) = (self.backend(), self.key.clone());
        let (branch, tip, entry) = self
            .tools
            .store()
            .read_durably(move |c| {
                let branch = sessions::active_branch(c, &backend, &key)?;
                let branch = branch.unwrap_or_else(|| FIRST_BRANCH.to_owned());
                let tip = sessions::tip(c, &backend, &key, &branch)?;
                let entry = match tip {
                    Some(id) => sessions::entry(c, &backend, &key, id)?,
                    None => None,
                };
                Ok((branch, tip, entry))
            })
            .await?;
        Ok(match entry {
            None => SessionState {
                branch,
                tip,
                image: None,
                cwd: None,
                env: BTreeMap::new(),
            },
            Some(entry) => SessionState {
                branch,
                tip,
                image: entry.image.parse().ok(),
                cwd: entry.cwd,
                env: entry.env,
            },
        })
    }

    /// Adds a state to the history of the session. `state.tip` is the entry before it.
    ///
    /// # Errors
    /// If the store cannot be written, or the state has no image.
    pub(super) async fn record(
        &self,
        state: &SessionState,
        change: Change<'_>,
    ) -> Result<Appended, VerbError> {
        let entry = new_entry(state, change)?;
        let (backend, key, branch) = (self.backend(), self.key.clone(), state.branch.clone());
        let store = self.tools.store();
        let write = store
            .write_durably(move |c| sessions::append(c, &backend, &key, &branch, &entry))
            .await?;
        Ok(write)
    }

    /// Adds a state as [`record`](Self::record) does, if `state.tip` is still the newest entry of
    /// its branch. Returns the id of the entry, or `None`: then the change has to be made to the
    /// new state.
    ///
    /// # Errors
    /// See [`record`](Self::record).
    pub(super) async fn record_at_tip(
        &self,
        state: &SessionState,
        change: Change<'_>,
    ) -> Result<Option<i64>, VerbError> {
        let entry = new_entry(state, change)?;
        let (backend, key, branch) = (self.backend(), self.key.clone(), state.branch.clone());
        let store = self.tools.store();
        let write = store
            .write_durably(move |c| sessions::append_at_tip(c, &backend, &key, &branch, &entry))
            .await?;
        Ok(write)
    }

    /// All entries of the session, the oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) async fn history(&self) -> Result<Vec<SessionEntry>, VerbError> {
        let (backend, key) = (self.backend(), self.key.clone());
        let store = self.tools.store();
        let entries = store
            .read_durably(move |c| sessions::entries(c, &backend, &key))
            .await?;
        Ok(entries)
    }

    /// The entry of the history that a text such as `@`, `@3`, `@-1` or `HEAD~1` names.
    ///
    /// # Errors
    /// If there is no such entry.
    pub(super) async fn entry(&self, reference: EntryRef) -> Result<SessionEntry, VerbError> {
        let state = self.state().await?;
        let entries = self.history().await?;
        let by_id = |id: i64| entries.iter().find(|entry| entry.id == id);
        let found = match reference {
            EntryRef::Number(id) => by_id(id),
            EntryRef::Back(steps) => state
                .tip
                .and_then(by_id)
                .and_then(|tip| (0..steps).try_fold(tip, |entry, _| by_id(entry.parent?))),
        };
        found.cloned().ok_or_else(|| match entries.last() {
            None => VerbError::WithCode(
                ErrorCode::SessionEntryNotFound,
                "the session has no history yet; `contree use IMAGE` begins one".to_owned(),
            ),
            Some(last) => VerbError::WithCode(
                ErrorCode::SessionEntryNotFound,
                format!(
                    "the session has no entry `{reference}`; `contree session show` lists 1 to {}",
                    last.id
                ),
            ),
        })
    }
}

/// The error of a session without an image.
pub(super) fn no_image() -> VerbError {
    VerbError::WithCode(ErrorCode::SessionEntryNotFound,
        "the session has no image yet; `contree use IMAGE` sets one, and `contree images` lists them"
            .to_owned(),
    )
}

/// A reference to an entry of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryRef {
    /// An entry by its number.
    Number(i64),
    /// A number of steps before the newest entry of the branch.
    Back(u32),
}

impl EntryRef {
    /// Reads `@`, `@N`, `@-N`, `HEAD` or `HEAD~N`. None for another text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("HEAD") {
            return match rest.strip_prefix('~') {
                None if rest.is_empty() => Some(Self::Back(0)),
                Some("") => Some(Self::Back(1)),
                Some(steps) => Some(Self::Back(steps.parse().ok()?)),
                None => None,
            };
        }
        let rest = text.strip_prefix('@')?;
        match rest.strip_prefix('-') {
            Some(steps) => Some(Self::Back(steps.parse().ok()?)),
            None if rest.is_empty() => Some(Self::Back(0)),
            None => Some(Self::Number(rest.parse().ok()?)),
        }
    }
}

impl std::fmt::Display for EntryRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(id) => write!(f, "@{id}"),
            Self::Back(0) => f.write_str("@"),
            Self::Back(steps) => write!(f, "@-{steps}"),
        }
    }
}

/// Joins a path to the working directory of the session. The result is absolute, without `.` and
/// `..`.
pub(super) fn join(cwd: Option<&str>, path: &str) -> String {
    crate::dockerfile::join(cwd.unwrap_or("/"), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_to_entries_are_read() {
        for (text, expected) in [
            ("@", Some(EntryRef::Back(0))),
            ("HEAD", Some(EntryRef::Back(0))),
            ("@3", Some(EntryRef::Number(3))),
            ("@-2", Some(EntryRef::Back(2))),
            ("HEAD~1", Some(EntryRef::Back(1))),
            ("HEAD~", Some(EntryRef::Back(1))),
            ("@x", None),
            ("HEADLINE", None),
            ("3", None),
        ] {
            assert_eq!(EntryRef::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn paths_are_joined_without_dots() {
        for (cwd, path, joined) in [
            (None, "etc", "/etc"),
            (Some("/a/b"), "../c", "/a/c"),
            (Some("/a"), "/x/./y/", "/x/y"),
            (Some("/"), "../../..", "/"),
            (Some("/a"), ".", "/a"),
        ] {
            assert_eq!(join(cwd, path), joined, "{cwd:?} {path}");
        }
    }
}
