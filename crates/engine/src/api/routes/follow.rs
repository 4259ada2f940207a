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
use crate::api::types::GetOperationEventsQuery;
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::completion;
use crate::operation::events::{EventLine, EventReader, POLL};
use crate::operation::{begun, lookup};

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
        reader: EventReader::open(&engine.log_path(uuid))?,
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
    reader: EventReader,
    /// Growth of a log of this process; another process's log is looked at again and again.
    live: Option<watch::Receiver<bool>>,
    follow: bool,
    spid: Option<u64>,
    /// Events up to this one were seen by the client.
    after: u64,
    ready: VecDeque<EventLine>,
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
        // The order counts: the log is read after its writer is known to be done.
        let writer = self.writer().await?;
        if self.read()? {
            return Ok(());
        }
        match writer {
            Writer::Done => self.complete().await,
            Writer::Working if !self.follow => {
                self.over = true;
                Ok(())
            }
            Writer::Working | Writer::Completing => self.wait().await,
        }
    }

    /// How far the engine is that writes the log.
    async fn writer(&mut self) -> Result<Writer, ApiError> {
        if let Some(live) = &mut self.live {
            return Ok(if *live.borrow_and_update() {
                Writer::Done
            } else {
                Writer::Working
            });
        }
        let operation = lookup::find(&self.engine, self.uuid).await?;
        if !operation.status.is_terminal() {
            return Ok(Writer::Working);
        }
        let (engine, run) = (Arc::clone(&self.engine), self.uuid.to_string());
        // It lets go of its run once the completion is in the log.
        let live = blocking(move || Ok(engine.store.run_is_live(&run)?)).await?;
        Ok(if live {
            Writer::Completing
        } else {
            Writer::Done
        })
    }

    /// Waits until the log may have grown.
    async fn wait(&mut self) -> Result<(), ApiError> {
        if let Some(live) = &mut self.live {
            // An error means that the log was dropped, which is complete or orphaned then.
            if live.changed().await.is_err() {
                self.live = None;
            }
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => Ok(()),
            // Streams of our own operations end with their completion.
            () = self.engine.stopping.cancelled() => {
                Err(ApiError::internal("this engine is being stopped; the operation goes on in another process"))
            }
        }
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

    fn offer(&mut self, record: EventLine) {
        if record.id > self.after && self.spid.is_none_or(|spid| spid == record.spid) {
            self.ready.push_back(record);
        }
    }

    /// Sees to it that a log without a writer has its completion, and reads it from there.
    async fn complete(&mut self) -> Result<(), ApiError> {
        let (engine, uuid) = (Arc::clone(&self.engine), self.uuid);
        let ended = blocking(move || {
            let ended = completion::recorded(&engine.rows, uuid)?;
            if let Some(ended) = &ended
                && let Err(error) = ended.append_abandoned(&engine.log_path(uuid))
            {
                tracing::warn!(operation = %uuid, %error, "cannot append an operation's completion to its log");
            }
            Ok(ended)
        })
        .await?;
        if !self.read()? {
            // The log takes nothing: it is gone, or the disk is full. What it would have is the same each time.
            self.over = true;
            if let Some(ended) = ended {
                self.offer(ended.line(self.last + 1));
            }
        }
        Ok(())
    }
}

/// How far the engine is that writes a log.
enum Writer {
    /// More events may come.
    Working,
    /// The operation is over, and its last event is on its way.
    Completing,
    /// Nothing will be written any more.
    Done,
}

/// Says that the stream ends before the log does.
fn broken(why: &str) -> Event {
    Event::default()
        .comment("the stream ends here; go on after the last event")
        .event("sse_error")
        .data(why.replace(['\r', '\n'], " "))
}

/// The frame of an event, whose data is the log's line as it stands there.
fn frame(line: &EventLine) -> Event {
    Event::default()
        .id(line.id.to_string())
        .event(&line.kind)
        .data(line.text())
}
