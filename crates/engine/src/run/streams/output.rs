//! Recording the output of a process, and keeping its newest bytes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::append_truncated;
use crate::api::types::{EventDataTruncatedStream, OperationEventType};
use crate::operation::events::{EventLog, stream};
use crate::run::live_output::LiveOutput;
use crate::run::terminal::{ProcessTerminal, TerminalReader};

/// How long small writes are collected into one event.
const COLLECT_TIME: Duration = Duration::from_millis(5);

/// The number of small writes in quick succession that become an event each. Further ones are
/// collected.
const BURST: u32 = 64;

/// The most bytes of a stream that are read at once.
const CHUNK: usize = 64 * 1024;

/// Records an output stream up to `max_recorded` bytes. It reads on after that, so that the command
/// never blocks. The newest bytes are also kept in `live`.
pub(crate) fn record_output(
    log: Arc<EventLog>,
    live: Arc<LiveOutput>,
    spid: u64,
    fd: OwnedFd,
    which: EventDataTruncatedStream,
    max_recorded: u64,
) -> JoinHandle<()> {
    contree_tasks::spawn(async move {
        if let Ok(receiver) = pipe::Receiver::from_owned_fd(fd) {
            let output = Output {
                log: &log,
                live: &live,
                spid,
                which,
                max_recorded,
            };
            output.record(receiver, None).await;
        }
    })
}

/// Records the output of a terminal as standard output, and passes all of it on to the client that
/// shows the terminal.
pub(crate) fn record_terminal(
    log: Arc<EventLog>,
    live: Arc<LiveOutput>,
    spid: u64,
    terminal: Arc<ProcessTerminal>,
    max_recorded: u64,
) -> JoinHandle<()> {
    contree_tasks::spawn(async move {
        let reader = TerminalReader(Arc::clone(&terminal));
        let output = Output {
            log: &log,
            live: &live,
            spid,
            which: EventDataTruncatedStream::Stdout,
            max_recorded,
        };
        let _end = EndOfTerminal(Arc::clone(&terminal));
        output.record(reader, Some(&terminal)).await;
    })
}

/// Marks the end of a terminal's output when it is dropped, even if its reader is aborted. Without
/// that, the client that shows the terminal would never end.
struct EndOfTerminal(Arc<ProcessTerminal>);

impl Drop for EndOfTerminal {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The destination of a stream's output.
struct Output<'a> {
    log: &'a EventLog,
    live: &'a LiveOutput,
    spid: u64,
    which: EventDataTruncatedStream,
    max_recorded: u64,
}

impl Output<'_> {
    /// Records the output from `receiver`, and shows it on a terminal if there is one.
    async fn record(
        &self,
        mut receiver: impl AsyncRead + Unpin,
        shown_on: Option<&ProcessTerminal>,
    ) {
        let mut buffer = vec![0; CHUNK];
        let mut emitted: u64 = 0;
        let mut dropped: u64 = 0;
        let mut collector = WriteCollector::default();
        while let Ok(read @ 1..) = receiver.read(&mut buffer).await {
            let is_recorded = emitted < self.max_recorded;
            // Output that is not recorded need not be collected.
            let read = match is_recorded {
                true => collector.collect(&mut receiver, &mut buffer, read).await,
                false => read,
            };
            self.live.push(self.which, &buffer[..read]);
            let recordable = usize::try_from(self.max_recorded - emitted)
                .unwrap_or(usize::MAX)
                .min(read);
            if recordable > 0 {
                let mut data = stream(&buffer[..recordable]);
                if recordable < read {
                    data.truncated = Some(true);
                }
                // An event that a full disk refuses counts as truncated output.
                if self.log.append(self.spid, event_type(self.which), data) {
                    emitted += recordable as u64;
                } else {
                    dropped += recordable as u64;
                }
            }
            dropped += (read - recordable) as u64;
            if let Some(terminal) = shown_on {
                terminal.show(&buffer[..read]).await;
            }
        }
        append_truncated(self.log, self.spid, self.which, emitted, dropped);
    }
}

/// The event type of a stream.
fn event_type(stream: EventDataTruncatedStream) -> OperationEventType {
    match stream {
        EventDataTruncatedStream::Stdin => OperationEventType::Stdin,
        EventDataTruncatedStream::Stdout => OperationEventType::Stdout,
        EventDataTruncatedStream::Stderr => OperationEventType::Stderr,
    }
}

