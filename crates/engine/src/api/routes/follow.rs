//! The route for following an operation: its events as server-sent events (WHATWG HTML, section
//! 9.2).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use contree_error_codes::ErrorCode;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::api::extract::{Path, Query};
use crate::api::types::GetOperationEventsQuery;
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::completion::{self, Completion};
use crate::operation::contact::Following;
use crate::operation::events::{EventLine, EventReader, POLL};
use crate::operation::lookup;
use crate::operation::start::wait_until_started;

/// How often an idle stream sends a comment, which keeps the connection alive.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(15);

/// How long a follower waits for the completion event after the owner has recorded the operation's
/// end. Normally the event comes within milliseconds.
const COMPLETION_WAIT: Duration = Duration::from_secs(10);

/// `GET /operations/{operationId}/events`.
pub(super) async fn events(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<GetOperationEventsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last_event_id = last_event_id(&headers)?;
    let operation = lookup::find(&engine, uuid).await?;
    wait_until_started(&engine, operation).await?;
    let running = engine.running(uuid);
    let follower = Follower {
        _following: running
            .as_ref()
            .filter(|_| query.follow.0)
            .map(|running| running.contact.follow()),
        growth: running.map(|running| running.log.watch()),
        reader: EventReader::open(&engine.log_path(uuid))?,
        engine,
        uuid,
        follow: query.follow.0,
        spid: query.spid,
        after: last_event_id.or(query.since).unwrap_or(0),
        to_send: VecDeque::new(),
        last_read: 0,
        completing_since: None,
        ended: false,
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
                ApiError::bad(
                    "the header Last-Event-Id must be the id of an event, which is a number",
                )
            })
        })
        .transpose()
}

/// The reader of an operation's log for one client. With `follow`, it waits for new events up to
/// the completion event.
struct Follower {
    engine: Arc<Engine>,
    uuid: Uuid,
    reader: EventReader,
    /// Announces growth of a log of this process. `None`: another process writes the log, so it is
    /// read every [`POLL`].
    growth: Option<watch::Receiver<bool>>,
    follow: bool,
    /// Only events of this process are sent.
    spid: Option<u64>,
    /// The id of the last event that the client has.
    after: u64,
    to_send: VecDeque<EventLine>,
    /// The id of the newest event that was read.
    last_read: u64,
    /// When the follower first saw [`WriterState::Completing`].
    completing_since: Option<Instant>,
    ended: bool,
    /// Shows that a client follows an operation of this process.
    _following: Option<Following>,
}

