//! Tests of the terminals of processes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::support::TestEngine;

/// A client that shows a terminal.
struct TerminalViewer {
    response: reqwest::Response,
    unread: String,
    /// The output since the last [`TerminalViewer::until`].
    output: Vec<u8>,
    /// The reason of the end, once it was sent.
    end: Option<String>,
}

impl TerminalViewer {
    async fn open(local: &TestEngine, operation: &str, spid: u64) -> Self {
        let path = terminal(operation, spid);
        let response = loop {
            let response = local.fetch(Method::GET, &path, &[]).await;
            if response.status() != 425 {
                break response;
            }
        };
        assert_eq!(response.status(), 200);
        Self {
            response,
            unread: String::new(),
            output: Vec::new(),
            end: None,
        }
    }

    /// Reads one chunk. False at the end.
    async fn read(&mut self) -> bool {
        let Some(chunk) = self.response.chunk().await.unwrap() else {
            return false;
        };
        self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((frame, rest)) = self.unread.split_once("\n\n") {
            let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
            let data = field("data: ").unwrap_or_default();
            match field("event: ") {
                Some("output") => self.output.extend(STANDARD.decode(data).unwrap()),
                Some("end") => self.end = Some(data.to_owned()),
                _ => {}
            }
            self.unread = rest.to_owned();
        }
        true
    }

    async fn until(&mut self, expected: &str) {
        while !String::from_utf8_lossy(&self.output).contains(expected) {
            let text = String::from_utf8_lossy(&self.output).into_owned();
            assert!(self.read().await, "{text} {:?}", self.end);
        }
        self.output.clear();
    }

    async fn read_to_end(mut self) -> (String, Option<String>) {
        while self.read().await {}
        (String::from_utf8_lossy(&self.output).into_owned(), self.end)
    }
}

fn terminal(operation: &str, spid: u64) -> String {
    format!("/x/operations/{operation}/subprocesses/{spid}/terminal")
}

/// Fields of a request for a command on a terminal, whose input stays open.
fn on_terminal() -> Value {
    json!({"x-terminal": {"columns": 100, "rows": 30}, "stdin": {"value": "", "close": false}})
}

