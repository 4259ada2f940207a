//! How often a request is repeated, and after how long.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// How often, and how patiently, a failed request is repeated.
///
/// ```
/// let mut retry = contree::RetryPolicy::default();
/// retry.max_retries = 8;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Repetitions after the first try; 0 turns them off.
    pub max_retries: usize,
    /// The wait before the first repetition; it doubles with each, and up to its own length is added at random.
    pub base_delay: Duration,
    /// The longest wait of our own choosing.
    pub max_delay: Duration,
    /// The longest `Retry-After` that is waited for; an answer that asks for more is handed to the caller.
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
    /// The waits of one request.
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

/// The waits before the repetitions of one request.
pub(crate) struct Delays {
    backoff: ExponentialBackoff,
    max_retry_after: Duration,
}

impl Delays {
    /// The next wait, no shorter than what the backend asked for; none if it is enough.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let asked = retry_after.unwrap_or_default();
        if asked > self.max_retry_after {
            return None;
        }
        self.backoff.next().map(|own| own.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_keep_to_what_the_backend_asks() {
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
