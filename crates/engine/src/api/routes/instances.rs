//! The route for running commands.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use contree_error_codes::ErrorCode;
use contree_sandbox::{FileCopy, PathChange, PathChangeKind};
use serde_json::Value;
use uuid::Uuid;

use crate::api::extract::{ClientName, Json};
use crate::api::request::{ImageSelector, SpawnRequest};
use crate::api::types::{InstanceFileXKind as FileKind, InstanceSpawnResponse};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::lookup;
use crate::image::squash;
use crate::limits;
use crate::operation::lifecycle::{self, QueuedOperation};
use crate::ports::ReservedPort;
use crate::rows::images::Image;
use crate::rows::{files, layers};
use crate::run::runner::{self, RunPlan};

/// An answer with status, location and body.
type CreatedResponse = (
    StatusCode,
    [(HeaderName, String); 1],
    Answer<InstanceSpawnResponse>,
);

/// `POST /instances`: checks the request, records the operation and starts it.
pub(super) async fn spawn(
    State(engine): State<Arc<Engine>>,
    ClientName(client): ClientName,
    Json(request): Json<SpawnRequest>,
) -> Result<CreatedResponse, ApiError> {
    request.check(engine.store.id_map().is_single())?;
    let is_allowed = engine.egress.check(&request);
    is_allowed.map_err(|reason| ApiError::bad(reason).with_code(ErrorCode::NetworkNotAllowed))?;
    let image = match ImageSelector::from_str(&request.image)? {
        ImageSelector::Uuid(uuid) => lookup::find(&engine, uuid).await,
        ImageSelector::Tag(tag) => lookup::find_tag(&engine, tag).await,
    }
    .map_err(ApiError::not_found_as_bad_request)?;
    let request = SpawnRequest {
        image: image.uuid.to_string(),
        ..request
    };
    let operation = Uuid::new_v4();
    let ports = reserve_ports(&engine, &request)?;
    let answer = to_answer(operation, image.uuid, request.masked(), &ports);
    let recorded = serde_json::to_value(request.recorded())
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let shared = Arc::clone(&engine);
    let runtime = tokio::runtime::Handle::current();
    blocking(move || {
        let (queued, plan) = accept(
            &shared,
            operation,
            request,
            image,
            ports,
            &recorded,
            client.as_deref(),
        )?;
        let work = |engine, task| runner::run(engine, task, plan);
        // On this thread, because a client that goes away ends the handler, but must not end the
        // operation.
        shared.tasks.spawn_on(
            lifecycle::carry_out(Arc::clone(&shared), queued, work),
            &runtime,
        );
        Ok(())
    })
    .await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/v1/operations/{operation}"))],
        Answer(answer),
    ))
}

/// The answer to an accepted request: the request with its defaults, and the operation.
fn to_answer(
    operation: Uuid,
    image: Uuid,
    request: SpawnRequest,
    ports: &[ReservedPort],
) -> InstanceSpawnResponse {
    InstanceSpawnResponse {
        command: Some(request.command),
        args: Some(request.args),
        shell: Some(request.shell),
        image: Some(image),
        disposable: Some(request.disposable),
        hostname: Some(request.hostname),
        env: request.env,
        preserve_env: Some(request.preserve_env),
        preserve_cwd: Some(request.preserve_cwd),
        cwd: Some(request.cwd),
        uid: Some(request.uid),
        gid: Some(request.gid),
        resources_limits: request.resources_limits,
        x_limits: request.x_limits,
        x_network: request.x_network,
        x_detached: request.x_detached,
        x_ports: (!ports.is_empty()).then(|| ports.iter().map(ReservedPort::describe).collect()),
        x_terminal: request.x_terminal,
        networking: request.networking,
        stdin: request.stdin,
        timeout: Some(request.timeout),
        truncate_output_at: Some(request.truncate_output_at),
        files: Some(request.files),
        uuid: Some(operation),
        result: None,
    }
}

/// Checks the request against the store, and accepts the operation.
fn accept(
    engine: &Arc<Engine>,
    operation: Uuid,
    request: SpawnRequest,
    image: Image,
    ports: Vec<ReservedPort>,
    recorded: &Value,
    client: Option<&str>,
) -> Result<(QueuedOperation, RunPlan), ApiError> {
    let files = files_to_place(engine, &request)?;
    let changes = paths_to_change(&request)?;
    let mut chain = engine.rows.read(|c| layers::chain(c, image.layer))?;
    if chain.len() > squash::BLOCKING_CHAIN {
        squash::squash(engine, image.layer)?;
        chain = engine.rows.read(|c| layers::chain(c, image.layer))?;
    }
    if !request.disposable && chain.len() >= limits::MAX_LAYERS {
        return Err(ApiError::bad(format!(
            "the image {} has {} layers, which is the limit; start from an earlier image, and do more in one command",
            image.uuid,
            chain.len()
        ))
        .with_code(ErrorCode::TooManyLayers));
    }
    let queued = lifecycle::accept(
        engine,
        &engine.run_queue,
        operation,
        "instance",
        Some(image.uuid),
        recorded,
        client,
    )?;
    let plan = RunPlan {
        request,
        image,
        chain,
        files,
        changes,
        ports,
    };
    Ok((queued, plan))
}

/// Sets the ports aside that the request publishes, each once.
fn reserve_ports(engine: &Engine, request: &SpawnRequest) -> Result<Vec<ReservedPort>, ApiError> {
    let access = engine.egress.access(request);
    let mut ports = request.x_ports.clone().unwrap_or_default();
    ports.sort_unstable();
    ports.dedup();
    ports
        .into_iter()
        .map(|port| engine.publisher.reserve(access, port, None))
        .collect()
}

/// The uploaded files that the request puts into the sandbox.
fn files_to_place(engine: &Engine, request: &SpawnRequest) -> Result<Vec<FileCopy>, ApiError> {
    request
        .files
        .iter()
        .filter_map(|(path, file)| Some((path, file, file.uuid?)))
        .map(|(path, file, uuid)| {
            let stored = engine.rows.read(|c| files::by_uuid(c, uuid))?;
            let stored = stored
                .filter(|stored| engine.has_content(stored))
                .ok_or_else(|| {
                    ApiError::bad(format!(
                        "`files`: there is no uploaded file {uuid} for {path}; upload it again"
                    ))
                    .with_code(ErrorCode::FileNotUploaded)
                })?;
            Ok(FileCopy {
                source: PathBuf::from("files").join(&stored.sha256),
                path: PathBuf::from(path),
                mode: file.mode()?,
                uid: file.uid,
                gid: file.gid,
            })
        })
        .collect()
}

/// The paths that the request changes otherwise: removals first, the innermost path first.
fn paths_to_change(request: &SpawnRequest) -> Result<Vec<PathChange>, ApiError> {
    let (mut removals, mut others) = (Vec::new(), Vec::new());
    for (path, file) in &request.files {
        let kind = match file.kind() {
            FileKind::File => continue,
            FileKind::Absent => PathChangeKind::Absent,
            FileKind::Directory => PathChangeKind::Directory { mode: file.mode()? },
            FileKind::Symlink => PathChangeKind::Symlink {
                target: file.x_target.clone().unwrap_or_default().into(),
            },
        };
        let changes = match kind {
            PathChangeKind::Absent => &mut removals,
            _ => &mut others,
        };
        changes.push(PathChange {
            path: PathBuf::from(path),
            kind,
            uid: file.uid,
            gid: file.gid,
        });
    }
    removals.reverse();
    removals.extend(others);
    Ok(removals)
}
