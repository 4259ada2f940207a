//! The generated mock helpers, which use the API's types for requests and answers.

use contree::{Client, Error, OperationKind, OperationStatus, types};
use httpmock::MockServer;

use crate::support::*;

#[allow(
    clippy::all,
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    mismatched_lifetime_syntaxes,
    unreachable_pub
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mocks.rs"));
}

use generated::MockServerExt as _;

#[tokio::test]
async fn typed_requests_get_typed_answers() {
    let server = MockServer::start_async().await;
    let image: types::Image = types::Image::builder()
        .uuid(IMAGE)
        .tag("busybox".to_owned())
        .try_into()
        .unwrap();
    let listed = server.list_images(|when, then| {
        when.limit(5).tag("busy").since(None);
        let images: types::ImageListResponse = types::ImageListResponse::builder()
            .images(vec![image])
            .try_into()
            .unwrap();
        then.ok(&images);
    });
    let client = Client::connect(backend(&server.base_url())).unwrap();
    let images = client
        .list_images()
        .limit(5u64)
        .tag("busy")
        .send()
        .await
        .unwrap();
    assert_eq!(images.images[0].tag.as_deref(), Some("busybox"));
    listed.assert_async().await;
}

#[tokio::test]
async fn operations_are_filtered_by_open_enumerations() {
    let server = MockServer::start_async().await;
    let listed = server.list_operations(|when, then| {
        when.status(&OperationStatus::Executing)
            .kind(&OperationKind::Instance);
        then.ok(&Vec::new());
    });
    let client = Client::connect(backend(&server.base_url())).unwrap();
    let request = client.list_operations().status(OperationStatus::Executing);
    let request = request.kind(OperationKind::Instance);
    assert!(request.send().await.unwrap().is_empty());
    listed.assert_async().await;
}

#[tokio::test]
async fn errors_are_typed() {
    let server = MockServer::start_async().await;
    let refused = server.spawn_instance(|_, then| {
        let error: types::Error = types::Error::builder()
            .error("no such image")
            .status(Some(404))
            .try_into()
            .unwrap();
        then.client_error(404, &error);
    });
    let client = Client::connect(backend(&server.base_url())).unwrap();
    let error: Error = client.start(spawn()).await.unwrap_err();
    assert!(
        error.is_not_found() && error.to_string().contains("no such image"),
        "{error}"
    );
    refused.assert_async().await;
}
