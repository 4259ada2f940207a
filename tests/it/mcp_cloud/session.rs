//! An MCP server, and the stub service behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::operations::Operations;
use crate::support::Home;
use crate::support::raw::{ANSWER_TIMEOUT, RawClient};
use crate::support::stub::{IMAGE, RESULT, Stub};

/// An MCP server and the stub service behind it.
pub(super) struct Session {
    pub(super) raw: RawClient,
    pub(super) stub: Stub,
    pub(super) url: String,
    pub(super) home: Home,
    pub(super) _runtime: Runtime,
}

impl Session {
    pub(super) fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let stub = Stub::default();
        let url = runtime.block_on(stub.start());
        let home = Home::new();
        let raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
        Self {
            raw,
            stub,
            url,
            home,
            _runtime: runtime,
        }
    }

    /// Starts a registry that requires no credentials and returns its address.
    pub(super) fn registry(&self) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let router = axum::Router::new().route("/v2/", axum::routing::get(|| async { "{}" }));
        self._runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        address
    }

    /// Adds an operation that made the image [`RESULT`].
    pub(super) fn add_result(&self) {
        self.stub.add_operation(json!({
            "image_uuid": IMAGE, "result_image_uuid": RESULT, "metadata": {"command": "make", "image": IMAGE},
        }));
    }

    /// Gives the service the extensions, and starts a new server, since a server asks only once.
    pub(super) fn extend(&mut self) {
        self.stub.extend();
        self.raw.close_input();
        self.raw.exit(ANSWER_TIMEOUT);
        self.raw = RawClient::initialized(self.home.command_for(&self.url), "2025-11-25");
    }

    /// Starts a command that runs until it is cancelled.
    pub(super) fn sleeping(&mut self) -> Value {
        self.raw.call_ok(
            "run",
            json!({"image": "tag:base", "command": "sleep", "wait": false}),
        )["operation_id"]
            .clone()
    }

    pub(super) fn wait_for(&self, statuses: &[(&str, usize)]) {
        let count = |&(name, count): &(&str, usize)| (name.to_owned(), count);
        self.wait_for_statuses(&statuses.iter().map(count).collect());
    }

    pub(super) fn wait_for_statuses(&self, wanted: &BTreeMap<String, usize>) {
        let until = Instant::now() + ANSWER_TIMEOUT;
        while self.stub.statuses() != *wanted {
            assert!(
                Instant::now() < until,
                "{:?} instead of {wanted:?}",
                self.stub.statuses()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the API operations that were called so far.
    pub(super) fn called(&self, api: &Operations) -> BTreeSet<String> {
        let requests = self.stub.requests();
        let names = requests.iter();
        names
            .map(|(method, path)| api.operation(method, path))
            .collect()
    }

    /// Waits for these API operations, ends the server and returns all operations that were called.
    ///
    /// Some are called only after the answer to the tool's call. The ended server calls nothing
    /// more.
    pub(super) fn all_called(
        &mut self,
        api: &Operations,
        awaited: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let until = Instant::now() + ANSWER_TIMEOUT;
        while !self.called(api).is_superset(awaited) {
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.raw.close_input();
        self.raw.exit(ANSWER_TIMEOUT);
        self.called(api)
    }

    /// Calls a tool and cancels the call once its operation runs.
    pub(super) fn cancel_call(&mut self, tool: &str, arguments: Value) {
        let before = self.stub.statuses();
        let changed = |status: &str| {
            let mut wanted = before.clone();
            *wanted.entry(status.to_owned()).or_default() += 1;
            wanted
        };
        let id = self
            .raw
            .send("tools/call", json!({"name": tool, "arguments": arguments}));
        self.wait_for_statuses(&changed("EXECUTING"));
        self.raw
            .notify("notifications/cancelled", json!({"requestId": id}));
        self.wait_for_statuses(&changed("CANCELLED"));
    }

    /// Sends a directory from another server with the same state directory. Returns the directory
    /// state's id.
    pub(super) fn send_directory(&self) -> Value {
        let tree = self.home.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("large"), vec![b'x'; 100_000]).unwrap();
        std::fs::write(tree.join("small"), "x").unwrap();
        let mut raw = RawClient::initialized(self.home.command_for(&self.url), "2025-11-25");
        let sent = raw.call_ok("rsync", json!({"source": tree, "destination": "/tree"}));
        raw.close_input();
        raw.exit(ANSWER_TIMEOUT);
        sent["directory_state_id"].clone()
    }
}
