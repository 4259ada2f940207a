//! What the tests of the binary share: a home of its own for each, a client that speaks raw JSON-RPC, and a
//! stand-in for a Contree service.
#![allow(unreachable_pub, reason = "nothing of a test program is published")]

pub mod raw;
pub mod schema;
pub mod stub;
pub mod web;

use std::path::Path;
use std::process::Command;

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Directories that no other test and no user shares.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The program, with nothing of this machine's environment but what programs need to run at all.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contree-mcp"));
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

    /// The program with a service as its backend.
    pub fn command_for(&self, url: &str) -> Command {
        let mut command = self.command();
        command
            .env("CONTREE_URL", url)
            .env("CONTREE_TOKEN", "a-secret-token");
        command
    }
}

/// Sends a signal by its name; `kill` is part of every shell.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("kill -{name} {pid}"))
        .status()
        .unwrap();
    assert!(status.success());
}
