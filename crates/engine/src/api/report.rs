//! The data of a run's events, and the state and resources of its result.

use std::time::Duration;

use chrono::Utc;
use contree_sandbox::Usage;
use serde_json::Value;

use crate::api::request::SpawnRequest;
use crate::api::types::{
    EventDataInit, EventDataSpawn, EventResources, InstanceResult, ProcessState, ResourceUsage,
    StreamRepr,
};
use crate::operation::events::{RecordedProcess, stream, timestamp};

/// The data of the event about the sandbox's start.
pub(crate) fn init_event(request: &SpawnRequest) -> EventDataInit {
    EventDataInit {
        started_at: timestamp(Utc::now()),
        runtime_path: "contree-sandbox".to_owned(),
        verbose: false,
        init_pid: 1,
        hostname: Some(request.hostname.clone()),
        kernel: None,
        machine: Some(std::env::consts::ARCH.to_owned()),
        boot_id: None,
    }
}

/// The data of the event about a process's start.
pub(crate) fn spawn_event(
    request: &SpawnRequest,
    pid: i32,
    program: &str,
    args: &[String],
    cwd: &str,
    timeout: u64,
) -> EventDataSpawn {
    let (command, args): (&str, &[String]) = if request.shell {
        (&request.command, &[])
    } else {
        (program, args)
    };
    EventDataSpawn {
        pid: pid.into(),
        command: command.to_owned(),
        args: args.to_vec(),
        shell: request.shell,
        cwd: cwd.to_owned(),
        uid: request.uid,
        gid: request.gid,
        timeout,
        truncate_at: request.truncate_output_at,
        env: None,
    }
}

/// Returns the result of one process from its recorded events.
pub(crate) fn process_result(process: &RecordedProcess) -> InstanceResult {
    let exit = process.exit.as_ref();
    let number = |name: &str| exit.and_then(|exit| exit.get(name)?.as_i64()).unwrap_or(-1);
    let flag = |name: &str| {
        exit.and_then(|exit| exit.get(name)?.as_bool())
            .unwrap_or(false)
    };
    let mut result = InstanceResult {
        state: Some(ProcessState {
            continued: Some(false),
            core_dump: Some(flag("core_dump")),
            exit_code: Some(number("code")),
            pid: process.pid,
            signal: Some(number("signal")),
            stopped: Some(false),
            timed_out: Some(flag("timed_out")),
            x_oom_killed: Some(flag("x-oom-killed")).filter(|killed| *killed),
        }),
        resources: Some(process_resources(exit)),
        stdout: None,
        stderr: None,
    };
    add_output(&mut result, process);
    result
}

/// Adds the recorded output of a process to its result.
pub(crate) fn add_output(result: &mut InstanceResult, process: &RecordedProcess) {
    result.stdout = Some(output(&process.stdout, process.stdout_truncated));
    result.stderr = Some(output(&process.stderr, process.stderr_truncated));
}

fn output(bytes: &[u8], truncated: bool) -> StreamRepr {
    let stream = stream(bytes);
    StreamRepr {
        value: stream.value,
        encoding: stream.encoding,
        truncated: Some(truncated),
    }
}

/// The resources of one process from its exit event. All are 0 until it has exited.
fn process_resources(exit: Option<&Value>) -> ResourceUsage {
    let used = exit.and_then(|exit| exit.get("resources"));
    let count = |name: &str| used.and_then(|used| used.get(name)?.as_u64()).unwrap_or(0);
    let seconds = |name: &str| Some(count(name) as f64 / 1e6);
    let elapsed = exit
        .and_then(|exit| exit.get("duration_ms")?.as_u64())
        .map_or(0.0, |ms| ms as f64 / 1e3);
    ResourceUsage {
        block_input: Some(count("block_input_ops")),
        block_output: Some(count("block_output_ops")),
        cost: Some(0.0),
        elapsed_time: Some(elapsed),
        involuntary_switches: Some(count("involuntary_ctx_switches")),
        max_rss: Some(count("max_rss_kb")),
        monotonic_time: Some(elapsed),
        page_faults: Some(count("minor_faults")),
        page_faults_io: Some(count("major_faults")),
        shared_memory: Some(0),
        signals: Some(0),
        swaps: Some(0),
        system_cpu_time: seconds("sys_time_us"),
        unshared_memory: Some(0),
        user_cpu_time: seconds("user_time_us"),
        voluntary_switches: Some(count("voluntary_ctx_switches")),
    }
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The resources of one process, for its exit event.
pub(crate) fn event_resources(usage: &Usage) -> EventResources {
    EventResources {
        user_time_us: micros(usage.user),
        sys_time_us: micros(usage.system),
        max_rss_kb: usage.max_rss_kb,
        shared_memory: 0,
        unshared_memory: 0,
        swaps: 0,
        minor_faults: usage.minor_faults,
        major_faults: usage.major_faults,
        voluntary_ctx_switches: usage.voluntary_switches,
        involuntary_ctx_switches: usage.involuntary_switches,
        block_input_ops: usage.block_input,
        block_output_ops: usage.block_output,
        ipc_msgs_sent: 0,
        ipc_msgs_received: 0,
        signals_received: 0,
    }
}

/// The resources of all processes of a run together.
pub(crate) fn resources(usage: &Usage, elapsed: Duration) -> ResourceUsage {
    let elapsed = elapsed.as_secs_f64();
    ResourceUsage {
        block_input: Some(usage.block_input),
        block_output: Some(usage.block_output),
        cost: Some(0.0),
        elapsed_time: Some(elapsed),
        involuntary_switches: Some(usage.involuntary_switches),
        max_rss: Some(usage.max_rss_kb),
        monotonic_time: Some(elapsed),
        page_faults: Some(usage.minor_faults),
        page_faults_io: Some(usage.major_faults),
        shared_memory: Some(0),
        signals: Some(0),
        swaps: Some(0),
        system_cpu_time: Some(usage.system.as_secs_f64()),
        unshared_memory: Some(0),
        user_cpu_time: Some(usage.user.as_secs_f64()),
        voluntary_switches: Some(usage.voluntary_switches),
    }
}
