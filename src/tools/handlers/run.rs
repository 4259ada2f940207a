//! Handler of `run`: starts a command and follows it to its end.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::run_plan::{RunPlan, mark_executables, plan, use_extensions};
use crate::events::Payload;
use crate::store::placements;
use crate::tools::operation::{OperationStart, StartedOperation, failure_of, waiting_call};
use crate::tools::output_cut::{MAX_RECORDED_BYTES, MIN_PROPOSED_BYTES, OutputCut};
use crate::tools::results::{Operation, Run};
use crate::tools::rsync::DirectoryState;
use crate::tools::{Context, Handlers, OutputStream, RunTools, ToolError, lineage, params};
use crate::{Client, Error, ImageRef, OperationKind, OperationStatus, types};

impl RunTools for Handlers {
    async fn run(&self, arguments: params::Run, cx: &Context) -> Result<Run, ToolError> {
        let RunPlan {
            mut request,
            wait,
            output_limit,
            state: state_id,
        } = plan(arguments)?;
        request.truncate_output_at = recorded_bytes(output_limit, cx);
        let client = cx.client().await?;
        use_extensions(&mut request, wait, client).await?;
        mark_executables(&mut request, client, cx).await;
        let argument_files = request.files.clone();
        let mut state = match state_id {
            Some(id) => Some(DirectoryState::load(cx, client, id).await?),
            None => None,
        };
        let gone = match &state {
            Some(state) => state.removals(cx, client, &request.image).await?,
            None => BTreeMap::new(),
        };
        let mut retried = false;
        let ended = loop {
            if let Some(state) = &state {
                request.files = gone.clone();
                request.files.extend(state.run_files());
                request.files.extend(argument_files.clone());
            }
            let first = !std::mem::replace(&mut retried, true);
            let outcome = attempt(
                request.clone(),
                wait,
                output_limit,
                client,
                cx,
                state_id,
                state.as_ref().filter(|_| first),
            )
            .await?;
            match (outcome, &mut state) {
                (RunAttempt::Done(started, ended, note), _) => break (started, ended, note),
                (RunAttempt::FileMayBeLost(error), Some(state)) => {
                    if !cx.watcher().may_restart() || !state.restore_uploads(cx, client).await? {
                        return Err(error);
                    }
                }
                (RunAttempt::FileMayBeLost(error), None) => return Err(error),
            }
        };
        let ((started, ports), mut ended, note) = match ended {
            (started, Some(ended), note) => (started, *ended, note),
            ((started, ports), None, note) => {
                return Ok(Run {
                    note,
                    operation_id: Some(started.operation.to_string()),
                    ports: ports.into_iter().map(Into::into).collect(),
                    ended: None,
                });
            }
        };
        ended.image_uuid = started.image.map(|image| image.to_string());
        let result_image = ended
            .result_image_uuid
            .as_deref()
            .and_then(|image| image.parse().ok());
        if let (Some(result_image), Some(parent)) = (result_image, started.image)
            && result_image != parent
        {
            lineage::record(
                cx,
                result_image,
                parent,
                started.operation,
                &request.command,
            )
            .await;
        }
        if ended.truncated && ended.next.is_none() {
            ended.next = propose_limit(&ended, output_limit);
        }
        Ok(Run {
            note,
            operation_id: None,
            ports: ports.into_iter().map(Into::into).collect(),
            ended: Some(ended),
        })
    }
}

/// Outcome of one attempt to run the command.
enum RunAttempt {
    /// The command was started. It has also ended, unless the call does not wait.
    Done(
        (crate::Run, Vec<types::PublishedPort>),
        Option<Box<Operation>>,
        /// A note for the result.
        Option<String>,
    ),
    /// The command could not run, perhaps because the backend has lost a file of the directory
    /// state.
    FileMayBeLost(ToolError),
}

