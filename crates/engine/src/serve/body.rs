//! Answer bodies that a thread writes in chunks. It waits for a slow client, and stops when the
//! client goes away.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The bytes of a chunk.
const CHUNK_BYTES: usize = 128 * 1024;
/// The most chunks that wait for the client.
const MAX_QUEUED_CHUNKS: usize = 4;
/// How long the thread waits for the client to take a chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(600);

/// The most bytes that one answer holds at any time. Tests of memory use it.
#[cfg(test)]
pub(crate) const MAX_HELD_BYTES: usize = CHUNK_BYTES * (MAX_QUEUED_CHUNKS + 2);

/// A message to the body: a chunk, or `None` at the end. A body without the end message breaks off.
type BodyMessage = Option<Bytes>;

/// A body that `write` produces on a thread that may block. With `gzip`, it is compressed.
///
/// The status is already sent when `write` fails, so an error breaks the connection off. A client
/// therefore notices an incomplete body.
pub(crate) fn body(
    gzip: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Body {
    let (sender, receiver) = channel(MAX_QUEUED_CHUNKS);
    let mut writer = ChunkWriter {
        chunk: Vec::with_capacity(CHUNK_BYTES),
        sender,
        handle: Handle::current(),
    };
    drop(contree_tasks::blocking(move || {
        let result = if gzip {
            write_compressed(&mut writer, write)
        } else {
            write(&mut writer)
        };
        match result.and_then(|()| writer.end()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => tracing::warn!(%error, "cannot finish an answer's body"),
        }
    }));
    Body::from_stream(stream::unfold(Some(receiver), next_chunk))
}

fn write_compressed(
    writer: &mut ChunkWriter,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut encoder = GzEncoder::new(writer, Compression::fast());
    write(&mut encoder)?;
    encoder.finish().map(|_| ())
}

/// Receives the next chunk. A writer that ended without the end message yields an error.
async fn next_chunk(
    receiver: Option<Receiver<BodyMessage>>,
) -> Option<(io::Result<Bytes>, Option<Receiver<BodyMessage>>)> {
    let mut receiver = receiver?;
    match receiver.recv().await {
        Some(Some(chunk)) => Some((Ok(chunk), Some(receiver))),
        Some(None) => None,
        None => Some((Err(io::ErrorKind::UnexpectedEof.into()), None)),
    }
}

/// A writer that collects bytes into chunks and sends them to the body.
struct ChunkWriter {
    chunk: Vec<u8>,
    sender: Sender<BodyMessage>,
    handle: Handle,
}

impl ChunkWriter {
    fn send(&self, message: BodyMessage) -> io::Result<()> {
        let sending =
            async { tokio::time::timeout(CHUNK_TIMEOUT, self.sender.send(message)).await };
        match self.handle.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client did not read the answer in time",
            )),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        self.send(None)
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..length]);
        if self.chunk.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.send(Some(full.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_error_of_the_writer_breaks_the_body_off() {
        let body = body(false, |out| {
            out.write_all(b"half")?;
            out.flush()?;
            Err(io::Error::other("no more"))
        });
        let pieces: Vec<_> = body.into_data_stream().collect().await;
        assert_eq!(pieces[0].as_ref().unwrap(), "half");
        assert!(pieces[1].is_err() && pieces.len() == 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_writer_waits_for_the_client_and_stops_when_it_goes_away() {
        let written = Arc::new(AtomicUsize::new(0));
        let (sender, error_kind) = tokio::sync::oneshot::channel();
        let count = Arc::clone(&written);
        let body = body(false, move |out| {
            let result = loop {
                if let Err(error) = out.write_all(&[7; 4096]) {
                    break error;
                }
                count.fetch_add(4096, Ordering::SeqCst);
            };
            let _ = sender.send(result.kind());
            Err(result)
        });
        let mut stream = body.into_data_stream();
        let first = stream.next().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(written.load(Ordering::SeqCst) <= MAX_HELD_BYTES + first.len());
        drop(stream);
        assert_eq!(error_kind.await.unwrap(), io::ErrorKind::BrokenPipe);
    }
}
