//! A client that writes and reads lines of JSON, so that tests see everything on the wire.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest wait for an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server and the pipes to it.
pub struct RawClient {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// Messages that arrived while the client waited for another one.
    unread: VecDeque<Value>,
    stderr: Arc<Mutex<String>>,
    next_id: u64,
    /// Whether each request carries the metadata of protocol 2026-07-28.
    modern: bool,
    /// Capabilities that the client declares.
    capabilities: Value,
}

impl RawClient {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                let value = serde_json::from_str(&line)
                    .unwrap_or_else(|_| panic!("not JSON on stdout: {line}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let written = Arc::new(Mutex::new(String::new()));
        let sink = written.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                sink.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Self {
            child,
            stdin,
            lines,
            unread: VecDeque::new(),
            stderr: written,
            next_id: 0,
            modern: false,
            capabilities: json!({}),
        }
    }

    /// Starts the server and completes the handshake in the given version.
    pub fn initialized(command: Command, version: &str) -> Self {
        Self::initialized_with(command, version, json!({}))
    }

    /// Starts the server and completes the handshake with these capabilities.
    pub fn initialized_with(command: Command, version: &str, capabilities: Value) -> Self {
        let mut raw = Self::start(command);
        let answer = raw.request(
            "initialize",
            json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "raw", "version": "1"}}),
        );
        assert_eq!(answer["result"]["protocolVersion"], version, "{answer}");
        raw.notify("notifications/initialized", json!({}));
        raw
    }

    /// Starts a session of protocol 2026-07-28, which has no handshake.
    pub fn modern(command: Command) -> Self {
        let mut raw = Self::start(command);
        raw.modern = true;
        raw
    }

    /// Starts a session of protocol 2026-07-28 with these capabilities.
    pub fn modern_with(command: Command, capabilities: Value) -> Self {
        let mut raw = Self::modern(command);
        raw.capabilities = capabilities;
        raw
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until stderr contains a text, and returns all of stderr.
    pub fn wait_for_stderr(&self, text: &str) -> String {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let written = self.stderr();
            if written.contains(text) {
                return written;
            }
            assert!(
                Instant::now() < deadline,
                "stderr lacks {text:?}: {written}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    pub fn line(&mut self, value: &Value) {
        self.write(format!("{value}\n").as_bytes());
    }

    pub fn notify(&mut self, method: &str, params: Value) {
        self.line(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Sends a request and returns its id.
    pub fn send(&mut self, method: &str, mut params: Value) -> u64 {
        self.next_id += 1;
        if self.modern {
            let meta = &mut params["_meta"];
            meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            meta["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
            meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "raw", "version": "1"});
        }
        self.line(
            &json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params}),
        );
        self.next_id
    }

    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.answer(id)
    }

    /// Calls a tool and returns its result.
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(
            answer.get("result").is_some(),
            "{tool}: {answer}\n{}",
            self.stderr()
        );
        answer["result"].clone()
    }

    /// Calls a tool that must succeed, and returns its structured content.
    pub fn call_ok(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_ne!(
            result["isError"],
            true,
            "{tool}: {result}\n{}",
            self.stderr()
        );
        result["structuredContent"].clone()
    }

    /// Calls a tool that must fail, and returns the error text.
    pub fn call_error(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// Waits for the answer to a request. Earlier messages stay available to [`Self::message`].
    pub fn answer(&mut self, id: u64) -> Value {
        self.answer_within(id, ANSWER_TIMEOUT)
            .unwrap_or_else(|| panic!("no answer to {id}; stderr: {}", self.stderr()))
    }

    /// Waits for the answer to a request. Returns `None` after `timeout`.
    pub fn answer_within(&mut self, id: u64, timeout: Duration) -> Option<Value> {
        if let Some(at) = self
            .unread
            .iter()
            .position(|message| is_answer(message, id))
        {
            return self.unread.remove(at);
        }
        let deadline = Instant::now() + timeout;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(message) if is_answer(&message, id) => return Some(message),
                Ok(message) => self.unread.push_back(message),
                Err(_) => return None,
            }
        }
    }

    /// Returns the next message of any kind.
    pub fn message(&mut self, timeout: Duration) -> Option<Value> {
        self.unread
            .pop_front()
            .or_else(|| self.lines.recv_timeout(timeout).ok())
    }

    /// Returns all messages until the output ends.
    pub fn rest(&mut self) -> Vec<Value> {
        let mut rest: Vec<Value> = self.unread.drain(..).collect();
        loop {
            match self.lines.recv_timeout(ANSWER_TIMEOUT) {
                Ok(message) => rest.push(message),
                Err(RecvTimeoutError::Disconnected) => return rest,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the output did not end; stderr: {}", self.stderr())
                }
            }
        }
    }

    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for the process to exit.
    pub fn exit(&mut self, timeout: Duration) -> ExitStatus {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the server still runs; stderr: {}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for RawClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_answer(message: &Value, id: u64) -> bool {
    message["id"] == id && message.get("method").is_none()
}