/// Starts the command and follows it to its end.
///
/// With a `state`, a failure that may be due to a lost file of the state is
/// [`RunAttempt::FileMayBeLost`].
async fn attempt(
    request: types::InstanceSpawnRequest,
    wait: bool,
    output_limit: u64,
    client: &Client,
    cx: &Context,
    placed: Option<i64>,
    state: Option<&DirectoryState>,
) -> Result<RunAttempt, ToolError> {
    let recorded = request.truncate_output_at.map(usize::try_from);
    let recorded = recorded.and_then(Result::ok).unwrap_or(usize::MAX);
    let properties = match &request.image {
        ImageRef::Uuid(image) => format!("This one runs on the image {image}."),
        tag @ ImageRef::Tag(_) => format!(
            "This one runs on the image of `{tag}`, whose UUID `get_image(image=\"{tag}\")` returns."
        ),
    };
    let is_removed =
        |file: &types::InstanceFile| file.x_kind == Some(types::InstanceFileXKind::Absent);
    let files = request.files.iter();
    let removed: Vec<String> = files
        .filter(|(_, file)| is_removed(file))
        .map(|(path, _)| path.clone())
        .collect();
    let start = OperationStart::now(OperationKind::Instance);
    let started =
        StartedOperation::start(client, cx, client.start_published(request), |(run, _)| {
            run.operation
        })
        .await;
    let (operation, (started, ports)) = match started {
        Ok(started) => started,
        Err(error) => {
            let may_have_lost = state.is_some_and(|state| state.may_have_lost(&error));
            let error = start.error_of_start(error, &properties);
            return match may_have_lost {
                true => Ok(RunAttempt::FileMayBeLost(error)),
                false => Err(error),
            };
        }
    };
    cx.session()
        .set_output_limit(started.operation, output_limit);
    let note = match placed {
        Some(placed) => remember_placement(cx, client, started.operation, placed, removed).await,
        None => None,
    };
    let follow = follow(client, started.operation, recorded, cx);
    let remedy = |id| {
        let waiting = waiting_call(id);
        format!("{waiting}, and `cancel_operation(operation_id=\"{id}\")` cancels it")
    };
    let Some(ended) = operation.finish(wait, follow, remedy).await? else {
        return Ok(RunAttempt::Done((started, ports), None, note));
    };
    if ended.status != OperationStatus::Failed.as_str() {
        return Ok(RunAttempt::Done(
            (started, ports),
            Some(Box::new(ended)),
            note,
        ));
    }
    // FAILED means that the command did not run, so a retry is safe.
    let why = ended.error.as_deref().unwrap_or_default();
    let error = failure_of(&ended);
    if ended.stdout.is_empty() && state.is_some_and(|state| state.may_concern(why)) {
        return Ok(RunAttempt::FileMayBeLost(error));
    }
    Err(error)
}

/// Remembers the directory state that an operation placed, for `apply` and for later runs.
/// `removed` has the paths that it removed before. Returns a note for the result if it cannot be
/// recorded.
async fn remember_placement(
    cx: &Context,
    client: &Client,
    operation: Uuid,
    state: i64,
    removed: Vec<String>,
) -> Option<String> {
    let (backend, operation) = (client.backend().identity(), operation.to_string());
    let store = cx.session().store();
    let written =
        store.write(move |c| placements::insert(c, &backend, &operation, state, &removed));
    let error = written.await.err()?;
    tracing::warn!("cannot record which directory state a run placed: {error}");
    Some(format!(
        "this server could not record that the run placed directory state {state}, so `apply` would compare with an \
         older one: pass directory_state_id={state} to it"
    ))
}

/// Returns the number of bytes of each stream that the API is to record.
///
/// The API keeps the head of a stream alone. So it records as much as it can, and the answer has
/// the head and the tail of the record. A call without output in its answer needs no record.
fn recorded_bytes(output_limit: u64, cx: &Context) -> Option<i64> {
    let recorded = match output_limit {
        0 => 0,
        limit if cx.watcher().passes_output_on() => limit,
        limit => limit.max(MAX_RECORDED_BYTES),
    };
    i64::try_from(recorded).ok()
}

/// Follows the command to its end and passes on its output, of which the API records the first
/// `limit` bytes of each stream.
async fn follow(
    client: &Client,
    operation: Uuid,
    limit: usize,
    cx: &Context,
) -> Result<Operation, Error> {
    let (mut out, mut err) = (0, 0);
    let outcome = client
        .outcome(operation, |event| {
            let (stream, name, chunk, shown) = match &event.payload {
                Payload::Stdout(chunk) => (OutputStream::Stdout, "stdout", chunk, &mut out),
                Payload::Stderr(chunk) => (OutputStream::Stderr, "stderr", chunk, &mut err),
                _ => return,
            };
            cx.watcher().output(stream, &chunk.bytes);
            *shown += chunk.bytes.len();
            if chunk.truncated || *shown >= limit {
                // Without this, the last kept line would look like the newest one.
                cx.watcher().progress(&format!(
                    "still running; only the first {shown} bytes of {name} are kept"
                ));
            }
        })
        .await?;
    // If the event stream broke off, the record has the rest.
    for (stream, captured, shown) in [
        (OutputStream::Stdout, &outcome.stdout, out),
        (OutputStream::Stderr, &outcome.stderr, err),
    ] {
        if let Some(rest) = captured.bytes.get(shown..).filter(|rest| !rest.is_empty()) {
            cx.watcher().output(stream, rest);
        }
    }
    let cut = OutputCut::of(cx, operation, None);
    Ok(Operation::of_outcome(&outcome, &cut))
}

/// Proposes how to see all output; `None` if the limit cannot be raised.
fn propose_limit(ended: &Operation, output_limit: u64) -> Option<String> {
    if output_limit >= MAX_RECORDED_BYTES {
        return None;
    }
    let largest = ended
        .stdout_bytes
        .max(ended.stderr_bytes)
        .unwrap_or_default();
    let bytes = largest
        .max(output_limit * 2)
        .clamp(MIN_PROPOSED_BYTES, MAX_RECORDED_BYTES);
    Some(format!(
        "run the command again with truncate_output_at={bytes}, or filter its output in the command"
    ))
}
