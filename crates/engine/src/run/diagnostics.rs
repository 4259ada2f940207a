//! Lines that the engine adds at the end of a command's standard error: refusals and their reasons.

use std::path::{Path, PathBuf};

use contree_sandbox::{Exit, ReachedMemoryLimit};

use crate::api::request::SpawnRequest;
use crate::api::types::OperationEventType;
use crate::engine::Engine;
use crate::operation::events::{SYSTEM, stream};
use crate::operation::lifecycle::OperationTask;
use crate::run::hints::{self, CommandEnd};
use crate::run::live_output::{LiveOutput, OutputRange};
use crate::run::running_sandbox::MAIN;

/// The prefix that tells these lines from the command's own output.
const PREFIX: &str = "contree: ";

/// The number of bytes at the end of each stream that are searched. A command may have written
/// millions of lines before it failed.
const SEARCHED_BYTES: usize = 64 * 1024;

/// Events in a sandbox that its command does not report.
pub(crate) struct Findings {
    /// The requests that the proxy refused.
    pub(crate) denial: Option<String>,
    /// The memory limit for which the kernel killed a process.
    pub(crate) exceeded_memory_limit: Option<ReachedMemoryLimit>,
    /// The working directory, if it was missing.
    pub(crate) made_directory: Option<PathBuf>,
}

/// Appends the lines for which there is a reason.
///
/// They are few and short, so `truncate_output_at` does not apply to them. A command whose output
/// is not recorded at all gets none. `output` is that of the command; its end is searched for
/// failures that a sandbox causes.
pub(crate) fn append(
    engine: &Engine,
    task: &OperationTask,
    request: &SpawnRequest,
    findings: Findings,
    exit: Option<&Exit>,
    output: Option<&LiveOutput>,
) {
    let Findings {
        denial,
        exceeded_memory_limit,
        made_directory,
    } = findings;
    let log = &task.running.log;
    let refusal = engine
        .egress
        .missing_network_notice(request)
        .map(str::to_owned);
    if let Some(reason) = &refusal {
        log.append(
            SYSTEM,
            OperationEventType::Network,
            crate::egress::missing_network_event(reason),
        );
    }
    let mut lines: Vec<String> = denial
        .into_iter()
        .chain(refusal)
        .chain(exceeded_memory_limit.map(out_of_memory))
        .chain(made_directory.as_deref().map(missing_directory))
        .collect();
    let failed = exit.is_some_and(|exit| exit.code != Some(0));
    let may_have_hints = exit.is_some() && (failed || log.has_errors());
    if request.truncate_output_at == 0 || (lines.is_empty() && !may_have_hints) {
        return;
    }
    let tail = OutputRange::Tail(SEARCHED_BYTES as u64);
    let written = output.map(|output| output.read(tail, tail, SEARCHED_BYTES));
    let written = written.unwrap_or_default();
    if let Some(exit) = exit {
        let mut output = String::from_utf8_lossy(&written.stderr.bytes).into_owned();
        if failed {
            output.push('\n');
            output.push_str(&String::from_utf8_lossy(&written.stdout.bytes));
        }
        let end = CommandEnd {
            code: exit.code,
            signal: exit.signal,
            output: &output,
            single_id: engine.store.id_map().is_single(),
        };
        lines.extend(hints::of_end(end).into_iter().map(str::to_owned));
    }
    if lines.is_empty() {
        return;
    }
    let mut text = String::new();
    // A truncated record may end within a line.
    let is_truncated = written.stderr.total > request.truncate_output_at;
    if is_truncated
        || written
            .stderr
            .bytes
            .last()
            .is_some_and(|last| *last != b'\n')
    {
        text.push('\n');
    }
    for line in lines {
        text.push_str(PREFIX);
        text.push_str(&line);
        text.push('\n');
    }
    log.append(MAIN, OperationEventType::Stderr, stream(text.as_bytes()));
}

fn missing_directory(path: &Path) -> String {
    format!(
        "the working directory {} was missing in the image, so it was created empty",
        path.display().to_string().escape_debug()
    )
}

fn out_of_memory(reached: ReachedMemoryLimit) -> String {
    let (ReachedMemoryLimit::Sandbox(limit) | ReachedMemoryLimit::AllSandboxes(limit)) = reached;
    #[allow(clippy::cast_precision_loss, reason = "one digit is shown")]
    let (amount, unit) = match limit {
        0x4000_0000.. => (limit as f64 / f64::from(1 << 30), "GiB"),
        _ => (limit as f64 / f64::from(1 << 20), "MiB"),
    };
    match reached {
        ReachedMemoryLimit::Sandbox(_) => format!(
            "the kernel killed a process because the sandbox's memory limit of {amount:.1} {unit} was reached"
        ),
        ReachedMemoryLimit::AllSandboxes(_) => format!(
            "the kernel killed a process because all sandboxes together reached their memory limit of {amount:.1} {unit}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_limit_is_shown_in_a_suitable_unit() {
        let message = |limit| out_of_memory(ReachedMemoryLimit::Sandbox(limit));
        assert!(message(1 << 30).contains("the sandbox's memory limit of 1.0 GiB was"));
        assert!(message(64 << 20).contains("the sandbox's memory limit of 64.0 MiB was"));
    }

    #[test]
    fn the_limit_of_all_sandboxes_is_not_blamed_on_one() {
        let message = out_of_memory(ReachedMemoryLimit::AllSandboxes(1 << 30));
        assert!(message.ends_with("all sandboxes together reached their memory limit of 1.0 GiB"));
    }
}
