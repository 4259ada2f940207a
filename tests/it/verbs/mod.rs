//! `contree`: its verbs on the embedded engine, over the real program.

mod arguments;
mod build;
mod errors;
mod failures;
mod habits;
mod home;
mod json;
mod last_run;
mod living;
mod logins;
mod names;
mod pipes;
mod placed;
mod runs;
mod sessions;

use std::io::Write as _;
use std::process::{Output, Stdio};

use crate::support::Home;

/// A home in which commands run.
struct Shell(Home);

impl Shell {
    fn new() -> Self {
        Self(Home::new())
    }

    /// Runs `contree` with these words.
    fn run(&self, words: &[&str]) -> Output {
        let mut command = self.0.contree();
        command.args(words).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs `contree`, which must succeed, and returns its standard output.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let status = output.status.code();
        assert_eq!(status, Some(0), "{words:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// Runs `contree`, which must fail with a status, and returns its standard error.
    fn fails(&self, status: i32, words: &[&str]) -> String {
        let output = self.run(words);
        let found = output.status.code();
        assert_eq!(
            found,
            Some(status),
            "{words:?}: {}{}",
            stdout(&output),
            stderr(&output)
        );
        stderr(&output)
    }

    /// Runs `contree` with this standard input.
    fn with_input(&self, words: &[&str], input: &[u8]) -> Output {
        let mut command = self.0.contree();
        let mut child = command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