/// Collects small writes into one event. After a burst of [`BURST`] small writes, all output within
/// [`COLLECT_TIME`] becomes one event. The output is read as it arrives, so that a full pipe does
/// not hold the command up.
struct WriteCollector {
    last: Instant,
    quick: u32,
}

impl Default for WriteCollector {
    fn default() -> Self {
        Self {
            last: Instant::now(),
            quick: 0,
        }
    }
}

impl WriteCollector {
    /// Appends output that arrives soon to the `read` bytes in the buffer. Returns the new length.
    async fn collect(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        buffer: &mut [u8],
        read: usize,
    ) -> usize {
        let is_quick = self.last.elapsed() < COLLECT_TIME && read < CHUNK / 2;
        self.quick = if is_quick { self.quick + 1 } else { 0 };
        let mut filled = read;
        if self.quick > BURST {
            let deadline = tokio::time::Instant::now() + COLLECT_TIME;
            while filled < buffer.len() {
                let more = from.read(&mut buffer[filled..]);
                match tokio::time::timeout_at(deadline, more).await {
                    Ok(Ok(more @ 1..)) => filled += more,
                    // The end of the stream, which the next read sees too, or the end of the time.
                    Ok(Ok(0) | Err(_)) | Err(_) => break,
                }
            }
            self.quick = BURST;
        }
        self.last = Instant::now();
        filled
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::operation::events::read_process;
    use crate::run::live_output::OutputRange;

    fn log(folder: &tempfile::TempDir) -> Arc<EventLog> {
        Arc::new(EventLog::create(&folder.path().join("log")).expect("create"))
    }

    /// Time stands still unless all tasks wait for it, so the elapsed time is that of the pauses.
    #[tokio::test(start_paused = true)]
    async fn output_beyond_the_limit_is_read_without_pauses() {
        const PIECES: usize = 20_000;
        const PIECE: usize = 4096;
        const RECORDED: usize = 100_000;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = log(&folder);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let writing = std::thread::spawn(move || {
            let mut writer = writer;
            for _ in 0..PIECES {
                writer.write_all(&[b'x'; PIECE]).expect("write");
            }
        });
        let begun = tokio::time::Instant::now();
        let stdout = EventDataTruncatedStream::Stdout;
        let live = LiveOutput::new();
        let recorded = RECORDED as u64;
        record_output(
            log.clone(),
            live.clone(),
            1,
            reader.into(),
            stdout,
            recorded,
        )
        .await
        .expect("read");
        writing.join().expect("the writer");
        // At most one pause for each piece within the limit.
        let pauses = u32::try_from(RECORDED / PIECE + 1).expect("few");
        let elapsed = begun.elapsed();
        assert!(elapsed <= COLLECT_TIME * pauses, "{elapsed:?}");
        let process = read_process(&folder.path().join("log"), 1).expect("read");
        assert_eq!(process.stdout.len(), RECORDED);
        assert!(process.stdout_truncated);
        assert_eq!(process.stdout_dropped, (PIECES * PIECE - RECORDED) as u64);
        let from = OutputRange::From(0);
        let stdout = live.read(from, from, usize::MAX).stdout;
        assert_eq!(stdout.total, (PIECES * PIECE) as u64);
    }

    /// A stream that always has 4 KiB ready.
    struct ReadyReader {
        left: usize,
    }

    impl AsyncRead for ReadyReader {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            let ready = self.left.min(4096).min(buffer.remaining());
            buffer.put_slice(&[b'x'; 4096][..ready]);
            self.left -= ready;
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn output_that_is_ready_is_recorded_without_pauses() {
        const BYTES: usize = 10 << 20;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = log(&folder);
        let live = LiveOutput::new();
        let output = Output {
            log: &log,
            live: &live,
            spid: 1,
            which: EventDataTruncatedStream::Stdout,
            max_recorded: BYTES as u64,
        };
        let begun = tokio::time::Instant::now();
        output.record(ReadyReader { left: BYTES }, None).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let process = read_process(&folder.path().join("log"), 1).expect("read");
        assert_eq!(process.stdout.len(), BYTES);
        assert!(!process.stdout_truncated);
    }
}
