//! Following an operation's events across broken connections.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::StatusCode;
use progenitor_client::ByteStream;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    answers::{AnswerError, MIN_PACE, until},
    bodies::announces_page,
    deadline::Deadline,
    errors::{api, not_contree},
    events::Event,
    runtime,
    sse::{FrameTooLong, MAX_FRAME, SseDecoder, SseFrame},
};
use crate::{Client, Error, backend::Delays, types};

impl Client {
    /// Streams the events of an operation as they happen, up to and including its completion event.
    ///
    /// With `since`, only events after this id are returned. After a broken connection, the client
    /// reconnects and resumes: no event is lost or repeated. The client waits for an operation that
    /// has not started yet.
    ///
    /// The stream ends after [`Payload::Completion`](super::events::Payload::Completion), or with
    /// an error. After an error, ask for the operation's status.
    ///
    /// # Errors
    /// The stream's last item is an error if the backend refuses the request or stays unreachable.
    /// It is [`Error::WaitTimedOut`] if the operation takes longer than
    /// [`Backend::with_queue_timeout`](crate::Backend::with_queue_timeout) and
    /// [`Backend::with_run_grace`](crate::Backend::with_run_grace) allow.
    pub fn follow(
        &self,
        operation: Uuid,
        since: Option<u64>,
    ) -> impl Stream<Item = Result<Event, Error>> + Send + Unpin + 'static {
        self.follow_until(operation, since, Deadline::new(self, operation, None))
    }

    /// Like [`follow`](Self::follow), with a deadline that has begun.
    pub(super) fn follow_until(
        &self,
        operation: Uuid,
        since: Option<u64>,
        deadline: Deadline,
    ) -> impl Stream<Item = Result<Event, Error>> + Send + Unpin + 'static {
        let follower = Follower {
            client: self.clone(),
            operation,
            last: since,
            connection: None,
            delays: self.backend().retry().delays(),
            deadline,
            inspected: Instant::now(),
            has_ended: false,
            done: false,
        };
        stream::unfold(follower, |mut follower| async move {
            if follower.done {
                return None;
            }
            let next = follower.next().await;
            follower.done = next.as_ref().map_or(true, Event::is_last);
            Some((next, follower))
        })
        .boxed()
    }
}

/// The state of a stream of events, across its connections.
struct Follower {
    client: Client,
    operation: Uuid,
    /// The id of the last event returned.
    last: Option<u64>,
    connection: Option<EventConnection>,
    /// The delays of the retries since the last event.
    delays: Delays,
    deadline: Deadline,
    /// When the last event arrived, or when the client last asked for the status.
    inspected: Instant,
    /// Whether the operation has ended, although its last event has not arrived.
    has_ended: bool,
    done: bool,
}

/// One open connection to an event stream.
struct EventConnection {
    bytes: ByteStream,
    decoder: SseDecoder,
    /// The longest silence, and the longest time in which [`MIN_PACE`] bytes of an incomplete frame
    /// must arrive.
    period: Duration,
    /// When the last bytes arrived.
    ///
    /// The answer has a time limit of its own, but in the runtime that opened the connection.
    heard: Instant,
    /// The start of the current period and the number of bytes that arrived in it, within a frame.
    pace: Option<(Instant, u64)>,
    /// The id of the last event of this connection.
    last: Option<u64>,
}

/// The result of waiting for a frame.
enum Received {
    Frame(SseFrame),
    /// The connection broke, which is retried.
    Broken(Error),
    /// The time to look at the operation's status has come.
    Due,
}

impl EventConnection {
    fn new(bytes: ByteStream, period: Duration) -> Self {
        Self {
            bytes,
            decoder: SseDecoder::default(),
            period,
            heard: Instant::now(),
            pace: None,
            last: None,
        }
    }

    /// Returns the next frame, if one arrives before `due`. An error is final.
    async fn next(&mut self, due: Instant) -> Result<Received, Error> {
        loop {
            let frame = self.decoder.next();
            let frame = frame.map_err(|FrameTooLong| {
                Error::Protocol(format!(
                    "an event of the event stream is longer than {MAX_FRAME} bytes; ask for the operation's status instead"
                ).into())
            })?;
            if let Some(frame) = frame {
                self.pace = None;
                return Ok(Received::Frame(frame));
            }
            // A backend that never pauses would keep the time-out below from being polled.
            if Instant::now() >= due {
                return Ok(Received::Due);
            }
            // Between frames, the stream may be silent but for comments.
            self.pace = match self.pace {
                _ if !self.decoder.is_within_frame() => None,
                Some((since, bytes)) if bytes < MIN_PACE => Some((since, bytes)),
                _ => Some((Instant::now(), 0)),
            };
            let silence_end = self.heard + self.period;
            let pace_end = self.pace.map(|(since, _)| since + self.period);
            let limit = pace_end.map_or(silence_end, |end| end.min(silence_end));
            let chunk: Bytes = match until(Some(limit.min(due)), self.bytes.next()).await {
                Some(Some(Ok(chunk))) => chunk,
                Some(Some(Err(error))) => return Ok(Received::Broken(error.into())),
                Some(None) => {
                    return Ok(Received::Broken(Error::Connection(
                        "the event stream ended before the operation".into(),
                    )));
                }
                None if due <= limit => return Ok(Received::Due),
                None => {
                    let slow = match pace_end {
                        Some(_) => AnswerError::TooSlow(self.period),
                        None => AnswerError::Silent(self.period),
                    };
                    return Ok(Received::Broken(Error::Timeout(slow.to_string().into())));
                }
            };
            self.heard = Instant::now();
            if let Some((_, bytes)) = &mut self.pace {
                *bytes += chunk.len() as u64;
            }
            self.decoder.push(&chunk);
        }
    }
}

