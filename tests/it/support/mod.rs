//! Shared parts of the program's tests: a private home, a client of raw JSON-RPC, and a stub of a
//! Contree service.
#![allow(unreachable_pub, reason = "nothing of a test program is published")]

pub mod raw;
pub mod schema;
pub mod stub;
pub mod web;

use std::path::Path;
use std::process::Command;

/// Returns the root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A temporary home directory, private to one test.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns the command of `contree-mcp` with a minimal environment and directories below this
    /// home.
    pub fn command(&self) -> Command {
        self.prepared(program(env!("CARGO_BIN_EXE_contree-mcp")))
    }

    /// Returns the command of `contree`, like [`command`](Self::command).
    pub fn contree(&self) -> Command {
        self.prepared(program(CONTREE))
    }

    fn prepared(&self, mut command: Command) -> Command {
        command.env_clear();
        for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", self.path())
            .env("CONTREE_DATA_DIR", self.path().join("data"))
            .env("CONTREE_STATE_DIR", self.path().join("state"))
            .current_dir(self.path());
        command
    }

    /// Returns the program's command with a service as its backend.
    pub fn command_for(&self, url: &str) -> Command {
        let mut command = self.command();
        command
            .env("CONTREE_URL", url)
            .env("CONTREE_TOKEN", "a-secret-token");
        command
    }
}

/// The path of the program `contree`.
pub const CONTREE: &str = env!("CARGO_BIN_EXE_contree");

/// The program, which reacts to SIGINT and SIGHUP. The tests may run where these are ignored, such
/// as in the background of a script, and the program keeps ignoring what it finds ignored.
fn program(path: &str) -> Command {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    if ignored & 0b11 == 0 {
        return Command::new(path);
    }
    let mut command = Command::new("/usr/bin/env");
    command.args(["--default-signal=INT,HUP", path]);
    command
}

/// Sends a signal by its name, with the shell's `kill`.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("kill -{name} {pid}"))
        .status()
        .unwrap();
    assert!(status.success());
}
