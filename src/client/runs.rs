//! Starting, awaiting and cancelling operations.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    deadline::{Deadline, positive_seconds},
    errors::api,
    events::Event,
    outcome::{Outcome, OutcomeBuilder},
    retry::retry_after,
    runtime,
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
    /// The time limit of its command; none if the backend does not report it.
    pub timeout: Option<Duration>,
}

impl Client {
    /// Starts a command and returns at once; see [`outcome`](Self::outcome) and
    /// [`follow`](Self::follow).
    ///
    /// # Errors
    /// If [`Error::is_unconfirmed`], the command may be running, so the request is not retried. The
    /// newest operations ([`list_operations`](Self::list_operations)) show whether it is.
    pub async fn start(&self, request: types::InstanceSpawnRequest) -> Result<Run, Error> {
        Ok(self.start_published(request).await?.0)
    }

    /// Starts a command like [`start`](Self::start), and also returns the ports that `x_ports` of
    /// the request publishes.
    ///
    /// # Errors
    /// The errors of [`start`](Self::start), and [`Error::Unsupported`] if the backend can publish
    /// no ports, or has no terminals and the request asks for one.
    pub async fn start_published(
        &self,
        request: types::InstanceSpawnRequest,
    ) -> Result<(Run, Vec<types::PublishedPort>), Error> {
        // A backend without an extension would ignore its field.
        if !request.x_ports.is_empty() {
            self.check_ports_extension().await?;
        }
        if request.x_terminal.is_some() {
            self.check_terminal_extension().await?;
        }
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
        let run = Run {
            operation,
            image: answer.image,
            timeout: positive_seconds(answer.timeout),
        };
        Ok((run, answer.x_ports))
    }

    /// Follows a run to its end, passes each event to `watch`, and returns the outcome.
    ///
    /// If the event stream fails and retries do not help, or the service has no events, the client
    /// waits for the operation's record instead.
    ///
    /// # Errors
    /// If neither the events nor the record can be read. A failing command is not an error.
    /// [`Error::WaitTimedOut`] if the run takes longer than its own time limit and
    /// [`Backend::with_run_grace`](crate::Backend::with_run_grace) allow; it keeps running.
    pub async fn outcome(
        &self,
        operation: Uuid,
        watch: impl FnMut(&Event),
    ) -> Result<Outcome, Error> {
        runtime::check()?;
        let deadline = Deadline::new(self, operation, None);
        self.outcome_until(operation, deadline, watch).await
    }

    async fn outcome_until(
        &self,
        operation: Uuid,
        mut deadline: Deadline,
        mut watch: impl FnMut(&Event),
    ) -> Result<Outcome, Error> {
        let mut builder = OutcomeBuilder::new(operation);
        let mut events = self.follow_until(operation, None, deadline.clone());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    deadline.start();
                    watch(&event);
                    builder.apply(&event);
                }
                Err(error @ (Error::WaitTimedOut { .. } | Error::NoRuntime)) => return Err(error),
                Err(_) => return self.wait_until(operation, deadline).await?.try_into(),
            }
        }
        builder.finish()
    }

    /// Runs a command and waits for its outcome. Dropping the future does not cancel the command;
    /// see [`CancelOnDrop`](crate::CancelOnDrop).
    ///
    /// # Errors
    /// The errors of [`start`](Self::start) and [`outcome`](Self::outcome).
    pub async fn run(&self, request: types::InstanceSpawnRequest) -> Result<Outcome, Error> {
        let requested = positive_seconds(request.timeout);
        let run = self.start(request).await?;
        let deadline = Deadline::new(self, run.operation, run.timeout.or(requested));
        self.outcome_until(run.operation, deadline, |_| {}).await
    }

    /// Waits until an operation ends and returns its record.
    ///
    /// Without `timeout`, the operation's own time limit counts, with
    /// [`Backend::with_queue_timeout`](crate::Backend::with_queue_timeout) before its start and
    /// [`Backend::with_run_grace`](crate::Backend::with_run_grace) after its limit.
    ///
    /// # Errors
    /// [`Error::WaitTimedOut`] if the operation has not ended in time; it keeps running.
    pub async fn wait(
        &self,
        operation: Uuid,
        timeout: Option<Duration>,
    ) -> Result<types::OperationResponse, Error> {
        let deadline = match timeout {
            Some(timeout) => Deadline::fixed(self, operation, timeout),
            None => Deadline::new(self, operation, None),
        };
        self.wait_until(operation, deadline).await
    }

    /// Waits until an operation ends, for as long as its deadline allows.
    async fn wait_until(
        &self,
        operation: Uuid,
        mut deadline: Deadline,
    ) -> Result<types::OperationResponse, Error> {
        /// The client pauses for the time waited so far divided by this number. It thus notices the
        /// end late by about one eighth of that time at most.
        const PAUSE_DIVISOR: u32 = 8;
        const MIN_PAUSE: Duration = Duration::from_millis(25);
        const MAX_PAUSE: Duration = Duration::from_secs(2);
        let longest_pause = self.backend().retry().max_retry_after;
        let started = Instant::now();
        loop {
            let answer = self
                .get_operation_status()
                .operation_id(operation)
                .send()
                .await?;
            let requested = retry_after(answer.headers()).unwrap_or_default();
            let record = answer.into_inner();
            let Some(status) = &record.status else {
                return Err(Error::Protocol(
                    format!("operation {operation} has no status").into(),
                ));
            };
            if status.is_terminal() {
                return Ok(record);
            }
            deadline.observe(&record)?;
            let pause = (started.elapsed() / PAUSE_DIVISOR)
                .clamp(MIN_PAUSE, MAX_PAUSE)
                .max(requested.min(longest_pause));
            let end = deadline.end().min(Instant::now() + pause);
            tokio::time::sleep_until(end).await;
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
