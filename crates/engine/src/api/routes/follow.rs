//! An operation's events as server-sent events (WHATWG HTML, section 9.2).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;
use uuid::Uuid;

use crate::api::extract::{Path, Query};
use crate::api::types::{EventDataCompletion, GetOperationEventsQuery};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::events::{OperationEvent, OperationEventType, POLL, Reader, timestamp};
use crate::operation::lifecycle::SYSTEM;
use crate::operation::{begun, lookup};
use crate::rows::operations::Operation;

/// How often an idle stream says that it lives.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// `GET /operations/{operationId}/events`.
pub(super) async fn events(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<GetOperationEventsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let resumed = last_event_id(&headers)?;
    let operation = lookup::find(&engine, uuid).await?;
    begun::wait(&engine, operation).await?;
    let follower = Follower {
        live: engine.running(uuid).map(|running| running.log.watch()),
        reader: Reader::open(&engine.log_path(uuid))?,
        engine,
        uuid,
        follow: query.follow.0,
        spid: query.spid,
        after: resumed.or(query.since).unwrap_or(0),
        ready: VecDeque::new(),
        last: 0,
        over: false,
    };
    let frames = stream::unfold(follower, |mut follower| async move {
        follower
            .next()
            .await
            .map(|event| (Ok::<_, Infallible>(event), follower))
    });
    Ok(Sse::new(frames)
        .keep_alive(KeepAlive::new().interval(KEEPALIVE).text("keepalive"))
        .into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    headers
        .get("last-event-id")
        .map(|value| {
            value
                .to_str()
                .ok()
                .and_then(|text| text.trim().parse().ok())
        })
        .map(|id| {
            id.ok_or_else(|| {
                ApiError::bad("the header Last-Event-Id must be the number of an event")
            })
        })
        .transpose()
}

/// Reads a log to its completion, waiting for it to grow if asked.
struct Follower {
    engine: Arc<Engine>,
    uuid: Uuid,
    reader: Reader,
    /// Growth of a log of this process; another process's log is looked at again and again.
    live: Option<watch::Receiver<bool>>,
    follow: bool,
    spid: Option<u64>,
    /// Events up to this one were seen by the client.
    after: u64,
    ready: VecDeque<OperationEvent>,
    /// The newest event read.
    last: u64,
    over: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(frame(&record));
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.over = true;
                return Some(broken(error.message()));
            }
        }
    }

    /// Reads what is there; if there is nothing, waits for more or finds that nothing will come.
    async fn advance(&mut self) -> Result<(), ApiError> {
        // The order counts: what the mark says is complete has been read after the mark was seen.
        let complete = match &mut self.live {
            Some(live) => *live.borrow_and_update(),
            None => lookup::find(&self.engine, self.uuid)
                .await?
                .status
                .is_terminal(),
        };
        if self.read()? {
            return Ok(());
        }
        if complete {
            let operation = lookup::find(&self.engine, self.uuid).await?;
            self.complete(&operation);
        } else if !self.follow {
            self.over = true;
        } else if let Some(live) = &mut self.live {
            // An error means that the log was dropped, which is complete or orphaned then.
            if live.changed().await.is_err() {
                self.live = None;
            }
        } else {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                // Streams of our own operations end with their completion.
                () = self.engine.stopping.cancelled() => {
                    return Err(ApiError::internal("this engine is being stopped; the operation goes on in another process"));
                }
            }
        }
        Ok(())
    }

    /// Reads a bounded part of the log; false if there was nothing new.
    fn read(&mut self) -> Result<bool, ApiError> {
        // Of the page cache and bounded, so not worth a thread of its own.
        let records = self.reader.next()?;
        let grew = !records.is_empty();
        for record in records {
            self.last = record.id;
            self.over |= record.is_completion();
            self.offer(record);
        }
        Ok(grew)
    }

    fn offer(&mut self, record: OperationEvent) {
        if record.id > self.after && self.spid.is_none_or(|spid| record.spid == Some(spid)) {
            self.ready.push_back(record);
        }
    }

    /// The completion that an engine owed when it ended.
    fn complete(&mut self, operation: &Operation) {
        self.over = true;
        if !operation.status.is_terminal() {
            return;
        }
        let took = operation.ended_at.map_or(0, |end| {
            (end - operation.created_at).num_milliseconds().max(0)
        });
        let data = EventDataCompletion {
            status: operation.status,
            result_image_uuid: operation.result_image,
            error: operation.error.clone(),
            duration_ms: took.unsigned_abs(),
            image_size_bytes: operation.image_size,
        };
        // The same each time it is asked for.
        self.offer(OperationEvent {
            id: self.last + 1,
            ts: timestamp(operation.ended_at.unwrap_or(operation.created_at)),
            spid: Some(SYSTEM),
            r#type: OperationEventType::Completion.as_str().to_owned(),
            data: serde_json::to_value(data).unwrap_or_default(),
        });
    }
}

/// Says that the stream ends before the log does.
fn broken(why: &str) -> Event {
    Event::default()
        .comment("the stream ends here; go on after the last event")
        .event("sse_error")
        .data(why.replace(['\r', '\n'], " "))
}

fn frame(record: &OperationEvent) -> Event {
    let data = serde_json::to_string(record).unwrap_or_default();
    Event::default()
        .id(record.id.to_string())
        .event(&record.r#type)
        .data(data)
}
