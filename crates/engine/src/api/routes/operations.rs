//! Routes of operations: status, listing, cancelling.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;
use contree_error_codes::ErrorCode;
use serde_json::Value;
use uuid::Uuid;

use super::live_runs::{self, RemoteRuns};
use crate::api::extract::{Path, Query, limit, offset, time};
use crate::api::report;
use crate::api::request::secrets::mask_variables;
use crate::api::types::{
    GetOperationStatusQuery, ImageImportMetadata, InstanceResult, ListOperationsQuery,
    OperationInstanceMetadata, OperationKind, OperationResponse, OperationResult, OperationSummary,
    PushResult,
};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::events::{self, timestamp};
use crate::operation::lookup;
use crate::operation::recover;
use crate::rows::operations::{self, INSTANCE, Operation, OperationFilter, Status};
use crate::rows::pushes;
use crate::run::running_sandbox::MAIN;

/// The reason that the engine records for an operation that a client cancelled.
const CANCELLED_ON_REQUEST: &str = "cancelled on request";

/// Seconds after which a client should request the status of a running operation again.
const RETRY_AFTER: &str = "1";

/// The fields that listing and status have in common.
///
/// `age` is the time since an unfinished operation of this process was accepted. Otherwise the
/// clock gives it.
fn summary(operation: &Operation, age: Option<Duration>) -> OperationSummary {
    let resources = operation
        .outcome
        .as_ref()
        .and_then(|outcome| outcome.resources.as_ref());
    let cpu = resources.and_then(|used| Some(used.user_cpu_time? + used.system_cpu_time?));
    // The duration of an unfinished operation is its age.
    let duration = match (operation.ended_at, age) {
        (None, Some(age)) => age,
        (ended_at, _) => (ended_at.unwrap_or_else(Utc::now) - operation.created_at)
            .to_std()
            .unwrap_or_default(),
    }
    .as_secs_f64();
    OperationSummary {
        uuid: Some(operation.uuid),
        kind: Some(operation.kind.clone()),
        status: Some(operation.status),
        error: operation.error.clone(),
        x_code: operation.code.map(|code| code.name().to_owned()),
        created_at: Some(timestamp(operation.created_at)),
        duration: Some(duration),
        image_size: operation.image_size,
        consumed_cpu: cpu,
        consumed_memory: resources.and_then(|used| Some(used.max_rss? * 1024)),
        image_uuid: operation.image,
        result_image_uuid: operation.result_image,
        x_live: None,
    }
}

/// The request of an operation, and the result of a run, without secrets.
fn metadata(operation: &Operation, result: Option<InstanceResult>) -> Option<Value> {
    let mut metadata = typed_metadata(operation, result)?;
    mask_variables(&mut metadata);
    Some(metadata)
}

/// The request of an operation, and the result of a run. If this release cannot read the recorded
/// request, the answer has the record unchanged.
fn typed_metadata(operation: &Operation, result: Option<InstanceResult>) -> Option<Value> {
    let request = operation.request.clone();
    let typed = if operation.kind == INSTANCE {
        serde_json::from_value(request).and_then(|request| {
            serde_json::to_value(OperationInstanceMetadata {
                result: result.clone(),
                ..request
            })
        })
    } else {
        serde_json::from_value::<ImageImportMetadata>(request).and_then(serde_json::to_value)
    };
    match typed {
        Ok(metadata) => Some(metadata),
        Err(error) => {
            tracing::warn!(operation = %operation.uuid, %error, "cannot read a recorded request");
            recorded_metadata(operation, result)
        }
    }
}

/// The recorded request unchanged, with the result of a run. `None` if the record is not JSON.
fn recorded_metadata(operation: &Operation, result: Option<InstanceResult>) -> Option<Value> {
    let mut metadata = Some(operation.request.clone()).filter(|request| !request.is_null())?;
    if let (Some(fields), Some(result)) = (metadata.as_object_mut(), result) {
        let result = serde_json::to_value(result).unwrap_or_default();
        fields.insert("result".to_owned(), result);
    }
    Some(metadata)
}

