//! Tests of limits of a whole sandbox. Without usable control groups they check the error instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use contree_sandbox::{
    CheckState, ControlGroups, Error, Limits, ReachedMemoryLimit, Sandbox, StoreOptions, diagnose,
};

use crate::support::{output, run, shell, spec, start, store};

/// Finds the control groups whose names end with `end`, in all hierarchies.
pub(crate) fn groups(end: &str) -> Vec<PathBuf> {
    fn visit(directory: &Path, depth: usize, end: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if depth == 0 || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().ends_with(end) {
                found.push(entry.path());
            }
            visit(&entry.path(), depth - 1, end, found);
        }
    }
    let mut found = Vec::new();
    visit(Path::new("/sys/fs/cgroup"), 8, end, &mut found);
    found
}

/// Returns true if these limits can be enforced. If not, checks that the sandbox and the diagnosis
/// refuse them with a remedy.
fn is_enforceable(limits: Limits) -> bool {
    let Some(why) = ControlGroups::get().refusal(&limits) else {
        return true;
    };
    let run = run();
    let spec = contree_sandbox::SandboxSpec { limits, ..spec() };
    let refused = Sandbox::start(store(), &run, &spec).unwrap_err();
    assert!(
        matches!(&refused, Error::Invalid(text) if text.contains(&why)),
        "{refused}"
    );
    let remedy = ControlGroups::get().remedy().unwrap();
    assert!(why.ends_with(&remedy), "{why}");
    assert_eq!(groups(run.name()), Vec::<PathBuf>::new());
    store().remove_run(run.name()).unwrap();
    false
}

#[test]
fn a_sandbox_out_of_memory_loses_a_process_and_reports_it() {
    let limits = Limits {
        memory_bytes: Some(64 << 20),
        ..Limits::default()
    };
    if !is_enforceable(limits) {
        assert_eq!(ControlGroups::get().memory_bytes(), None);
        return;
    }
    let run = run();
    let spec = contree_sandbox::SandboxSpec { limits, ..spec() };
    let sandbox = Sandbox::start(store(), &run, &spec).unwrap();
    assert_eq!(sandbox.killed_for_memory(), None);
    let hog = "head -c 300M /dev/zero | tail -c 300M | wc -c";
    let done = output(&sandbox, &shell(hog));
    assert_eq!(done.stdout.trim(), "0", "{done:?}");
    let reached = sandbox.killed_for_memory();
    assert_eq!(reached, Some(ReachedMemoryLimit::Sandbox(64 << 20)));
    // The other processes continue.
    assert_eq!(output(&sandbox, &shell("echo on")).stdout, "on\n");
    sandbox.finish(true).unwrap();
    assert_eq!(groups(run.name()), Vec::<PathBuf>::new());
    store().remove_run(run.name()).unwrap();
}

#[test]
fn a_command_cannot_make_the_kernel_spare_it() {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.unwrap().trim(), 16).unwrap();
    if effective & CAP_SYS_RESOURCE == 0 {
        eprintln!("not checked: this needs CAP_SYS_RESOURCE");
        return;
    }
    let (run, sandbox) = start();
    let script =
        "cat /proc/self/oom_score_adj; echo 0 >/proc/$$/oom_score_adj; cat /proc/$$/oom_score_adj";
    assert_eq!(output(&sandbox, &shell(script)).stdout, "500\n500\n");
    sandbox.finish(true).unwrap();
    store().remove_run(run.name()).unwrap();
}

#[test]
fn all_sandboxes_together_have_one_memory_limit() {
    let Some(bytes) = ControlGroups::get().memory_bytes() else {
        return;
    };
    let runs = [run(), run()];
    let sandboxes = runs
        .each_ref()
        .map(|run| Sandbox::start(store(), run, &spec()).unwrap());
    let parents = runs.each_ref().map(|run| {
        let limits = ["memory.max", "memory.limit_in_bytes"];
        let mut limited = groups(run.name()).into_iter();
        let group = limited.find(|group| limits.iter().any(|file| group.join(file).exists()));
        group.unwrap().parent().unwrap().to_owned()
    });
    assert_eq!(parents[0], parents[1]);
    let limit = fs::read_to_string(parents[0].join("memory.max"))
        .or_else(|_| fs::read_to_string(parents[0].join("memory.limit_in_bytes")))
        .unwrap();
    let limit: u64 = limit.trim().parse().unwrap();
    // The kernel rounds to whole pages.
    assert!(bytes.abs_diff(limit) < 64 << 10, "{bytes} and {limit}");
    for (sandbox, run) in sandboxes.into_iter().zip(&runs) {
        sandbox.finish(false).unwrap();
        assert_eq!(groups(run.name()), Vec::<PathBuf>::new());
        store().remove_run(run.name()).unwrap();
    }
}

