//! Asks what the script says and writes down the answers.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use contree_engine::{Listen, LocalConfig, ServeConfig, Server};
use serde_json::Value;

use crate::normalise::Normaliser;
use crate::script::{self, Ask, Step};
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

/// A body beyond what the engine takes.
const TOO_LARGE: usize = 64 * 1024 * 1024 + 1;

/// How long an event may be waited for on a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The recording of an engine of this build, on a data directory of its own.
///
/// # Errors
/// If the engine cannot be started or does not answer.
pub(crate) async fn of_this_engine() -> Result<String, Failure> {
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
    let recorded = of(&socket).await;
    let _ = stop.send(());
    serving.await??;
    recorded
}

/// The recording of the engine that listens on a socket; its data directory has to be empty.
///
/// # Errors
/// If the engine does not answer, or not as the script needs it to go on.
pub(crate) async fn of(socket: &Path) -> Result<String, Failure> {
    let directory = tempfile::tempdir()?;
    make_archive(directory.path())?;
    let directory = directory.path().to_string_lossy().into_owned();
    let mut normaliser = Normaliser::new(&directory);
    let mut variables = BTreeMap::from([("$directory".to_owned(), directory)]);
    let mut recording = String::new();
    for step in script::read(include_str!("requests.txt")) {
        match step {
            Step::Ask(ask) => {
                let answer = send(socket, &ask, &variables).await?;
                for (name, pointer) in &ask.kept {
                    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                    let value = json.pointer(pointer).and_then(|value| match value {
                        Value::String(text) => Some(text.clone()),
                        Value::Number(number) => Some(number.to_string()),
                        _ => None,
                    });
                    let text = String::from_utf8_lossy(&answer.body);
                    let value =
                        value.ok_or_else(|| format!("{}: no {pointer} in {text}", ask.written))?;
                    variables.insert(name.clone(), value);
                }
                recording.push_str(&written(&ask, &answer, &mut normaliser));
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
    ask: &Ask,
    variables: &BTreeMap<String, String>,
) -> Result<Answer, Failure> {
    let body = match ask.body.as_str() {
        "<too large>" => vec![b' '; TOO_LARGE],
        "<not UTF-8>" => b"{\"command\":\"\xff\"}".to_vec(),
        body => fill(body, variables).into_bytes(),
    };
    let path = fill(&ask.path, variables);
    loop {
        let answer = wire::ask(socket, &ask.method, &path, &ask.headers, &body).await?;
        // Nothing was done: the operation had not begun.
        if answer.status != "425" {
            return Ok(answer);
        }
    }
}

/// Asks for the events that there are until one of this type is among them.
async fn until(socket: &Path, path: &str, event: &str) -> Result<(), Failure> {
    let begun = tokio::time::Instant::now();
    let wanted = format!("event: {event}\n");
    loop {
        let answer = wire::ask(socket, "GET", path, &[], b"").await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if text.contains(&wanted) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("{path}: no event {event} in {text}").into());
        }
    }
}

fn written(ask: &Ask, answer: &Answer, normaliser: &mut Normaliser) -> String {
    let mut text = format!("== {}\n{}\n", ask.written, answer.status);
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

/// A small root filesystem to import.
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
