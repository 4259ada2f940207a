//! The context that the steps of one import share.

use std::sync::Arc;

use contree_registry::Login;
use contree_sandbox::RunDir;
use uuid::Uuid;

use super::progress::Progress;
use super::tasks::ImportTasks;
use crate::engine::Engine;

/// The context of one import.
pub(super) struct ImportContext<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) operation: Uuid,
    pub(super) run: &'a Arc<RunDir>,
    pub(super) login: Option<&'a Login>,
    pub(super) tasks: &'a ImportTasks,
    pub(super) progress: &'a Progress,
}

/// Adds up sizes that a manifest states, saturating on overflow.
pub(super) fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
