//! The last run of a session, which `@` names where a verb takes an operation.

use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use crate::store::last_runs;

/// The argument that names the last run.
pub(super) const LAST_RUN: &str = "@";

impl VerbContext {
    /// Records an operation as the last run of the session. A failure is a warning, since the run
    /// goes on.
    pub(super) async fn remember_run(&self, operation: Uuid) {
        let (backend, key) = (self.backend(), self.key.clone());
        let store = self.tools.store();
        let written = store
            .write_durably(move |c| last_runs::set(c, &backend, &key, &operation.to_string()))
            .await;
        if let Err(error) = written {
            tracing::warn!("`{LAST_RUN}` will not name the operation {operation}: {error}");
        }
    }

    /// The last run of the session, whether it runs, was kept, or failed. For a session of an
    /// earlier release, it is the newest run in the history of the branch.
    ///
    /// # Errors
    /// If the session has started no run.
    pub(super) async fn last_run(&self) -> Result<Uuid, VerbError> {
        let (backend, key) = (self.backend(), self.key.clone());
        let store = self.tools.store();
        let found = store.read_durably(move |c| last_runs::find(c, &backend, &key));
        let found = match found.await? {
            Some(operation) => Some(operation),
            None => self.newest_kept_run().await?,
        };
        let operation = found.and_then(|operation| operation.parse().ok());
        operation.ok_or_else(|| {
            VerbError::WithCode(
                ErrorCode::SessionEntryNotFound,
                "this session has started no run yet; `contree run -d -- CMD` starts one, and `contree ps -a` lists the operations of all sessions"
                    .to_owned(),
            )
        })
    }

    /// The newest run in the history of the branch.
    async fn newest_kept_run(&self) -> Result<Option<String>, VerbError> {
        let mut next = self.state().await?.tip;
        // Parents are older, so they follow one another in this order.
        for entry in self.history().await?.into_iter().rev() {
            if Some(entry.id) != next {
                continue;
            }
            if entry.operation.is_some() {
                return Ok(entry.operation);
            }
            next = entry.parent;
        }
        Ok(None)
    }
}
