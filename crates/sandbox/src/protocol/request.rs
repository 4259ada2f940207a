//! What the engine asks for, an enum for each receiver.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::wire::text;

/// To the first stage.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FirstStageRequest {
    /// With the store's directory and a [`Boot`](super::boot::Boot), and the contents of a sandbox's
    /// side files. Only ever sent after [`Reply::Hello`](super::reply::Reply::Hello).
    Boot,
    /// The map is written.
    Mapped,
    /// When the tree is gone.
    Inspect,
    /// To a helper that unpacks, with the stream that an archive comes through.
    Unpack,
}

/// What the first stage receives once pid 1 is gone, with which it shares the connection.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum RequestAfterPid1 {
    FirstStage(FirstStageRequest),
    /// It was meant for pid 1 and came too late.
    Late(#[expect(dead_code, reason = "read to tell it from what is malformed")] Pid1Request),
}

/// To pid 1.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Pid1Request {
    /// With a [`crate::Command`].
    Exec { id: u32 },
    /// To the process group of a command.
    Signal {
        request: u32,
        process: u32,
        signal: i32,
    },
    /// Everything but pid 1.
    KillAll { request: u32 },
    /// Kill everything, and leave.
    Finish,
}

/// To a view.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ViewRequest {
    /// About one path.
    Look {
        how: Look,
        #[serde(with = "text::path")]
        path: PathBuf,
    },
    /// Begins a walk in place of the one before. The answer is that of [`Look::Follow`]; only a
    /// directory can be walked.
    Walk {
        #[serde(with = "text::path")]
        path: PathBuf,
    },
    /// Asks for the next entries of the walk. `enter` says whether to go into the directory that
    /// the entries before ended with.
    Next { enter: bool },
    /// Opens regular files among the entries that it answered last, by their places.
    Take { which: Vec<usize> },
}

/// What a view is to do with a path.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Look {
    /// The last component is not followed.
    Stat,
    /// It is.
    Follow,
    List,
    Open,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stage_tells_its_own_requests_from_those_that_are_late() {
        let of = |text: String| serde_json::from_str::<RequestAfterPid1>(&text).unwrap();
        let inspect = serde_json::to_string(&FirstStageRequest::Inspect).unwrap();
        assert!(matches!(
            of(inspect),
            RequestAfterPid1::FirstStage(FirstStageRequest::Inspect)
        ));
        for late in [
            Pid1Request::Exec { id: 1 },
            Pid1Request::Signal {
                request: 2,
                process: 1,
                signal: -1,
            },
            Pid1Request::KillAll { request: 3 },
            Pid1Request::Finish,
        ] {
            let text = serde_json::to_string(&late).unwrap();
            assert!(matches!(of(text), RequestAfterPid1::Late(_)), "{late:?}");
        }
    }
}
