//! Recording the ends of processes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use contree_sandbox::Exit;

use super::{EndedProcess, KILLED_OUTPUT_WAIT, MAIN, RunningSandbox, StartedProcess};
use crate::api::report::{event_resources, millis};
use crate::api::types::{EventDataExit, OperationEventType};
use crate::run::live_output::{LiveOutput, ProcessEnd};

/// How long the exit event of a subprocess waits for its remaining output. Processes that the
/// subprocess started may keep its streams open for long.
const EXITED_OUTPUT_WAIT: Duration = Duration::from_secs(1);

/// The number of ended subprocesses whose newest output is kept while the sandbox runs.
const KEPT_OUTPUTS: usize = 32;

/// SIGKILL, with which the kernel ends a process to free memory.
const KILLED: i32 = 9;

impl RunningSandbox {
    /// Waits for the end of a subprocess and records it.
    pub(super) async fn follow(&self, mut process: StartedProcess) {
        let exit = (&mut process.exit).await.ok();
        let was_killed = exit
            .as_ref()
            .is_some_and(|exit| exit.signal == Some(KILLED));
        let oom_killed = was_killed
            && self
                .with_sandbox(|sandbox| Ok(sandbox.killed_for_memory().is_some()))
                .await
                .unwrap_or(false);
        self.record_end(
            process,
            exit.as_ref(),
            oom_killed,
            EXITED_OUTPUT_WAIT,
            async {},
        )
        .await;
    }

    /// Records the end of the main process, after all processes in the sandbox were killed.
    /// `oom_killed` states that the kernel killed one of them for a memory limit. `diagnostics` may
    /// append to its output.
    pub(crate) async fn record_main_end(
        &self,
        process: StartedProcess,
        exit: Option<&Exit>,
        oom_killed: bool,
        diagnostics: impl Future<Output = ()>,
    ) {
        self.record_end(process, exit, oom_killed, KILLED_OUTPUT_WAIT, diagnostics)
            .await;
    }

    /// Records the end of a process. A process without an exit ended together with its sandbox.
    async fn record_end(
        &self,
        process: StartedProcess,
        exit: Option<&Exit>,
        oom_killed: bool,
        output_wait: Duration,
        diagnostics: impl Future<Output = ()>,
    ) {
        let (spid, pid) = (process.spid, process.pid);
        let elapsed = process.started_at.elapsed();
        self.keep_output(spid, &process.output);
        process.writer.abort();
        let _ = process.writer.await;
        process.input.end();
        let deadline = tokio::time::Instant::now() + output_wait;
        for mut reader in process.readers {
            if tokio::time::timeout_at(deadline, &mut reader)
                .await
                .is_err()
            {
                if spid == MAIN {
                    reader.abort();
                    let _ = reader.await;
                } else {
                    // Processes that the subprocess started may still write, and must not block.
                    self.tasks.spawn(reader);
                }
            }
        }
        diagnostics.await;
        let killed = Exit {
            code: None,
            signal: Some(9),
            core_dump: false,
            usage: contree_sandbox::Usage::default(),
        };
        // The operation's ending reports a main process that ended with its sandbox.
        if spid == MAIN && exit.is_none() {
            process.output.finish(ProcessEnd::default());
            return;
        }
        let exit = exit.unwrap_or(&killed);
        let end = ProcessEnd {
            code: exit.code.map(i64::from),
            signal: exit.signal.map(i64::from),
            oom_killed,
        };
        self.log.append(
            spid,
            OperationEventType::Exit,
            EventDataExit {
                pid: pid.into(),
                code: exit.code.unwrap_or(-1).into(),
                signal: exit.signal.unwrap_or(-1).into(),
                core_dump: Some(exit.core_dump),
                timed_out: self.timed_out.load(Ordering::Acquire),
                x_oom_killed: oom_killed.then_some(true),
                duration_ms: millis(elapsed),
                resources: event_resources(&exit.usage),
            },
        );
        // After its event, so that a client that sees the end finds it in the record.
        process.output.finish(end);
    }

    /// Moves a process from the running to the ended ones, whose output can still be read.
    fn keep_output(&self, spid: u64, output: &Arc<LiveOutput>) {
        let mut processes = self.processes();
        let process = processes.live.remove(&spid);
        // The main process is never removed.
        if processes.ended.len() == KEPT_OUTPUTS
            && let Some(oldest) = processes.ended.iter().position(|ended| ended.spid != MAIN)
        {
            processes.ended.remove(oldest);
        }
        processes.ended.push_back(EndedProcess {
            spid,
            output: Arc::clone(output),
            terminal: process.and_then(|process| process.terminal),
        });
    }
}
