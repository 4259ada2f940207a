//! Tests of the durations of operations whose machine's clock was set back.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::params;
use serde_json::json;
use uuid::Uuid;

use super::lifecycle::{self, WorkEnding};
use super::queue::Queue;
use super::recover;
use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::rows::operations::{self, NewOperation, Operation, Status};

fn engine(data: &Path) -> Arc<Engine> {
    Arc::new(Engine::open(&LocalConfig::new(data)).unwrap())
}

fn find(engine: &Engine, operation: Uuid) -> Operation {
    let found = engine.rows.read(|c| operations::by_uuid(c, operation));
    found.unwrap().unwrap()
}

fn in_an_hour() -> DateTime<Utc> {
    Utc::now() + TimeDelta::hours(1)
}

#[tokio::test]
async fn an_operation_whose_clock_was_set_back_has_a_duration_of_seconds() {
    let data = tempfile::tempdir().unwrap();
    let engine = engine(data.path());
    let (operation, created_at) = (Uuid::new_v4(), in_an_hour());
    let queue = Queue::new(1, 1);
    let request = json!({});
    let mut queued =
        lifecycle::accept(&engine, &queue, operation, "instance", None, &request, None).unwrap();
    queued.set_created_at(created_at);
    engine
        .rows
        .write(|t| {
            let micros = created_at.timestamp_micros();
            let set = "UPDATE operations SET created_at = ?2 WHERE uuid = ?1";
            Ok(t.execute(set, params![operation.to_string(), micros])?)
        })
        .unwrap();
    lifecycle::carry_out(Arc::clone(&engine), queued, |_, _| async {
        WorkEnding::of(Status::Failed)
    })
    .await;
    let ended = find(&engine, operation);
    let duration = ended.ended_at.unwrap() - ended.created_at;
    assert!(duration >= TimeDelta::zero(), "{duration}");
    assert!(duration < TimeDelta::minutes(1), "{duration}");
}

#[test]
fn an_orphaned_operation_never_ends_before_it_began() {
    let data = tempfile::tempdir().unwrap();
    let engine = engine(data.path());
    let operation = Uuid::new_v4();
    engine
        .rows
        .write(|t| {
            let request = json!({});
            operations::insert(
                t,
                &NewOperation {
                    uuid: operation,
                    kind: "instance",
                    status: Status::Executing,
                    image: None,
                    request: &request,
                    owner_socket: None,
                    client: None,
                    created_at: in_an_hour(),
                },
            )
        })
        .unwrap();
    assert!(recover::fail_if_orphaned(&engine, operation).unwrap());
    let ended = find(&engine, operation);
    assert_eq!(ended.ended_at, Some(ended.created_at));
}
