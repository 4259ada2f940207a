//! The client against the faults of the stub service: every call ends, no event is lost or seen
//! twice, no command runs twice or is left running.

use std::time::Duration;

use contree::{
    Backend, CancelOnDrop, Client, Error, OperationStatus,
    events::Payload,
    testing::{Fault, Route, ScriptedRun, StubServer},
    types::InstanceSpawnRequest,
};
use futures_util::{FutureExt as _, StreamExt as _};

/// Every call of these tests ends within this time, or hangs.
const HANGS: Duration = Duration::from_secs(30);

/// Time limits of fractions of a second.
fn impatient(server: &StubServer) -> Backend {
    server
        .backend()
        .unwrap()
        .with_idle_timeout(Duration::from_millis(100))
        .with_call_timeout(Duration::from_millis(400))
        .with_run_grace(Duration::from_millis(200))
        .with_queue_timeout(Duration::from_millis(500))
}

fn start_server() -> (StubServer, Client) {
    let server = StubServer::start().unwrap();
    server.add_image("base", &[("/etc/hostname", "stub\n")]);
    let client = Client::connect(impatient(&server)).unwrap();
    (server, client)
}

/// A request with a time limit of one second.
fn request(command: &str) -> InstanceSpawnRequest {
    InstanceSpawnRequest::builder()
        .image("tag:base".parse::<contree::ImageRef>().unwrap())
        .command(command)
        .timeout(Some(1))
        .try_into()
        .unwrap()
}

async fn ends<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS, call).await.expect("it hangs")
}

