//! Retries: which requests are repeated, and after which delays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use contree::{Client, Error, RetryPolicy, types};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::support::*;

#[tokio::test]
async fn retry_after_of_a_busy_server_is_respected() {
    let stub = Stub::tcp(|number, _| match number {
        0 => with_retry_after(refusal(429, "slow down"), "1"),
        1 => with_retry_after(refusal(503, "restarting"), "0"),
        _ => answer(200, json!({"images": []})),
    })
    .await;
    let begun = Instant::now();
    let images = stub
        .client()
        .list_images()
        .send()
        .await
        .unwrap()
        .into_inner();
    assert!(images.images.is_empty());
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(stub.count(), 3);
}

#[tokio::test]
async fn a_retry_after_that_is_too_long_is_an_error() {
    let stub = Stub::tcp(|_, _| with_retry_after(refusal(429, "tomorrow"), "86400")).await;
    let error: Error = stub.client().list_images().send().await.unwrap_err().into();
    let Error::Api {
        status,
        retry_after,
        message,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((status.as_u16(), message.as_str()), (429, "tomorrow"));
    assert_eq!(retry_after, Some(Duration::from_secs(86400)));
    assert_eq!(stub.count(), 1);
}

#[tokio::test]
async fn html_from_a_proxy_keeps_its_status_and_its_text() {
    let stub = Stub::tcp(|_, _| {
        let mut response = pieces(
            "text/html",
            &["<html><h1>Bad", " gateway</h1></html>"],
            false,
        );
        *response.status_mut() = axum::http::StatusCode::BAD_GATEWAY;
        response
    })
    .await;
    let error: Error = stub.client().list_images().send().await.unwrap_err().into();
    assert_eq!(error.status().unwrap().as_u16(), 502);
    assert!(error.to_string().contains("Bad gateway"), "{error}");
    assert_eq!(stub.count(), 4, "a GET is repeated up to the limit");
}

#[tokio::test]
async fn an_empty_404_is_not_found() {
    let stub = Stub::tcp(|_, _| {
        let mut response = pieces("text/plain", &[], false);
        *response.status_mut() = axum::http::StatusCode::NOT_FOUND;
        response
    })
    .await;
    let client = stub.client();
    let error: Error = client
        .inspect_image()
        .image_uuid(IMAGE)
        .send()
        .await
        .unwrap_err()
        .into();
    assert!(error.is_not_found(), "{error}");
    let error = client
        .check_file_exists()
        .sha256("ab")
        .send()
        .await
        .unwrap_err();
    assert!(Error::from(error).is_not_found());
    assert_eq!(stub.count(), 2);
}

#[tokio::test]
async fn dropped_connections_are_made_again_for_reads() {
    let server = RawServer::new(|number, _| match number {
        0 | 1 => None,
        _ => raw("200 OK", &json!({"images": []})),
    })
    .await;
    server.client().list_images().send().await.unwrap();
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_requested_again() {
    let stub = Stub::tcp(|number, _| match number {
        0 => pieces("application/json", &["{\"images\""], true),
        1 => pieces("application/json", &[], true),
        _ => pieces("application/json", &["{\"images\"", ": []}"], false),
    })
    .await;
    let images = stub.client().list_images().send().await.unwrap();
    assert!(images.images.is_empty());
    assert_eq!(stub.count(), 3);
}

/// Accepts connections and never answers. Returns its URL and the number of connections.
async fn silent_server() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    (url, accepted)
}

#[tokio::test]
async fn all_attempts_together_have_a_time_limit() {
    let (url, accepted) = silent_server().await;
    let mut retry = RetryPolicy::default();
    retry.max_retries = 1000;
    retry.base_delay = Duration::from_millis(1);
    retry.max_delay = Duration::from_millis(1);
    let client = Client::connect(impatient(&url).with_retry(retry)).unwrap();
    let error: Error = client.list_images().send().await.unwrap_err().into();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    let attempts = accepted.load(Ordering::Relaxed);
    assert!(attempts <= 5, "{attempts} attempts of 0.1 s within 0.4 s");

    // The same for the start of a stream.
    let error = client.read(IMAGE, "/x").await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    let events: Vec<_> = client.follow(OPERATION, None).collect().await;
    assert!(matches!(events.as_slice(), [Err(Error::Timeout(_))]));
}

#[tokio::test]
async fn an_answer_that_trickles_has_a_time_limit() {
    let stub = Stub::tcp(|_, _| trickle("application/json", " ")).await;
    let client = Client::connect(impatient(&stub.url)).unwrap();
    let error: Error = client.list_images().send().await.unwrap_err().into();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    // The same for the body of an error.
    let stub = Stub::tcp(|_, _| {
        let mut answer = trickle("text/plain", "no ");
        *answer.status_mut() = axum::http::StatusCode::FORBIDDEN;
        answer
    })
    .await;
    let client = Client::connect(impatient(&stub.url)).unwrap();
    let error: Error = client.list_images().send().await.unwrap_err().into();
    assert_eq!(error.status().unwrap().as_u16(), 403);
    assert!(error.to_string().contains("no no"), "{error}");
}

#[tokio::test]
async fn delays_that_the_backend_asks_for_do_not_count() {
    let stub = Stub::tcp(|number, _| match number {
        0 => with_retry_after(refusal(429, "slow down"), "1"),
        _ => answer(200, json!({"images": []})),
    })
    .await;
    // The limit of a call is shorter than the delay, and long for an answer on a busy machine.
    let backend = impatient(&stub.url)
        .with_idle_timeout(Duration::from_millis(900))
        .with_call_timeout(Duration::from_millis(900));
    let client = Client::connect(backend).unwrap();
    client.list_images().send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_retried_for_every_request() {
    // The port is bound, so that no other process gets it, but nothing listens on it yet.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let mut retry = RetryPolicy::default();
    retry.base_delay = Duration::from_millis(200);
    let client = Client::connect(backend(&url).with_retry(retry)).unwrap();
    let start = tokio::spawn(async move { client.start(spawn()).await });
    // The clock moves on once the first attempt has failed.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!start.is_finished(), "a start was not retried");
    tokio::time::resume();
    let listener = socket.listen(8).unwrap();
    let answers = axum::Router::new()
        .fallback(|| async { answer(201, json!({"uuid": OPERATION, "image": IMAGE})) });
    tokio::spawn(async move { axum::serve(listener, answers).await });
    assert_eq!(start.await.unwrap().unwrap().operation, OPERATION);
}

#[tokio::test]
async fn web_pages_are_no_answers() {
    let page = "<!DOCTYPE html><title>Welcome</title>";
    let stub = Stub::tcp(move |_, _| pieces("text/html", &[page], false)).await;
    let client = stub.client();
    let tag = types::ImageTagRequest::builder().tag("a");
    let errors: Vec<Error> = vec![
        client.list_images().send().await.unwrap_err().into(),
        client.start(spawn()).await.unwrap_err(),
        client.cancel(OPERATION).await.unwrap_err(),
        client
            .update_image_tag()
            .image_uuid(IMAGE)
            .body(tag)
            .send()
            .await
            .unwrap_err()
            .into(),
        client.upload_bytes("x".into()).await.unwrap_err(),
        client.read(IMAGE, "/index.html").await.unwrap_err(),
        client
            .follow(OPERATION, None)
            .next()
            .await
            .unwrap()
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::NotContree(_)), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_connection_error() {
    // The port is bound, so that no other process gets it, but nothing listens on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let client = Client::connect(backend(&url)).unwrap();
    let error: Error = client.list_images().send().await.unwrap_err().into();
    assert!(matches!(error, Error::Connection(_)), "{error}");
    let error = client.start(spawn()).await.unwrap_err();
    assert!(matches!(error, Error::Connection(_)), "{error}");
}

#[tokio::test]
async fn requests_that_may_have_taken_effect_are_not_repeated() {
    let stub = Stub::tcp(|_, _| with_retry_after(refusal(503, "unavailable"), "0")).await;
    let client = stub.client();
    let error = client.start(spawn()).await.unwrap_err();
    assert_eq!(error.status().unwrap().as_u16(), 503);
    assert!(error.is_unconfirmed(), "{error}");
    assert_eq!(stub.count(), 1, "a spawn");

    let registry = types::Registry::builder().url("docker://busybox");
    let import = types::ImageImportRequest::builder().registry(registry);
    let error = client.import_image().body(import).send().await;
    assert!(Error::from(error.unwrap_err()).is_unconfirmed());
    assert_eq!(stub.count(), 2, "an import");

    let input = types::ClosableStreamRepr::builder().value("y\n");
    let stdin = client
        .operation_subprocess_stdin()
        .operation_id(OPERATION)
        .spid(1u64);
    let error = stdin.body(input).send().await.unwrap_err();
    assert!(Error::from(error).is_unconfirmed());
    assert_eq!(stub.count(), 3, "input");

    let process = types::ExecSpec::builder().command("true");
    let create = client.operation_subprocess_create().operation_id(OPERATION);
    let error = create.body(process).send().await.unwrap_err();
    assert!(Error::from(error).is_unconfirmed());
    assert_eq!(stub.count(), 4, "a process");

    let kill = client
        .operation_subprocess_kill()
        .operation_id(OPERATION)
        .spid(1u64);
    let error = kill.send().await.unwrap_err();
    assert!(Error::from(error).is_unconfirmed());
    assert_eq!(stub.count(), 5, "a signal");

    // A read is safe to repeat.
    let error: Error = client.list_images().send().await.unwrap_err().into();
    assert!(!error.is_unconfirmed(), "{error}");
}

#[tokio::test]
async fn a_spawn_without_an_answer_is_not_repeated() {
    let server = RawServer::new(|_, _| None).await;
    let error = server.client().start(spawn()).await.unwrap_err();
    assert!(matches!(error, Error::Unconfirmed(_)), "{error}");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_spawn_with_an_unusable_answer_is_unconfirmed() {
    let begun = format!("{{\"uuid\": \"{OPERATION}\"");
    let stub = Stub::tcp(move |number, _| {
        let mut answer = match number {
            0 => pieces("application/json", &[begun.as_str()], true),
            1 => pieces("application/json", &[begun.as_str()], false),
            _ => answer(200, json!({})),
        };
        if number != 3 {
            *answer.status_mut() = axum::http::StatusCode::CREATED;
        }
        answer
    })
    .await;
    for number in 1..=4 {
        let error = stub.client().start(spawn()).await.unwrap_err();
        assert!(matches!(error, Error::Unconfirmed(_)), "{error}");
        assert_eq!(stub.count(), number);
    }
    // A clear refusal is none of these.
    for status in [400, 403, 404, 422, 501] {
        let stub = Stub::tcp(move |_, _| refusal(status, "no")).await;
        let error = stub.client().start(spawn()).await.unwrap_err();
        assert!(!error.is_unconfirmed(), "{error}");
    }
}

#[tokio::test]
async fn a_silent_spawn_is_unconfirmed_and_not_repeated() {
    let (url, accepted) = silent_server().await;
    let client = Client::connect(impatient(&url)).unwrap();
    let error = client.start(spawn()).await.unwrap_err();
    assert!(matches!(error, Error::Unconfirmed(_)), "{error}");
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_spawn_that_was_not_processed_is_repeated() {
    let stub = Stub::tcp(|number, _| match number {
        0 => with_retry_after(refusal(429, "too many"), "0"),
        1 => with_retry_after(refusal(425, "too early"), "0"),
        _ => answer(201, json!({"uuid": OPERATION, "image": IMAGE})),
    })
    .await;
    let run = stub.client().start(spawn()).await.unwrap();
    assert_eq!((run.operation, run.image), (OPERATION, Some(IMAGE)));
    let bodies: Vec<_> = stub
        .seen()
        .into_iter()
        .map(|request| request.body)
        .collect();
    assert_eq!(bodies.len(), 3);
    assert!(!bodies[0].is_empty() && bodies.iter().all(|body| *body == bodies[0]));
}

#[tokio::test]
async fn permanent_errors_are_not_retried() {
    for status in [400, 401, 403, 409, 422, 501] {
        let stub = Stub::tcp(move |_, _| refusal(status, "no")).await;
        let error: Error = stub.client().list_images().send().await.unwrap_err().into();
        assert_eq!(error.status().unwrap().as_u16(), status);
        assert_eq!(stub.count(), 1, "{status}");
    }
}

#[tokio::test]
async fn tags_are_moved_again_after_a_failure() {
    let stub = Stub::tcp(|number, _| match number {
        0 => refusal(500, "oops"),
        _ => answer(200, json!({"uuid": IMAGE, "tag": "a"})),
    })
    .await;
    let tag = types::ImageTagRequest::builder().tag("a");
    stub.client()
        .update_image_tag()
        .image_uuid(IMAGE)
        .body(tag)
        .send()
        .await
        .unwrap();
    assert_eq!(stub.count(), 2);
}

#[tokio::test]
async fn a_conflict_after_a_retried_cancel_is_a_success() {
    let stub = Stub::tcp(|number, _| match number {
        0 => refusal(502, "bad gateway"),
        _ => refusal(409, "already over"),
    })
    .await;
    assert!(stub.client().cancel(OPERATION).await.unwrap());
    assert_eq!(stub.count(), 2);

    // Without an earlier failure, a conflict means that the operation had already ended.
    let stub = Stub::tcp(|number, _| match number {
        0 => with_retry_after(refusal(429, "slow down"), "0"),
        _ => refusal(409, "already over"),
    })
    .await;
    assert!(!stub.client().cancel(OPERATION).await.unwrap());
}

/// Sends `first` and then `piece` without an end to every client. Returns its URL.
async fn endless_head(first: &'static str, piece: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut sent = connection.write_all(first.as_bytes()).await;
                while sent.is_ok() {
                    tokio::task::yield_now().await;
                    sent = connection.write_all(piece.as_bytes()).await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_head_that_does_not_end_is_an_error() {
    for (first, piece) in [
        ("HTTP/1.1 200 OK\r\nx-long: ", "xxxxxxxxxxxxxxxx"),
        ("HTTP/1.1 200 OK\r\n", "x-many: 1\r\n"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "garbage"),
    ] {
        let client = Client::connect(impatient(&endless_head(first, piece).await)).unwrap();
        let listing = client.list_images().send();
        let listing = tokio::time::timeout(Duration::from_secs(30), listing).await;
        let error: Error = listing.expect("it hangs").unwrap_err().into();
        let is_expected = matches!(error, Error::Connection(_) | Error::Timeout(_));
        assert!(is_expected, "{piece:?}: {error}");
    }
}
