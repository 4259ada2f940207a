//! Accepting connections, a bounded number of them, and letting go of them in the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::LAST;
use super::patient::Patient;

/// How many connections there may be at once.
const CONNECTIONS: usize = 512;
/// How long a connection waits for a place, while idle ones are asked to go.
const PLACE: Duration = Duration::from_secs(3);
/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(75);
/// How long a client may leave an answer unread.
const UNREAD: Duration = Duration::from_secs(60);
/// The largest head of a request, in bytes; also what is buffered of an answer.
const BUFFER: usize = 64 * 1024;
/// How long to wait before accepting again when the process is out of file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// The address at which a connection reached us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached(pub(super) SocketAddr);

/// When connections end.
#[derive(Clone, Default)]
pub(super) struct Ends {
    /// No more are accepted, and those there are end with their answer.
    pub(super) stop: CancellationToken,
    /// No call is under way any more: answers have been given, and are being sent.
    pub(super) answered: CancellationToken,
    /// Streams that carry no answer never end by themselves, and are cut.
    pub(super) cut: CancellationToken,
}

/// Serves `router` until it is to stop, and returns when no connection is left.
pub(super) async fn serve(listener: TcpListener, router: Router, ends: Ends) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let room = watch::Sender::new(());
    let mut tasks = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = ends.stop.cancelled() => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(EXHAUSTED).await;
                    continue;
                }
            },
        };
        // Progress and short answers go out at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("no TCP_NODELAY: {error}");
        }
        let place = match places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                room.send_replace(());
                let waited = tokio::time::timeout(PLACE, places.clone().acquire_owned());
                let place = tokio::select! {
                    () = ends.stop.cancelled() => break,
                    place = waited => place,
                };
                let Ok(Ok(place)) = place else {
                    refuse(stream).await;
                    continue;
                };
                place
            }
        };
        let connection = Connection {
            stream,
            _place: place,
            ends: ends.clone(),
            room: room.subscribe(),
        };
        tasks.spawn(connection.serve(router.clone()));
    }
    drop(listener);
    ends.answered.cancelled().await;
    for _ in 0..2 {
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, all).await.is_ok() {
            return;
        }
        ends.cut.cancel();
    }
    tasks.shutdown().await;
}

/// Says that there are too many connections, to a client that may not even read it.
async fn refuse(mut stream: TcpStream) {
    let text = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let _ = tokio::time::timeout(EXHAUSTED, stream.write_all(text.as_bytes())).await;
}

struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    ends: Ends,
    room: watch::Receiver<()>,
}

impl Connection {
    async fn serve(mut self, router: Router) {
        let Ok(reached) = self.stream.local_addr() else {
            return;
        };
        let service = router.layer(axum::middleware::from_fn(
            move |mut request: Request, next: axum::middleware::Next| {
                request.extensions_mut().insert(Reached(reached));
                next.run(request)
            },
        ));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(BUFFER)
            .serve_connection(
                TokioIo::new(Patient::new(self.stream, UNREAD)),
                TowerToHyperService::new(service),
            );
        let mut serving = std::pin::pin!(serving);
        let mut leaving = false;
        loop {
            tokio::select! {
                served = serving.as_mut() => {
                    if let Err(error) = served {
                        tracing::debug!("a connection ended: {error}");
                    }
                    return;
                }
                // Ends the connection after the answer that is under way, or at once.
                () = self.ends.stop.cancelled(), if !leaving => {
                    leaving = true;
                    serving.as_mut().graceful_shutdown();
                }
                Ok(()) = self.room.changed(), if !leaving => {
                    leaving = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = self.ends.cut.cancelled() => break,
            }
        }
        // Streams have been ended; their last bytes may still be on the way.
        let _ = tokio::time::timeout(LAST, serving).await;
    }
}
