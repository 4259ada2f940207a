//! Receiving answers within limits of time and size.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::Frame;
use reqwest::{Body, Response, ResponseBuilderExt as _};
use tokio::time::{Instant, Sleep};
use url::Url;

use super::runtime;

/// Number of bytes of a stream that must arrive within the idle timeout.
pub(super) const MIN_PACE: u64 = 8 * 1024;

/// The reason why an answer cannot be used, although the HTTP library could read it.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("there was no complete answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    #[error("the backend sent nothing for {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("less than {} bytes of the answer arrived within {} s", MIN_PACE, .0.as_secs_f64())]
    TooSlow(Duration),
    #[error(
        "the answer is longer than {0} bytes: ask for less (`limit`, `truncate_output_at`), or allow more with `Backend::with_answer_limit`"
    )]
    TooLong(usize),
    #[error("{}", crate::Error::NoRuntime)]
    NoRuntime,
    /// The backend may have acted on the request.
    #[error("{0}")]
    Unconfirmed(#[source] reqwest::Error),
}

impl AnswerError {
    /// The error as one of the HTTP library, which is the only kind that a hook can return.
    pub(super) async fn into_http(self) -> reqwest::Error {
        let body = Body::wrap_stream(stream::iter([Err::<Bytes, _>(self)]));
        let answer = Response::from(http::Response::new(body));
        #[expect(clippy::expect_used, reason = "the only item of the body is an error")]
        answer.bytes().await.expect_err("the body has no bytes")
    }

    /// Finds the error in one that [`into_http`](Self::into_http) returned.
    pub(super) fn find(error: &reqwest::Error) -> Option<&Self> {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(found) = cause.downcast_ref() {
                return Some(found);
            }
            source = cause.source();
        }
        None
    }
}

/// How the body of a successful answer is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reception {
    /// As a whole, so that a body that breaks off can be requested again.
    Whole,
    /// As a stream that must not be too slow.
    Paced,
    /// As a stream that may be silent but for comments.
    Events,
}

impl Reception {
    /// The reception of an answer to the API operation.
    pub(super) fn of(operation_id: &str) -> Self {
        match operation_id {
            "get_operation_events" | "get_terminal_output" => Self::Events,
            "inspect_image_download" | "inspect_image_archive" => Self::Paced,
            _ => Self::Whole,
        }
    }

    /// Receives a successful answer of at most `limit` bytes, whose pace must respect the idle
    /// timeout. Streams have no limit of length.
    pub(super) async fn receive(
        self,
        answer: Response,
        limit: usize,
        idle: Duration,
    ) -> reqwest::Result<Response> {
        match self {
            Self::Whole => whole(answer, limit, idle).await,
            Self::Paced => Ok(with_body(answer, |body| {
                Body::wrap(PacedBody::new(body, MIN_PACE, idle))
            })),
            // A comment is progress.
            Self::Events => Ok(with_body(answer, |body| {
                Body::wrap(PacedBody::new(body, 1, idle))
            })),
        }
    }
}

/// Receives an answer of at most `limit` bytes.
async fn whole(mut answer: Response, limit: usize, idle: Duration) -> reqwest::Result<Response> {
    let announced = answer.content_length().unwrap_or_default();
    // A single buffer would take twice the memory while it grows.
    let mut chunks = Vec::new();
    let mut length = 0;
    let mut is_too_long = usize::try_from(announced).map_or(true, |length| length > limit);
    while !is_too_long && let Some(chunk) = within(Some(idle), answer.chunk()).await? {
        length += chunk.len();
        is_too_long = length > limit;
        chunks.push(chunk);
    }
    if is_too_long {
        drop(chunks);
        return Err(AnswerError::TooLong(limit).into_http().await);
    }
    let mut received = BytesMut::with_capacity(length);
    for chunk in chunks {
        received.extend_from_slice(&chunk);
    }
    Ok(with_body(answer, |_| received.freeze().into()))
}

/// Replaces the body of an answer.
fn with_body(answer: Response, replace: impl FnOnce(Body) -> Body) -> Response {
    let url = answer.url().clone();
    let (parts, body) = http::Response::<Body>::from(answer).into_parts();
    let mut replaced = http::Response::new(replace(body));
    *replaced.status_mut() = parts.status;
    *replaced.version_mut() = parts.version;
    *replaced.headers_mut() = parts.headers;
    if let Some(extensions) = url_extension(url) {
        *replaced.extensions_mut() = extensions;
    }
    replaced.into()
}