#[test]
fn processes_and_cpu_time_are_limited_for_the_whole_sandbox() {
    let limits = Limits {
        processes: Some(12),
        cpus: Some(0.5),
        ..Limits::default()
    };
    if !is_enforceable(limits) {
        return;
    }
    let run = run();
    let spec = contree_sandbox::SandboxSpec { limits, ..spec() };
    let sandbox = Sandbox::start(store(), &run, &spec).unwrap();
    let read = |file: &str| {
        let all = groups(run.name());
        all.iter()
            .find_map(|group| fs::read_to_string(group.join(file)).ok())
    };
    assert_eq!(read("pids.max").unwrap().trim(), "13");
    let quota = read("cpu.max")
        .or_else(|| read("cpu.cfs_quota_us"))
        .unwrap();
    assert_eq!(quota.split_whitespace().next(), Some("50000"));
    for group in groups(run.name()) {
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        assert!(members.lines().count() >= 2, "{}", group.display());
    }
    let many = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 60 >/dev/null 2>&1 & done; echo all";
    let done = output(&sandbox, &shell(many));
    assert!(!done.stdout.contains("all"), "{done:?}");
    sandbox.finish(false).unwrap();
    assert_eq!(groups(run.name()), Vec::<PathBuf>::new());
    store().remove_run(run.name()).unwrap();
}

#[test]
fn leftover_groups_are_removed_and_groups_in_use_stay() {
    let (gone, live) = (run(), run());
    let sandboxes = [&gone, &live].map(|run| Sandbox::start(store(), run, &spec()).unwrap());
    let gone_groups = groups(gone.name());
    let available = ControlGroups::get().memory_bytes().is_some();
    assert_eq!(
        !gone_groups.is_empty(),
        available,
        "{}",
        ControlGroups::get().describe()
    );
    let name = gone.name().to_owned();
    let [gone_sandbox, live_sandbox] = sandboxes;
    gone_sandbox.finish(false).unwrap();
    drop(gone);
    let probes = |kind: &str| -> Vec<PathBuf> {
        let name = format!("contree-probe-{kind}-{}", std::process::id());
        gone_groups
            .iter()
            .map(|group| group.with_file_name(&name))
            .collect()
    };
    let (old, new) = (probes("old"), probes("new"));
    for group in gone_groups.iter().chain(&old).chain(&new) {
        fs::create_dir(group).unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_secs(600);
    for group in &old {
        fs::File::open(group)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    store().remove_leftover_groups();
    assert!(old.iter().all(|group| !group.exists()), "{old:?}");
    for group in &new {
        fs::remove_dir(group).unwrap();
    }
    assert_eq!(groups(&name), Vec::<PathBuf>::new());
    assert_eq!(groups(live.name()).is_empty(), !available);
    live_sandbox.finish(false).unwrap();
    store().remove_run(&name).unwrap();
    store().remove_run(live.name()).unwrap();
}

#[test]
fn the_diagnosis_reports_which_limits_are_enforced() {
    let directory = tempfile::tempdir_in(crate::support::directory()).unwrap();
    let checks = diagnose(directory.path(), &StoreOptions::default());
    let check = checks
        .iter()
        .find(|check| check.name == "control groups")
        .unwrap();
    let all = Limits {
        memory_bytes: Some(1 << 30),
        processes: Some(100),
        cpus: Some(1.0),
    };
    let fine = ControlGroups::get().refusal(&all).is_none();
    assert_eq!(check.state == CheckState::Fine, fine, "{check:?}");
    assert_eq!(check.remedy.is_none(), fine, "{check:?}");
}
