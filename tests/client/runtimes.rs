//! A client in several runtimes, and outside of any.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use contree::{CancelOnDrop, Client, Error};
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::support::*;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a future on this thread without a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// A runtime on threads of its own, for a server.
fn server_runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

async fn list(client: &Client) {
    let listing = client.list_images().send();
    let answer = tokio::time::timeout(Duration::from_secs(30), listing).await;
    answer.expect("the request hangs").unwrap();
}

#[test]
fn a_runtime_that_stands_still_or_ended_does_not_stop_another_one() {
    let server = server_runtime();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let stubs = server.block_on(async {
        let unix = Stub::unix(&socket, |_, _| answer(200, json!({"images": []})));
        let tcp = Stub::tcp(|_, _| answer(200, json!({"images": []})));
        [unix.await, tcp.await]
    });
    for stub in stubs {
        let client = stub.client();
        let (first, second) = (runtime(), runtime());
        // The first runtime has an idle connection, and does not run any more.
        first.block_on(list(&client));
        second.block_on(list(&client));
        drop(first);
        second.block_on(list(&client));
        runtime().block_on(list(&client));
        second.block_on(list(&client));
    }
}

#[test]
fn streams_move_to_another_runtime_without_losing_or_repeating_anything() {
    let server = server_runtime();
    let stub = server.block_on(Stub::tcp(|number, seen| {
        if !seen.target.contains("/events") {
            return answer(200, json!({"uuid": OPERATION, "status": "EXECUTING"}));
        }
        let all = [stdout(1, "a"), stdout(2, "b"), completion(3)];
        if number == 0 {
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(all[0].clone())]);
            let body = first.chain(futures_util::stream::pending());
            return axum::response::Response::new(axum::body::Body::from_stream(body));
        }
        assert_eq!(seen.header("last-event-id"), Some("1"));
        sse(&[&all[1], &all[2]], false)
    }));
    let client = Client::connect(impatient(&stub.url)).unwrap();
    let (first, second) = (runtime(), runtime());
    let mut events = client.follow(OPERATION, None);
    let mut ids = vec![first.block_on(events.next()).unwrap().unwrap().id];
    let rest = second.block_on(events.map(|event| event.unwrap().id).collect::<Vec<_>>());
    ids.extend(rest);
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn calls_outside_of_a_runtime_are_errors() {
    let client = Client::connect(backend("http://127.0.0.1:1")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let new = file.path().with_extension("new");
    let mut events = client.follow(OPERATION, None);
    let image = contree::ImageRef::Uuid(IMAGE);
    let errors: Vec<Error> = vec![
        now(client.list_images().send()).err().unwrap().into(),
        now(client.start(spawn())).unwrap_err(),
        now(client.run(spawn())).unwrap_err(),
        now(client.outcome(OPERATION, |_| {})).unwrap_err(),
        now(client.wait(OPERATION, None)).unwrap_err(),
        now(client.wait(OPERATION, Some(Duration::ZERO))).unwrap_err(),
        now(client.cancel(OPERATION)).unwrap_err(),
        now(client.resolve(&image)).unwrap_err(),
        now(client.read(IMAGE, "/x")).unwrap_err(),
        now(client.download(IMAGE, "/x", &new, None)).unwrap_err(),
        now(client.upload_path(file.path())).unwrap_err(),
        now(client.upload_bytes("x".into())).unwrap_err(),
        now(client.find_file("ab")).unwrap_err(),
        now(events.next()).unwrap().unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::NoRuntime), "{error}");
        assert!(error.to_string().contains("Runtime::block_on"), "{error}");
    }
    assert!(!new.exists());
}

/// The result of a future that is ready at once.
fn now<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("the future waits")
}

#[test]
fn a_stream_that_leaves_its_runtime_is_an_error() {
    let server = server_runtime();
    let stub = server.block_on(Stub::tcp(|_, _| {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>("first")]);
        let body = first.chain(futures_util::stream::pending());
        axum::response::Response::new(axum::body::Body::from_stream(body))
    }));
    let client = stub.client();
    let (mut file, mut raw) = runtime().block_on(async {
        let mut file = client.read(IMAGE, "/x").await.unwrap();
        file.next().await.unwrap().unwrap();
        let raw = client.get_operation_events().operation_id(OPERATION).send();
        (file, raw.await.unwrap().into_inner())
    });
    let error = now(file.next()).unwrap().unwrap_err();
    assert!(matches!(error, Error::NoRuntime), "{error}");
    // The generated calls return the stream of the HTTP library. Its connection has ended.
    while let Some(Ok(_)) = block_on(raw.next()) {}
}

#[test]
fn starting_with_a_guard_needs_no_runtime() {
    let server = server_runtime();
    let stub = server.block_on(Stub::tcp(|_, request| {
        match request.method == axum::http::Method::DELETE {
            true => answer(202, json!({})),
            false => answer(201, json!({"uuid": OPERATION, "image": IMAGE})),
        }
    }));
    let (run, guard) = block_on(CancelOnDrop::start(&stub.client(), spawn())).unwrap();
    assert_eq!((run.operation, guard.operation()), (OPERATION, OPERATION));
    drop(guard);
    block_on(CancelOnDrop::all_sent());
    assert_eq!(stub.count(), 2);
}
