//! Lines that the engine adds at the end of a command's standard error: what it was refused, and why.

use contree_sandbox::Exit;

use crate::api::request::SpawnRequest;
use crate::api::types::OperationEventType;
use crate::engine::Engine;
use crate::operation::events::{self, SYSTEM, stream};
use crate::operation::lifecycle::Task;
use crate::run::instance::MAIN;

/// Begins each of them, so that it is not taken for the command's own.
const MARK: &str = "contree: ";

/// Words by which tools name what needs a second user id, and the errors that they get.
const OWNERS: &[&str] = &[
    "chown",
    "ownership",
    "changing group",
    "setgroups",
    "setgid",
    "setuid",
    "setegid",
    "seteuid",
    "setresgid",
    "setresuid",
];
const REFUSALS: &[&str] = &["Invalid argument", "Operation not permitted"];

const ONE_ID: &str = "this sandbox has one user id alone, so nothing in it can belong to, or become, another user: \
    install newuidmap (Debian: uidmap), give this machine's user entries in /etc/subuid and /etc/subgid, and use a new data directory \
    (CONTREE_DATA_DIR)";

/// Adds the lines there are reason for, beyond what the recorded output is cut at: they are few and short. A command whose output
/// is not recorded at all gets none.
pub(crate) fn add(
    engine: &Engine,
    task: &Task,
    request: &SpawnRequest,
    denied: Option<String>,
    starved: Option<u64>,
    exit: Option<&Exit>,
) {
    let log = &task.running.log;
    let failed = exit.is_some_and(|exit| exit.code != Some(0));
    let single = engine.store.id_map().is_single();
    let refusal = engine.egress.refusal(request).map(str::to_owned);
    if let Some(why) = &refusal {
        log.append(
            SYSTEM,
            OperationEventType::Network,
            crate::egress::refused_event(why),
        );
    }
    let mut lines: Vec<String> = denied
        .into_iter()
        .chain(refusal)
        .chain(starved.map(out_of_memory))
        .collect();
    if request.truncate_output_at == 0 || (lines.is_empty() && !(failed && single)) {
        return;
    }
    let said = events::fold(&engine.log_path(task.operation), MAIN).unwrap_or_default();
    let wants_ids = |bytes: &[u8]| needs_ids(&String::from_utf8_lossy(bytes));
    // Many a script sends both to one stream.
    if single && failed && (wants_ids(&said.stderr) || wants_ids(&said.stdout)) {
        lines.push(ONE_ID.to_owned());
    }
    if lines.is_empty() {
        return;
    }
    let mut text = String::new();
    if said.stderr.last().is_some_and(|last| *last != b'\n') {
        text.push('\n');
    }
    for line in lines {
        text.push_str(MARK);
        text.push_str(&line);
        text.push('\n');
    }
    log.append(MAIN, OperationEventType::Stderr, stream(text.as_bytes()));
}

fn out_of_memory(limit: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "one digit is shown")]
    let (amount, unit) = match limit {
        0x4000_0000.. => (limit as f64 / f64::from(1 << 30), "GiB"),
        _ => (limit as f64 / f64::from(1 << 20), "MiB"),
    };
    format!(
        "the kernel killed a process because the sandbox's memory limit of {amount:.1} {unit} was reached"
    )
}

/// Whether a command failed at giving something to another user, as far as its words tell.
fn needs_ids(said: &str) -> bool {
    said.lines().any(|line| {
        OWNERS.iter().any(|word| line.contains(word))
            && REFUSALS.iter().any(|error| line.contains(error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_limit_is_told_in_a_unit_that_fits() {
        assert!(out_of_memory(1 << 30).contains("limit of 1.0 GiB was"));
        assert!(out_of_memory(64 << 20).contains("limit of 64.0 MiB was"));
    }

    #[test]
    fn what_tools_say_for_want_of_ids() {
        for line in [
            "E: setgroups 65534 failed - setgroups (1: Operation not permitted)",
            "chown: changing ownership of '/x': Invalid argument",
            "dpkg: error processing archive x.deb (--unpack):\n error setting ownership of './var/mail': Invalid argument",
            "tar: x: Cannot change ownership to uid 1000, gid 1000: Invalid argument",
        ] {
            assert!(needs_ids(line), "{line}");
        }
        assert!(!needs_ids(
            "grep: invalid option: Invalid argument\nchown done"
        ));
    }
}
