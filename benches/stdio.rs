//! Measures the start of the server, its idle memory, and runs of a trivial command.
//!
//! `cargo bench --profile dist --bench stdio` prints the figures of docs/performance.md. It runs
//! the program over pipes, with the embedded engine, in a temporary directory.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const STARTS: usize = 50;
const RUNS: usize = 200;

struct McpServer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next_id: u64,
}

impl McpServer {
    fn start(home: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_contree-mcp"))
            .env("HOME", home)
            .env("CONTREE_BACKEND", "local")
            .env("CONTREE_DATA_DIR", home.join("data"))
            .env("CONTREE_STATE_DIR", home.join("state"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            child,
            stdin,
            stdout,
            next_id: 0,
        }
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        self.next_id += 1;
        let request =
            json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params});
        self.stdin
            .write_all(format!("{request}\n").as_bytes())
            .expect("a write");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("an answer");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(answer["id"], self.next_id, "{answer}");
        answer
    }

    fn initialize(&mut self) {
        let client = json!({"name": "bench", "version": "1"});
        self.request(
            "initialize",
            &json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}),
        );
    }

    fn run(&mut self, command: &str) -> Value {
        let arguments = json!({"image": "tag:host", "command": command});
        let answer = self.request(
            "tools/call",
            &json!({"name": "run", "arguments": arguments}),
        );
        assert_eq!(
            answer["result"]["structuredContent"]["exit_code"], 0,
            "{answer}"
        );
        answer
    }

    /// Resident memory in KiB, and the number of threads.
    fn memory(&self) -> (u64, u64) {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("/proc");
        let number = |name: &str| {
            let line = status
                .lines()
                .find(|line| line.starts_with(name))
                .expect("a known line");
            line.split_whitespace()
                .nth(1)
                .and_then(|text| text.parse().ok())
                .expect("a number")
        };
        (number("VmRSS:"), number("Threads:"))
    }

    fn stop(self) -> Duration {
        let started = Instant::now();
        let Self {
            mut child, stdin, ..
        } = self;
        drop(stdin);
        assert!(child.wait().expect("an end").success());
        started.elapsed()
    }
}

fn main() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut starts = Vec::new();
    let mut ends = Vec::new();
    let mut idle = (0, 0);
    for _ in 0..STARTS {
        let started = Instant::now();
        let mut server = McpServer::start(home.path());
        server.initialize();
        starts.push(started.elapsed());
        idle = server.memory();
        ends.push(server.stop());
    }
    print("start to the answer of initialize", starts);
    print("end of the input to exit", ends);
    println!(
        "{:<36} {:.1} MiB, {} threads",
        "idle after initialize",
        mib(idle.0),
        idle.1
    );

    let mut server = McpServer::start(home.path());
    server.initialize();
    let started = Instant::now();
    server.run("true");
    println!(
        "{:<36} {:.0} ms",
        "first run (makes tag:host)",
        started.elapsed().as_secs_f64() * 1e3
    );
    let runs = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            server.run("true");
            started.elapsed()
        })
        .collect();
    print("run of `true` through MCP", runs);
    let memory = server.memory();
    println!(
        "{:<36} {:.1} MiB, {} threads",
        format!("after {RUNS} runs"),
        mib(memory.0),
        memory.1
    );
    server.stop();
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let ms = |at: f64| times[((times.len() - 1) as f64 * at) as usize].as_secs_f64() * 1e3;
    println!(
        "{what:<36} median {:.2} ms, p90 {:.2} ms, worst {:.2} ms",
        ms(0.5),
        ms(0.9),
        ms(1.0)
    );
}
