//! Tests of cleaning up after killed engines.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::config::LocalConfig;
use crate::rows::logged;

fn engine(data: &Path) -> Arc<Engine> {
    Arc::new(Engine::open(&LocalConfig::new(data)).unwrap())
}

#[test]
fn a_layer_that_cannot_be_removed_does_not_keep_the_others() {
    let data = tempfile::tempdir().unwrap();
    let engine = engine(data.path());
    let reserve = || {
        let run = Uuid::new_v4();
        let id = engine
            .rows
            .write(|t| layers::reserve(t, None, run, &engine.boot))
            .unwrap();
        let layer = data.path().join("layers").join(id.to_string());
        fs::create_dir(&layer).unwrap();
        layer
    };
    let removable = reserve();
    let stuck = reserve();
    // The newest layer comes first. The name of its link is that of a directory, which cannot
    // be unlinked.
    let id = stuck.file_name().unwrap();
    fs::create_dir(data.path().join("l").join(id)).unwrap();
    let (recovery, text) = logged(|| remove_unfinished_layers(&engine).unwrap());
    assert_eq!(recovery, Recovery::Incomplete);
    assert!(text.contains("cannot remove an unfinished layer"), "{text}");
    assert!(stuck.exists() && !removable.exists());
    fs::remove_dir(data.path().join("l").join(id)).unwrap();
    assert_eq!(recover(&engine).unwrap(), Recovery::Complete);
    assert!(!stuck.exists());
}

#[test]
fn what_another_process_holds_is_left_for_later() {
    let data = tempfile::tempdir().unwrap();
    let engine = engine(data.path());
    let other = self::engine(data.path());
    let (own, foreign) = (Uuid::new_v4(), Uuid::new_v4());
    let _own = engine.store.create_run(&own.to_string()).unwrap();
    let run = other.store.create_run(&foreign.to_string()).unwrap();
    let layer = engine
        .rows
        .write(|t| layers::reserve(t, None, foreign, &other.boot))
        .unwrap();
    let is_unfinished = || engine.rows.read(|c| layers::is_unfinished(c, layer));
    assert_eq!(
        remove_unfinished_layers(&engine).unwrap(),
        Recovery::OthersRun
    );
    assert_eq!(remove_abandoned_runs(&engine).unwrap(), Recovery::OthersRun);
    assert!(run.path().exists() && is_unfinished().unwrap());
    let path = run.path().to_owned();
    drop(run);
    // A process that another test starts holds the lock until it executes its program.
    soon(|| recover(&engine).unwrap() == Recovery::Complete);
    assert!(!path.exists() && !is_unfinished().unwrap());
    assert_eq!(engine.store.runs().unwrap(), [own.to_string()]);
    let mut copying = None;
    soon(|| {
        copying = crate::image::host::try_lock(&engine).unwrap();
        copying.is_some()
    });
    assert_eq!(
        remove_unfinished_layers(&engine).unwrap(),
        Recovery::OthersRun
    );
}

/// Waits until a condition holds.
fn soon(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "it does not hold in time");
        std::thread::yield_now();
    }
}

#[test]
fn the_upload_of_a_running_process_is_never_abandoned() {
    let data = tempfile::tempdir().unwrap();
    let engine = engine(data.path());
    let old = SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
    let [held, abandoned] = ["held", "abandoned"].map(|name| {
        let path = data.path().join(format!("files/{UPLOAD_PREFIX}{name}"));
        let file = File::create(&path).unwrap();
        file.set_modified(old).unwrap();
        (path, file)
    });
    held.1.lock().unwrap();
    drop(abandoned.1);
    assert!(remove_abandoned_uploads(&engine).unwrap());
    assert!(held.0.exists() && !abandoned.0.exists());
}

#[test]
fn the_ending_of_an_operation_is_answered_until_it_can_be_recorded() {
    let data = tempfile::tempdir().unwrap();
    let engine = engine(data.path());
    let operation = Uuid::new_v4();
    let run = engine.store.create_run(&operation.to_string()).unwrap();
    let find = || engine.rows.read(|c| operations::by_uuid(c, operation));
    engine
        .rows
        .write(|t| {
            let request = serde_json::json!({});
            operations::insert(
                t,
                &operations::NewOperation {
                    uuid: operation,
                    kind: "instance",
                    status: Status::Executing,
                    image: None,
                    request: &request,
                    owner_socket: None,
                    client: None,
                    created_at: Utc::now(),
                },
            )
        })
        .unwrap();
    let ending = OperationEnding {
        status: Status::Failed,
        error: Some("the disk was full".to_owned()),
        code: Some(ErrorCode::DiskFull),
        result_image: None,
        outcome: None,
        image_size: None,
        ended_at: Utc::now(),
    };
    engine
        .unrecorded
        .add(operation, ending, Some(Arc::new(run)));
    assert!(!fail_if_orphaned(&engine, operation).unwrap());
    let mut answered = find().unwrap().unwrap();
    assert_eq!(answered.status, Status::Executing);
    engine.unrecorded.complete(&mut answered);
    assert_eq!(answered.status, Status::Failed);
    assert_eq!(recover(&engine).unwrap(), Recovery::Complete);
    let recorded = find().unwrap().unwrap();
    assert_eq!(recorded.error.as_deref(), Some("the disk was full"));
    assert!(engine.store.runs().unwrap().is_empty());
}
