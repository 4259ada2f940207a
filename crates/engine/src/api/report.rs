//! What the API says of a run: the data of its events, and the state and resources of its result.

use std::time::Duration;

use chrono::Utc;
use contree_sandbox::{Process, Usage};
use serde_json::{Value, json};

use crate::api::request::SpawnRequest;
use crate::operation::events::{Folded, stream, timestamp};
use crate::rows::operations::Ending;

pub(crate) fn init_event(request: &SpawnRequest) -> Value {
    json!({
        "started_at": timestamp(Utc::now()),
        "runtime_path": "contree-sandbox",
        "verbose": false,
        "init_pid": 1,
        "hostname": request.hostname,
        "machine": std::env::consts::ARCH,
    })
}

pub(crate) fn spawn_event(
    request: &SpawnRequest,
    process: &Process,
    program: &str,
    args: &[String],
    cwd: &str,
    timeout: u64,
) -> Value {
    let (command, args): (&str, &[String]) = if request.shell {
        (&request.command, &[])
    } else {
        (program, args)
    };
    json!({
        "pid": process.pid, "command": command, "args": args, "shell": request.shell, "cwd": cwd,
        "uid": request.uid, "gid": request.gid, "timeout": timeout, "truncate_at": request.truncate_output_at,
    })
}

/// The API's `InstanceResult` of one process, as its log has it.
pub(crate) fn process(folded: &Folded) -> Value {
    let exit = folded.exit.as_ref();
    let number = |name: &str| exit.and_then(|exit| exit.get(name)?.as_i64()).unwrap_or(-1);
    let flag = |name: &str| {
        exit.and_then(|exit| exit.get(name)?.as_bool())
            .unwrap_or(false)
    };
    let mut result = json!({
        "state": {
            "continued": false, "core_dump": flag("core_dump"), "exit_code": number("code"), "pid": folded.pid,
            "signal": number("signal"), "stopped": false, "timed_out": flag("timed_out"),
        },
        "resources": process_resources(exit),
    });
    put_streams(&mut result, folded);
    result
}

/// Puts the recorded output into an `InstanceResult`.
pub(crate) fn put_streams(result: &mut Value, folded: &Folded) {
    for (name, bytes, truncated) in [
        ("stdout", &folded.stdout, folded.stdout_truncated),
        ("stderr", &folded.stderr, folded.stderr_truncated),
    ] {
        result[name] = stream(bytes);
        result[name]["truncated"] = json!(truncated);
    }
}

/// The API's `ResourceUsage` of one process from its exit event; nothing is known while it runs.
fn process_resources(exit: Option<&Value>) -> Value {
    let used = exit.and_then(|exit| exit.get("resources"));
    let count = |name: &str| used.and_then(|used| used.get(name)?.as_u64()).unwrap_or(0);
    let seconds = |name: &str| count(name) as f64 / 1e6;
    let elapsed = exit
        .and_then(|exit| exit.get("duration_ms")?.as_u64())
        .map_or(0.0, |ms| ms as f64 / 1e3);
    json!({
        "block_input": count("block_input_ops"), "block_output": count("block_output_ops"), "cost": 0.0,
        "elapsed_time": elapsed, "involuntary_switches": count("involuntary_ctx_switches"),
        "max_rss": count("max_rss_kb"), "monotonic_time": elapsed,
        "page_faults": count("minor_faults"), "page_faults_io": count("major_faults"),
        "shared_memory": 0, "signals": 0, "swaps": 0, "system_cpu_time": seconds("sys_time_us"),
        "unshared_memory": 0, "user_cpu_time": seconds("user_time_us"),
        "voluntary_switches": count("voluntary_ctx_switches"),
    })
}

pub(crate) fn completion(ending: &Ending, elapsed: Duration) -> Value {
    let mut data = json!({
        "status": ending.status.name(),
        "result_image_uuid": ending.result_image,
        "error": ending.error,
        "duration_ms": millis(elapsed),
    });
    if let Some(bytes) = ending.image_size {
        data["image_size_bytes"] = json!(bytes);
    }
    data
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The API's `EventResources` of one process.
pub(crate) fn event_resources(usage: &Usage) -> Value {
    json!({
        "user_time_us": micros(usage.user), "sys_time_us": micros(usage.system), "max_rss_kb": usage.max_rss_kb,
        "shared_memory": 0, "unshared_memory": 0, "swaps": 0,
        "minor_faults": usage.minor_faults, "major_faults": usage.major_faults,
        "voluntary_ctx_switches": usage.voluntary_switches, "involuntary_ctx_switches": usage.involuntary_switches,
        "block_input_ops": usage.block_input, "block_output_ops": usage.block_output,
        "ipc_msgs_sent": 0, "ipc_msgs_received": 0, "signals_received": 0,
    })
}

/// The API's `InstanceResult.resources` of the whole tree.
pub(crate) fn resources(usage: &Usage, elapsed: Duration) -> Value {
    json!({
        "block_input": usage.block_input, "block_output": usage.block_output, "cost": 0.0,
        "elapsed_time": elapsed.as_secs_f64(), "involuntary_switches": usage.involuntary_switches,
        "max_rss": usage.max_rss_kb, "monotonic_time": elapsed.as_secs_f64(),
        "page_faults": usage.minor_faults, "page_faults_io": usage.major_faults,
        "shared_memory": 0, "signals": 0, "swaps": 0, "system_cpu_time": usage.system.as_secs_f64(),
        "unshared_memory": 0, "user_cpu_time": usage.user.as_secs_f64(), "voluntary_switches": usage.voluntary_switches,
    })
}
