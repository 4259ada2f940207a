//! Sends the requests of the script and records the answers.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use contree_engine::{Listen, LocalConfig, ServeConfig, Server};
use serde_json::Value;

use crate::normalise::Normalizer;
use crate::script::{self, ScriptRequest, Step};
use crate::wire::{self, Answer};

type Failure = Box<dyn Error + Send + Sync>;

/// The headers that are part of the interface.
const HEADERS: [&str; 9] = [
    "content-type",
    "location",
    "retry-after",
    "allow",
    "cache-control",
    "vary",
    "content-disposition",
    "content-encoding",
    "www-authenticate",
];

/// The size of a body that is larger than the engine accepts.
const TOO_LARGE: usize = 64 * 1024 * 1024 + 1;

/// The longest wait for an event. A very busy machine needs long.
const EVENT_TIMEOUT: Duration = Duration::from_secs(120);

/// Records an engine of this build on a new data directory.
///
/// # Errors
/// If the engine cannot be started or does not answer.
pub(crate) async fn record_this_build() -> Result<String, Failure> {
    let parent = std::env::var_os("CONTREE_TEST_DIR").map_or_else(std::env::temp_dir, Into::into);
    let directory = tempfile::Builder::new()
        .prefix("contree-test-")
        .tempdir_in(parent)?;
    let socket = directory.path().join("s");
    let mut serve = ServeConfig::new(Listen::Unix(socket.clone()));
    serve.local_imports = true;
    let server = Server::start(&LocalConfig::new(directory.path().join("data")), &serve).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    let recorded = record_engine(&socket).await;
    let _ = stop.send(());
    serving.await??;
    recorded
}

/// Records the engine that listens on a socket. Its data directory must be empty.
///
/// # Errors
/// If the engine does not answer, or an answer lacks a value that the script needs.
pub(crate) async fn record_engine(socket: &Path) -> Result<String, Failure> {
    let directory = tempfile::tempdir()?;
    make_archive(directory.path())?;
    let directory = directory.path().to_string_lossy().into_owned();
    let mut normaliser = Normalizer::new(&directory);
    let mut variables = BTreeMap::from([("$directory".to_owned(), directory)]);
    let mut recording = String::new();
    for step in script::parse(include_str!("requests.txt")) {
        match step {
            Step::Send(request) => {
                let answer = send(socket, &request, &variables).await?;
                for (name, pointer) in &request.saved {
                    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                    let value = json.pointer(pointer).and_then(|value| match value {
                        Value::String(text) => Some(text.clone()),
                        Value::Number(number) => Some(number.to_string()),
                        _ => None,
                    });
                    let text = String::from_utf8_lossy(&answer.body);
                    let value = value
                        .ok_or_else(|| format!("{}: no {pointer} in {text}", request.source))?;
                    variables.insert(name.clone(), value);
                }
                recording.push_str(&format_exchange(&request, &answer, &mut normaliser));
            }
            Step::Until {
                operation,
                spid,
                event,
            } => {
                let path = fill("/v1/operations/OPERATION/events?spid=SPID", &variables)
                    .replace("OPERATION", &fill(&operation, &variables))
                    .replace("SPID", &fill(&spid, &variables));
                until(socket, &path, &event).await?;
            }
        }
    }
    Ok(recording)
}

/// The exchanges of a recording.
pub(crate) fn exchanges(recording: &str) -> Vec<String> {
    recording
        .split("\n\n== ")
        .map(|exchange| format!("== {}", exchange.trim_start_matches("== ")))
        .collect()
}

fn fill(text: &str, variables: &BTreeMap<String, String>) -> String {
    variables
        .iter()
        .rev()
        .fold(text.to_owned(), |text, (name, value)| {
            text.replace(name, value)
        })
}

async fn send(
    socket: &Path,
    request: &ScriptRequest,
    variables: &BTreeMap<String, String>,
) -> Result<Answer, Failure> {
    let body = match request.body.as_str() {
        "<too large>" => vec![b' '; TOO_LARGE],
        "<not UTF-8>" => b"{\"command\":\"\xff\"}".to_vec(),
        body => fill(body, variables).into_bytes(),
    };
    let path = fill(&request.path, variables);
    loop {
        let answer = wire::send(socket, &request.method, &path, &request.headers, &body).await?;
        // The operation had not started, so nothing was done.
        if answer.status != "425" {
            return Ok(answer);
        }
    }
}

/// Requests an operation's events until they include one of a type.
async fn until(socket: &Path, path: &str, event: &str) -> Result<(), Failure> {
    let started = tokio::time::Instant::now();
    let wanted = format!("event: {event}\n");
    loop {
        let answer = wire::send(socket, "GET", path, &[], b"").await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if text.contains(&wanted) {
            return Ok(());
        }
        if started.elapsed() > EVENT_TIMEOUT {
            return Err(format!("{path}: no event {event} in {text}").into());
        }
    }
}

fn format_exchange(
    request: &ScriptRequest,
    answer: &Answer,
    normaliser: &mut Normalizer,
) -> String {
    let mut text = format!("== {}\n{}\n", request.source, answer.status);
    for name in HEADERS {
        for (_, value) in answer.headers.iter().filter(|(given, _)| given == name) {
            text.push_str(&format!("{name}: {}\n", normaliser.text(value)));
        }
    }
    let kind = answer
        .headers
        .iter()
        .find(|(name, _)| name == "content-type");
    let body = String::from_utf8_lossy(&answer.body);
    let body = match kind {
        Some((_, kind)) if kind == "application/x-tar" => {
            format!("{} bytes", body.len() / 512 * 512)
        }
        Some((_, kind)) if kind == "text/event-stream" => normaliser.text(&body),
        _ => normaliser.text(&body),
    };
    text.push_str(body.trim_end_matches('\n'));
    text.push_str("\n\n");
    text
}

/// Writes a small root file system to import.
fn make_archive(directory: &Path) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(std::fs::File::create(directory.join("rootfs.tar"))?);
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(6);
    archive.append_data(&mut header, "hello", &b"hello\n"[..])?;
    archive.finish()
}
