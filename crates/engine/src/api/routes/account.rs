//! The route `whoami`: permissions, limits and properties of this engine.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use contree_sandbox::ControlGroups;
use indexmap::IndexMap;

use super::extensions;
use crate::api::types::{EngineInfo, WhoAmIResponse};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::limits;
use crate::rows::operations;
use crate::unrecorded_layers;

/// The permissions of every user of this engine.
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
    let operations_stat = engine
        .read(operations::count_by_status)
        .await?
        .into_iter()
        .collect();
    let ids = engine.store.id_map();
    let mut limits = IndexMap::from([
        ("instance_max_timeout".to_owned(), limits::MAX_TIMEOUT),
        (
            "instance_max_concurrency".to_owned(),
            engine.run_queue.max_running() as u64,
        ),
        (
            "instance_max_pending".to_owned(),
            engine.run_queue.max_waiting() as u64,
        ),
        (
            "images_import_max_concurrency".to_owned(),
            engine.imports.queue.max_running() as u64,
        ),
        (
            "instance_max_layer_bytes".to_owned(),
            limits::MAX_LAYER_BYTES,
        ),
        (
            "instance_max_processes".to_owned(),
            limits::MAX_PROCESSES.into(),
        ),
        (
            "instance_max_subprocesses".to_owned(),
            limits::MAX_SUBPROCESSES as u64,
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
        x_extensions: Some(extensions::NAMES.map(str::to_owned).into()),
    }))
}

/// Differences from the hosted service, in sentences.
fn notes(engine: &Engine, single_id: bool) -> Vec<String> {
    let mut notes = vec![
        engine.egress.describe(),
        engine.publisher.describe().to_owned(),
        "the limit on concurrent commands applies to each process that serves this store, not to all of them together".to_owned(),
    ];
    let groups = ControlGroups::get();
    let mut note = groups.describe();
    if let Some(remedy) = groups.remedy() {
        note = format!("{note}; to limit sandboxes as a whole, {remedy}");
    }
    notes.push(note);
    if engine.unrecorded_layers > 0 {
        notes.push(unrecorded_layers::describe(engine.unrecorded_layers));
    }
    if single_id {
        notes.push("a single user id: uid and gid other than 0 are refused".to_owned());
    }
    notes
}
