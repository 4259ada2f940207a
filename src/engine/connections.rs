//! Connections of an engine that others can reach: only so many at once, and none that says nothing for long, so that
//! nobody can use up the engine's descriptors or keep others out.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::access::Here;

/// Most connections at once; further clients wait until one ends.
const CONNECTIONS: usize = 1024;

/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(75);

/// How long connections may take to end when the server is stopped.
const CLOSE: Duration = Duration::from_millis(500);

/// Serves `router` until `closing`, and returns when no connection is left. `here` tells where a connection was made to.
pub(super) async fn serve<L: Listener>(
    mut listener: L,
    here: fn(&L::Io) -> Here,
    router: Router,
    closing: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            let (stream, _) = listener.accept().await;
            (stream, place.ok())
        };
        let (stream, place) = tokio::select! {
            () = closing.cancelled() => break,
            next = next => next,
        };
        let here = here(&stream);
        tasks.spawn(connection(
            stream,
            place,
            here,
            router.clone(),
            closing.clone(),
        ));
    }
    drop(listener);
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(CLOSE, all).await.is_err() {
        tasks.shutdown().await;
    }
}

async fn connection<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    _place: Option<OwnedSemaphorePermit>,
    here: Here,
    router: Router,
    closing: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(here));
        router.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = closing.cancelled() => {
            // Ends after the answer that is under way.
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
