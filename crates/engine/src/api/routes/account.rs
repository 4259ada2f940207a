//! Who asks, and what this engine can do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use contree_sandbox::ControlGroups;
use indexmap::IndexMap;

use crate::api::types::{EngineInfo, WhoAmIResponse};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::limits;
use crate::rows::operations;

/// What every user of this engine may do.
const PERMISSIONS: [&str; 6] = [
    "import",
    "spawn",
    "spawn_disposable",
    "list",
    "cancel",
    "set_image_tag",
];

/// `GET /whoami`.
pub(super) async fn whoami(
    State(engine): State<Arc<Engine>>,
) -> Result<Json<WhoAmIResponse>, ApiError> {
    let operations_stat = engine.read(operations::count).await?.into_iter().collect();
    let ids = engine.store.id_map();
    let mut limits = IndexMap::from([
        ("instance_max_timeout".to_owned(), limits::TIMEOUT),
        (
            "instance_max_concurrency".to_owned(),
            engine.instances.slots() as u64,
        ),
        (
            "instance_max_pending".to_owned(),
            engine.instances.most_waiting() as u64,
        ),
        (
            "images_import_max_concurrency".to_owned(),
            engine.imports.queue.slots() as u64,
        ),
        (
            "instance_max_layer_bytes".to_owned(),
            limits::MOST_LAYER_BYTES,
        ),
        (
            "instance_max_processes".to_owned(),
            limits::PROCESSES.into(),
        ),
        (
            "instance_max_subprocesses".to_owned(),
            limits::SUBPROCESSES as u64,
        ),
    ]);
    if let Some(bytes) = ControlGroups::get().memory_bytes() {
        limits.insert("instance_memory_bytes".to_owned(), bytes);
    }
    Ok(Json(WhoAmIResponse {
        token_uuid: engine.identity.clone(),
        token_expiration: None,
        permissions: PERMISSIONS
            .map(|permission| (permission.to_owned(), true))
            .into(),
        limits: Some(limits),
        operations_stat,
        x_engine: Some(EngineInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network: engine.egress.name().to_owned(),
            user_ids: ids.describe(),
            notes: notes(&engine, ids.is_single()),
        }),
    }))
}

/// What differs from the hosted service, in sentences.
fn notes(engine: &Engine, single: bool) -> Vec<String> {
    let mut notes = vec![
        engine.egress.describe(),
        "the bound on commands that run at once holds for each process that serves this store, not for all together".to_owned(),
    ];
    let groups = ControlGroups::get();
    let mut said = groups.describe();
    if let Some(remedy) = groups.remedy() {
        said = format!("{said}; to bound sandboxes as a whole, {remedy}");
    }
    notes.push(said);
    if single {
        notes.push("one user id alone: uid and gid other than 0 are refused".to_owned());
    }
    notes
}
