//! `contree session delete`: deletes sessions.

use clap::Args;
use contree_error_codes::ErrorCode;
use serde::Serialize;

use super::super::complete::{self, Known};
use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::rows::print_result;
use crate::store::sessions;

/// Delete sessions with their history; images stay
#[derive(Args, Debug)]
pub(super) struct Delete {
    /// Keys of the sessions
    #[arg(required = true, add = complete::values(Known::Sessions))]
    keys: Vec<String>,
    /// Accepted for scripts; nothing is asked
    #[arg(short, long, visible_short_alias = 'y')]
    force: bool,
}

/// A deleted session as JSON.
#[derive(Serialize)]
struct DeletedSession<'a> {
    session_key: &'a str,
}

impl Delete {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        for key in self.keys {
            let (backend, name) = (cx.backend(), key.clone());
            let store = cx.tools.store();
            let deleted = store.write_durably(move |c| sessions::delete(c, &backend, &name));
            if !deleted.await? {
                return Err(VerbError::WithCode(
                    ErrorCode::SessionNotFound,
                    format!("there is no session `{key}`; `contree session list` lists them"),
                ));
            }
            let record = DeletedSession { session_key: &key };
            print_result(cx.format, &record, &format!("deleted session {key}"))?;
        }
        Ok(0)
    }
}
