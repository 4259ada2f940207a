//! The server over HTTP, and a client that writes requests by hand, so that tests see everything on
//! the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::raw::ANSWER_TIMEOUT;

/// The newest protocol version.
pub const MODERN: &str = "2026-07-28";

/// A running server.
pub struct Web {
    child: Child,
    pub address: SocketAddr,
    stderr: Arc<Mutex<String>>,
}

impl Web {
    /// Starts `command` with `--mode http` on a free port of loopback.
    pub fn start(command: Command) -> Self {
        Self::try_start(command).unwrap_or_else(|written| panic!("it did not start: {written}"))
    }

    /// The same. Returns stderr if the server ends instead.
    pub fn try_start(mut command: Command) -> Result<Self, String> {
        let mut child = command
            .args(["--mode", "http", "--http-port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut written = String::new();
        let address = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                child.wait().unwrap();
                return Err(written);
            }
            written.push_str(&line);
            let Some((_, rest)) = line.split_once("MCP at http://") else {
                continue;
            };
            break rest.split_once("/mcp").unwrap().0.parse().unwrap();
        };
        let stderr = Arc::new(Mutex::new(written));
        let writing = stderr.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = lines.read(&mut buffer) {
                writing
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Ok(Self {
            child,
            address,
            stderr,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Opens a connection with the tests' timeout for answers.
    pub fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        Connection {
            read: BufReader::new(stream),
        }
    }

    /// Sends a request over a new connection and returns the answer.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut connection = self.connect();
        connection.send(method, path, headers, body);
        connection.reply()
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], b"")
    }

    /// Sends a message to `/mcp` as a client of the newest protocol, with further headers.
    pub fn post(&self, message: &Value, more: &[(&str, &str)]) -> Reply {
        let mut connection = self.connect();
        connection.post(message, more);
        connection.reply()
    }

    /// Sends a request of the newest protocol and returns the answer.
    pub fn request(&self, method: &str, params: Value) -> Value {
        self.post(&modern(method, params, 1), &[]).message(1)
    }

    /// Calls a tool and returns its result.
    pub fn call(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(answer.get("result").is_some(), "{tool}: {answer}");
        answer["result"].clone()
    }

    /// Calls a tool that must succeed, and returns its structured content.
    pub fn call_ok(&self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{tool}: {result}");
        result["structuredContent"].clone()
    }

    /// Waits for the process to exit.
    pub fn exit(&mut self, timeout: Duration) -> ExitStatus {
        let until = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < until,
                "the server is still there: {}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds a request of the newest protocol with the required metadata.
pub fn modern(method: &str, mut params: Value, id: u64) -> Value {
    let meta = &mut params["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "web", "version": "1"});
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// A session of a client of an earlier protocol version.
pub struct Legacy<'a> {
    web: &'a Web,
    pub id: String,
    version: &'static str,
    next: u64,
}

impl<'a> Legacy<'a> {
    pub fn begin(web: &'a Web) -> Self {
        Self::begin_with(web, "2025-11-25")
    }

    /// Begins a session with this protocol version.
    pub fn begin_with(web: &'a Web, version: &'static str) -> Self {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "web", "version": "1"},
        }});
        let reply = web.ask("POST", "/mcp", &JSON, hello.to_string().as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
        let id = reply.header("mcp-session-id").unwrap().to_owned();
        assert_eq!(reply.message(0)["result"]["protocolVersion"], version);
        assert!(!has_empty_data(&reply.text()), "{}", reply.text());
        let legacy = Self {
            web,
            id,
            version,
            next: 0,
        };
        let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(legacy.post(&begun).status, 202);
        legacy
    }

    fn headers(&self) -> [(&str, &str); 4] {
        [
            JSON[0],
            JSON[1],
            ("mcp-session-id", &self.id),
            ("mcp-protocol-version", self.version),
        ]
    }

    pub fn post(&self, message: &Value) -> Reply {
        self.web.ask(
            "POST",
            "/mcp",
            &self.headers(),
            message.to_string().as_bytes(),
        )
    }

    /// Sends a request over a new connection and does not wait for the answer.
    pub fn start(&mut self, method: &str, params: Value) -> (u64, Connection) {
        self.next += 1;
        let message =
            json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params});
        let mut connection = self.web.connect();
        connection.send(
            "POST",
            "/mcp",
            &self.headers(),
            message.to_string().as_bytes(),
        );
        (self.next, connection)
    }

    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let (id, mut connection) = self.start(method, params);
        connection.reply().message(id)
    }

    pub fn end(&self) -> Reply {
        self.web.ask("DELETE", "/mcp", &self.headers(), b"")
    }
}

/// Reports whether an event stream has an event with empty data.
pub fn has_empty_data(stream: &str) -> bool {
    stream.lines().any(|line| line.trim_end() == "data:")
}

/// Headers of every message.
pub const JSON: [(&str, &str); 2] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
];

/// A connection to the server.
pub struct Connection {
    pub read: BufReader<TcpStream>,
}

impl Connection {
    pub fn stream(&mut self) -> &mut TcpStream {
        self.read.get_mut()
    }

    /// Sends a request. A given `host` header replaces the usual one.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let stream = self.read.get_mut();
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            text.push_str(&format!("host: {}\r\n", stream.peer_addr().unwrap()));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let mut all = text.into_bytes();
        all.extend_from_slice(body);
        // A server that refuses early may have closed the connection. Its answer can still be read.
        let _ = stream.write_all(&all);
    }

    pub fn post(&mut self, message: &Value, more: &[(&str, &str)]) {
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let name = message["params"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let mut headers = JSON.to_vec();
        headers.push(("mcp-protocol-version", MODERN));
        headers.push(("mcp-method", &method));
        if !name.is_empty() {
            headers.push(("mcp-name", &name));
        }
        headers.extend_from_slice(more);
        self.send("POST", "/mcp", &headers, message.to_string().as_bytes());
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.read.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads status and headers.
    pub fn head(&mut self) -> Reply {
        let status = self.line();
        let status = status
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no answer: {status:?}"))
            .parse()
            .unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Reply {
            status,
            headers,
            body: Vec::new(),
        }
    }

    /// Reads a whole answer.
    pub fn reply(&mut self) -> Reply {
        let mut reply = self.head();
        if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                reply.body.extend(chunk);
            }
        } else if let Some(length) = reply.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.read.read_exact(&mut body).unwrap();
            reply.body = body;
        }
        reply
    }

    /// Reads the next chunk of a streamed answer.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap_or(0);
        let mut chunk = vec![0; length];
        self.read.read_exact(&mut chunk).ok()?;
        self.line();
        (length > 0).then_some(chunk)
    }

    /// Reads a streamed answer until it contains `text`.
    pub fn until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while let Some(chunk) = self.chunk() {
            all.push_str(&String::from_utf8_lossy(&chunk));
            if all.contains(text) {
                return all;
            }
        }
        panic!("the answer lacks {text:?}: {all}");
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Parses the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Returns all messages of the answer, which is JSON or an event stream.
    pub fn messages(&self) -> Vec<Value> {
        let kind = self.header("content-type").unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return vec![self.json()];
        }
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter_map(|data| serde_json::from_str(data.trim()).ok())
            .collect()
    }

    /// Returns the answer to the request with this id.
    pub fn message(&self, id: u64) -> Value {
        let found = self
            .messages()
            .into_iter()
            .find(|message| message["id"] == id);
        found.unwrap_or_else(|| panic!("no answer to {id}: {} {}", self.status, self.text()))
    }
}
