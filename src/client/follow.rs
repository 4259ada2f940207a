//! Following an operation's events across broken connections.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::StatusCode;
use progenitor_client::ByteStream;
use uuid::Uuid;

use super::{
    errors::api,
    events::Event,
    sse::{SseDecoder, SseFrame},
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
}

impl Follower {
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            let broken = match self.next_frame().await? {
                Ok(frame) if frame.event == "sse_error" => Error::Connection(format!(
                    "the backend ended the event stream: {}",
                    super::bodies::excerpt(&frame.data)
                )),
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
        loop {
            if let Some(frame) = connection.decoder.next() {
                return Ok(Ok(frame));
            }
            let chunk: Bytes = match connection.bytes.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Ok(Err(error.into())),
                None => {
                    return Ok(Err(Error::Connection(
                        "the event stream ended before the operation".into(),
                    )));
                }
            };
            if connection.decoder.push(&chunk).is_err() {
                return Err(Error::Protocol(
                    "a line of the event stream is too long".into(),
                ));
            }
        }
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
                Ok(answer) => {
                    return Ok(EventConnection {
                        bytes: answer.into_inner(),
                        decoder: SseDecoder::default(),
                    });
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
