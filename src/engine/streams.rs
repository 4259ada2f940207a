//! A command's standard streams: input sent whole, output recorded up to its cap.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::events::stream;
use super::runner::{Job, MAIN};

/// How long the output of a command that writes in tiny pieces is gathered for one event.
const GATHER: Duration = Duration::from_millis(5);

/// How many quick pieces are an event each, before they are gathered.
const BURST: u32 = 64;

/// How much of a stream is read at once.
const CHUNK: usize = 64 * 1024;

/// Sends standard input whole, then closes it unless it is to stay open.
pub(super) fn feed(job: &Job, fd: OwnedFd) -> JoinHandle<()> {
    let bytes = job.request.stdin_bytes().unwrap_or_default();
    let stay = job.request.keeps_stdin();
    if !bytes.is_empty() {
        let shown = bytes
            .len()
            .min(usize::try_from(job.request.truncate_output_at).unwrap_or(usize::MAX));
        let mut data = stream(&bytes[..shown]);
        if shown < bytes.len() {
            data["truncated"] = json!(true);
        }
        job.running.log.append(MAIN, "stdin", data);
    }
    tokio::spawn(async move {
        let Ok(mut sender) = pipe::Sender::from_owned_fd(fd) else {
            return;
        };
        // A command may end without reading all of it.
        let _ = sender.write_all(&bytes).await;
        if stay {
            std::future::pending::<()>().await;
        }
    })
}

/// Records one output stream up to `cap` bytes, and reads on past it so that the command never blocks.
pub(super) fn record(job: &Job, fd: OwnedFd, name: &'static str, cap: u64) -> JoinHandle<()> {
    let running = Arc::clone(&job.running);
    tokio::spawn(async move {
        let Ok(mut receiver) = pipe::Receiver::from_owned_fd(fd) else {
            return;
        };
        let mut buffer = vec![0; CHUNK];
        let mut emitted: u64 = 0;
        let mut dropped: u64 = 0;
        let mut pace = Pace::default();
        while let Ok(read @ 1..) = receiver.read(&mut buffer).await {
            let read = pace.gather(&mut receiver, &mut buffer, read).await;
            let room = usize::try_from(cap - emitted)
                .unwrap_or(usize::MAX)
                .min(read);
            if room > 0 {
                let mut data = stream(&buffer[..room]);
                if room < read {
                    data["truncated"] = json!(true);
                }
                // What could not be written, for want of disk, is missing like what was cut.
                if running.log.append(MAIN, name, data) {
                    emitted += room as u64;
                } else {
                    dropped += room as u64;
                }
            }
            dropped += (read - room) as u64;
        }
        if dropped > 0 {
            let data = json!({"stream": name, "bytes_emitted": emitted, "bytes_dropped": dropped});
            running.log.append(MAIN, "truncated", data);
        }
    })
}

/// Keeps a stream of tiny writes from becoming an event each: after a burst, what comes within [`GATHER`] is one.
struct Pace {
    last: Instant,
    quick: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            last: Instant::now(),
            quick: 0,
        }
    }
}

impl Pace {
    /// Fills the buffer behind the `read` bytes with what is there, or soon will be. Answers how much is in it.
    async fn gather(&mut self, from: &mut pipe::Receiver, buffer: &mut [u8], read: usize) -> usize {
        let quick = self.last.elapsed() < GATHER && read < CHUNK / 2;
        self.quick = if quick { self.quick + 1 } else { 0 };
        let mut filled = read;
        if self.quick > BURST {
            tokio::time::sleep(GATHER).await;
            while filled < buffer.len() {
                match from.try_read(&mut buffer[filled..]) {
                    Ok(more @ 1..) => filled += more,
                    // Nothing now, or the end, which the next read sees again.
                    Ok(0) | Err(_) => break,
                }
            }
            self.quick = BURST;
        }
        self.last = Instant::now();
        filled
    }
}
