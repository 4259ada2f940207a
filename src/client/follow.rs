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
    errors::{api, not_contree},
    events::Event,
    sse::{FrameTooLong, SseDecoder, SseFrame},
};
use crate::{Client, Error, backend::Delays};

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
    pub fn follow(
        &self,
        operation: Uuid,
        since: Option<u64>,
    ) -> impl Stream<Item = Result<Event, Error>> + Send + Unpin + 'static {
        let follower = Follower {
            client: self.clone(),
            operation,
            last: since,
            connection: None,
            delays: self.backend().retry().delays(),
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
    done: bool,
}

/// One open connection to an event stream.
struct EventConnection {
    bytes: ByteStream,
    decoder: SseDecoder,
    /// The longest time in which [`MIN_PACE`] bytes of an incomplete frame must arrive.
    period: Duration,
    /// The start of the current period and the number of bytes that arrived in it, within a frame.
    pace: Option<(Instant, u64)>,
}

impl EventConnection {
    fn new(bytes: ByteStream, period: Duration) -> Self {
        Self {
            bytes,
            decoder: SseDecoder::default(),
            period,
            pace: None,
        }
    }

    /// Returns the next frame. The inner error is a broken connection; the outer one is final.
    async fn next(&mut self) -> Result<Result<SseFrame, Error>, Error> {
        loop {
            let frame = self.decoder.next();
            let frame = frame.map_err(|FrameTooLong| {
                Error::Protocol("an event of the event stream is too long".into())
            })?;
            if let Some(frame) = frame {
                self.pace = None;
                return Ok(Ok(frame));
            }
            // Between frames, the stream may be silent but for comments.
            self.pace = match self.pace {
                _ if !self.decoder.is_within_frame() => None,
                Some((since, bytes)) if bytes < MIN_PACE => Some((since, bytes)),
                _ => Some((Instant::now(), 0)),
            };
            let end = self.pace.map(|(since, _)| since + self.period);
            let chunk: Bytes = match until(end, self.bytes.next()).await {
                Some(Some(Ok(chunk))) => chunk,
                Some(Some(Err(error))) => return Ok(Err(error.into())),
                Some(None) => {
                    return Ok(Err(Error::Connection(
                        "the event stream ended before the operation".into(),
                    )));
                }
                None => {
                    let slow = AnswerError::TooSlow(self.period).to_string();
                    return Ok(Err(Error::Timeout(slow.into())));
                }
            };
            if let Some((_, bytes)) = &mut self.pace {
                *bytes += chunk.len() as u64;
            }
            self.decoder.push(&chunk);
        }
    }
}

impl Follower {
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            let broken = match self.next_frame().await? {
                Ok(frame) if frame.event == "sse_error" => Error::Connection(
                    format!(
                        "the backend ended the event stream: {}",
                        super::bodies::excerpt(&frame.data)
                    )
                    .into(),
                ),
                Ok(frame) => {
                    let event = Event::from_json(&frame.data)?;
                    // A backend may repeat the event that the client named as its last one.
                    if self.last.is_some_and(|last| event.id <= last) {
                        continue;
                    }
                    self.last = Some(event.id);
                    self.delays = self.client.backend().retry().delays();
                    return Ok(event);
                }
                Err(error) => error,
            };
            self.connection = None;
            match self.delays.next(None) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(broken),
            }
        }
    }

    /// Returns the next frame. The inner error is a broken connection, which is retried; the outer
    /// one is final.
    async fn next_frame(&mut self) -> Result<Result<SseFrame, Error>, Error> {
        if self.connection.is_none() {
            self.connection = Some(self.connect().await?);
        }
        let Some(connection) = &mut self.connection else {
            return Err(Error::Protocol("the event stream is not open".into()));
        };
        connection.next().await
    }

    /// Opens the stream after the last event.
    ///
    /// The request hooks already retry, so an error here is final, with two exceptions:
    ///
    /// - While the operation has not started, the client waits without a limit, since the backend
    ///   may have other work.
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
                StatusCode::TOO_EARLY if !self.has_ended().await? => {
                    Some(requested.unwrap_or(Duration::from_secs(1)))
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

    async fn has_ended(&self) -> Result<bool, Error> {
        let answer = self
            .client
            .get_operation_status()
            .operation_id(self.operation)
            .send()
            .await?;
        Ok(answer
            .into_inner()
            .status
            .is_some_and(|status| status.is_terminal()))
    }
}
