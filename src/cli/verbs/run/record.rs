//! The result of a run as JSON.

use uuid::Uuid;

use crate::Outcome;

/// The result of a run as JSON.
#[derive(serde::Serialize)]
pub(super) struct RunRecord<'a> {
    uuid: Uuid,
    status: &'a str,
    exit_code: Option<i64>,
    signal: Option<i64>,
    timed_out: bool,
    duration: f64,
    result_image_uuid: Option<Uuid>,
    /// The entry of the session.
    entry: Option<i64>,
    stdout: String,
    stderr: String,
    truncated: bool,
    error: Option<&'a str>,
}

impl<'a> RunRecord<'a> {
    pub(super) fn new(outcome: &'a Outcome, entry: Option<i64>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            uuid: outcome.operation,
            status: outcome.status.as_str(),
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            timed_out: outcome.timed_out,
            duration: outcome.duration.as_secs_f64(),
            result_image_uuid: outcome.result_image,
            entry,
            stdout: text(&outcome.stdout.bytes),
            stderr: text(&outcome.stderr.bytes),
            truncated: outcome.stdout.truncated || outcome.stderr.truncated,
            error: outcome.error.as_deref(),
        }
    }
}
