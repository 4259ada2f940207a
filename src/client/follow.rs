//! Following an operation's events over connections that break.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::StatusCode;
use progenitor_client::ByteStream;
use uuid::Uuid;

use super::{
    errors::api,
    events::Event,
    frames::{Frame, Frames},
};
use crate::{Client, Error, backend::Delays};

impl Client {
    /// The events of an operation as they happen, up to and including its completion.
    ///
    /// With `since`, only those after this id. A connection that breaks is made again from where it was; no event is
    /// lost or repeated. An operation that has not started yet is waited for. The stream ends after
    /// [`Payload::Completion`](super::events::Payload::Completion), or with an error: ask for the operation's status then.
    ///
    /// # Errors
    /// The stream's last item is an error if the backend refuses, or stays unreachable.
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

struct Follower {
    client: Client,
    operation: Uuid,
    /// The id of the last event that was handed out.
    last: Option<u64>,
    connection: Option<Connection>,
    /// What is left of our patience since the last event.
    delays: Delays,
    done: bool,
}

struct Connection {
    bytes: ByteStream,
    frames: Frames,
}

impl Follower {
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            let broken = match self.frame().await? {
                Ok(frame) if frame.event == "sse_error" => Error::Connection(format!(
                    "the backend ended the events: {}",
                    super::bodies::excerpt(&frame.data)
                )),
                Ok(frame) => {
                    let event = Event::from_json(&frame.data)?;
                    // A backend may begin with the event that was named as the last one.
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

    /// The next frame; the inner error is a connection that broke, the outer one is final.
    async fn frame(&mut self) -> Result<Result<Frame, Error>, Error> {
        if self.connection.is_none() {
            self.connection = Some(self.connect().await?);
        }
        let Some(connection) = &mut self.connection else {
            return Err(Error::Protocol("no events".into()));
        };
        loop {
            if let Some(frame) = connection.frames.next() {
                return Ok(Ok(frame));
            }
            let chunk: Bytes = match connection.bytes.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Ok(Err(error.into())),
                None => {
                    return Ok(Err(Error::Connection(
                        "the events ended before the operation did".into(),
                    )));
                }
            };
            if connection.frames.push(&chunk).is_err() {
                return Err(Error::Protocol("an event without end".into()));
            }
        }
    }

    /// Opens the stream behind the last event. The hooks have their own patience below; what comes through is final,
    /// except where the operation has not begun: that may take as long as the backend has other work.
    async fn connect(&mut self) -> Result<Connection, Error> {
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
                    return Ok(Connection {
                        bytes: answer.into_inner(),
                        frames: Frames::default(),
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
            let asked = *retry_after;
            let wait = match *status {
                StatusCode::TOO_EARLY if !self.is_over().await? => {
                    Some(asked.unwrap_or(Duration::from_secs(1)))
                }
                StatusCode::TOO_EARLY | StatusCode::GONE => self.delays.next(asked),
                _ => None,
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None if *status == StatusCode::GONE => {
                    return Err(api(*status, "the operation's events are gone", asked));
                }
                None => return Err(error),
            }
        }
    }

    async fn is_over(&self) -> Result<bool, Error> {
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
