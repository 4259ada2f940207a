//! The embedded engine changes nothing of its process without being asked.

use std::{fs, process::Command};

use contree::engine::{LocalConfig, RETENTION_DAYS};
use rustix::process::{Resource, getrlimit};

/// Names the part of [`driver`] to perform.
const PART: &str = "CONTREE_TEST_MANNERS";

/// The state that belongs to the whole process.
#[derive(Debug, PartialEq, Eq)]
struct ProcessState {
    /// Handled, ignored and blocked signals, and the umask (proc_pid_status(5)).
    status: Vec<String>,
    limits: String,
    directory: std::path::PathBuf,
    variables: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    groups: String,
    provider: bool,
}

impl ProcessState {
    fn read() -> Self {
        let names = [
            "SigBlk:",
            "SigIgn:",
            "SigCgt:",
            "Umask:",
            "Uid:",
            "Gid:",
            "NoNewPrivs:",
        ];
        // Other threads block signals while they start one.
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let kept = |line: &&str| names.iter().any(|name| line.starts_with(name));
        Self {
            status: status.lines().filter(kept).map(str::to_owned).collect(),
            limits: fs::read_to_string("/proc/self/limits").unwrap(),
            directory: std::env::current_dir().unwrap(),
            variables: std::env::vars_os().collect(),
            groups: fs::read_to_string("/proc/self/cgroup").unwrap(),
            provider: rustls::crypto::CryptoProvider::get_default().is_some(),
        }
    }
}

/// Not a test by itself: a process in which nothing else runs.
#[test]
fn driver() {
    let Some(part) = std::env::var_os(PART) else {
        return;
    };
    let before = ProcessState::read();
    assert_eq!(getrlimit(Resource::Nofile).current, Some(600));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = contree::testing::local_engine().await.unwrap();
        let request = contree::types::InstanceSpawnRequest::builder()
            .image("tag:host".parse::<contree::ImageRef>().unwrap())
            .command("true");
        let outcome = client.run(request.try_into().unwrap()).await.unwrap();
        assert_eq!(outcome.exit_code, Some(0));
    });
    // A client of a service sets up TLS.
    if contree::Client::connect(contree::Backend::new("https://contree.example").unwrap()).is_err()
    {
        println!("this machine has no certificates");
    }
    assert_eq!(ProcessState::read(), before);
    assert!(rustix::process::child_subreaper().unwrap().is_none());
    if part == "asked" {
        let data = tempfile::tempdir().unwrap();
        let mut config = LocalConfig::new(data.path().join("data"));
        config.raise_descriptor_limit = true;
        let client = runtime.block_on(contree::Client::local(config)).unwrap();
        assert!(getrlimit(Resource::Nofile).current > Some(600));
        drop(client);
    }
}

fn run_driver(part: &str) {
    let output = Command::new("sh")
        .args([
            "-ec",
            "ulimit -Sn 600; exec \"$0\" --exact engine::manners::driver --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .env(PART, part)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_engine_changes_nothing_of_its_process_without_being_asked() {
    run_driver("not asked");
}

#[test]
fn the_limit_of_descriptors_is_raised_on_request() {
    run_driver("asked");
}

#[test]
fn only_the_program_removes_unused_data_by_itself() {
    let config = LocalConfig::new("/nowhere");
    assert_eq!(config.retention_days, None);
    assert!(!config.raise_descriptor_limit);
    let program = config.for_own_process();
    assert!(program.raise_descriptor_limit);
    // Tests run without CONTREE_RETENTION_DAYS.
    assert_eq!(program.retention_days, Some(RETENTION_DAYS));
}
