//! Reading what a client still sends when its answer is already known.
//!
//! A request that is refused before its body was read (401, 404) would otherwise have its connection closed while the client is writing,
//! and the client would see a broken pipe in place of the answer.

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

/// How much is read. A client that sends more than that for nothing sees its connection close.
const MOST: usize = 1024 * 1024;
/// For how long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers a request, and reads what nobody read of its body.
pub(crate) async fn drain(request: Request, next: Next) -> Response {
    // Whoever waits to be told to go on has not begun to send.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let mut rest = Shared(Arc::new(Mutex::new(body)));
    let body = Body::new(Shared(Arc::clone(&rest.0)));
    let answer = next.run(Request::from_parts(parts, body)).await;
    let reading = async {
        let mut read = 0;
        while read < MOST {
            match std::future::poll_fn(|cx| Pin::new(&mut rest).poll_frame(cx)).await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                _ => break,
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    answer
}

/// A body that is still there when its reader is gone.
struct Shared(Arc<Mutex<Body>>);

impl http_body::Body for Shared {
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
