//! The longest time to wait for an operation, so that every wait has an end.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::{Client, Error, OperationStatus, types};

/// The time limit of an operation whose own limit the backend does not report.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The longest limit that counts.
const MAX_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The time until which an operation must have ended.
///
/// An operation may wait for its turn, for [`Timeouts::queue`](crate::backend::Timeouts::queue). It
/// then runs for as long as its own time limit allows, and may take
/// [`Timeouts::grace`](crate::backend::Timeouts::grace) to end.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    operation: Uuid,
    begun: Instant,
    /// When the client first saw the operation run.
    started: Option<Instant>,
    /// The operation's own time limit, once it is known.
    timeout: Option<Duration>,
    /// The limit for the wait until the operation starts.
    queue: Duration,
    /// The limit for its end after its own time limit.
    grace: Duration,
    /// Whether `queue` limits the whole operation.
    is_fixed: bool,
}

impl Deadline {
    /// The deadline of an operation from now on. `timeout` is its own time limit, if it is known.
    pub(super) fn new(client: &Client, operation: Uuid, timeout: Option<Duration>) -> Self {
        let timeouts = client.backend().timeouts();
        Self {
            operation,
            begun: Instant::now(),
            started: None,
            timeout,
            queue: timeouts.queue,
            grace: timeouts.grace,
            is_fixed: false,
        }
    }

    /// The deadline of an operation that must end within `timeout` from now on.
    pub(super) fn fixed(client: &Client, operation: Uuid, timeout: Duration) -> Self {
        Self {
            queue: timeout,
            is_fixed: true,
            ..Self::new(client, operation, None)
        }
    }

    /// Notes that the operation runs.
    pub(super) fn start(&mut self) {
        if !self.is_fixed {
            self.started.get_or_insert_with(Instant::now);
        }
    }

    /// Whether the operation runs, and its own time limit is not known yet.
    pub(super) fn lacks_timeout(&self) -> bool {
        self.started.is_some() && self.timeout.is_none()
    }

    /// The time until which the operation must have ended.
    pub(super) fn end(&self) -> Instant {
        self.limit().1
    }

    /// Notes the operation's record.
    ///
    /// # Errors
    /// [`Error::WaitTimedOut`] if the operation has not ended, and its deadline has passed.
    pub(super) fn observe(&mut self, record: &types::OperationResponse) -> Result<(), Error> {
        let status = record.status.clone();
        let status = status.unwrap_or_else(|| OperationStatus::Other("without a status".into()));
        if status.is_terminal() {
            return Ok(());
        }
        let waits = [OperationStatus::Pending, OperationStatus::Assigned];
        if !waits.contains(&status) {
            self.start();
            let timeout = self.timeout.or_else(|| timeout_of(record));
            self.timeout = Some(timeout.unwrap_or(DEFAULT_TIMEOUT));
        }
        let (timeout, end) = self.limit();
        if Instant::now() < end {
            return Ok(());
        }
        Err(Error::WaitTimedOut {
            operation: self.operation,
            status,
            timeout,
        })
    }

    /// The length of the current limit, and its end.
    fn limit(&self) -> (Duration, Instant) {
        let (since, limit) = match self.started {
            Some(started) => {
                let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
                (started, timeout.saturating_add(self.grace))
            }
            None => (self.begun, self.queue),
        };
        let limit = limit.min(MAX_LIMIT);
        (limit, since + limit)
    }
}

/// The time limit of an operation, from its record.
fn timeout_of(record: &types::OperationResponse) -> Option<Duration> {
    let seconds = match record.metadata.as_ref()? {
        types::OperationMetadata::OperationInstanceMetadata(metadata) => metadata.timeout,
        types::OperationMetadata::ImageImportMetadata(metadata) => metadata.timeout,
        types::OperationMetadata::Other(_) => None,
    };
    positive_seconds(seconds)
}

/// A time limit in seconds; none if it is absent or means no limit.
pub(super) fn positive_seconds(seconds: Option<i64>) -> Option<Duration> {
    let seconds = u64::try_from(seconds?).ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Backend;

    fn record(status: &str, timeout: i64) -> types::OperationResponse {
        let metadata = json!({"command": "x", "image": Uuid::nil(), "timeout": timeout});
        serde_json::from_value(json!({"status": status, "metadata": metadata})).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_has_its_own_limit_once_it_runs() {
        let backend = Backend::new("http://127.0.0.1:1").unwrap();
        let backend = backend
            .with_queue_timeout(Duration::from_secs(1000))
            .with_run_grace(Duration::from_secs(10));
        let client = Client::connect(backend).unwrap();
        let mut deadline = Deadline::new(&client, Uuid::nil(), None);
        let advance = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        advance(900).await;
        deadline.observe(&record("PENDING", 60)).unwrap();
        let mut waiting = deadline.clone();
        advance(200).await;
        assert!(waiting.observe(&record("ASSIGNED", 60)).is_err());
        deadline.observe(&record("EXECUTING", 60)).unwrap();
        advance(69).await;
        deadline.observe(&record("EXECUTING", 60)).unwrap();
        advance(1).await;
        deadline.observe(&record("SUCCESS", 60)).unwrap();
        let error = deadline.observe(&record("EXECUTING", 60)).unwrap_err();
        assert!(error.to_string().contains("after 70s"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn absurd_limits_do_not_overflow() {
        let backend = Backend::new("http://127.0.0.1:1").unwrap();
        let backend = backend
            .with_queue_timeout(Duration::MAX)
            .with_run_grace(Duration::MAX);
        let client = Client::connect(backend).unwrap();
        for timeout in [i64::MIN, -1, 0, i64::MAX] {
            let mut deadline = Deadline::new(&client, Uuid::nil(), None);
            assert!(deadline.end() > Instant::now());
            deadline.observe(&record("EXECUTING", timeout)).unwrap();
            assert!(deadline.end() > Instant::now());
        }
    }
}
