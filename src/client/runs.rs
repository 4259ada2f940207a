//! Starting, awaiting and cancelling operations.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    errors::api,
    events::Event,
    fold::{Fold, Outcome},
    retry::retry_after,
};
use crate::{Client, Error, types};

/// A run that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Its operation.
    pub operation: Uuid,
    /// The image that it runs on, also where it was named by a tag; none if the backend does not say.
    pub image: Option<Uuid>,
}

impl Client {
    /// Starts a command and returns at once; see [`outcome`](Self::outcome) and [`follow`](Self::follow).
    ///
    /// # Errors
    /// Never repeated by itself: after an [`Error::Connection`] or a 503 the command may be running all the same.
    pub async fn start(&self, request: types::InstanceSpawnRequest) -> Result<Run, Error> {
        let answer = self
            .spawn_instance()
            .body(request)
            .send()
            .await?
            .into_inner();
        let operation = answer
            .uuid
            .ok_or_else(|| Error::Protocol("a run was started without a uuid".into()))?;
        Ok(Run {
            operation,
            image: answer.image,
        })
    }

    /// Follows a run to its end, handing each event to `watch`, and folds the events into the outcome.
    ///
    /// Where the events break off for good, the operation's record is waited for instead.
    ///
    /// # Errors
    /// If neither the events nor the record can be had. That a command fails is no error.
    pub async fn outcome(
        &self,
        operation: Uuid,
        mut watch: impl FnMut(&Event),
    ) -> Result<Outcome, Error> {
        let mut fold = Fold::new(operation);
        let mut events = self.follow(operation, None);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    watch(&event);
                    fold.apply(&event);
                }
                Err(error) if error.is_not_found() => return Err(error),
                Err(_) => return self.wait(operation, None).await?.try_into(),
            }
        }
        fold.finish()
    }

    /// Runs a command and waits for its outcome. Dropping the future does not cancel the command.
    ///
    /// # Errors
    /// As [`start`](Self::start) and [`outcome`](Self::outcome).
    pub async fn run(&self, request: types::InstanceSpawnRequest) -> Result<Outcome, Error> {
        let run = self.start(request).await?;
        self.outcome(run.operation, |_| {}).await
    }

    /// Waits until an operation is over, without end if `timeout` is none, and returns its record.
    ///
    /// # Errors
    /// [`Error::WaitTimedOut`] if it is not over by then; it goes on.
    pub async fn wait(
        &self,
        operation: Uuid,
        timeout: Option<Duration>,
    ) -> Result<types::OperationResponse, Error> {
        /// Asking costs at most this fraction of the time waited in delay.
        const LATENESS: u32 = 8;
        const SHORTEST: Duration = Duration::from_millis(25);
        const LONGEST: Duration = Duration::from_secs(2);
        let begun = Instant::now();
        loop {
            let answer = self
                .get_operation_status()
                .operation_id(operation)
                .send()
                .await?;
            let asked = retry_after(answer.headers());
            let record = answer.into_inner();
            let Some(status) = record.status.clone() else {
                return Err(Error::Protocol(format!(
                    "operation {operation} has no status"
                )));
            };
            if status.is_terminal() {
                return Ok(record);
            }
            let waited = begun.elapsed();
            let pause = (waited / LATENESS)
                .clamp(SHORTEST, LONGEST)
                .max(asked.unwrap_or_default());
            let left = timeout.map(|timeout| timeout.saturating_sub(waited));
            if let (Some(Duration::ZERO), Some(timeout)) = (left, timeout) {
                return Err(Error::WaitTimedOut {
                    operation,
                    status,
                    timeout,
                });
            }
            tokio::time::sleep(left.map_or(pause, |left| pause.min(left))).await;
        }
    }

    /// Asks for an operation to be cancelled: `true` if it will be, `false` if it was over already.
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
