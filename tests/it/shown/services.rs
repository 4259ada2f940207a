//! The registry and the served engine that pages use instead of those of the world.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::push_registry::PushRegistry;
use crate::support::{Home, signal};

/// How long a server may take until it prints its address.
const START: Duration = Duration::from_secs(120);

/// A program that serves until the end of the test.
pub(super) struct Server(Child);

impl Server {
    /// Starts a server, whose output goes to a file, and waits until it prints `ready`.
    ///
    /// # Errors
    /// The output, if the server ends instead, or does not print it in time.
    pub(super) fn start(
        mut command: Command,
        output: &std::path::Path,
        ready: &str,
    ) -> Result<Self, String> {
        let file = std::fs::File::create(output).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut server = Self(child);
        let deadline = Instant::now() + START;
        loop {
            let has_ended = server.0.try_wait().unwrap().is_some();
            let printed = std::fs::read_to_string(output).unwrap_or_default();
            if printed
                .find(ready)
                .is_some_and(|at| printed[at..].contains('\n'))
            {
                return Ok(server);
            }
            if has_ended {
                return Err(printed);
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "within {} s, the server printed no line with {ready}:\n{printed}",
                    START.as_secs()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            signal(self.0.id(), "TERM");
            self.0.wait().unwrap();
        }
    }
}

/// A served engine.
struct ServedEngine {
    // It ends before its home is removed.
    _server: Server,
    _home: Home,
    url: String,
}

/// The services. Each starts when a page needs it.
pub(super) struct Services {
    runtime: tokio::runtime::Runtime,
    registry: OnceLock<PushRegistry>,
    engine: OnceLock<ServedEngine>,
}

/// The token of the served engine.
const TOKEN: &str = "a-token-of-the-test";

impl Services {
    pub(super) fn new() -> Self {
        Self {
            runtime: tokio::runtime::Runtime::new().unwrap(),
            registry: OnceLock::new(),
            engine: OnceLock::new(),
        }
    }

    fn registry(&self) -> &str {
        let start = || self.runtime.block_on(PushRegistry::start());
        &self.registry.get_or_init(start).address
    }

    fn engine(&self) -> &str {
        let start = || {
            let home = Home::new();
            let path = |name: &str| -> PathBuf { home.path().join(name) };
            std::fs::write(path("token"), TOKEN).unwrap();
            keep_private(&path("token"));
            let mut command = home.command();
            command.args(["engine", "serve", "--listen", "127.0.0.1:0"]);
            command.arg("--token-file").arg(path("token"));
            let server = Server::start(command, &path("log"), "http://").unwrap();
            let log = std::fs::read_to_string(path("log")).unwrap();
            let address = regex::Regex::new(r"http://127\.0\.0\.1:\d+").unwrap();
            let url = address.find(&log).unwrap().as_str().to_owned();
            ServedEngine {
                _server: server,
                _home: home,
                url,
            }
        };
        &self.engine.get_or_init(start).url
    }

    /// The variables that a text with shell lines uses.
    pub(super) fn variables(&self, text: &str) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if text.contains("$REGISTRY") {
            found.push(("REGISTRY", self.registry().to_owned()));
        }
        if text.contains("$SERVER") {
            found.push(("SERVER", self.engine().to_owned()));
        }
        if text.contains("$TOKEN") {
            found.push(("TOKEN", TOKEN.to_owned()));
        }
        found
    }
}

/// Only the owner may read a file with a token.
fn keep_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
