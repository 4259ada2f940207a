//! The newest output of processes, which clients read while it is written.
//!
//! The event log keeps the beginning of a stream. A server that runs for hours writes more than
//! that, so the newest bytes of each stream are also kept in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use crate::api::types::EventDataTruncatedStream;

/// The most bytes of a stream that are kept.
pub(crate) const KEPT_BYTES: usize = 256 * 1024;

/// The number of ended runs whose newest output is kept.
const KEPT_RUNS: usize = 32;

/// The newest output of one process.
pub(crate) struct LiveOutput {
    state: Mutex<LiveState>,
    /// Announces new bytes and the end.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct LiveState {
    stdout: StreamTail,
    stderr: StreamTail,
    end: Option<ProcessEnd>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessEnd {
    pub(crate) code: Option<i64>,
    pub(crate) signal: Option<i64>,
    pub(crate) oom_killed: bool,
}

/// The part of a stream that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputRange {
    /// The bytes from a position on.
    From(u64),
    /// The last bytes.
    Tail(u64),
}

/// A part of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamPart {
    /// The position of the first byte.
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// The bytes that were written in all.
    pub(crate) total: u64,
}

/// Parts of both streams, and the end of the process if there will be no more output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputParts {
    pub(crate) stdout: StreamPart,
    pub(crate) stderr: StreamPart,
    pub(crate) end: Option<ProcessEnd>,
}

impl OutputParts {
    fn is_empty(&self) -> bool {
        self.stdout.bytes.is_empty() && self.stderr.bytes.is_empty() && self.end.is_none()
    }
}

/// The newest bytes of a stream.
#[derive(Default)]
struct StreamTail {
    bytes: VecDeque<u8>,
    /// The bytes that were written in all.
    total: u64,
}

impl StreamTail {
    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(KEPT_BYTES)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(KEPT_BYTES);
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
    }

    fn part(&self, range: OutputRange, max_bytes: usize) -> StreamPart {
        let first = self.total - self.bytes.len() as u64;
        let offset = match range {
            OutputRange::From(position) => position.clamp(first, self.total),
            OutputRange::Tail(count) => self.total.saturating_sub(count).max(first),
        };
        let skip = usize::try_from(offset - first).unwrap_or(usize::MAX);
        // A tail that does not fit is cut at its beginning.
        let skip = match range {
            OutputRange::From(_) => skip,
            OutputRange::Tail(_) => skip.max(self.bytes.len().saturating_sub(max_bytes)),
        };
        StreamPart {
            offset: first + skip as u64,
            bytes: self
                .bytes
                .iter()
                .skip(skip)
                .take(max_bytes)
                .copied()
                .collect(),
            total: self.total,
        }
    }
}

impl LiveOutput {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    /// Adds bytes that the process has written.
    pub(crate) fn push(&self, stream: EventDataTruncatedStream, bytes: &[u8]) {
        {
            let mut state = self.state();
            match stream {
                EventDataTruncatedStream::Stdout => state.stdout.push(bytes),
                EventDataTruncatedStream::Stderr => state.stderr.push(bytes),
                EventDataTruncatedStream::Stdin => return,
            }
        }
        self.changed.send_replace(());
    }

    /// Notes the end of the process, after its output.
    pub(crate) fn finish(&self, end: ProcessEnd) {
        self.state().end.get_or_insert(end);
        self.changed.send_replace(());
    }

    /// Returns parts of the output so far.
    pub(crate) fn read(
        &self,
        stdout: OutputRange,
        stderr: OutputRange,
        max_bytes: usize,
    ) -> OutputParts {
        let state = self.state();
        OutputParts {
            stdout: state.stdout.part(stdout, max_bytes),
            stderr: state.stderr.part(stderr, max_bytes),
            end: state.end,
        }
    }

