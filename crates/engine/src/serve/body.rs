//! Bodies that a thread writes: in chunks, at the pace of the client, and over when the client is gone.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How much goes out at once.
const CHUNK: usize = 128 * 1024;
/// How many chunks wait for the client.
const AHEAD: usize = 4;
/// A client that takes nothing for so long is given up.
const STALL: Duration = Duration::from_secs(600);

/// The most that waits for one client at any time, besides what is being read: a figure for tests of memory.
#[cfg(test)]
pub(crate) const HELD: usize = CHUNK * (AHEAD + 2);

/// `None` ends the body. If it never comes then the writer failed, and the body must not look whole.
type Piece = Option<Bytes>;

/// A body that `work` writes, on a thread for blocking work, compressed if so wished. An error of `work` breaks the connection off, since a
/// status is no longer possible; so nobody takes half a body for the whole.
pub(crate) fn body(
    gzip: bool,
    work: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Body {
    let (sender, receiver) = channel(AHEAD);
    let mut pipe = Pipe {
        chunk: Vec::with_capacity(CHUNK),
        sender,
        handle: Handle::current(),
    };
    tokio::task::spawn_blocking(move || {
        let done = if gzip {
            compressed(&mut pipe, work)
        } else {
            work(&mut pipe)
        };
        match done.and_then(|()| pipe.end()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => tracing::warn!("an answer was broken off: {error}"),
        }
    });
    Body::from_stream(stream::unfold(Some(receiver), pieces))
}

fn compressed(
    pipe: &mut Pipe,
    work: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut encoder = GzEncoder::new(pipe, Compression::fast());
    work(&mut encoder)?;
    encoder.finish().map(|_| ())
}

async fn pieces(
    receiver: Option<Receiver<Piece>>,
) -> Option<(io::Result<Bytes>, Option<Receiver<Piece>>)> {
    let mut receiver = receiver?;
    match receiver.recv().await {
        Some(Some(chunk)) => Some((Ok(chunk), Some(receiver))),
        Some(None) => None,
        None => Some((Err(io::ErrorKind::UnexpectedEof.into()), None)),
    }
}

/// Collects what is written into chunks and sends them.
struct Pipe {
    chunk: Vec<u8>,
    sender: Sender<Piece>,
    handle: Handle,
}

impl Pipe {
    fn send(&self, piece: Piece) -> io::Result<()> {
        let sent = async { tokio::time::timeout(STALL, self.sender.send(piece)).await };
        match self.handle.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client took nothing for too long",
            )),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        self.send(None)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
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
    async fn a_failure_breaks_the_body_off() {
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
    async fn a_client_sets_the_pace_and_its_leaving_ends_the_work() {
        let written = Arc::new(AtomicUsize::new(0));
        let (done, over) = tokio::sync::oneshot::channel();
        let count = Arc::clone(&written);
        let body = body(false, move |out| {
            let result = loop {
                if let Err(error) = out.write_all(&[7; 4096]) {
                    break error;
                }
                count.fetch_add(4096, Ordering::SeqCst);
            };
            let _ = done.send(result.kind());
            Err(result)
        });
        let mut stream = body.into_data_stream();
        let first = stream.next().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(written.load(Ordering::SeqCst) <= HELD + first.len());
        drop(stream);
        assert_eq!(over.await.unwrap(), io::ErrorKind::BrokenPipe);
    }
}