/// The extension from which the HTTP library takes the URL of an answer.
fn url_extension(url: Url) -> Option<http::Extensions> {
    let with_url = http::Response::builder().url(url).body(()).ok()?;
    Some(with_url.into_parts().0.extensions)
}

/// A body of which at least a number of bytes must arrive in each period of waiting.
///
/// Only the time counts in which the reader waits for bytes, so a slow reader causes no time-out.
struct PacedBody {
    body: Body,
    /// Number of bytes that must arrive in each period.
    pace: u64,
    period: Duration,
    /// The rest of the current period.
    left: Duration,
    /// Number of bytes that arrived in the current period.
    arrived: u64,
    /// The start of the current wait.
    waiting: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl PacedBody {
    fn new(body: Body, pace: u64, period: Duration) -> Self {
        Self {
            body,
            pace,
            period,
            left: period,
            arrived: 0,
            waiting: None,
            timer: None,
        }
    }

    fn count(&mut self, bytes: usize) {
        if let Some(since) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.arrived += bytes as u64;
        if self.arrived >= self.pace {
            self.arrived = 0;
            self.left = self.period;
        }
    }
}

impl http_body::Body for PacedBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            let data = frame
                .as_ref()
                .and_then(|frame| frame.as_ref().ok()?.data_ref());
            this.count(data.map_or(0, Bytes::len));
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if runtime::check().is_err() {
            return Poll::Ready(Some(Err(AnswerError::NoRuntime.into())));
        }
        let end = *this.waiting.get_or_insert_with(Instant::now) + this.left;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if timer.deadline() != end {
            timer.as_mut().reset(end);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(match this.pace {
            1 => AnswerError::Silent(this.period),
            _ => AnswerError::TooSlow(this.period),
        }
        .into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Runs `work` until `deadline`. Without one, it runs to its end.
pub(super) async fn until<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

/// Runs `work`, which must end within the idle timeout, if there is one.
pub(super) async fn within<T>(
    idle: Option<Duration>,
    work: impl Future<Output = reqwest::Result<T>>,
) -> reqwest::Result<T> {
    let Some(idle) = idle else {
        return work.await;
    };
    match tokio::time::timeout(idle, work).await {
        Ok(result) => result,
        Err(_) => Err(AnswerError::Silent(idle).into_http().await),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    const IDLE: Duration = Duration::from_secs(90);

    fn answer(chunks: impl stream::Stream<Item = &'static [u8]> + Send + 'static) -> Response {
        let body = Body::wrap_stream(chunks.map(Ok::<_, std::io::Error>));
        http::Response::new(body).into()
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_is_refused() {
        let endless = answer(stream::repeat(&[b' '; 1000][..]));
        let error = whole(endless, 10_000, IDLE).await.unwrap_err();
        assert!(matches!(
            AnswerError::find(&error),
            Some(AnswerError::TooLong(10_000))
        ));
        let short = answer(stream::iter([&b"a"[..], b"b"]));
        let read = whole(short, 2, IDLE).await.unwrap();
        assert_eq!(read.bytes().await.unwrap(), "ab");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_stream_is_an_error_and_a_slow_reader_is_none() {
        let period = Duration::from_secs(90);
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Some((&b"x"[..], ()))
        });
        let begun = Instant::now();
        let slow = Reception::Paced.receive(answer(drops), 0, period).await;
        let error = slow.unwrap().bytes().await.unwrap_err();
        assert!(matches!(
            AnswerError::find(&error),
            Some(AnswerError::TooSlow(_))
        ));
        assert_eq!(begun.elapsed().as_secs(), 90);

        let ready = answer(stream::iter([&b"a"[..], b"b", b"c"]));
        let mut read = Reception::Paced.receive(ready, 0, period).await.unwrap();
        for expected in ["a", "b", "c"] {
            tokio::time::sleep(period * 2).await;
            assert_eq!(read.chunk().await.unwrap().unwrap(), expected);
        }
    }
}
