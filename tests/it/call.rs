//! `contree-mcp call`, `tools` and `doctor`: arguments, streams and exit statuses of the program.

use std::io::{Read, Write};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::stub::{IMAGE, Stub};
use crate::support::{Home, signal};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A stub service with its own runtime, and a home directory configured for it.
struct CloudSetup {
    home: Home,
    stub: Stub,
    url: String,
    _runtime: Runtime,
}

impl CloudSetup {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let stub = Stub::default();
        let url = runtime.block_on(stub.start());
        Self {
            home: Home::new(),
            stub,
            url,
            _runtime: runtime,
        }
    }

    fn call(&self, arguments: &[&str]) -> Output {
        self.home
            .command_for(&self.url)
            .arg("call")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Starts `contree-mcp call`, whose output the caller reads.
    fn spawn_call(&self, arguments: &[&str]) -> Child {
        self.home
            .command_for(&self.url)
            .arg("call")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts `contree-mcp call`, and returns once its operation runs.
    fn spawn_running_call(&self, arguments: &[&str]) -> Child {
        let child = self.spawn_call(arguments);
        let until = Instant::now() + Duration::from_secs(30);
        while !self.stub.statuses().contains_key("EXECUTING") && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    fn call_ok(&self, arguments: &[&str]) -> Value {
        let output = self.call(arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            stderr(&output)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `call` on the embedded engine.
fn local(home: &Home, arguments: &[&str]) -> Output {
    home.command()
        .arg("call")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

mod arguments;

mod statuses;

mod raw;

mod on_the_engine;

mod other_commands;
