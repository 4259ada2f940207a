//! Starting, awaiting and cancelling operations.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    errors::api,
    events::Event,
    outcome::{Outcome, OutcomeBuilder},
    retry::retry_after,
};
use crate::{Client, Error, types};

/// A run that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Its operation.
    pub operation: Uuid,
    /// The image that it runs on, even if the request named a tag; none if the backend does not
    /// report it.
    pub image: Option<Uuid>,
}

impl Client {
    /// Starts a command and returns at once; see [`outcome`](Self::outcome) and
    /// [`follow`](Self::follow).
    ///
    /// # Errors
    /// If [`Error::is_unconfirmed`], the command may be running, so the request is not retried. The
    /// newest operations ([`list_operations`](Self::list_operations)) show whether it is.
    pub async fn start(&self, request: types::InstanceSpawnRequest) -> Result<Run, Error> {
        let answer = self.spawn_instance().body(request).send().await;
        let answer = answer
            .map_err(|error| match Error::from(error) {
                // The backend reported a success that cannot be read.
                Error::Protocol(text) => Error::Unconfirmed(text),
                error => error,
            })?
            .into_inner();
        let operation = answer
            .uuid
            .ok_or_else(|| Error::Unconfirmed("the answer has no uuid".into()))?;
        Ok(Run {
            operation,
            image: answer.image,
        })
    }

    /// Follows a run to its end, passes each event to `watch`, and returns the outcome.
    ///
    /// If the event stream fails and retries do not help, the client waits for the operation's
    /// record instead.
    ///
    /// # Errors
    /// If neither the events nor the record can be read. A failing command is not an error.
    pub async fn outcome(
        &self,
        operation: Uuid,
        mut watch: impl FnMut(&Event),
    ) -> Result<Outcome, Error> {
        let mut builder = OutcomeBuilder::new(operation);
        let mut events = self.follow(operation, None);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    watch(&event);
                    builder.apply(&event);
                }
                Err(error) if error.is_not_found() => return Err(error),
                Err(_) => return self.wait(operation, None).await?.try_into(),
            }
        }
        builder.finish()
    }

    /// Runs a command and waits for its outcome. Dropping the future does not cancel the command.
    ///
    /// # Errors
    /// The errors of [`start`](Self::start) and [`outcome`](Self::outcome).
    pub async fn run(&self, request: types::InstanceSpawnRequest) -> Result<Outcome, Error> {
        let run = self.start(request).await?;
        self.outcome(run.operation, |_| {}).await
    }

    /// Waits until an operation ends and returns its record. Without `timeout`, it waits
    /// indefinitely.
    ///
    /// # Errors
    /// [`Error::WaitTimedOut`] if the operation has not ended within `timeout`; it keeps running.
    pub async fn wait(
        &self,
        operation: Uuid,
        timeout: Option<Duration>,
    ) -> Result<types::OperationResponse, Error> {
        /// The client pauses for the time waited so far divided by this number. It thus notices the
        /// end late by about one eighth of that time at most.
        const PAUSE_DIVISOR: u32 = 8;
        const MIN_PAUSE: Duration = Duration::from_millis(25);
        const MAX_PAUSE: Duration = Duration::from_secs(2);
        let started = Instant::now();
        loop {
            let answer = self
                .get_operation_status()
                .operation_id(operation)
                .send()
                .await?;
            let requested = retry_after(answer.headers());
            let record = answer.into_inner();
            let Some(status) = record.status.clone() else {
                return Err(Error::Protocol(
                    format!("operation {operation} has no status").into(),
                ));
            };
            if status.is_terminal() {
                return Ok(record);
            }
            let waited = started.elapsed();
            let pause = (waited / PAUSE_DIVISOR)
                .clamp(MIN_PAUSE, MAX_PAUSE)
                .max(requested.unwrap_or_default());
            let remaining = timeout.map(|timeout| timeout.saturating_sub(waited));
            if let (Some(Duration::ZERO), Some(timeout)) = (remaining, timeout) {
                return Err(Error::WaitTimedOut {
                    operation,
                    status,
                    timeout,
                });
            }
            tokio::time::sleep(remaining.map_or(pause, |remaining| pause.min(remaining))).await;
        }
    }

    /// Requests the cancellation of an operation. Returns `false` if it had already ended.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 for an operation that the backend does not know.
    pub async fn cancel(&self, operation: Uuid) -> Result<bool, Error> {
        match self
            .cancel_operation()
            .operation_id(operation)
            .send()
            .await
            .map_err(Error::from)
        {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => Ok(false),
            Err(error) if error.is_not_found() => Err(api(
                StatusCode::NOT_FOUND,
                format!("there is no operation {operation}"),
                None,
            )),
            Err(error) => Err(error),
        }
    }
}
