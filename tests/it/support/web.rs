//! The server over HTTP, and a client that writes requests by hand, so that everything on the wire can be seen.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::raw::PATIENCE;

/// The newest version of the protocol.
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
        Self::try_start(command).unwrap_or_else(|said| panic!("it did not start: {said}"))
    }

    /// The same; what it said if it ended instead.
    pub fn try_start(mut command: Command) -> Result<Self, String> {
        let mut child = command
            .args(["--mode", "http", "--http-port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                child.wait().unwrap();
                return Err(said);
            }
            said.push_str(&line);
            let Some((_, rest)) = line.split_once("MCP at http://") else {
                continue;
            };
            break rest.split_once("/mcp").unwrap().0.parse().unwrap();
        };
        let stderr = Arc::new(Mutex::new(said));
        let saying = stderr.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = lines.read(&mut buffer) {
                saying
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

    /// A connection that waits for answers as long as any test does.
    pub fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection {
            read: BufReader::new(stream),
        }
    }

    /// One request over a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut connection = self.connect();
        connection.send(method, path, headers, body);
        connection.reply()
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], b"")
    }

    /// A message to `/mcp`, as a client of the newest protocol sends it.
    pub fn post(&self, message: &Value, more: &[(&str, &str)]) -> Reply {
        let mut connection = self.connect();
        connection.post(message, more);
        connection.reply()
    }

    /// The answer to a request of the newest protocol.
    pub fn request(&self, method: &str, params: Value) -> Value {
        self.post(&modern(method, params, 1), &[]).message(1)
    }

    /// The result of a tool.
    pub fn call(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(answer.get("result").is_some(), "{tool}: {answer}");
        answer["result"].clone()
    }

    /// The structured content of a tool that must succeed.
    pub fn good(&self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{tool}: {result}");
        result["structuredContent"].clone()
    }

    /// Waits for the end of the process.
    pub fn exit(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
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

/// A request of the newest protocol, with all it must carry.
pub fn modern(method: &str, mut params: Value, id: u64) -> Value {
    let meta = &mut params["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "web", "version": "1"});
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// A session of a client before the newest protocol.
pub struct Legacy<'a> {
    web: &'a Web,
    pub id: String,
    next: u64,
}

impl<'a> Legacy<'a> {
    pub fn begin(web: &'a Web) -> Self {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "web", "version": "1"},
        }});
        let reply = web.ask("POST", "/mcp", &JSON, hello.to_string().as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
        let id = reply.header("mcp-session-id").unwrap().to_owned();
        assert_eq!(reply.message(0)["result"]["protocolVersion"], "2025-11-25");
        let legacy = Self { web, id, next: 0 };
        let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(legacy.post(&begun).status, 202);
        legacy
    }

    fn headers(&self) -> [(&str, &str); 4] {
        [
            JSON[0],
            JSON[1],
            ("mcp-session-id", &self.id),
            ("mcp-protocol-version", "2025-11-25"),
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

    /// Sends a request over a connection of its own, and does not wait for its answer.
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

/// What every message carries.
pub const JSON: [(&str, &str); 2] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
];

/// One connection.
pub struct Connection {
    pub read: BufReader<TcpStream>,
}

impl Connection {
    pub fn stream(&mut self) -> &mut TcpStream {
        self.read.get_mut()
    }

    /// Sends a request; headers given here come instead of the usual ones.
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
        // A server that refuses early may have closed already; its answer is still to be read.
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

    /// Status and headers.
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

    /// A whole answer.
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

    /// The next piece of a streamed answer.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap_or(0);
        let mut chunk = vec![0; length];
        self.read.read_exact(&mut chunk).ok()?;
        self.line();
        (length > 0).then_some(chunk)
    }

    /// Reads a streamed answer until `text` has come.
    pub fn until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while let Some(chunk) = self.chunk() {
            all.push_str(&String::from_utf8_lossy(&chunk));
            if all.contains(text) {
                return all;
            }
        }
        panic!("{text:?} did not come: {all}");
    }
}

/// An answer.
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

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// All messages of the answer, whether it is one or a stream.
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

    /// The answer to the request with this id.
    pub fn message(&self, id: u64) -> Value {
        let found = self
            .messages()
            .into_iter()
            .find(|message| message["id"] == id);
        found.unwrap_or_else(|| panic!("no answer to {id}: {} {}", self.status, self.text()))
    }
}
