//! Retries: which requests are repeated, and after which delays.

use std::time::{Duration, Instant};

use contree::{Client, Error, types};
use serde_json::json;

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
async fn a_server_that_is_not_there_is_a_connection_error() {
    // The port is bound, so that no other process gets it, but nothing listens on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let client = Client::connect(backend(&url)).unwrap();
    let error: Error = client.list_images().send().await.unwrap_err().into();
    assert!(matches!(error, Error::Connection(_)), "{error}");
}

#[tokio::test]
async fn requests_that_may_have_taken_effect_are_not_repeated() {
    let stub = Stub::tcp(|_, _| with_retry_after(refusal(503, "unavailable"), "0")).await;
    let client = stub.client();
    let error = client.start(spawn()).await.unwrap_err();
    assert_eq!(error.status().unwrap().as_u16(), 503);
    assert_eq!(stub.count(), 1, "a spawn");

    let registry = types::Registry::builder().url("docker://busybox");
    let import = types::ImageImportRequest::builder().registry(registry);
    client.import_image().body(import).send().await.unwrap_err();
    assert_eq!(stub.count(), 2, "an import");

    let input = types::ClosableStreamRepr::builder().value("y\n");
    let stdin = client
        .operation_subprocess_stdin()
        .operation_id(OPERATION)
        .spid(1u64);
    stdin.body(input).send().await.unwrap_err();
    assert_eq!(stub.count(), 3, "input");

    let process = types::ExecSpec::builder().command("true");
    let create = client.operation_subprocess_create().operation_id(OPERATION);
    create.body(process).send().await.unwrap_err();
    assert_eq!(stub.count(), 4, "a process");

    let kill = client
        .operation_subprocess_kill()
        .operation_id(OPERATION)
        .spid(1u64);
    kill.send().await.unwrap_err();
    assert_eq!(stub.count(), 5, "a signal");
}

#[tokio::test]
async fn a_spawn_without_an_answer_is_not_repeated() {
    let server = RawServer::new(|_, _| None).await;
    let error = server.client().start(spawn()).await.unwrap_err();
    assert!(matches!(error, Error::Connection(_)), "{error}");
    assert_eq!(server.count(), 1);
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