/// `GET /operations`.
pub(super) async fn list(
    State(engine): State<Arc<Engine>>,
    Query(query): Query<ListOperationsQuery>,
    headers: HeaderMap,
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
        && kind != operations::PUSH
    {
        return Err(ApiError::bad(format!(
            "`kind` must be image_import or instance, not `{kind}`"
        )));
    }
    let filter = OperationFilter {
        limit: limit(query.limit)?,
        offset: offset(query.offset)?,
        status: query.status,
        kind: query.kind,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
    };
    let shared = Arc::clone(&engine);
    let (mut summaries, remote) = blocking(move || {
        for unfinished in shared.rows.read(operations::unfinished)? {
            recover::fail_if_orphaned(&shared, unfinished)?;
        }
        let mut operations = shared.rows.read(|c| operations::list(c, &filter))?;
        for operation in &mut operations {
            shared.unrecorded.complete(operation);
        }
        let summaries = operations.iter().map(|operation| {
            let running = shared.running(operation.uuid);
            let age = running.as_ref().map(|running| running.age());
            OperationSummary {
                x_live: running.and_then(|running| live_runs::local(operation, &running)),
                ..summary(operation, age)
            }
        });
        let remote = RemoteRuns::find(&shared, &headers, &operations)?;
        Ok((summaries.collect::<Vec<_>>(), remote))
    })
    .await?;
    live_runs::complete(&engine, &mut summaries, remote).await;
    Ok(Answer(summaries))
}

/// `GET /operations/{operationId}`.
pub(super) async fn get(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<GetOperationStatusQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let operation = lookup::find(&engine, uuid).await?;
    let terminal = operation.status.is_terminal();
    let inflight = operation.status == Status::Executing && query.inflight.0;
    let result = if operation.kind == INSTANCE && (terminal || inflight) {
        instance_result(&engine, &operation).await?
    } else {
        None
    };
    let x_push = push_result(&engine, &operation).await?;
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
        x_code,
        x_live: _,
    } = summary(
        &operation,
        engine.running(operation.uuid).map(|running| running.age()),
    );
    let x_live = live_runs::of(&engine, &headers, &operation).await?;
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
        result: terminal.then(|| operation_result(&operation)),
        x_code,
        x_push,
        x_live,
    };
    if terminal {
        return Ok(Answer(answer).into_response());
    }
    Ok(([(header::RETRY_AFTER, RETRY_AFTER)], Answer(answer)).into_response())
}

