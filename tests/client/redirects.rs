//! Redirects: which are followed, and that none starts a command twice.

use contree::{Error, ImageRef};
use serde_json::json;

use crate::support::*;

fn redirect(status: u16, target: &str) -> axum::response::Response {
    let mut answer = refusal(status, "moved");
    let target = target.parse().unwrap();
    answer.headers_mut().insert("location", target);
    answer
}

#[tokio::test]
async fn a_redirect_never_starts_a_command_twice() {
    for status in [301, 302, 303, 307, 308] {
        for target in [
            "/v1/instances",
            "/v1/instances/",
            "//127.0.0.1:1/v1/instances",
        ] {
            let stub = Stub::tcp(move |number, _| match number {
                0 => redirect(status, target),
                _ => answer(201, json!({"uuid": OPERATION})),
            })
            .await;
            let error = stub.client().start(spawn()).await.unwrap_err();
            assert_eq!(error.status().unwrap().as_u16(), status);
            assert!(error.to_string().contains("not followed"), "{error}");
            assert_eq!(error.is_unconfirmed(), status == 303, "{error}");
            assert_eq!(stub.count(), 1, "{status} {target}");
        }
    }
}

#[tokio::test]
async fn a_cancellation_is_not_turned_into_a_read() {
    for (status, requests) in [(301, 1), (302, 1), (303, 1), (307, 2), (308, 2)] {
        let stub = Stub::tcp(move |number, seen| match number {
            0 => redirect(status, "/v1/elsewhere"),
            _ => {
                assert_eq!(seen.method, axum::http::Method::DELETE);
                answer(202, json!({}))
            }
        })
        .await;
        let result = stub.client().cancel(OPERATION).await;
        assert_eq!(result.is_ok(), requests == 2, "{result:?}");
        assert_eq!(stub.count(), requests, "{status}");
    }
}

#[tokio::test]
async fn reads_follow_redirects_within_the_server_and_not_for_ever() {
    let stub = Stub::tcp(|number, _| match number {
        0 => redirect(302, &format!("/v1/inspect/{IMAGE}/")),
        _ => answer(200, json!({"uuid": IMAGE})),
    })
    .await;
    let image = ImageRef::Tag("a".into());
    let found = stub.client().resolve(&image).await.unwrap();
    assert_eq!(found.uuid, Some(IMAGE));
    let seen = stub.seen();
    assert_eq!(seen[1].target, format!("/v1/inspect/{IMAGE}/"));
    assert_eq!(seen[1].header("authorization"), Some("Bearer tok"));

    let stub = Stub::tcp(|_, _| redirect(307, "/v1/images")).await;
    let error: Error = stub.client().list_images().send().await.unwrap_err().into();
    assert_eq!(error.status().unwrap().as_u16(), 307);
    assert_eq!(stub.count(), 6);
    let stub = Stub::tcp(|_, _| redirect(307, "http://[")).await;
    let error: Error = stub.client().list_images().send().await.unwrap_err().into();
    assert!(
        error.to_string().contains("without a usable target"),
        "{error}"
    );
}
