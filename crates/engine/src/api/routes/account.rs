//! Who asks, and what this engine can do.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use contree_sandbox::ControlGroups;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::error::ApiError;
use crate::limits;
use crate::rows::operations;

/// `GET /whoami`.
pub(super) async fn whoami(State(engine): State<Arc<Engine>>) -> Result<Json<Value>, ApiError> {
    let counted: BTreeMap<String, i64> =
        engine.read(operations::count).await?.into_iter().collect();
    let ids = engine.store.id_map();
    let mut bounds = json!({
        "instance_max_timeout": limits::TIMEOUT,
        "instance_max_concurrency": engine.instances.slots(),
        "instance_max_pending": engine.instances.most_waiting(),
        "images_import_max_concurrency": engine.imports.queue.slots(),
        "instance_max_layer_bytes": limits::MOST_LAYER_BYTES,
        "instance_max_processes": limits::PROCESSES,
        "instance_max_subprocesses": limits::SUBPROCESSES,
    });
    if let Some(bytes) = ControlGroups::get().memory_bytes() {
        bounds["instance_memory_bytes"] = json!(bytes);
    }
    Ok(Json(json!({
        "token_uuid": engine.identity,
        "token_expiration": null,
        "permissions": {
            "import": true, "spawn": true, "spawn_disposable": true, "list": true, "cancel": true, "set_image_tag": true,
        },
        "limits": bounds,
        "operations_stat": counted,
        "x-engine": {
            "version": env!("CARGO_PKG_VERSION"),
            "network": engine.egress.name(),
            "user_ids": ids.describe(),
            "notes": notes(&engine, ids.single()),
        },
    })))
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