/// The image of a finished operation, with its tag.
fn operation_result(operation: &Operation) -> OperationResult {
    // An import sets its tag together with its image.
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

/// The result of a push. `None` if the push has not ended, and for other operations.
async fn push_result(
    engine: &Arc<Engine>,
    operation: &Operation,
) -> Result<Option<PushResult>, ApiError> {
    if operation.kind != operations::PUSH {
        return Ok(None);
    }
    let uuid = operation.uuid;
    let text = engine.read(move |c| pushes::result(c, uuid)).await?;
    Ok(text.and_then(|text| {
        serde_json::from_str(&text)
            .inspect_err(|error| tracing::warn!(operation = %uuid, %error, "cannot read the result of a push"))
            .ok()
    }))
}

/// The result of a command. While it runs, the result so far.
async fn instance_result(
    engine: &Arc<Engine>,
    operation: &Operation,
) -> Result<Option<InstanceResult>, ApiError> {
    let path = engine.log_path(operation.uuid);
    let main = blocking(move || Ok(events::read_process(&path, MAIN)?)).await?;
    Ok(match operation.outcome.clone() {
        Some(mut result) => {
            report::add_output(&mut result, &main);
            if main.pid.is_none() {
                // Upkeep has trimmed its log to the completion event.
                for stream in [&mut result.stdout, &mut result.stderr]
                    .into_iter()
                    .flatten()
                {
                    stream.truncated = Some(true);
                }
            }
            Some(result)
        }
        // The command runs, or the engine that ran it is gone. Then the log is the only source.
        None if main.pid.is_some() => Some(report::process_result(&main)),
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
            ErrorCode::OperationOver,
            format!(
                "the operation {uuid} has already ended: {}",
                operation.status.as_str()
            ),
        ));
    }
    match engine.running(uuid) {
        Some(running) => {
            if !running.cancel(CANCELLED_ON_REQUEST) {
                let message =
                    format!("the operation {uuid} has already ended; its result is being recorded");
                return Err(ApiError::new(
                    StatusCode::CONFLICT,
                    ErrorCode::OperationOver,
                    message,
                ));
            }
        }
        None => {
            engine
                .write(move |t| operations::request_cancel(t, uuid, CANCELLED_ON_REQUEST))
                .await?
        }
    }
    Ok(StatusCode::ACCEPTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of an earlier release.
    fn recorded(kind: &str, request: &str, outcome: Option<&str>) -> Operation {
        Operation {
            uuid: Uuid::nil(),
            kind: kind.to_owned(),
            status: Status::Success,
            error: None,
            code: None,
            image: None,
            result_image: None,
            request: serde_json::from_str(request).unwrap(),
            outcome: outcome.map(|outcome| serde_json::from_str(outcome).unwrap()),
            image_size: None,
            created_at: Utc::now(),
            ended_at: None,
        }
    }

    #[test]
    fn records_of_earlier_releases_are_answered_unchanged() {
        const PLAIN: &str = r#"{"command":"true","args":[],"shell":true,"image":"4d9c505f-03c1-45d0-8ec0-abd56800598b","disposable":false,"hostname":"linuxkit","env":null,"preserve_env":false,"preserve_cwd":false,"cwd":"","uid":0,"gid":0,"timeout":3600,"truncate_output_at":1048576,"files":{}}"#;
        const FULL: &str = r#"{"command":"echo","args":["a","b c"],"shell":false,"image":"4d9c505f-03c1-45d0-8ec0-abd56800598b","disposable":true,"hostname":"box","env":{"A":"1","B":null},"preserve_env":true,"preserve_cwd":true,"cwd":"/tmp","uid":1,"gid":2,"resources_limits":{"max_layer_bytes":1000000000},"x-limits":{"memory_bytes":16777216,"cpus":0.5,"processes":4},"networking":{"enabled":false},"stdin":{"value":"aGk=","encoding":"base64","close":true},"timeout":60,"truncate_output_at":1000,"files":{"/srv/hello":{"uuid":"72a9914e-c11b-4776-968c-76a99e5c413b","uid":0,"gid":0,"mode":"0600"}}}"#;
        const OUTCOME: &str = r#"{"state":{"continued":false,"core_dump":false,"exit_code":-1,"pid":2,"signal":9,"stopped":false,"timed_out":false},"resources":{"block_input":0,"block_output":32,"cost":0.0,"elapsed_time":0.400683204,"involuntary_switches":3,"max_rss":2408,"monotonic_time":0.400683204,"page_faults":243,"page_faults_io":0,"shared_memory":0,"signals":0,"swaps":0,"system_cpu_time":0.0,"unshared_memory":0,"user_cpu_time":0.006865,"voluntary_switches":7}}"#;
        for request in [PLAIN, FULL] {
            let operation = recorded("instance", request, Some(OUTCOME));
            let answer = metadata(&operation, operation.outcome.clone()).unwrap();
            let request = request.strip_suffix('}').unwrap();
            assert_eq!(
                serde_json::to_string(&answer).unwrap(),
                format!(r#"{request},"result":{OUTCOME}}}"#)
            );
            let summary = summary(&operation, None);
            assert_eq!(summary.consumed_cpu, Some(0.006865));
            assert_eq!(summary.consumed_memory, Some(2408 * 1024));
        }
        for request in [
            r#"{"registry":{"url":"alpine"},"tag":"recorded:1","timeout":60}"#,
            r#"{"registry":{"url":"alpine","credentials":{"username":"***","password":"***"}},"tag":null,"timeout":300}"#,
        ] {
            let answer = metadata(&recorded("image_import", request, None), None).unwrap();
            assert_eq!(serde_json::to_string(&answer).unwrap(), request);
        }
    }

    #[test]
    fn secrets_in_records_of_earlier_releases_are_masked() {
        const REQUEST: &str = r#"{"command":"true","env":{"A":"1","MY_TOKEN":"hunter2"}}"#;
        let answer = metadata(&recorded("instance", REQUEST, None), None).unwrap();
        assert_eq!(answer["env"]["A"], "1");
        assert_eq!(answer["env"]["MY_TOKEN"], "***");
    }

    #[test]
    fn the_age_of_a_running_operation_does_not_follow_the_clock() {
        let mut operation = recorded("instance", "{}", None);
        // The clock was set back by an hour since the operation was accepted.
        operation.created_at = Utc::now() + chrono::TimeDelta::hours(1);
        let age = Duration::from_secs(5);
        assert_eq!(summary(&operation, Some(age)).duration, Some(5.0));
        operation.ended_at = Some(operation.created_at + Duration::from_secs(7));
        assert_eq!(summary(&operation, Some(age)).duration, Some(7.0));
    }

    #[test]
    fn a_request_that_cannot_be_read_is_answered_as_it_is_recorded() {
        const REQUEST: &str = r#"{"command":["of","another","kind"]}"#;
        let operation = recorded("instance", REQUEST, None);
        let request: Value = serde_json::from_str(REQUEST).unwrap();
        assert_eq!(metadata(&operation, None), Some(request.clone()));
        assert_eq!(
            summary(&operation, None).kind.as_deref(),
            Some(OperationKind::Instance.as_str())
        );
        let result = InstanceResult {
            state: None,
            resources: None,
            stdout: None,
            stderr: None,
        };
        let answer = metadata(&operation, Some(result.clone())).unwrap();
        assert_eq!(answer["command"], request["command"]);
        assert_eq!(answer["result"], serde_json::to_value(result).unwrap());
        let import = recorded("image_import", r#"{"registry":"alpine"}"#, None);
        assert_eq!(metadata(&import, None), Some(import.request.clone()));
        let unreadable = recorded("instance", "null", None);
        assert_eq!(metadata(&unreadable, None), None);
    }
}