    /// Like [`read`](Self::read). If there is nothing new, waits up to `wait` for new output or the
    /// end of the process.
    pub(crate) async fn read_new(
        &self,
        stdout: OutputRange,
        stderr: OutputRange,
        max_bytes: usize,
        wait: Duration,
    ) -> OutputParts {
        let deadline = tokio::time::Instant::now() + wait;
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let parts = self.read(stdout, stderr, max_bytes);
            if !parts.is_empty()
                || tokio::time::timeout_at(deadline, changed.changed())
                    .await
                    .is_err()
            {
                return parts;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, LiveState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest output of the main processes of ended runs. A server may have written more than its
/// record has, and this keeps the end of it.
#[derive(Default)]
pub(crate) struct LastOutputs(Mutex<VecDeque<(Uuid, Arc<LiveOutput>)>>);

impl LastOutputs {
    pub(crate) fn keep(&self, operation: Uuid, output: Arc<LiveOutput>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_RUNS {
            kept.pop_front();
        }
        kept.push_back((operation, output));
    }

    pub(crate) fn get(&self, operation: Uuid) -> Option<Arc<LiveOutput>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|(kept, _)| *kept == operation)?;
        Some(Arc::clone(&found.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: EventDataTruncatedStream = EventDataTruncatedStream::Stdout;

    fn stdout(output: &LiveOutput, range: OutputRange, max_bytes: usize) -> StreamPart {
        output.read(range, OutputRange::From(0), max_bytes).stdout
    }

    #[test]
    fn a_flood_keeps_its_end_and_its_count() {
        let output = LiveOutput::new();
        let block = vec![b'x'; 64 * 1024];
        // One gigabyte.
        for _ in 0..16 * 1024 {
            output.push(OUT, &block);
        }
        output.push(OUT, b"end");
        let total = (1 << 30) + 3;
        let part = stdout(&output, OutputRange::From(5), usize::MAX);
        assert_eq!(part.total, total);
        assert_eq!(part.bytes.len(), KEPT_BYTES);
        assert_eq!(part.offset, total - KEPT_BYTES as u64);
        assert!(part.bytes.ends_with(b"end"));
        assert!(output.state().stdout.bytes.capacity() <= 2 * KEPT_BYTES);
    }

    #[test]
    fn a_tail_is_cut_at_its_beginning_and_other_ranges_at_their_end() {
        let output = LiveOutput::new();
        output.push(OUT, b"0123456789");
        let part = |range, max| {
            let part = stdout(&output, range, max);
            (part.offset, String::from_utf8(part.bytes).unwrap())
        };
        assert_eq!(part(OutputRange::From(4), 3), (4, "456".into()));
        assert_eq!(part(OutputRange::From(40), 3), (10, String::new()));
        assert_eq!(part(OutputRange::Tail(4), 100), (6, "6789".into()));
        assert_eq!(part(OutputRange::Tail(100), 3), (7, "789".into()));
        assert_eq!(part(OutputRange::Tail(0), 3), (10, String::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_waits_for_bytes_or_the_end() {
        let output = LiveOutput::new();
        let from = OutputRange::From(0);
        let second = Duration::from_secs(1);
        let nothing = output.read_new(from, from, 10, second).await;
        assert_eq!(nothing, OutputParts::default());
        let reading = output.read_new(from, from, 10, second);
        let writing = async { output.push(OUT, b"x") };
        assert_eq!(tokio::join!(reading, writing).0.stdout.bytes, b"x");
        let end = ProcessEnd {
            code: Some(3),
            ..ProcessEnd::default()
        };
        let after = OutputRange::From(1);
        let reading = output.read_new(after, from, 10, second);
        let ending = async { output.finish(end) };
        assert_eq!(tokio::join!(reading, ending).0.end, Some(end));
    }

    #[test]
    fn the_outputs_of_the_last_runs_are_kept() {
        let kept = LastOutputs::default();
        for number in 0..=KEPT_RUNS as u128 {
            kept.keep(Uuid::from_u128(number), LiveOutput::new());
        }
        assert!(kept.get(Uuid::from_u128(0)).is_none());
        assert!(kept.get(Uuid::from_u128(1)).is_some());
    }
}