/// Waits until the server has no running command.
async fn until_nothing_runs(server: &StubServer) {
    ends(async {
        while server.running() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_run_that_never_ends_is_an_error_after_its_own_time_limit() {
    for fault in [
        None,
        Some(Fault::KeepAlive),
        Some(Fault::EventErrors),
        Some(Fault::RepeatEvents),
    ] {
        let (server, client) = start_server();
        server.script(ScriptedRun::new("cat").stdout("a").never_ends());
        if let Some(fault) = fault {
            server.inject_always(Route::Events, fault);
        }
        let begun = std::time::Instant::now();
        let error = ends(client.run(request("cat"))).await.unwrap_err();
        let Error::WaitTimedOut { status, .. } = error else {
            panic!("{fault:?}: {error}")
        };
        assert_eq!(status, OperationStatus::Executing);
        assert!(begun.elapsed() >= Duration::from_secs(1), "{fault:?}");
        // The same if the client learns the time limit from the record.
        let operation = server.operations()[0].operation;
        let waited = ends(client.wait(operation, None)).await.unwrap_err();
        assert!(matches!(waited, Error::WaitTimedOut { .. }), "{waited}");
        let followed = ends(client.outcome(operation, |_| {})).await.unwrap_err();
        assert!(matches!(followed, Error::WaitTimedOut { .. }), "{followed}");
    }
}

#[tokio::test]
async fn an_ended_run_has_its_outcome_whatever_its_events_do() {
    for fault in [
        Fault::KeepAlive,
        Fault::EventErrors,
        Fault::RepeatEvents,
        Fault::EndlessEvent,
        Fault::EndlessLines,
        Fault::Silence,
        Fault::Disconnect,
        Fault::LoseAnswer,
        Fault::EndlessBody,
        Fault::EndlessError { status: 500 },
        Fault::BreakAfter(0),
        Fault::Refuse {
            status: 503,
            retry_after: Some(0),
        },
        Fault::Redirect { status: 307 },
    ] {
        let (server, client) = start_server();
        server.script(
            ScriptedRun::new("x")
                .stdout("out")
                .stderr("err")
                .exit_code(3),
        );
        server.inject_always(Route::Events, fault);
        let outcome = ends(client.run(request("x"))).await;
        let outcome = outcome.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(outcome.exit_code, Some(3), "{fault:?}");
        assert_eq!(outcome.stdout.bytes, b"out", "{fault:?}");
        assert_eq!(outcome.stderr.bytes, b"err", "{fault:?}");
        assert_eq!(server.operations().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn no_event_is_lost_or_seen_twice_over_reconnections() {
    let (server, client) = start_server();
    let mut script = ScriptedRun::new("x");
    for number in 0..20 {
        script = script.stdout(format!("{number},"));
    }
    server.script(script);
    let run = client.start(request("x")).await.unwrap();
    // Each of these connections has at least one new event.
    for count in [1, 3, 1, 2, 5] {
        server.inject(Route::Events, Fault::BreakAfter(count));
    }
    let events = client.follow(run.operation, None);
    let events: Vec<_> = ends(events.map(Result::unwrap).collect()).await;
    let ids: Vec<u64> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=23).collect::<Vec<_>>());
    let output = events.iter().filter_map(|event| match &event.payload {
        Payload::Stdout(chunk) => Some(String::from_utf8(chunk.bytes.to_vec()).unwrap()),
        _ => None,
    });
    let expected: String = (0..20).map(|number| format!("{number},")).collect();
    assert_eq!(output.collect::<String>(), expected);
}

#[tokio::test]
async fn no_fault_starts_a_command_twice() {
    for (fault, is_started) in [
        (Fault::LoseAnswer, true),
        (Fault::Disconnect, false),
        (Fault::Silence, false),
        (Fault::EndlessBody, false),
        (Fault::EndlessError { status: 502 }, false),
        (Fault::Redirect { status: 307 }, false),
        (Fault::Redirect { status: 308 }, false),
        (
            Fault::Refuse {
                status: 503,
                retry_after: Some(0),
            },
            false,
        ),
    ] {
        let (server, client) = start_server();
        server.inject(Route::Spawn, fault);
        let error = ends(client.run(request("x"))).await.unwrap_err();
        let is_redirect = matches!(fault, Fault::Redirect { .. });
        assert_eq!(error.is_unconfirmed(), !is_redirect, "{fault:?}: {error}");
        assert_eq!(
            server.operations().len(),
            usize::from(is_started),
            "{fault:?}"
        );
        assert_eq!(server.requests().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn every_call_ends_whatever_the_server_does() {
    for fault in [
        Fault::Silence,
        Fault::EndlessBody,
        Fault::EndlessError { status: 500 },
        Fault::Disconnect,
        Fault::Redirect { status: 302 },
    ] {
        let (server, client) = start_server();
        let run = client.start(request("x")).await.unwrap();
        server.inject_always(Route::Any, fault);
        let image = "tag:base".parse().unwrap();
        ends(client.resolve(&image)).await.unwrap_err();
        ends(client.list_images().send()).await.unwrap_err();
        ends(client.cancel(run.operation)).await.unwrap_err();
        ends(client.wait(run.operation, None)).await.unwrap_err();
        ends(client.outcome(run.operation, |_| {}))
            .await
            .unwrap_err();
        ends(client.find_file("ab")).await.unwrap_err();
        ends(client.upload_bytes("x".into())).await.unwrap_err();
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_names_the_limit_and_the_remedy() {
    let (server, _) = start_server();
    let client = Client::connect(impatient(&server).with_answer_limit(100_000)).unwrap();
    server.inject(Route::Images, Fault::EndlessBody);
    let error: Error = client.list_images().send().await.unwrap_err().into();
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("100000 bytes") && text.contains("with_answer_limit"),
        "{text}"
    );
    assert_eq!(
        server.requests().len(),
        1,
        "the answer would be as long again"
    );
}

#[tokio::test]
async fn eight_of_eight_dropped_futures_end_their_command() {
    let (server, client) = start_server();
    server.script(ScriptedRun::new("cat").never_ends());
    let mut running = Vec::new();
    for number in 0..8 {
        let client = client.clone();
        let mut run = Box::pin(async move {
            let (run, guard) = CancelOnDrop::start(&client, request("cat")).await.unwrap();
            client.outcome(run.operation, |_| {}).await.unwrap();
            guard.disarm();
        });
        if number % 2 == 0 {
            // Dropped between the request and its answer.
            assert!(run.as_mut().now_or_never().is_none());
            drop(run);
        } else {
            running.push(tokio::spawn(run));
        }
    }
    ends(async {
        while server.running() < running.len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    for run in running {
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
    }
    ends(CancelOnDrop::all_sent()).await;
    let operations = server.operations();
    assert!(operations.len() <= 8 && operations.len() >= 4);
    for operation in operations {
        assert_eq!(operation.status, OperationStatus::Cancelled);
    }
}

#[test]
fn a_guard_cancels_wherever_it_is_dropped() {
    let (server, client) = start_server();
    server.script(ScriptedRun::new("cat").never_ends());
    let start = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let started = runtime.block_on(CancelOnDrop::start(&client, request("cat")));
        (runtime, started.unwrap().1)
    };
    // Outside of a runtime.
    let (runtime, guard) = start();
    drop(guard);
    // In a task of a runtime that is shut down.
    let (ending, guard) = start();
    ending.spawn(async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    });
    ending.block_on(tokio::task::yield_now());
    drop(ending);
    // After its runtime, and on another thread.
    let (ended, guard) = start();
    drop(ended);
    std::thread::spawn(move || drop(guard)).join().unwrap();
    runtime.block_on(until_nothing_runs(&server));
    // Every request of a cancellation may fail.
    let (_kept, guard) = start();
    server.inject(Route::Cancel, Fault::Disconnect);
    server.inject(Route::Cancel, Fault::LoseAnswer);
    drop(guard);
    runtime.block_on(until_nothing_runs(&server));
    runtime.block_on(ends(CancelOnDrop::all_sent()));
    // A disarmed guard leaves its operation running.
    let (_kept, guard) = start();
    guard.disarm();
    runtime.block_on(ends(CancelOnDrop::all_sent()));
    assert_eq!(server.running(), 1);
    let (_kept, guard) = start();
    assert!(runtime.block_on(guard.cancel()).unwrap());
    assert_eq!(server.running(), 1);
}

/// Part of the next test, which runs this one in a process of its own.
#[tokio::test]
#[ignore = "run by memory_stays_bounded_whatever_the_server_sends"]
async fn with_a_flood() {
    let (server, _) = start_server();
    // The default limits of size, and enough time to reach them.
    let backend = impatient(&server)
        .with_idle_timeout(Duration::from_secs(5))
        .with_call_timeout(Duration::from_secs(20))
        .with_run_grace(Duration::from_secs(5));
    let client = Client::connect(backend).unwrap();
    let output = ScriptedRun::new("x").stdout(vec![b'x'; 1000]);
    server.script(output);
    for fault in [
        Fault::EndlessBody,
        Fault::EndlessError { status: 400 },
        Fault::EndlessEvent,
        Fault::EndlessLines,
        Fault::RepeatEvents,
        Fault::EventErrors,
    ] {
        let run = client.start(request("x")).await.unwrap();
        server.inject_always(Route::Events, fault);
        let _ = ends(client.outcome(run.operation, |_| {})).await;
        server.clear_faults();
        server.inject_always(Route::Any, fault);
        ends(client.wait(run.operation, None)).await.ok();
        ends(client.list_images().send()).await.ok();
        ends(client.upload_bytes("x".into())).await.ok();
        // An endless file is a stream: the first 200 MiB of it.
        if let Ok(mut file) = client.read(uuid::Uuid::nil(), "/x").await {
            let mut read = 0;
            while let Some(Ok(chunk)) = file.next().await
                && read < 200 << 20
            {
                read += chunk.len();
            }
            assert!(read >= 200 << 20 || fault != Fault::EndlessBody);
        }
        server.clear_faults();
        println!("{fault:?}: {} KiB", peak_memory());
    }
}

/// The most memory that this process has had, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches("kB").trim();
    number.parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn memory_stays_bounded_whatever_the_server_sends() {
    const LIMIT_KIB: u64 = 64 * 1024;
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "faults::with_a_flood",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let peaks = text.lines().filter_map(|line| {
        let (fault, peak) = line.strip_suffix(" KiB")?.rsplit_once(": ")?;
        Some((fault.to_owned(), peak.parse::<u64>().ok()?))
    });
    let peaks: Vec<_> = peaks.collect();
    assert_eq!(peaks.len(), 6, "{text}");
    for (fault, peak) in peaks {
        assert!(peak < LIMIT_KIB, "{fault}: {peak} KiB");
    }
}
