//! Requests of the engine, one enum for each receiver.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::wire::text;
use crate::os::terminal::TerminalSize;

/// A request to the first stage.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FirstStageRequest {
    /// Starts a task. The store's directory, a [`Boot`](super::boot::Boot) and a sandbox's further
    /// files come with the message. It is sent only after
    /// [`Reply::Hello`](super::reply::Reply::Hello).
    Boot,
    /// Reports that the id map is written.
    Mapped,
    /// Compares the upper directory with the image. It is sent when the process tree is gone.
    Inspect,
    /// Passes the archive's stream to a helper that unpacks.
    Unpack,
    /// Passes the archive's stream to a helper that packs.
    Pack,
}

/// A request that the first stage receives after the end of pid 1, which shares its connection.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum RequestAfterPid1 {
    FirstStage(FirstStageRequest),
    /// A request for pid 1 that came too late.
    Late(#[expect(dead_code, reason = "read to tell it from what is malformed")] Pid1Request),
}

/// A request to pid 1.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Pid1Request {
    /// Starts a command. A [`crate::Command`] comes with the message. With `terminal`, its streams
    /// are a new terminal of this size.
    Exec {
        id: u32,
        #[serde(default)]
        terminal: Option<TerminalSize>,
    },
    /// Connects to a loopback address of the sandbox, without waiting for the connection.
    Connect { request: u32, address: SocketAddr },
    /// Sends a signal to the process group of a command.
    Signal {
        request: u32,
        process: u32,
        signal: i32,
    },
    /// Ends every process except pid 1. They get SIGTERM and `grace_ms` milliseconds, then SIGKILL.
    /// Without that time they get SIGKILL at once.
    EndAll { request: u32, grace_ms: u64 },
    /// Stops every process except pid 1, and answers when all of them stand still.
    Pause { request: u32 },
    /// Lets the processes continue.
    Resume { request: u32 },
    /// Kills every process, then ends pid 1.
    Finish,
}

/// A request to a view.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ViewRequest {
    /// Queries one path.
    Query {
        query: PathQuery,
        #[serde(with = "text::path")]
        path: PathBuf,
    },
    /// Starts a walk and abandons any earlier one. The answer is that of [`PathQuery::Follow`];
    /// only a directory can be walked.
    Walk {
        #[serde(with = "text::path")]
        path: PathBuf,
    },
    /// Requests the next entries of the walk. `enter` decides whether the walk enters the directory
    /// at which the previous entries ended.
    Next { enter: bool },
    /// Opens regular files among the last returned entries, by their indices.
    OpenFiles { indices: Vec<usize> },
}

/// A view's query of a path.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum PathQuery {
    /// Describes the path itself; a link there is not followed.
    Stat,
    /// Describes the file that the path leads to.
    Follow,
    List,
    Open,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stage_distinguishes_its_requests_from_late_ones() {
        let of = |text: String| serde_json::from_str::<RequestAfterPid1>(&text).unwrap();
        let inspect = serde_json::to_string(&FirstStageRequest::Inspect).unwrap();
        assert!(matches!(
            of(inspect),
            RequestAfterPid1::FirstStage(FirstStageRequest::Inspect)
        ));
        for late in [
            Pid1Request::Exec {
                id: 1,
                terminal: Some(TerminalSize::default()),
            },
            Pid1Request::Connect {
                request: 4,
                address: ([127, 0, 0, 1], 80).into(),
            },
            Pid1Request::Signal {
                request: 2,
                process: 1,
                signal: -1,
            },
            Pid1Request::EndAll {
                request: 3,
                grace_ms: 2,
            },
            Pid1Request::Pause { request: 4 },
            Pid1Request::Resume { request: 5 },
            Pid1Request::Finish,
        ] {
            let text = serde_json::to_string(&late).unwrap();
            assert!(matches!(of(text), RequestAfterPid1::Late(_)), "{late:?}");
        }
    }
}
