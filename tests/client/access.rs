//! Credentials: the requests that carry them, and the outputs that never show them.

use axum::response::IntoResponse as _;
use contree::{Backend, Client, Error};
use serde_json::json;

use crate::support::*;

fn redirect(to: String) -> axum::response::Response {
    (
        axum::http::StatusCode::TEMPORARY_REDIRECT,
        [("location", to)],
    )
        .into_response()
}

#[tokio::test]
async fn every_request_has_credentials_and_a_user_agent() {
    let stub = Stub::tcp(|_, _| answer(200, json!({"images": []}))).await;
    stub.client()
        .list_images()
        .limit(5u64)
        .send()
        .await
        .unwrap();
    let seen = &stub.seen()[0];
    assert_eq!(seen.target, "/v1/images?limit=5");
    assert_eq!(seen.header("authorization"), Some("Bearer tok"));
    assert_eq!(seen.header("project"), Some("prj"));
    assert_eq!(seen.header("api-version"), None);
    let agent = format!(
        "contree/{} ({}; {})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    assert_eq!(seen.header("user-agent"), Some(agent.as_str()));
}

#[tokio::test]
async fn without_credentials_none_are_sent() {
    let stub = Stub::tcp(|_, _| answer(200, json!({"images": []}))).await;
    let client = Client::connect(Backend::new(&stub.url).unwrap()).unwrap();
    client.list_images().send().await.unwrap();
    let seen = &stub.seen()[0];
    assert_eq!(
        (seen.header("authorization"), seen.header("project")),
        (None, None)
    );
}

#[tokio::test]
async fn a_redirect_to_another_origin_gets_no_credentials() {
    let other = Stub::tcp(|_, _| answer(200, json!({"images": []}))).await;
    let target = format!("{}/v1/images", other.url);
    let stub = Stub::tcp(move |_, _| redirect(target.clone())).await;
    let error: Error = stub.client().list_images().send().await.unwrap_err().into();
    assert_eq!(error.status().unwrap().as_u16(), 307);
    assert!(
        error.to_string().contains("redirect to 127.0.0.1"),
        "{error}"
    );
    assert_eq!(other.count(), 0);
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_with_credentials() {
    let stub = Stub::tcp(|number, _| match number {
        0 => redirect("/v1/elsewhere".into()),
        _ => answer(200, json!({"images": []})),
    })
    .await;
    stub.client().list_images().send().await.unwrap();
    let seen = &stub.seen()[1];
    assert_eq!(seen.target, "/v1/elsewhere");
    assert_eq!(seen.header("authorization"), Some("Bearer tok"));
    assert_eq!(seen.header("project"), Some("prj"));
}

#[tokio::test]
async fn the_token_never_shows() {
    let stub = Stub::tcp(|_, seen| refusal(401, &format!("no {}", seen.target))).await;
    let backend = backend(&stub.url).with_token("hunter2");
    assert!(!format!("{backend:?} {backend:#?}").contains("hunter2"));
    let client = Client::connect(backend).unwrap();
    assert!(!format!("{client:?} {client:#?}").contains("hunter2"));
    let error: Error = client.list_images().send().await.unwrap_err().into();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    drop(stub);
}