async fn type_text(local: &TestEngine, operation: &str, text: &str) {
    let path = format!("/operations/{operation}/subprocesses/1/stdin");
    let body = json!({"value": STANDARD.encode(text), "encoding": "base64", "close": false});
    let answer = local.post(&path, &body).await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

#[tokio::test]
async fn a_terminal_is_shown_typed_into_and_resized() {
    let local = TestEngine::shared().await;
    let operation = local
        .spawn("exec bash --norc --noprofile -i", on_terminal())
        .await;
    let mut shown = TerminalViewer::open(&local, &operation, 1).await;
    type_text(&local, &operation, "echo si''ze: $(stty size) $TERM\n").await;
    shown.until("size: 30 100 xterm-256color").await;
    let path = terminal(&operation, 1);
    let size = json!({"columns": 132, "rows": 50});
    assert_eq!(local.patch(&path, &size).await.status, 204);
    type_text(&local, &operation, "echo si''ze: $(stty size)\n").await;
    shown.until("size: 50 132").await;
    type_text(&local, &operation, "exit 3\n").await;
    let (_, end) = shown.read_to_end().await;
    assert_eq!(end.as_deref(), Some("ended"));
    let done = local.done(&operation).await;
    assert_eq!(done.exit_code, 3);
    // Its output is recorded as standard output, and the typed input is not recorded.
    assert!(done.stdout.contains("size: 50 132"), "{}", done.stdout);
    assert_eq!(done.stderr, "");
    assert_eq!(local.patch(&path, &size).await.status, 409);
}

#[tokio::test]
async fn an_interrupt_takes_effect_before_all_that_was_written_is_read() {
    let local = TestEngine::shared().await;
    let fields = on_terminal();
    let operation = local
        .spawn("trap 'echo interrupted; exit 5' INT; yes; wait", fields)
        .await;
    let mut shown = TerminalViewer::open(&local, &operation, 1).await;
    while shown.output.len() < 1 << 20 {
        assert!(shown.read().await);
    }
    type_text(&local, &operation, "\x03").await;
    let before = shown.output.len();
    let (output, end) = shown.read_to_end().await;
    // A process that did not wait would have written hundreds of megabytes.
    let rest = output.len() - before;
    assert!(rest < 8 << 20, "{rest} bytes after the interrupt");
    assert!(output.contains("interrupted"), "{rest}");
    assert_eq!(end.as_deref(), Some("ended"));
    assert_eq!(local.done(&operation).await.exit_code, 5);
}

#[tokio::test]
async fn a_process_does_not_wait_if_no_client_shows_its_terminal() {
    let local = TestEngine::shared().await;
    let operation = local
        .spawn("seq 300000; echo la''st; cat >/dev/null", on_terminal())
        .await;
    // It has written everything when it reads.
    let mut shown = TerminalViewer::open(&local, &operation, 1).await;
    shown.until("last").await;
    drop(shown);
    type_text(&local, &operation, "\x04").await;
    assert_eq!(local.done(&operation).await.exit_code, 0);
}

#[tokio::test]
async fn another_client_takes_a_terminal_over() {
    let local = TestEngine::shared().await;
    let operation = local.spawn("cat", on_terminal()).await;
    let first = TerminalViewer::open(&local, &operation, 1).await;
    let mut second = TerminalViewer::open(&local, &operation, 1).await;
    let (_, end) = first.read_to_end().await;
    assert!(end.unwrap().contains("another client"));
    type_text(&local, &operation, "typed\n").await;
    second.until("typed").await;
    type_text(&local, &operation, "\x04").await;
    assert_eq!(second.read_to_end().await.1.as_deref(), Some("ended"));
    assert_eq!(local.done(&operation).await.exit_code, 0);
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_delay_the_end() {
    let local = TestEngine::shared().await;
    let operation = local.spawn("yes", on_terminal()).await;
    let shown = TerminalViewer::open(&local, &operation, 1).await;
    local.delete(&format!("/operations/{operation}")).await;
    assert_eq!(local.done(&operation).await.status, "CANCELLED");
    drop(shown);
}

#[tokio::test]
async fn invalid_sizes_and_missing_terminals_are_refused() {
    let local = TestEngine::shared().await;
    for size in [
        json!({"columns": 0, "rows": 24}),
        json!({"columns": 80, "rows": 65536}),
    ] {
        let body = json!({"command": "true", "image": "tag:host", "x-terminal": size});
        let answer = local.post("/instances", &body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(
            answer.text.contains("must be from 1 to 65535"),
            "{answer:?}"
        );
    }
    let operation = local
        .spawn("cat", json!({"stdin": {"value": "", "close": false}}))
        .await;
    let answer = local.get(&terminal(&operation, 1)).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.text.contains("x-terminal"), "{answer:?}");
    local.delete(&format!("/operations/{operation}")).await;
    local.done(&operation).await;
}

#[tokio::test]
async fn ten_thousand_sizes_and_garbage_leave_the_engine_unharmed() {
    let local = TestEngine::shared().await;
    let operation = local
        .spawn(
            "stty raw -echo; echo ready; head -c 200000 | wc -c",
            on_terminal(),
        )
        .await;
    let mut shown = TerminalViewer::open(&local, &operation, 1).await;
    shown.until("ready").await;
    let garbage: Vec<u8> = (0..200_000_u32).map(|n| ((n * 7919) >> 5) as u8).collect();
    let path = format!("/operations/{operation}/subprocesses/1/stdin");
    let body = json!({"value": STANDARD.encode(&garbage), "encoding": "base64", "close": false});
    assert_eq!(local.post(&path, &body).await.status, 204);
    let path = terminal(&operation, 1);
    for n in 0..10_000_u64 {
        let size = json!({"columns": n % 500 + 1, "rows": n % 300 + 1});
        let status = local.patch(&path, &size).await.status;
        // The command may have ended by then.
        assert!([204, 404, 409].contains(&status), "{status}");
    }
    let (output, end) = shown.read_to_end().await;
    assert!(output.contains("200000"), "{output}");
    assert_eq!(end.as_deref(), Some("ended"));
    assert_eq!(local.done(&operation).await.exit_code, 0);
}
