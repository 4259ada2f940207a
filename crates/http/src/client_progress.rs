//! Measures the time that a server waits for each client, so that stalled clients lose their
//! connections.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The number of body bytes that counts as progress. A client that sends single bytes makes no
/// progress.
const PROGRESS_BYTES: usize = 16 * 1024;

/// The error of a request whose body does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client sent less than {PROGRESS_BYTES} bytes of the request's body in {} seconds; send the request again",
    .0.as_secs()
)]
pub struct BodyStalled(Duration);

/// Measures the time that a server has waited for one client.
pub(crate) struct ClientClock(Mutex<WaitStarts>);

/// The starts of the current waits. `None`: the server does not wait for that.
#[derive(Clone, Copy, Default)]
struct WaitStarts {
    /// The head of the next request.
    head: Option<Instant>,
    /// More of a request's body.
    body: Option<Instant>,
    /// Room for more of a response.
    write: Option<Instant>,
}

impl ClientClock {
    /// The clock of a new connection, whose first request is awaited.
    pub(crate) fn start() -> Arc<Self> {
        let clock = Self(Mutex::default());
        clock.waits().head = Some(Instant::now());
        Arc::new(clock)
    }

    /// The time that the server has waited for the client. `None` if the client waits for the
    /// server.
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        let WaitStarts { head, body, write } = *self.waits();
        let since = [head, body, write].into_iter().flatten().min()?;
        Some(since.elapsed())
    }

    /// Notes that a request has arrived.
    pub(crate) fn begin_request(&self) {
        self.waits().head = None;
    }

    fn waits(&self) -> MutexGuard<'_, WaitStarts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that reports writes that wait for the client.
pub(crate) struct WatchedStream<S> {
    pub(crate) stream: S,
    pub(crate) clock: Arc<ClientClock>,
}

impl<S> WatchedStream<S> {
    fn record(&self, written: &Poll<io::Result<usize>>) {
        let mut waits = self.clock.waits();
        if written.is_pending() {
            waits.write.get_or_insert_with(Instant::now);
        } else {
            waits.write = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.record(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.record(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The body of a request. It fails if the client sends it too slowly.
pub(crate) struct RequestBody {
    body: Incoming,
    clock: Arc<ClientClock>,
    timeout: Option<Duration>,
    /// The start of the current wait.
    waiting_since: Option<Instant>,
    /// Earlier waits since the last progress. The server's own work between them does not count.
    waited: Duration,
    /// Bytes since the last progress.
    received: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    has_failed: bool,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, clock: Arc<ClientClock>, timeout: Option<Duration>) -> Self {
        Self {
            body,
            clock,
            timeout,
            waiting_since: None,
            waited: Duration::ZERO,
            received: 0,
            deadline: None,
            has_failed: false,
        }
    }

    fn end_wait(&mut self, bytes: usize) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
            self.clock.waits().body = None;
        }
        self.received += bytes;
        if self.received >= PROGRESS_BYTES {
            (self.received, self.waited) = (0, Duration::ZERO);
        }
    }

    /// Returns the time-out once the client has kept the server waiting for that long.
    fn wait(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        let waited = self.waited;
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        self.clock.waits().body = Some(since.checked_sub(waited).unwrap_or(since));
        let timeout = self.timeout?;
        let end = since + timeout.saturating_sub(waited);
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if deadline.deadline() != end {
            deadline.as_mut().reset(end);
        }
        deadline.as_mut().poll(cx).is_ready().then_some(timeout)
    }
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.has_failed {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                let data = frame
                    .as_ref()
                    .and_then(|frame| frame.as_ref().ok()?.data_ref());
                let bytes = data.map_or(0, Bytes::len);
                self.end_wait(bytes);
                Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)))
            }
            Poll::Pending => match self.wait(cx) {
                None => Poll::Pending,
                Some(timeout) => {
                    self.has_failed = true;
                    Poll::Ready(Some(Err(axum::Error::new(BodyStalled(timeout)))))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.clock.waits().body = None;
    }
}

/// The body of a response. At its end, the connection waits for the next request.
pub(crate) struct ResponseBody {
    pub(crate) body: Body,
    pub(crate) clock: Arc<ClientClock>,
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.clock.waits().head = Some(Instant::now());
    }
}