impl Follower {
    /// The next event for the client. `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(line) = self.to_send.pop_front() {
                return Some(frame(&line));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.ended = true;
                return Some(error_frame(error.message()));
            }
        }
    }

    /// Reads new events. If there are none, waits for more or ends the stream.
    async fn advance(&mut self) -> Result<(), ApiError> {
        // The order matters: if the writer is done, this read sees all of its events.
        let writer = self.writer_state().await?;
        if self.read()? {
            return Ok(());
        }
        match writer {
            WriterState::Done => self.complete().await,
            WriterState::Working if !self.follow => {
                self.ended = true;
                Ok(())
            }
            WriterState::Completing if self.completion_is_late() => self.send_completion().await,
            WriterState::Working | WriterState::Completing => self.wait().await,
        }
    }

    /// Finds out whether the operation's owner still writes the log.
    async fn writer_state(&mut self) -> Result<WriterState, ApiError> {
        if let Some(growth) = &mut self.growth {
            return Ok(if *growth.borrow_and_update() {
                WriterState::Done
            } else {
                WriterState::Working
            });
        }
        let operation = lookup::find(&self.engine, self.uuid).await?;
        if !operation.status.is_terminal() {
            return Ok(WriterState::Working);
        }
        let (engine, run) = (Arc::clone(&self.engine), self.uuid.to_string());
        // The owner unlocks its run directory after it has appended the completion event.
        let locked = blocking(move || Ok(engine.store.run_is_live(&run)?)).await?;
        Ok(if locked {
            WriterState::Completing
        } else {
            WriterState::Done
        })
    }

    /// Returns whether the completion event is late, for instance because a signal has stopped the
    /// owner's process.
    fn completion_is_late(&mut self) -> bool {
        self.completing_since
            .get_or_insert_with(Instant::now)
            .elapsed()
            >= COMPLETION_WAIT
    }

    /// Waits until the log may have grown.
    async fn wait(&mut self) -> Result<(), ApiError> {
        if let Some(growth) = &mut self.growth {
            // An error means that the owner's handle was dropped. The log is then complete or
            // orphaned.
            if growth.changed().await.is_err() {
                self.growth = None;
            }
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => Ok(()),
            // Stopping cancels this process's own operations, so their streams end by themselves.
            () = self.engine.stopping.cancelled() => {
                Err(ApiError::internal("this engine is stopping; the operation continues in another process").with_code(ErrorCode::EngineStopping))
            }
        }
    }

    /// Reads a bounded part of the log. False if there was nothing new.
    fn read(&mut self) -> Result<bool, ApiError> {
        // It reads a bounded amount from the page cache, so it needs no thread that may block.
        let lines = self.reader.next()?;
        let grew = !lines.is_empty();
        for line in lines {
            self.last_read = line.id;
            self.ended |= line.is_completion();
            self.send(line);
        }
        Ok(grew)
    }

    /// Queues an event for the client, unless the client has it or has filtered it out.
    fn send(&mut self, line: EventLine) {
        if line.id > self.after && self.spid.is_none_or(|spid| spid == line.spid) {
            self.to_send.push_back(line);
        }
    }

    /// Ends the stream with a completion event made from the record. The log stays as it is,
    /// because its owner may still append the same event.
    async fn send_completion(&mut self) -> Result<(), ApiError> {
        let (engine, uuid) = (Arc::clone(&self.engine), self.uuid);
        let completion = blocking(move || {
            Ok(completion::recorded(
                &engine.rows,
                &engine.unrecorded,
                uuid,
            )?)
        })
        .await?;
        self.end_with(completion);
        Ok(())
    }

    /// Ends the stream. The completion event, if there is one, is the last event.
    fn end_with(&mut self, completion: Option<Completion>) {
        self.ended = true;
        if let Some(completion) = completion {
            self.send(completion.line(self.last_read + 1));
        }
    }

    /// Appends the completion event to a log whose owner is gone, unless the log has one, and reads
    /// it.
    async fn complete(&mut self) -> Result<(), ApiError> {
        let (engine, uuid) = (Arc::clone(&self.engine), self.uuid);
        let completion = blocking(move || {
            let completion = completion::recorded(&engine.rows, &engine.unrecorded, uuid)?;
            if let Some(completion) = &completion
                && let Err(error) = completion.append_abandoned(&engine.log_path(uuid))
            {
                tracing::warn!(operation = %uuid, %error, "cannot append the completion event to an operation's log");
            }
            Ok(completion)
        })
        .await?;
        if !self.read()? {
            // The event could not be appended: the log is missing, or the disk is full. Made from
            // the record, the event is the same each time.
            self.end_with(completion);
        }
        Ok(())
    }
}

/// The state of the process that writes a log: the operation's owner.
enum WriterState {
    /// It may append more events.
    Working,
    /// It has recorded the operation's end, and is about to append the completion event.
    Completing,
    /// It appends no more events.
    Done,
}

/// The last frame of a stream that ends because of an error.
fn error_frame(reason: &str) -> Event {
    Event::default()
        .comment("the stream ends here; resume after the last event")
        .event("sse_error")
        .data(reason.replace(['\r', '\n'], " "))
}

/// The frame of an event. Its data is the unchanged line of the log.
fn frame(line: &EventLine) -> Event {
    Event::default()
        .id(line.id.to_string())
        .event(&line.kind)
        .data(line.text())
}