impl Follower {
    async fn next(&mut self) -> Result<Event, Error> {
        runtime::check()?;
        loop {
            if Instant::now() >= self.due() {
                self.inspect().await?;
            }
            let due = self.due();
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => {
                    let connected = self.connect().await?;
                    self.inspected = Instant::now();
                    self.connection.insert(connected)
                }
            };
            let broken = match connection.next(due).await? {
                Received::Due => continue,
                Received::Broken(error) => error,
                Received::Frame(frame) if frame.event == "sse_error" => Error::Connection(
                    format!(
                        "the backend ended the event stream: {}",
                        super::bodies::excerpt(&frame.data)
                    )
                    .into(),
                ),
                Received::Frame(frame) => {
                    let event = Event::from_json(&frame.data)?;
                    let before = connection.last.replace(event.id);
                    if self.last.is_none_or(|last| event.id > last) {
                        self.accept(&event);
                        return Ok(event);
                    }
                    // After a reconnection, a backend may send old events once more.
                    if before.is_none_or(|before| event.id > before) {
                        continue;
                    }
                    Error::Protocol(
                        format!("the backend sends event {} again and again", event.id).into(),
                    )
                }
            };
            self.reconnect(broken).await?;
        }
    }

    /// Notes a new event.
    fn accept(&mut self, event: &Event) {
        self.last = Some(event.id);
        self.delays = self.client.backend().retry().delays();
        self.deadline.start();
        if !self.deadline.lacks_timeout() {
            self.inspected = Instant::now();
        }
    }

    /// Waits before the next connection, or returns the error that broke the last one.
    async fn reconnect(&mut self, broken: Error) -> Result<(), Error> {
        self.connection = None;
        match self.delays.next(None) {
            Some(delay) => tokio::time::sleep(delay).await,
            None => return Err(broken),
        }
        Ok(())
    }

    /// When the client must look at the operation's status: at its deadline, and before that if no
    /// event arrives or if its time limit is unknown.
    fn due(&self) -> Instant {
        let idle = self.client.backend().timeouts().idle;
        // A connection that is silent or slow is replaced before that.
        self.deadline.end().min(self.inspected + idle + idle / 4)
    }

    /// Looks at the operation's status. An error is final.
    async fn inspect(&mut self) -> Result<(), Error> {
        self.inspected = Instant::now();
        let record = match self.record().await {
            Ok(record) => record,
            // The stream may continue although the status cannot be read.
            Err(error) if !error.is_not_found() && Instant::now() < self.deadline.end() => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.deadline.observe(&record)?;
        if record.status.is_some_and(|status| status.is_terminal()) {
            if std::mem::replace(&mut self.has_ended, true) {
                return Err(Error::Connection(
                    "the operation has ended, but the event stream has not".into(),
                ));
            }
            // A new stream has the last events at once.
            self.connection = None;
        }
        Ok(())
    }

    /// Opens the stream after the last event.
    ///
    /// The request hooks already retry, so an error here is final, with two exceptions:
    ///
    /// - While the operation has not started, the client waits until the deadline, since the
    ///   backend may have other work.
    /// - While the backend completes the log, the client retries.
    async fn connect(&mut self) -> Result<EventConnection, Error> {
        loop {
            let mut request = self
                .client
                .get_operation_events()
                .operation_id(self.operation)
                .follow(1u64);
            if let Some(last) = self.last {
                request = request.last_event_id(last);
            }
            let error = match request.send().await {
                Ok(answer) if announces_page(answer.headers()) => return Err(not_contree(b"")),
                Ok(answer) => {
                    let period = self.client.backend().timeouts().idle;
                    return Ok(EventConnection::new(answer.into_inner(), period));
                }
                Err(error) => Error::from(error),
            };
            let Error::Api {
                status,
                retry_after,
                ..
            } = &error
            else {
                return Err(error);
            };
            let requested = *retry_after;
            let wait = match *status {
                StatusCode::TOO_EARLY if self.is_waiting().await? => {
                    let policy = self.client.backend().retry();
                    let pause = requested.unwrap_or(Duration::from_secs(1));
                    Some(pause.min(policy.max_retry_after).max(policy.base_delay))
                }
                StatusCode::TOO_EARLY | StatusCode::GONE => self.delays.next(requested),
                _ => None,
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None if *status == StatusCode::GONE => {
                    return Err(api(*status, "the operation's events are gone", requested));
                }
                None => return Err(error),
            }
        }
    }

    /// Whether the operation has not ended, and may take longer.
    async fn is_waiting(&mut self) -> Result<bool, Error> {
        let record = self.record().await?;
        self.deadline.observe(&record)?;
        Ok(!record.status.is_some_and(|status| status.is_terminal()))
    }

    async fn record(&self) -> Result<types::OperationResponse, Error> {
        let request = self.client.get_operation_status();
        let answer = request.operation_id(self.operation).send().await?;
        Ok(answer.into_inner())
    }
}
