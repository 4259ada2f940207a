//! Reads the rest of a request's body when its answer is already known.
//!
//! Some requests are refused before their body was read (401, 404). If the rest stayed unread, the
//! connection would close while the client is writing. The client would then see a broken pipe
//! instead of the answer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as _, Frame, SizeHint};

/// The most bytes to read. The connection closes if a client sends more.
const MAX_BYTES: usize = 1024 * 1024;
/// How long reading may take.
const MAX_TIME: Duration = Duration::from_secs(2);

/// Answers a request, and reads the rest of its body.
pub(crate) async fn drain(request: Request, next: Next) -> Response {
    // A client that sent `Expect: 100-continue` has not begun to send its body.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let mut rest = SharedBody(Arc::new(Mutex::new(body)));
    let body = Body::new(SharedBody(Arc::clone(&rest.0)));
    let answer = next.run(Request::from_parts(parts, body)).await;
    let reading = async {
        let mut read = 0;
        while read < MAX_BYTES {
            match std::future::poll_fn(|cx| Pin::new(&mut rest).poll_frame(cx)).await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                _ => break,
            }
        }
    };
    let _ = tokio::time::timeout(MAX_TIME, reading).await;
    answer
}

/// A body with two owners, so the rest can be read after the route has dropped it.
struct SharedBody(Arc<Mutex<Body>>);

impl http_body::Body for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .size_hint()
    }
}
