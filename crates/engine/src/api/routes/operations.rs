//! Operations: status, listing, cancelling.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;
use uuid::Uuid;

use crate::api::extract::{Path, Query, limit, moment, offset};
use crate::api::report;
use crate::api::types::{
    GetOperationStatusQuery, InstanceResult, ListOperationsQuery, OperationInstanceMetadata,
    OperationKind, OperationMetadata, OperationResponse, OperationResult, OperationSummary,
};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::events::{self, timestamp};
use crate::operation::lookup;
use crate::operation::recover;
use crate::rows::operations::{self, Filter, Operation, Status};
use crate::run::instance::MAIN;

/// Why an operation is CANCELLED when a client asked for it.
const ASKED: &str = "cancelled on request";

/// Seconds after which a client should ask for a running operation again.
const ASK_AGAIN: &str = "1";

/// The kind of an operation that runs a command.
const INSTANCE: &str = OperationKind::Instance.as_str();

fn summary(operation: &Operation) -> OperationSummary {
    let used = operation
        .outcome
        .as_ref()
        .and_then(|outcome| outcome.resources.as_ref());
    let cpu = used.and_then(|used| Some(used.user_cpu_time? + used.system_cpu_time?));
    // So far, of one that is not over.
    let end = operation.ended_at.unwrap_or_else(Utc::now);
    let duration = (end - operation.created_at)
        .to_std()
        .map(|duration| duration.as_secs_f64())
        .unwrap_or_default();
    OperationSummary {
        uuid: Some(operation.uuid),
        kind: operation.kind.parse().ok(),
        status: Some(operation.status),
        error: operation.error.clone(),
        created_at: Some(timestamp(operation.created_at)),
        duration: Some(duration),
        image_size: operation.image_size,
        consumed_cpu: cpu,
        consumed_memory: used.and_then(|used| Some(used.max_rss? * 1024)),
        image_uuid: operation.image,
        result_image_uuid: operation.result_image,
    }
}

/// What an operation was asked to do; none if another release wrote it in a way that this one cannot read.
fn metadata(operation: &Operation, result: Option<InstanceResult>) -> Option<OperationMetadata> {
    let request = operation.request.clone();
    let read = if operation.kind == INSTANCE {
        serde_json::from_value(request).map(|request| {
            OperationMetadata::OperationInstanceMetadata(OperationInstanceMetadata {
                result,
                ..request
            })
        })
    } else {
        serde_json::from_value(request).map(OperationMetadata::ImageImportMetadata)
    };
    read.inspect_err(|error| {
        tracing::warn!(operation = %operation.uuid, %error, "cannot read a recorded request");
    })
    .ok()
}

/// `GET /operations`.
pub(super) async fn list(
    State(engine): State<Arc<Engine>>,
    Query(query): Query<ListOperationsQuery>,
) -> Result<Answer<Vec<OperationSummary>>, ApiError> {
    if let Some(status) = &query.status
        && status.parse::<Status>().is_err()
    {
        return Err(ApiError::bad(format!(
            "`status` must be PENDING, ASSIGNED, EXECUTING, SUCCESS, FAILED or CANCELLED, not `{status}`"
        )));
    }
    if let Some(kind) = &query.kind
        && kind.parse::<OperationKind>().is_err()
    {
        return Err(ApiError::bad(format!(
            "`kind` must be image_import or instance, not `{kind}`"
        )));
    }
    let filter = Filter {
        limit: limit(query.limit)?,
        offset: offset(query.offset)?,
        status: query.status,
        kind: query.kind,
        since: moment("since", query.since.as_deref())?,
        until: moment("until", query.until.as_deref())?,
    };
    let shared = Arc::clone(&engine);
    let listed = blocking(move || {
        for open in shared.rows.read(operations::open)? {
            recover::fail_if_orphaned(&shared, open)?;
        }
        Ok(shared.rows.read(|c| operations::list(c, &filter))?)
    })
    .await?;
    Ok(Answer(listed.iter().map(summary).collect()))
}

/// `GET /operations/{operationId}`.
pub(super) async fn get(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<GetOperationStatusQuery>,
) -> Result<Response, ApiError> {
    let operation = lookup::find(&engine, uuid).await?;
    let terminal = operation.status.is_terminal();
    let inflight = operation.status == Status::Executing && query.inflight.0;
    let result = if operation.kind == INSTANCE && (terminal || inflight) {
        result(&engine, &operation).await?
    } else {
        None
    };
    let OperationSummary {
        uuid,
        kind,
        status,
        error,
        created_at,
        duration,
        image_size,
        consumed_cpu,
        consumed_memory,
        image_uuid,
        result_image_uuid,
    } = summary(&operation);
    let answer = OperationResponse {
        uuid,
        kind,
        status,
        error,
        created_at,
        duration,
        image_size,
        consumed_cpu,
        consumed_memory,
        image_uuid,
        result_image_uuid,
        metadata: metadata(&operation, result),
        result: terminal.then(|| made(&operation)),
    };
    if terminal {
        return Ok(Answer(answer).into_response());
    }
    Ok(([(header::RETRY_AFTER, ASK_AGAIN)], Answer(answer)).into_response())
}

/// What an operation that is over made.
fn made(operation: &Operation) -> OperationResult {
    // An import's tag was set together with its image.
    let tag = operation
        .result_image
        .filter(|_| operation.kind != INSTANCE)
        .and(operation.request.get("tag"))
        .and_then(|tag| tag.as_str());
    OperationResult {
        image: operation.result_image,
        tag: tag.map(str::to_owned),
    }
}

/// What came of a command, so far if it runs.
async fn result(
    engine: &Arc<Engine>,
    operation: &Operation,
) -> Result<Option<InstanceResult>, ApiError> {
    let path = engine.log_path(operation.uuid);
    let main = blocking(move || Ok(events::fold(&path, MAIN)?)).await?;
    Ok(match operation.outcome.clone() {
        Some(mut result) => {
            report::put_streams(&mut result, &main);
            if main.pid.is_none() {
                // Its log was cut to its end since, as upkeep does with old ones.
                for stream in [&mut result.stdout, &mut result.stderr]
                    .into_iter()
                    .flatten()
                {
                    stream.truncated = Some(true);
                }
            }
            Some(result)
        }
        // It runs, or its engine died: what the log has is all there is.
        None if main.pid.is_some() => Some(report::process(&main)),
        None => None,
    })
}

/// `DELETE /operations/{operationId}`.
pub(super) async fn cancel(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    let operation = lookup::find(&engine, uuid).await?;
    if operation.status.is_terminal() {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!(
                "the operation {uuid} is over: {}",
                operation.status.as_str()
            ),
        ));
    }
    match engine.running(uuid) {
        Some(running) => {
            if !running.cancel(ASKED) {
                let message = format!("the operation {uuid} is over; its result is being recorded");
                return Err(ApiError::new(StatusCode::CONFLICT, message));
            }
        }
        None => {
            engine
                .write(move |t| operations::ask_cancel(t, uuid, ASKED))
                .await?
        }
    }
    Ok(StatusCode::ACCEPTED)
}
