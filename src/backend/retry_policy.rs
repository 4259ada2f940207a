//! The policy for retries of a request.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// How often a failed request is repeated, and after which delays.
///
/// ```
/// let mut retry = contree::RetryPolicy::default();
/// retry.max_retries = 8;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Number of retries after the first attempt; 0 turns retries off.
    pub max_retries: usize,
    /// The delay before the first retry. It doubles with each retry, and a random time of at most
    /// the same length is added.
    pub base_delay: Duration,
    /// The longest delay before the random time is added. A `Retry-After` may be longer.
    pub max_delay: Duration,
    /// The longest `Retry-After` that the client waits for. An answer that asks for more is
    /// returned to the caller.
    pub max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 4,
            base_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(5),
            max_retry_after: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The delays of one request.
    pub(crate) fn delays(&self) -> Delays {
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(self.base_delay)
            .with_max_delay(self.max_delay)
            .with_max_times(self.max_retries)
            .build();
        Delays {
            backoff,
            max_retry_after: self.max_retry_after,
        }
    }
}

/// The delays before the retries of one request.
pub(crate) struct Delays {
    backoff: ExponentialBackoff,
    max_retry_after: Duration,
}

impl Delays {
    /// The next delay, at least `retry_after`. None if no retry is left or `retry_after` is too
    /// long.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let requested = retry_after.unwrap_or_default();
        if requested > self.max_retry_after {
            return None;
        }
        self.backoff.next().map(|delay| delay.max(requested))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_respect_retry_after() {
        let policy = RetryPolicy {
            max_retries: 3,
            ..RetryPolicy::default()
        };
        let mut delays = policy.delays();
        assert!(delays.next(None).unwrap() >= policy.base_delay);
        assert_eq!(
            delays.next(Some(Duration::from_secs(30))),
            Some(Duration::from_secs(30))
        );
        assert!(delays.next(None).unwrap() >= policy.base_delay * 4);
        assert_eq!(delays.next(None), None);
        assert_eq!(policy.delays().next(Some(Duration::from_secs(61))), None);
    }
}
