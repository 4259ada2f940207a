//! Operations: status, listing, cancelling.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::extract::{Flag, Path, Query, limit, moment, offset};
use crate::api::report;
use crate::engine::{Engine, blocking};
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

#[derive(Deserialize)]
pub(super) struct ListQuery {
    limit: Option<u32>,
    offset: Option<u64>,
    status: Option<String>,
    kind: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct StatusQuery {
    inflight: Option<Flag>,
}

fn summary(operation: &Operation) -> Value {
    let usage = |name: &str| {
        operation
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.get("resources")?.get(name)?.as_f64())
    };
    let cpu = usage("user_cpu_time")
        .zip(usage("system_cpu_time"))
        .map(|(user, system)| user + system);
    // So far, of one that is not over.
    let end = operation.ended_at.unwrap_or_else(Utc::now);
    let duration = (end - operation.created_at)
        .to_std()
        .map(|duration| duration.as_secs_f64())
        .unwrap_or_default();
    json!({
        "uuid": operation.uuid,
        "kind": operation.kind,
        "status": operation.status.name(),
        "error": operation.error,
        "created_at": timestamp(operation.created_at),
        "duration": duration,
        "image_size": operation.image_size,
        "consumed_cpu": cpu,
        "consumed_memory": usage("max_rss").map(|kib| (kib * 1024.0) as u64),
        "image_uuid": operation.image,
        "result_image_uuid": operation.result_image,
    })
}

/// `GET /operations`.
pub(super) async fn list(
    State(engine): State<Arc<Engine>>,
    Query(query): Query<ListQuery>,
) -> Result<Answer<Value>, ApiError> {
    if let Some(status) = &query.status
        && Status::of(status).is_none()
    {
        return Err(ApiError::bad(format!(
            "`status` must be PENDING, ASSIGNED, EXECUTING, SUCCESS, FAILED or CANCELLED, not `{status}`"
        )));
    }
    if let Some(kind) = &query.kind
        && !["image_import", "instance"].contains(&kind.as_str())
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
    Ok(Answer(Value::Array(listed.iter().map(summary).collect())))
}

/// `GET /operations/{operationId}`.
pub(super) async fn get(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<StatusQuery>,
) -> Result<Response, ApiError> {
    let operation = lookup::find(&engine, uuid).await?;
    let mut answer = summary(&operation);
    let mut metadata = operation.request.clone();
    let terminal = operation.status.is_terminal();
    let inflight = operation.status == Status::Executing && query.inflight.unwrap_or_default().0;
    if operation.kind == "instance" {
        // Clients expect the field, whether or not there is a result.
        metadata["result"] = Value::Null;
    }
    if operation.kind == "instance" && (terminal || inflight) {
        let path = engine.log_path(uuid);
        let main = blocking(move || Ok(events::fold(&path, MAIN)?)).await?;
        metadata["result"] = match operation.outcome.clone() {
            Some(mut result) => {
                report::put_streams(&mut result, &main);
                if main.pid.is_none() {
                    // Its log was cut to its end since, as upkeep does with old ones.
                    for stream in ["stdout", "stderr"] {
                        result[stream]["truncated"] = json!(true);
                    }
                }
                result
            }
            // It runs, or its engine died: what the log has is all there is.
            None if main.pid.is_some() => report::process(&main),
            None => Value::Null,
        };
    }
    answer["metadata"] = metadata;
    if terminal {
        // An import's tag was set together with its image.
        let tag = operation
            .result_image
            .filter(|_| operation.kind == "image_import")
            .and(operation.request.get("tag"));
        answer["result"] = json!({"image": operation.result_image, "tag": tag});
        return Ok(Answer(answer).into_response());
    }
    Ok(([(header::RETRY_AFTER, ASK_AGAIN)], Answer(answer)).into_response())
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
            format!("the operation {uuid} is over: {}", operation.status.name()),
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
