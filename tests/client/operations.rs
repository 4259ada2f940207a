//! Waiting for operations.

use std::time::Duration;

use contree::{Error, OperationKind, OperationStatus};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn waiting_ends_with_the_operation() {
    let stub = Stub::tcp(|number, _| {
        let status = ["PENDING", "ASSIGNED", "EXECUTING", "SUCCESS"][number.min(3)];
        answer(
            200,
            json!({"uuid": OPERATION, "kind": "image_import", "status": status}),
        )
    })
    .await;
    let record = stub.client().wait(OPERATION, None).await.unwrap();
    assert_eq!(record.status, Some(OperationStatus::Success));
    assert_eq!(record.kind, Some(OperationKind::ImageImport));
    assert_eq!(stub.count(), 4);
}

#[tokio::test]
async fn waiting_ends_at_its_time_limit() {
    let stub = Stub::tcp(|_, _| {
        with_retry_after(
            answer(200, json!({"uuid": OPERATION, "status": "RESTING"})),
            "60",
        )
    })
    .await;
    let timeout = Duration::from_millis(30);
    let error = stub
        .client()
        .wait(OPERATION, Some(timeout))
        .await
        .unwrap_err();
    let Error::WaitTimedOut {
        operation, status, ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(operation, OPERATION);
    assert_eq!(status, OperationStatus::Other("RESTING".into()));
}

#[tokio::test]
async fn errors_name_unknown_operations() {
    let stub = Stub::tcp(|_, _| refusal(404, "nope")).await;
    let error = stub.client().cancel(OPERATION).await.unwrap_err();
    assert!(
        error.is_not_found() && error.to_string().contains(&OPERATION.to_string()),
        "{error}"
    );
    assert!(
        stub.client()
            .wait(OPERATION, None)
            .await
            .unwrap_err()
            .is_not_found()
    );
}
